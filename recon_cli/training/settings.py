"""What a training run is asked to do, checked before anything is computed or created."""

from __future__ import annotations

import dataclasses
import inspect
import math
import numbers
from dataclasses import dataclass
from typing import Any

import torch

from recon_cli import likelihoods
from recon_cli.errors import ReconError, nearest, unknown
from recon_cli.identity import fitting
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.parametric import size
from recon_cli.likelihoods._by_decoder import by_network
from recon_cli.models.networks import MODELS
from recon_cli.training.schedules import Schedule

UNFIT = ("optimizer", "lbfgs", "muon", "sparseadam")  # need a closure, matrices only, sparse gradients
KINDS: dict[str, tuple[type, str, str]] = {
    "int": (numbers.Integral, "a whole number", "1"),
    "float": (numbers.Real, "a number", "0.5"),
    "bool": (bool, "true or false", "or leave it out"),
    "str": (str, "a word", "with one"),
}  # what a setting of a kind may be, in words, and an example
NOISES = ("learned", "optimal", "per-element", "network")


USUAL: dict[str, dict[str, Any]] = {"regression": {"batch_size": 16, "latent": 0, "hidden": 64, "lr": 0.005}}  # of few rows


@dataclass(frozen=True)
class Settings:
    """The numbers of a run. Raises ReconError for one that no run can have.

    latent, hidden
        widths of the latent layer and of the one hidden layer on each side; a regression has no latents and two hidden
        layers, or at 0 none.
    beta
        weight on the KL; 1, the usual one, makes the objective the negative ELBO. 0 leaves no noise on the codes: a
        deterministic autoencoder.
    holdout
        fraction of the samples kept back for the result, from 0 up to, not including, 1; with 0 it is on the training rows.
    model
        ``mlp``, ``linear`` (whose optimum is PPCA), ``conv`` (of images), ``ae``, the mlp with a beta of 0, or ``regression``
        from some columns to others; or
        ``FILE.py:Class`` (``package.module:Class``), a torch module of one's own: see
        :class:`recon_cli.models.user.Own`. In Python the
        module itself may be given, of which a copy is trained, or its class.
    target
        which columns a regression predicts: names, or numbers from 0, with commas; None is the last one.
    loss
        trained on instead of the likelihood's own nll, as in ``beta-nll:beta=0.5``; the nll is measured all the same.
    exact
        of a linear model under a Gaussian: the expectation over z in closed form, minimised by L-BFGS in float64.
    validation, patience
        fraction of the training samples that is cut off them and looked at after each epoch, in no gradient; and after how
        many epochs without a better negative ELBO of those (nll, at beta 0) training stops, back at the best; 0 is never.
    schedule
        of the learning rate over all steps: ``constant``, ``linear`` or ``cosine``, both down to 0; or torch's, by name and
        parameters, ``exponential:gamma=0.97``. Its lengths are epochs, those of onecycle and cyclic steps; the run's own
        where they are left out.
    momentum, nesterov, weight_decay, eps
        the optimizer's own, where it has them; None leaves torch's default. No weight decay pulls the noise.
    sigma_floor
        what a learned or optimal noise (sigma or scale) never goes below: sigma = floor + exp(free), or at least the floor;
        the network's too (a variance: the floor's square + exp(free)).
    compile, bf16
        the step through torch's compiler (some seconds before the first one), and its matrix products in bfloat16; the
        likelihood stays in float64.
    kl_warmup
        epochs over which the weight on the KL rises from 0 to beta, step by step. Bowman and others (2016).
    free_bits
        nats of KL that each latent may have, on average over a batch, for nothing: the sum of max(free_bits, KL) is
        minimised. Kingma and others (2016), equation 15.
    tensorboard
        event files in the run folder, too.
    iwae
        bounds on log p(x) of the result's rows with up to so many samples of z, a power of two; 0 for none.
    checkpoint_every
        seconds between two checkpoints of a run folder; 0 is after every step.
    """

    holdout: float = 0.2
    epochs: int = 100
    batch_size: int = 128
    latent: int = 24
    hidden: int = 256
    lr: float = 0.002
    optimizer: str = "adam"
    beta: float = None  # type: ignore[assignment]  # 1, and 0 of an ae
    seed: int = 0
    model: str = "mlp"
    target: str | None = None
    loss: str | None = None
    exact: bool = False
    validation: float = 0.0
    patience: int = 0
    schedule: str = "constant"
    momentum: float | None = None
    nesterov: bool = False
    weight_decay: float | None = None
    eps: float | None = None
    sigma_floor: float = 0.0
    checkpoint_every: float = 30.0
    compile: bool = False
    bf16: bool = False
    iwae: int = 0
    tensorboard: bool = False
    kl_warmup: int = 0
    free_bits: float = 0.0

    def __post_init__(self) -> None:
        if self.beta is None:
            object.__setattr__(self, "beta", 0.0 if self.model == "ae" else 1.0)
        for one in dataclasses.fields(self):
            object.__setattr__(self, one.name, of_its_kind(one.name, str(one.type), getattr(self, one.name)))
        for name, example in (("latent", 24), ("hidden", 256), ("epochs", 100), ("batch_size", 128)):
            whole(name, getattr(self, name), int(name not in ("latent", "hidden") or self.model != "regression"), example)
        whole("seed", self.seed, 0, 0)
        whole("iwae", self.iwae, 0, 64)
        number("iwae", self.iwae, self.iwae & (self.iwae - 1) == 0, "0 or a power of two", "64")
        number("lr", self.lr, 0 < self.lr < math.inf, "a positive number", "0.002")
        number("beta", self.beta, 0 <= self.beta < math.inf, "a number from 0 up", "1")
        number("holdout", self.holdout, 0 <= self.holdout < 1, "at least 0 and below 1", "0.2; 0 keeps nothing back")
        number("validation", self.validation, 0 <= self.validation < 1, "at least 0 and below 1", "0.1; 0 takes nothing away")
        whole("patience", self.patience, 0, 10)
        if self.patience and not self.validation:
            raise ReconError(
                "--patience waits for a better figure of the validation rows, and there are none.", "Add --validation 0.1, say."
            )
        whole("kl_warmup", self.kl_warmup, 0, 10)
        for name in ("sigma_floor", "checkpoint_every", "free_bits"):
            number(name, value := getattr(self, name), 0 <= value < math.inf, "a number from 0 up", "0")
        if self.model not in MODELS and not self.own_model:
            raise unknown("model", self.model, MODELS)
        if self.model == "ae" and self.beta:
            raise ReconError(
                f"--model ae has nothing on the KL, and --beta (--kl-weight) {self.beta:g} was given.",
                "Leave it out, or take --model mlp, which is the VAE.",
            )
        for name in ("kl_warmup", "free_bits", "iwae"):
            if self.deterministic and getattr(self, name):
                raise ReconError(
                    f"A weight of 0 on the KL makes a deterministic autoencoder, without KL and without draws of z, so "
                    f"{option(name)} means nothing.",
                    f"Leave {option(name)} out, or give a --kl-weight above 0.",
                )
        schedule = Schedule.parse(self.schedule)
        if self.exact and self.model != "linear":
            raise ReconError(
                f"--exact takes expectations in closed form, which a model of kind {self.model} has not.", "Add --model linear."
            )
        if self.exact and (self.kl_warmup or self.free_bits or self.loss):
            raise ReconError("--exact minimises nll + beta KL, all at once.", "Leave --kl-warmup, --free-bits and --loss out.")
        if self.exact and (self.validation or self.schedule != "constant"):
            raise ReconError(
                "--exact has no learning rate, and ends where a round of L-BFGS gains nothing.",
                "Leave --schedule, --validation and --patience out.",
            )
        if self.optimizer.lower() not in optimizers():
            raise unknown("optimizer", self.optimizer, optimizers())
        takes = inspect.signature(self.kind).parameters
        for name, value in self.own.items():
            if name not in takes:
                raise ReconError(f"The optimizer {self.optimizer} has no {name.replace('_', ' ')}.", f"Leave {option(name)} out.")
            number(name, value, 0 <= value < math.inf, "a number from 0 up", "0")
        if self.nesterov and not self.momentum and "momentum_decay" not in takes:
            raise ReconError("--nesterov is a kind of momentum, and there is none.", "Give --momentum 0.9, say.")
        schedule.check(self)

    def rescaled(self, slope: float) -> Settings:
        """For the same steps on an objective that is this one divided by ``slope``.

        SGD (and ASGD) are linear in the gradient: the learning rate takes the factor. The Adam family divides by the size
        of the gradient: its eps gives it up. Weight decay and the weight on the KL are of the objective's size, but AdamW's,
        which is not part of it.
        """
        kind = self.kind
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
            beta=self.beta / slope,
        )

    @classmethod
    def asked(cls, **how: Any) -> Settings:
        """Those that were asked for; what is None is as usual for the model."""
        given = {name: value for name, value in how.items() if value is not None}
        return cls(**{**USUAL.get(given.get("model", cls.model), {}), **given})

    @property
    def own_model(self) -> bool:
        """Whether the model is the user's."""
        return own_model(self.model)

    @property
    def deterministic(self) -> bool:
        """Whether z is the encoder's mean: with nothing on the KL, the ELBO's noise would shrink to nothing anyway."""
        return not self.beta

    @property
    def bounded(self) -> bool:
        """Whether there is a KL, and so an ELBO: of latents with noise."""
        return self.latent > 0 and not self.deterministic

    @property
    def kind(self) -> type[torch.optim.Optimizer]:
        """The optimizer."""
        return optimizers()[self.optimizer.lower()]

    @property
    def own(self) -> dict[str, Any]:
        """What the optimizer is told beside the learning rate."""
        asked = {"momentum": self.momentum, "nesterov": self.nesterov or None, "weight_decay": self.weight_decay, "eps": self.eps}
        return {name: value for name, value in asked.items() if value is not None}


def option(name: str) -> str:
    """A setting as the command line spells it."""
    return "--" + name.replace("_", "-")


def own_model(model: str) -> bool:
    """Whether a word names a model of the user's own."""
    return ":" in model or model.endswith(".py")


def of_its_kind(name: str, kind: str, value: Any) -> Any:
    """``value``, if a setting of that annotation can have one of its type; numpy's numbers as Python's. Or a ReconError."""
    if value is None and "None" in kind:
        return value
    wanted = kind.partition(" ")[0]
    types, said, example = KINDS[wanted]
    if isinstance(value, bool) != (wanted == "bool") or not isinstance(value, types):
        raise ReconError(f"{option(name)} must be {said}; found {value!r}.", f"Try {option(name)} {example}.")
    if wanted == "float" and not isinstance(value, int):
        return float(value)
    return int(value) if isinstance(value, numbers.Integral) and wanted != "bool" else value


def whole(name: str, value: Any, least: int, example: int) -> None:
    """Raise ReconError unless ``value`` is a whole number from ``least`` up."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
        raise ReconError(
            f"{option(name)} must be a whole number from {least} up; found {value!r}.", f"Try {option(name)} {example}."
        )


def number(name: str, value: float, allowed: bool, rule: str, example: str) -> None:
    """Raise ReconError unless ``allowed``."""
    if not allowed:
        raise ReconError(f"{option(name)} must be {rule}; found {value!r}.", f"Try {option(name)} {example}.")


def optimizers() -> dict[str, type[torch.optim.Optimizer]]:
    """Torch's optimizers by name in lower case: those that train any dense parameter from one gradient."""
    found = {name.lower(): kind for name, kind in vars(torch.optim).items() if isinstance(kind, type)}
    return {name: kind for name, kind in found.items() if issubclass(kind, torch.optim.Optimizer) and name not in UNFIT}


def noise(likelihood: str | Likelihood, sigma: float | str | None) -> tuple[Likelihood, str]:
    """The likelihood, and whose its noise is: ``fixed``, ``learned``, ``optimal`` or ``per-element``.

    A parameter spelled out (``gaussian:sigma=0.5``, or a Likelihood object) is fixed. Without one and
    without ``sigma``, the noise is learned; a number for ``sigma`` is its size (sigma or scale). By the ``network``, that is a
    second output for every element (:func:`recon_cli.likelihoods._by_decoder.by_network`; a Gaussian's is the
    heteroscedastic Gaussian, whose decoder gives mean and log variance), and other numbers stay as they are. Raises
    ReconError where both are given, where there is no noise, and for a ``sigma`` that none can be.

    >>> noise("laplace", 0.2)
    (Laplace(scale=0.2), 'fixed')
    """
    spelled = isinstance(likelihood, str)
    claim = likelihoods.parse(likelihood) if isinstance(likelihood, str) else likelihood
    names = [fitting.level(claim) or ""] if sigma == "network" and claim.noise else [*claim.noise]
    given = likelihood.partition(":")[2].replace(" ", "").split(",") if isinstance(likelihood, str) else []
    explicit = any(part.partition("=")[0] in names for part in given) if spelled else claim != type(claim)(**claim.design)
    if sigma is None:
        return claim, "learned" if names and spelled and not explicit else "fixed"
    if sigma == "network" and claim.head:
        return claim, "fixed"
    if not names:
        raise ReconError(
            f"{claim.name} has no noise parameter, so --sigma {sigma} means nothing to it.",
            "Leave --sigma out, or choose a likelihood with a noise: gaussian, laplace.",
        )
    if explicit:
        raise ReconError(
            f"The noise is given twice: --likelihood {claim} and --sigma {sigma}.",
            f"Leave one of them out, as in --likelihood {claim.name} --sigma {sigma}.",
        )
    if sigma in ("per-element", "network") and fitting.level(claim) not in ("sigma", "scale"):
        raise ReconError(
            f"--sigma {sigma} is for a sigma or a scale, and {claim.name} has {' and '.join(names)}.",
            "Take --sigma learned, one number for all elements, or --likelihood heteroscedastic-gaussian.",
        )
    if sigma == "network":
        known = likelihoods.parse("heteroscedastic-gaussian") if claim.name == "gaussian" else by_network(claim)
        return known, "fixed"
    if sigma in NOISES:
        return claim, str(sigma)
    return dataclasses.replace(claim, **{fitting.level(claim) or names[0]: level(sigma)}), "fixed"


def trained(word: str, claim: Likelihood, whose: str, sigma: float | str | None) -> tuple[Loss, str]:
    """The loss that is trained on, and whose the noise is then: a loss has no noise in it, so nothing would teach one.

    What would be learned unasked is the best for each batch; asked for, it is refused. Raises ReconError for a loss of
    another kind, too.
    """
    loss = akin(likelihoods.loss(word), claim, "--loss")
    if not (loss.domain.low <= claim.domain.low and claim.domain.high <= loss.domain.high):
        raise ReconError(
            f"{loss.name} takes means in {loss.domain}, and those of {claim.name} lie in {claim.domain}.",
            f"Try --loss {claim.loss.name}, or another --likelihood.",
        )
    taught = whose not in ("fixed", "optimal")
    if taught and sigma is not None:
        raise ReconError(
            f"{loss.name} has no {fitting.level(claim) or 'noise'} in it, so training on it gives a learned one no gradient.",
            "Take --sigma optimal, the best for each batch, or fix it, as in --sigma 0.5.",
        )
    return loss, "optimal" if taught else whose


def akin(loss: Loss, claim: Likelihood, asked: str) -> Loss:
    """The loss, if it is of numbers of the same kind as the likelihood."""
    if (loss.event, len(loss.head)) != (claim.event, len(claim.head)):
        hint = "Fix the noise, as in --sigma 0.5: with one that moves there is no loss."
        hint = f"Try {asked} {claim.loss.name}." if claim.loss.name in likelihoods.losses() else hint
        raise ReconError(f"{loss.name} and {claim.name} are not of the same kind of number.", hint)
    return loss


def exactly(claim: Likelihood | Loss) -> str:
    """As on the command line, with all digits: ``laplace:scale=0.2``."""
    values = ",".join(f"{key}={size(value)!r}" for key, value in claim.parameters.items())
    return f"{claim.name}:{values}" if values else claim.name


def level(sigma: float | str) -> float:
    """``sigma`` as a positive finite number, or a ReconError that says what else it may be."""
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
