"""A user's own network as the model: made, tried before anything is trained, and spoken to as to recon's own."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import nn

from recon_cli.errors import ReconError, from_system, nearest
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.regions import listed
from recon_cli.identity.shapes import spell
from recon_cli.models._base import Task
from recon_cli.models._vae import Vae
from recon_cli.runtime.user_classes import find, named

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

    from recon_cli.models._options import Options

T = TypeVar("T")
PROBES = 3  # rows that a module is tried on
FAR = (1.0, 10.0, 100.0, 1000.0)  # how far z goes where it is asked whether a decoder ends in a sigmoid
CONTRACT = (
    "It needs encode(x) -> (mean, log_variance) of shape (B, K) each, and decode(z) -> the raw output; see recon train --help."
)


class Own(Vae):
    """A module with ``encode(x) -> (mean, log_variance)``, (B, K) each, and ``decode(z) -> raw``, in the data's own units.

    x is (B, ...) in the samples' own shape; raw has as many numbers as a sample has elements, in any shape, or as many times
    more as the likelihood takes of each element, along a last axis. It is in training mode while a step is computed, and in
    evaluation mode whenever something is measured; what it draws from torch's global generator (dropout) is seeded by the
    step, and the caller's generator stays.

    word, checksum
        what names it, and the SHA-256 of its file; None where it was given as an object.
    """

    closed = False
    module: Any  # an nn.Module that has both methods
    mean: Tensor

    def __init__(
        self, module: nn.Module, rows: Tensor, likelihood: Likelihood, latents: int, shape: tuple[int, ...],
        deterministic: bool, word: str = "", checksum: str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(likelihood, latents, deterministic, shape[-1])
        self.shape, self.word, self.checksum = shape, word, checksum
        self.module = module
        self.register_buffer("mean", rows.mean(dim=0))
        self.eval()

    @classmethod
    def begin(cls, task: Task, options: Options) -> Self:
        """Return the model that the task's module is or makes, after it was tried on a few of the rows.

        K is what its ``encode`` gives. Raises ReconError for one that does not keep to the contract.
        """
        source, checksum = find(task.module) if isinstance(task.module, str) else (task.module, None)
        where, choices = task.rows.device, sizes(options.latent, options.hidden, task.shape)
        module = instance(source, options.model, options.seed, where, choices)
        with seeded(options.seed, where), torch.no_grad():
            codes = codes_of(module, task, options, None if isinstance(source, nn.Module) else source)
            model = cls(
                module, task.rows, task.likelihood, codes.shape[1], task.shape, not options.beta, options.model, checksum
            )  # fmt: skip
            try_decoder(model, codes, task)
        if not len(attempt(f"{model.word}.decode", model.decoder_parameters)):
            raise ReconError(f"{model.word}.decode depends on no parameter of the module that could be trained.", CONTRACT)
        odd = [name for name, value in module.state_dict().items() if not isinstance(value, torch.Tensor)]
        if odd:
            raise ReconError(
                f"{model.word} keeps {odd[0]} in its state_dict, which is no tensor.", "Keep it elsewhere: runs store tensors."
            )
        rehearse(model, task.rows, options.batch_size, options.seed)
        return model

    @classmethod
    def from_saved(cls, tensors: dict[str, Tensor], likelihood: Likelihood, config: Mapping[str, Any]) -> Self:
        """Return the trained network of a run, from its file once more. Raises ReconError where that is gone or has changed."""
        word, shape = config["model"], config["shape"]
        source, checksum = find(word)
        module = instance(source, word, 0, torch.device("cpu"), sizes(config["latent"], config["hidden"], shape))
        rows = torch.zeros(1, math.prod(shape))
        model = cls(module, rows, likelihood, config["latent"], shape, not config["beta"], word, checksum)
        try:
            model.load_state_dict({name: value for name, value in tensors.items() if name in model.state_dict()})
        except RuntimeError as error:
            raise ReconError(f"its weights are not those of {word}: {named(error)}.", "Train it again.") from error
        return model

    @property
    def elements(self) -> int:
        return len(self.mean)

    @property
    def description(self) -> str:
        count = sum(part.numel() for part in self.parameters())
        return f"The model is {self.word}: {count:,} parameters and {self.latents} latents."

    def provenance(self) -> dict[str, str | None]:
        return {"model_sha256": self.checksum}

    def encode(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        codes = self.module.encode(self.own(rows).reshape(len(rows), *self.shape))
        mean, log_variance = (codes, None) if isinstance(codes, torch.Tensor) else codes
        return mean, None if self.deterministic else log_variance

    def decode(self, z: Tensor) -> Tensor:
        raw: Tensor = self.module.decode(z)
        return raw.reshape(len(z), -1, *self.tail)

    def decoder_parameters(self) -> Sequence[nn.Parameter]:
        """Return the parameters that ``decode`` depends on."""
        parts = [part for part in self.parameters() if part.requires_grad]
        with torch.enable_grad():
            total = self.module.decode(self.mean.new_zeros(2, self.latents)).sum()
            slopes = torch.autograd.grad(total, parts, allow_unused=True) if total.requires_grad else [None] * len(parts)
        return [part for part, slope in zip(parts, slopes, strict=True) if slope is not None]

    @contextmanager
    def stepping(self, seed: int) -> Iterator[None]:
        self.train()
        try:
            with seeded(seed, self.mean.device):
                yield
        finally:
            self.eval()


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Begin torch's global generators (of the CPU, and of ``device``) at ``seed``; afterwards they are as they were."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng([device] if cuda else []):
        torch.default_generator.manual_seed(seed % (1 << 63))
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed % (1 << 63))
        yield


def own_sizes(word: str) -> dict[str, Any]:
    """Return the sizes that a class gives itself where it is told none: what its trained weights have, as a rule."""
    takes = attempt(word, inspect.signature, find(word)[0]).parameters
    return {name: takes[name].default for name in ("latent", "hidden") if name in takes and isinstance(takes[name].default, int)}


def sizes(latents: int, hidden: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what the class of a user's module may ask for, by name."""
    return {"latent": latents, "hidden": hidden, "shape": shape}


def instance(source: Any, who: str, seed: int, device: torch.device, options: dict[str, Any]) -> nn.Module:
    """Return a module of a class (or from a function), told those of ``options`` that it takes; or a copy of one.

    Its weights are drawn under ``seed``. Raises ReconError where it cannot be made, or is no module.
    """
    if isinstance(source, nn.Module):
        twin: nn.Module = attempt(f"Copying {who}", copy.deepcopy, source)
        return twin.to(device)
    if not callable(source) or (inspect.isclass(source) and not issubclass(source, nn.Module)):
        raise ReconError(f"{who} is no torch.nn.Module.", CONTRACT)
    takes = attempt(who, inspect.signature, source).parameters.values()
    needed = [
        one.name for one in takes
        if one.default is one.empty and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD) and one.name not in options
    ]  # fmt: skip
    if needed:
        raise ReconError(
            f"{who} cannot be made without {', '.join(needed)}: recon gives latent, hidden and shape, where they are asked for.",
            "Give the others defaults, or make it in Python: recon_cli.train(data, model=MyModel(...)).",
        )
    with seeded(seed, device):
        asked = {one.name: options[one.name] for one in takes if one.name in options}
        module: object = attempt(f"{who}()", lambda: source(**asked))
    if not isinstance(module, nn.Module):
        raise ReconError(f"{who} makes a {type(module).__name__}, which is no torch.nn.Module.", CONTRACT)
    return module.to(device)


def attempt(what: str, work: Callable[..., T], *values: Any, hint: str = CONTRACT) -> T:
    """Return what a user's code gives. Raises any exception of its own as a ReconError."""
    try:
        return work(*values)
    except Exception as error:
        if isinstance(error, ReconError) or from_system(error):
            raise
        raise ReconError(f"{what} raised {named(error)}.", hint) from error


def codes_of(module: nn.Module, task: Task, options: Options, maker: Callable[..., Any] | None) -> Tensor:
    """Return the means that ``encode`` gives for a few rows; ``maker`` is what made the module, if it was not there already.

    Raises ReconError for a module without the two methods, and for anything else than the contract's.
    """
    who, shape = options.model, task.shape
    for name in ("encode", "decode"):
        if not callable(getattr(module, name, None)):
            near = nearest(name, [key for key in dir(type(module)) if key[0] != "_" and key not in dir(nn.Module)])
            way_out = f"It has {near}; rename that, or add one. " if near else ""
            raise ReconError(f"{who} has no method {name}.", f"{way_out}{CONTRACT}")
    module.eval()
    x = task.rows[:PROBES].reshape(-1, *shape).clone()
    own_shape = f"x is given in the samples' own shape, here {(*x.shape,)}: no axis is added for channels."
    encode: Callable[[Tensor], object] = module.encode  # type: ignore[assignment]
    codes = coded(attempt(f"{who}.encode", encode, x, hint=own_shape), who, len(x), not options.beta)
    if not torch.equal(x, task.rows[:PROBES].reshape(x.shape)):
        raise ReconError(f"{who}.encode changes the x that it is given.", "Compute on a copy: no x.sub_(...), no inplace=True.")
    count = codes.shape[1]
    if maker is not None and "latent" in inspect.signature(maker).parameters and count != options.latent:
        raise ReconError(
            f"{who} was made with latent={options.latent}, and its encode gives {count} numbers for each mean.",
            "Return mean and log variance apart, of `latent` numbers each.",
        )
    return codes


def try_decoder(model: Own, codes: Tensor, task: Task) -> None:
    """Raise ReconError where ``decode`` gives another size, values that are not finite, or probabilities in place of logits."""
    likelihood, who = task.likelihood, model.word
    raw = decoded(model, codes, who, likelihood, task.shape)
    far = torch.cat([size * torch.randn(32, codes.shape[1], device=codes.device) for size in FAR])
    spread = attempt(f"{who}.decode", model.module.decode, far)
    inside = 0 <= spread.min() < spread.max() <= 1 and raw.min() >= 0 and raw.max() <= 1
    if likelihood.link.name in ("logit", "softmax") and inside:
        raise ReconError(
            f"{who}.decode gives values between 0 and 1 however far z goes, so it ends in a sigmoid or softmax; the raw "
            f"output that {likelihood.name} takes is logits.",
            "Return the logits: drop the last sigmoid or softmax, which recon applies itself.",
        )


def coded(codes: object, who: str, count: int, deterministic: bool) -> Tensor:
    """Return the means among what ``encode`` gave for ``count`` rows. Raises ReconError for anything else than the contract's."""
    alone = isinstance(codes, torch.Tensor)
    several: Sequence[object] = [codes] if alone else codes if isinstance(codes, (tuple, list)) else []
    parts = [part for part in several if isinstance(part, torch.Tensor)]
    if not (len(several) == 2 or (alone and deterministic)) or len(parts) < len(several):
        what = f"{type(codes).__name__} of {len(several)}" if isinstance(codes, (tuple, list)) else type(codes).__name__
        raise ReconError(
            f"{who}.encode gives a {what}, and must give (mean, log_variance), two tensors.",
            "Split one that has both by .chunk(2, dim=1); one that gives codes alone goes with --kl-weight 0.",
        )
    for word, part in zip(("mean", "log_variance"), parts, strict=False):
        if (
            part.ndim != 2
            or len(part) != count
            or part.shape != parts[0].shape
            or not part.is_floating_point()
            or not part.shape[1]
        ):
            raise ReconError(
                f"{who}.encode gives a {word} of shape {spell(part.shape)} for {count} samples, and must give ({count}, K).",
                "Return mean and log_variance of one number for each sample and latent, .flatten(1) if need be.",
            )
        if not part.isfinite().all():
            raise ReconError(
                f"{who}.encode gives a {word} that is not finite.", "Look at its first weights, and at the data's scale."
            )
    return parts[0]


def decoded(model: Own, codes: Tensor, who: str, likelihood: Likelihood, shape: tuple[int, ...]) -> Tensor:
    """Return what ``decode`` gives for ``codes``. Raises ReconError for another size, or values that are not finite."""
    raw: object = attempt(f"{who}.decode", model.module.decode, codes)
    takes = math.prod(shape) * max(1, len(likelihood.head))
    many = f" ({listed(likelihood.head)} of each element, along a last axis)" if model.several else ""
    if not isinstance(raw, torch.Tensor) or not raw.is_floating_point():
        raise ReconError(f"{who}.decode gives a {type(raw).__name__}, and must give a tensor of floats.", CONTRACT)
    if raw.numel() != len(codes) * takes or (raw.ndim and len(raw) != len(codes)):
        raise ReconError(
            f"{who}.decode gives {spell(raw.shape)} for {len(codes)} codes, and {likelihood.name} takes {takes} numbers for each "
            f"sample of shape {spell(shape)}{many}.",
            f"Return ({len(codes)}, {takes}), or the same number of elements in another shape.",
        )
    if not raw.isfinite().all():
        raise ReconError(f"{who}.decode gives values that are not finite.", "Look at its first weights.")
    return raw


def rehearse(model: Own, rows: Tensor, batch: int, seed: int) -> None:
    """Compute a step's values, on a copy in training mode, of a whole batch and of the last one of an epoch.

    Raises ReconError where that fails, or gives what is not finite.
    """
    who, trial = model.word, attempt(f"Copying {model.word}", copy.deepcopy, model)
    eps = torch.zeros(batch, model.latents, device=rows.device)
    for size in {min(batch, len(rows)), len(rows) % batch} - {0}:
        try:
            with trial.stepping(seed), torch.no_grad():
                raw = trial(rows[:size], eps[:size])[0]
        except (ReconError, KeyboardInterrupt):
            raise
        except Exception as error:
            if from_system(error):
                raise
            raise ReconError(
                f"{who}, in training mode, raised {named(error)} on a batch of {size}.",
                "Give another --batch-size, so that no batch has one sample alone." if size == 1 else CONTRACT,
            ) from error
        if len(raw) != size or not raw.isfinite().all():
            raise ReconError(f"{who}, in training mode, gives values that are not finite on a batch of {size}.", CONTRACT)
