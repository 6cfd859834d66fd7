"""What every model is: rows and draws in, the raw output of its decoder and the KL of each latent out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from torch import nn

from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.shapes import spell
from recon_cli.identity.tensors import wide

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

    from recon_cli.models._options import Options

ACTIVE = 0.01  # nats: a latent whose mean KL exceeds this is in use


@dataclass(frozen=True)
class Task:
    """What a model is made for.

    rows
        (N, D), those that it is trained on.
    likelihood
        of what it is trained on, given its decoder's output.
    shape
        that of one sample, whose elements a row lays end to end.
    targets
        the columns that are predicted from the others; empty where a row is reconstructed.
    module
        the user's own: a torch module, its class, or the word that names it.
    """

    rows: Tensor
    likelihood: Likelihood
    shape: tuple[int, ...]
    targets: tuple[int, ...] = ()
    module: Any = None


class Counts(NamedTuple):
    """What each event of some rows counts, of the nll's shape, 0 where it is not there; and each sample, (B,), as its KL does."""

    events: Tensor
    samples: Tensor


class Model(nn.Module, ABC):
    """What can be trained. Each file here defines one; its name on the command line is the file's.

    usual
        settings that are others than :class:`Options` has, where none are asked for.
    supervised
        whether it predicts some columns of a row from the others; else it reconstructs the row.
    has_closed_form
        whether its expectations over z are known, and so is its optimum.
    closed
        whether it is computed of its parameters and arguments alone, so that a compiler can have it as one graph.
    latents
        how many there are, K.
    deterministic
        whether z is the encoder's mean, which no KL is paid for.
    link
        what makes mu of the raw output.
    several
        whether the raw output has several numbers for an element (mean and log variance), along a last axis.
    """

    usual: ClassVar[Mapping[str, float]] = {}
    supervised: ClassVar[bool] = False
    has_closed_form: ClassVar[bool] = False
    closed: bool = True
    latents: int = 0
    deterministic: bool = False

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__()
        self.link, self.numbers = likelihood.link, max(1, len(likelihood.head))
        self.several, self.has_events = self.numbers > 1, bool(likelihood.event)
        self.centre = likelihood.centre

    @classmethod
    @abstractmethod
    def begin(cls, task: Task, options: Options) -> Self:
        """Return the model as training begins, its weights drawn from the seed. Raises ReconError for a task not its own."""

    @classmethod
    @abstractmethod
    def from_saved(cls, tensors: dict[str, Tensor], likelihood: Likelihood, config: Mapping[str, Any]) -> Self:
        """Return the trained model of a run. Raises ReconError where the weights are not those of ``config``."""

    @classmethod
    def check(cls, options: Options) -> None:
        """Raise ReconError for options that mean nothing to it, or contradict one another."""
        if options.exact and not cls.has_closed_form:
            raise ReconError(
                f"--exact takes expectations in closed form, which a model of kind {options.model} has not.",
                "Add --model linear.",
            )
        if options.target is not None and not cls.supervised:
            raise ReconError(
                f"--target names what a regression predicts, and {options.model} is none.", "Add --model regression."
            )

    @abstractmethod
    def forward(self, rows: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the raw output of ``rows`` (B, D) at draws ``eps`` (B, K), and the KL of each latent, (B, K), or (B, 0)."""

    @abstractmethod
    def outputs(self, rows: Tensor) -> Tensor:
        """Return what the likelihood takes, without draws: mu, or with a last axis for several numbers an element."""

    @property
    @abstractmethod
    def elements(self) -> int:
        """How many numbers a row has, D."""

    @property
    @abstractmethod
    def noun(self) -> str:
        """What people call it."""

    @property
    def description(self) -> str:
        """A sentence on what it is, where its name does not say that."""
        return ""

    @abstractmethod
    def decoder_parameters(self) -> Sequence[nn.Parameter]:
        """Return the parameters at which the gradients of nll and loss are measured."""

    def own(self, rows: Tensor) -> Tensor:
        """Return the elements of ``rows``, (B, D): behind them a row may have what each of them counts, and it itself."""
        return rows[:, : self.elements]

    def counts(self, rows: Tensor) -> Counts | None:
        """Return what the events of ``rows`` count, and the samples; None where all count alike."""
        if rows.shape[1] == self.elements:
            return None
        weights = self.target(rows[:, self.elements : 2 * self.elements])
        return Counts(weights[..., 0] if self.has_events else weights, rows[:, -1])

    def target(self, rows: Tensor) -> Tensor:
        """Return what the likelihood is of, from ``rows`` (B, D): the same, or (B, D/K, K) where its events are vectors of K."""
        return self.own(rows)

    def reconstruct(self, rows: Tensor) -> Tensor:
        """Return mu of what it is trained on, (B, D): what people look at."""
        return self.means(self.outputs(rows))

    def means(self, outputs: Tensor) -> Tensor:
        """Return the means among what the likelihood takes, as rows."""
        return self.centre(outputs).flatten(1)

    def in_use(self, pieces: Sequence[Tensor], kl: Tensor) -> Tensor:
        """Return which latents are in use, (K,), on rows that come in ``pieces``, over which the mean KL of each is ``kl``."""
        del pieces
        return kl > ACTIVE

    def stepping(self, seed: int) -> AbstractContextManager[None]:
        """Return a context for the computation of one step; ``seed`` is for what the model draws beside ``eps``."""
        del seed
        return nullcontext()

    def provenance(self) -> dict[str, str | None]:
        """Return what ``config.json`` says of where its code is from."""
        return {}

    @property
    def has_latents(self) -> bool:
        """Whether there is a code z."""
        return self.latents > 0

    @property
    def has_kl(self) -> bool:
        """Whether there is a KL, and so an ELBO: of latents with noise."""
        return self.has_latents and not self.deterministic

    def fill(self, tensors: dict[str, Tensor], what: str) -> None:
        """Take the saved weights of a model of ``what``. Raises ReconError, naming the first that does not fit."""
        for name, own in self.state_dict().items():
            shape = spell(tensors[name].shape) if name in tensors else "missing"
            if shape != spell(own.shape):
                raise ReconError(
                    f"{name} is {shape}, and must be {spell(own.shape)} for {what}.",
                    "These weights are of another model: train it again with recon train.",
                )
        self.load_state_dict({name: tensors[name] for name in self.state_dict()})


def typical(likelihood: Likelihood, x: Tensor) -> Tensor:
    """Return what a decoder would give that knows nothing: the mean of ``x`` (N, ...) over samples, inside the domain.

    And variances, or their roots, where it gives a noise too.
    """
    x = wide(x)
    mean = x.mean(dim=0)
    if type(likelihood).usual_outputs is Likelihood.usual_outputs:  # of the mean alone
        return likelihood.usual_outputs(mean, mean)
    variance = (x - mean).square().mean(dim=0)
    return likelihood.usual_outputs(mean, variance.clamp(min=1e-3 * variance.mean().item() or 1.0).sqrt())
