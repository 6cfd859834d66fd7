"""What a training run is asked to do, checked before anything is computed or created."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import torch

from recon_cli import likelihoods, models
from recon_cli.errors import ReconError, nearest, unknown
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.likelihoods._by_decoder import by_network, levels_by_network
from recon_cli.models._options import Domain, Keywords, Options, outside, spelled
from recon_cli.runtime.optimizers import bare, fuses, optimizers
from recon_cli.sources import ReadKeywords, ReadOptions
from recon_cli.training.schedules import Schedule

if TYPE_CHECKING:
    from typing import Self

    from torch import nn
    from typing_extensions import Unpack

Function = TypeVar("Function", bound=Callable[..., Any])
NOISES = ("learned", "optimal", "per-element", "network")


@dataclass(frozen=True)
class Settings(Options):
    """The numbers of a run, and what follows from them. Raises ReconError where they contradict one another."""

    def __post_init__(self) -> None:
        super().__post_init__()
        kind = models.kind(self.model)
        if self.beta is None:
            object.__setattr__(self, "beta", float(kind.usual.get("beta", 1)))
        kind.check(self)
        self.check()
        if self.iwae & (self.iwae - 1):
            raise outside("iwae", self.iwae, Domain("0 or a power of two", bool, "64"))
        if self.patience and not self.validation:
            raise ReconError(
                "--patience waits for a better figure of the validation rows, and there are none.", "Add --validation 0.1, say."
            )
        schedule = Schedule.parse(self.schedule)
        if self.exact and (self.kl_warmup or self.free_bits or self.loss):
            raise ReconError("--exact minimises nll + beta KL, all at once.", "Leave --kl-warmup, --free-bits and --loss out.")
        if self.exact and (self.validation or self.schedule != "constant"):
            raise ReconError(
                "--exact has no learning rate, and ends where a round of L-BFGS gains nothing.",
                "Leave --schedule, --validation and --patience out.",
            )
        if self.average and (self.exact or self.patience):
            other = "--exact makes none" if self.exact else "--patience ends at the weights of the best epoch"
            raise ReconError(f"--average is of the weights of the last steps, and {other}.", "Leave one of them out.")
        if self.optimizer.lower() not in optimizers():
            raise unknown("optimizer", self.optimizer, optimizers())
        takes = inspect.signature(self.optimizer_class).parameters
        for name in self.optimizer_options:
            if name not in takes:
                words = name.replace("_", " ")
                raise ReconError(f"The optimizer {self.optimizer} has no {words}.", f"Leave {spelled(name)} out.")
        if self.nesterov and not self.momentum and "momentum_decay" not in takes:
            raise ReconError("--nesterov is a kind of momentum, and there is none.", "Give --momentum 0.9, say.")
        schedule.check(self.new_optimizer([torch.zeros(1, requires_grad=True)]), self.lr, self.epochs)

    @classmethod
    def asked(cls, **keywords: Unpack[Keywords]) -> Self:
        """Return those that were asked for; what is None is as usual for the model."""
        asked: dict[str, Any] = {name: value for name, value in keywords.items() if value is not None}
        return cls(**{**models.kind(asked.get("model", cls.model)).usual, **asked})

    def rescaled(self, slope: float) -> Self:
        """Return those for the same steps on an objective that is this one divided by ``slope``.

        SGD (and ASGD) are linear in the gradient: the learning rate takes the factor. The Adam family divides by the size
        of the gradient: its eps gives it up. Weight decay and the weight on the KL are of the objective's size, but AdamW's,
        which is not part of it.
        """
        kind = self.optimizer_class
        usual = {name: one.default for name, one in inspect.signature(kind).parameters.items()}
        linear, decay, eps = "eps" not in usual, self.weight_decay, usual.get("eps") if self.eps is None else self.eps
        if decay and not issubclass(kind, torch.optim.AdamW):
            decay /= slope
        return dataclasses.replace(
            self,
            lr=self.lr * slope if linear and kind is not torch.optim.Rprop else self.lr,
            schedule=Schedule.parse(self.schedule).scaled(slope if linear and kind is not torch.optim.Rprop else 1.0),
            eps=eps / slope if isinstance(eps, float) else None,
            weight_decay=decay,
            beta=self.beta / slope if self.latent else self.beta,
        )

    @property
    def optimizer_class(self) -> type[torch.optim.Optimizer]:
        """Torch's."""
        return optimizers()[self.optimizer.lower()]

    @property
    def optimizer_options(self) -> dict[str, float | bool]:
        """What the optimizer is told beside the learning rate."""
        asked = {"momentum": self.momentum, "nesterov": self.nesterov or None, "weight_decay": self.weight_decay, "eps": self.eps}
        return {name: value for name, value in asked.items() if value is not None}

    def new_optimizer(self, parameters: Iterable[Any], **more: bool) -> torch.optim.Optimizer:
        """Return the optimizer of some parameters, or of groups of them."""
        options: dict[str, Any] = {"lr": self.lr, **self.optimizer_options, **more}
        return bare(self.optimizer_class)(parameters, **options)

    def optimizer_of(self, model: nn.Module, noise: nn.Module) -> torch.optim.Optimizer:
        """Return the optimizer that was asked for, over network and noise; no weight decay pulls the noise towards 1."""
        groups: list[dict[str, Any]] = [{"params": [*model.parameters()]}]
        takes = inspect.signature(self.optimizer_class).parameters
        if "weight_decay" in takes and self.optimizer_options.get("weight_decay", takes["weight_decay"].default):
            groups.append({"params": [*noise.parameters()], "weight_decay": 0.0})
        else:  # one group is one call
            groups[0]["params"] += noise.parameters()
        fused = fuses(self.optimizer_class, next(model.parameters()).device)
        return self.new_optimizer(groups, **({"fused": True} if fused else {}))


class Everything(Keywords, ReadKeywords, total=False):
    """What a run may be asked: its numbers, and how its data are read."""


def split_options(settings: Mapping[str, Any]) -> tuple[ReadOptions, Keywords]:
    """Return how the data are read, and the numbers of a run, of what was asked."""
    read = {name: value for name, value in settings.items() if name in ReadOptions.names()}
    numbers: Any = {name: value for name, value in settings.items() if name not in read}
    return ReadOptions.asked(read), numbers


def with_options(**usual: float) -> Callable[[Function], Function]:
    """Return a decorator that spells out ``**settings`` in a function's signature: every option by its name, type and default.

    ``usual`` are the defaults that are others here.
    """
    defaults = {field.name: field.default for each in (Options, ReadOptions) for field in dataclasses.fields(each)} | usual
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=kind)
        for name, kind in get_type_hints(Everything).items()
    ]

    def decorate(function: Function) -> Function:
        own = inspect.signature(function)
        first = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
        vars(function)["__signature__"] = own.replace(parameters=[*first, *options])
        return function

    return decorate


def noise(likelihood: str | Likelihood, sigma: float | str | None) -> tuple[Likelihood, str]:
    """Return the likelihood, and whose its noise is: ``fixed``, ``learned``, ``optimal`` or ``per-element``.

    A parameter spelled out (``gaussian:sigma=0.5``, or a Likelihood object) is fixed. Without one and
    without ``sigma``, the noise is learned; a number for ``sigma`` is its size (sigma or scale). By the ``network``, that is a
    second output for every element (:func:`recon_cli.likelihoods._by_decoder.by_network`; a Gaussian's is the
    heteroscedastic Gaussian, whose decoder gives mean and log variance), and other numbers stay as they are. Raises
    ReconError where both are given, where there is no noise, and for a ``sigma`` that none can be.

    >>> noise("laplace", 0.2)
    (Laplace(scale=0.2), 'fixed')
    """
    parsed = likelihoods.parse(likelihood) if isinstance(likelihood, str) else likelihood
    names = [*levels_by_network(parsed)] if sigma == "network" and parsed.noise else [*parsed.noise]
    if isinstance(likelihood, str):
        spelled_out = likelihood.partition(":")[2].replace(" ", "").split(",")
        explicit = any(part.partition("=")[0] in names for part in spelled_out)
    else:
        explicit = parsed != type(parsed)(**parsed.design)
    if sigma is None:
        return parsed, "learned" if names and isinstance(likelihood, str) and not explicit else "fixed"
    if sigma == "network" and parsed.head:
        return parsed, "fixed"
    if not parsed.noise:
        raise ReconError(
            f"{parsed.name} has no noise parameter, so --sigma {sigma} means nothing to it.",
            "Leave --sigma out, or choose a likelihood with a noise: gaussian, laplace.",
        )
    if explicit:
        raise ReconError(
            f"The noise is given twice: --likelihood {parsed} and --sigma {sigma}.",
            f"Leave one of them out, as in --likelihood {parsed.name} --sigma {sigma}.",
        )
    kinds = {"per-element": "a sigma or a scale of single numbers", "network": "a noise of single numbers, not of vectors"}
    fits = parsed.level_name in ("sigma", "scale") and not parsed.event if sigma == "per-element" else bool(names)
    if str(sigma) in kinds and not fits:
        raise ReconError(
            f"--sigma {sigma} is for {kinds[str(sigma)]}, and {parsed.name} has {' and '.join(parsed.noise)}.",
            "Take --sigma learned, one number for all elements, or --likelihood heteroscedastic-gaussian.",
        )
    if sigma == "network":
        return likelihoods.parse("heteroscedastic-gaussian") if parsed.name == "gaussian" else by_network(parsed), "fixed"
    if sigma in NOISES:
        return parsed, str(sigma)
    return type(parsed)(**{**parsed.parameters, parsed.level_name or names[0]: level(sigma)}), "fixed"


def trained(word: str, likelihood: Likelihood, whose: str, sigma: float | str | None) -> tuple[Loss, str]:
    """Return the loss that is trained on, and whose the noise is then: a loss has no noise in it, so nothing would teach one.

    What would be learned unasked is the best for each batch; asked for, it is refused. Raises ReconError for a loss of
    another kind, too.
    """
    loss = akin(likelihoods.loss(word), likelihood, "--loss")
    taught = whose not in ("fixed", "optimal")
    if taught and sigma is not None:
        noise_parameter = likelihood.level_name or "noise"
        raise ReconError(
            f"{loss.name} has no {noise_parameter} in it, so training on it gives a learned one no gradient.",
            "Take --sigma optimal, the best for each batch, or fix it, as in --sigma 0.5.",
        )
    return loss, "optimal" if taught else whose


def akin(loss: Loss, likelihood: Likelihood, asked: str) -> Loss:
    """Return the loss, if it is of numbers of the same kind as the likelihood, and takes every mean that this may have."""
    if (loss.event, len(loss.head)) != (likelihood.event, len(likelihood.head)):
        hint = "Fix the noise, as in --sigma 0.5: with one that moves there is no loss."
        hint = f"Try {asked} {likelihood.loss.name}." if likelihood.loss.name in likelihoods.losses() else hint
        raise ReconError(f"{loss.name} and {likelihood.name} are not of the same kind of number.", hint)
    if not (loss.domain.low <= likelihood.domain.low and likelihood.domain.high <= loss.domain.high):
        raise ReconError(
            f"{loss.name} takes means in {loss.domain}, and those of {likelihood.name} lie in {likelihood.domain}.",
            f"Try {asked} {likelihood.loss.name}, or another --likelihood.",
        )
    return loss


def level(sigma: float | str) -> float:
    """Return ``sigma`` as a positive finite number. Raises ReconError, which says what else it may be."""
    try:
        value = float(sigma)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 < value < math.inf:
        meant = nearest(str(sigma), NOISES)
        raise ReconError(
            f"--sigma must be a positive number, learned, optimal, per-element or network; found {sigma!r}.",
            f"Did you mean {meant!r}?" if meant else "Try --sigma learned, which trains it with the network.",
        )
    return value
