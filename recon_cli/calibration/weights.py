"""The same trade-off in everyone's convention: a noise to the KL weight that must be written, and back.

With S the loss summed over a batch of B samples of D elements and KL the divergence summed over it and K latents,
people minimise

    c * S + weight * k * KL,    c = (1 or 1/2) / (B^b D^d),  k = 1 / (B^m K^n),

which is c * (S + t KL), t = weight * k/c: the negative ELBO of the likelihood whose slope is 1/t, times t (Gaussian:
t = 2 sigma^2; Laplace: t = scale; without a scale: t = beta). Every convention is a row of the two tables below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from recon_cli import likelihoods
from recon_cli.errors import ReconError, unknown
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import REDUCTIONS, Loss, as_reduction
from recon_cli.report import column

Sizes = Mapping[str, "int | None"]
OPTIONS = {"B": "--batch-size 128", "D": "--shape 1x28x28", "K": "--latent 16"}
MEAN_ELEMENTS = ("mean-elements", "D", "averaged over a sample's elements, summed over the batch")


@dataclass(frozen=True)
class Monomial:
    """``number * B^B * D^D * K^K``, the sizes of batch, sample and latent code; each field is a power."""

    number: float = 1.0
    B: int = 0
    D: int = 0
    K: int = 0

    @classmethod
    def over(cls, divisor: str, number: float = 1.0) -> Monomial:
        """Return ``number`` divided by a product such as ``B*D``."""
        return cls(number, *(-divisor.split("*").count(size) for size in "BDK"))

    def __mul__(self, other: Monomial) -> Monomial:
        return Monomial(self.number * other.number, self.B + other.B, self.D + other.D, self.K + other.K)

    def __truediv__(self, other: Monomial) -> Monomial:
        return self * Monomial(1 / other.number, -other.B, -other.D, -other.K)

    def at(self, sizes: Sizes) -> Monomial:
        """Return it with the sizes put in that are known."""
        numbers = {name: float(size) for name in "BDK" if (size := sizes.get(name))}
        number = self.number * math.prod(size ** getattr(self, name) for name, size in numbers.items())
        powers = {name: 0 if name in numbers else getattr(self, name) for name in "BDK"}
        return Monomial(number, **powers)

    @property
    def value(self) -> float | None:
        """The number, where no size is left open."""
        return None if self.open else self.number

    @property
    def open(self) -> list[str]:
        """The sizes that it still depends on."""
        return [size for size in "BDK" if getattr(self, size)]

    def spell(self, symbol: str = "", digits: int = 6) -> str:
        """Return it as people write it, with a symbol among the factors: ``0.5 D/(B K)``."""

        def power(size: str, times: int) -> str:
            return size if times == 1 else f"{size}^{times}"

        above = [symbol] * bool(symbol) + [power(size, getattr(self, size)) for size in self.open if getattr(self, size) > 0]
        below = [power(size, -getattr(self, size)) for size in self.open if getattr(self, size) < 0]
        number = [f"{self.number:.{digits}g}"] * (self.number != 1 or not above)
        under = f"/({' '.join(below)})" if len(below) > 1 else f"/{below[0]}" if below else ""
        return " ".join(number + above) + under


RECONSTRUCTIONS = {
    prefix + name: Monomial.over(divisor, factor)
    for prefix, factor in (("", 1.0), ("half-", 0.5))
    for name, divisor, _ in (*((each.name, each.divisor, each.meaning) for each in REDUCTIONS), MEAN_ELEMENTS)
}
DIVERGENCES = {
    name: Monomial.over(divisor) for name, divisor in (("sum", "1"), ("batch-mean", "B"), ("mean-latents", "K"), ("mean", "B*K"))
}
SYMBOLS = {"gaussian": (2.0, "sigma^2"), "laplace": (1.0, "scale")}  # 1/slope, as people write it


@dataclass(frozen=True)
class Convention:
    """How a training script reduces its two terms: names in ``RECONSTRUCTIONS`` and ``DIVERGENCES``."""

    reduction: str
    divergence: str

    @classmethod
    def parse(cls, reduction: str, divergence: str) -> Convention:
        """Return the convention of the command line's words. Raises ReconError, with the list, for one that there is not."""
        reduction, divergence = as_reduction(reduction), as_reduction(divergence)
        for what, word, known in (
            ("reduction of the loss", reduction, RECONSTRUCTIONS),
            ("reduction of the KL", divergence, DIVERGENCES),
        ):
            if word not in known:
                raise unknown(what, word, known)
        return cls(reduction, divergence)

    @property
    def ratio(self) -> Monomial:
        """c/k: what a weight is for t = 1."""
        return RECONSTRUCTIONS[self.reduction] / DIVERGENCES[self.divergence]

    def __str__(self) -> str:
        return f"{self.reduction} + KL {self.divergence}"


CONVENTIONS = tuple(Convention(reduction, divergence) for reduction in RECONSTRUCTIONS for divergence in DIVERGENCES)


@dataclass(frozen=True)
class Weight:
    """The KL weight to write in one convention; None where it depends on a size that is not known, which ``formula`` shows."""

    noise: str
    convention: str = column("convention", None)
    kl_weight: float | None = column("kl weight", None)
    likelihood: str = column("likelihood", None)
    loss: str = column("loss", None)
    reduction: str = column("reduction", None)
    kl_reduction: str = column("kl reduction", None)
    formula: str = column("formula", None)
    literal: str = column("literal", None)

    @property
    def loss_name(self) -> str:
        """What people call the loss: the first word of the convention."""
        return self.convention.partition(" ")[0]


def weights(likelihood: Likelihood, sizes: Sizes, beta: float | None = None) -> tuple[Weight, ...]:
    """Return the literal for every convention that gives the trade-off of a likelihood's noise or, without one, of ``beta``.

    sizes
        B, D and K; None where not known.
    """
    t = trade_off(likelihood) if beta is None else beta
    factor, symbol = (1.0, "beta") if beta is not None else SYMBOLS.get(likelihood.name, (1.0, "1/slope"))
    loss, noise = short_name(likelihood.loss), noise_in_words(likelihood) if beta is None else f"beta = {beta:.6g}"
    rows = []
    for convention in CONVENTIONS:
        if convention.reduction.startswith("half-") and likelihood.loss.convention == 1:
            continue
        weight = (convention.ratio * Monomial(t)).at(sizes)
        rows.append(
            Weight(
                convention=f"{loss} {convention}",
                kl_weight=weight.value,
                likelihood=likelihood.name,
                noise=f"{likelihood.name} with {noise}",
                loss=str(likelihood.loss),
                reduction=convention.reduction,
                kl_reduction=convention.divergence,
                formula=(convention.ratio * Monomial(factor)).spell(symbol),
                literal=weight.spell(digits=5),
            )
        )
    return tuple(rows)


def noise_in_words(likelihood: Likelihood) -> str:
    """Return the noise of a likelihood in words."""
    return ", ".join(f"{name} = {float(value):.6g}" for name, value in likelihood.parameters.items())


def short_name(loss: Loss) -> str:
    """Return what people call a loss."""
    return loss.aliases[0] if loss.aliases else loss.name


def trade_off(likelihood: Likelihood) -> float:
    """Return t, the weight on the summed KL beside the summed loss: 1/slope."""
    return 1 / float(likelihood.slope)


def implied(loss: Loss, convention: Convention, weight: float, sizes: Sizes) -> tuple[Likelihood, float | None]:
    """Return the likelihood that a weight assumes, at its noise; and the beta, where it has no noise in its slope.

    Raises ReconError for a weight that is not positive, and for a size that it depends on and that is not known.
    """
    if not 0 < weight < math.inf:
        raise ReconError(f"--kl-weight must be a positive number; found {weight!r}.", "Without a KL there is no trade-off.")
    t = (Monomial(weight) / convention.ratio).at(sizes)
    if t.open:
        raise ReconError(
            f"With {convention} what a weight means depends on {' and '.join(t.open)}, not known here.",
            f"Give {' '.join(OPTIONS[size] for size in t.open)}, say.",
        )
    slope = 1 / t.number if t.number else math.inf
    if not 0 < slope < math.inf:
        raise ReconError(
            f"--kl-weight {weight:g} with {convention} is beyond the range of numbers: between sums it is {t.number:g}.",
            "Choose a weight for data in units of their own size.",
        )
    for name in likelihoods.names():
        family = likelihoods.find(name)
        if type(loss) not in (type(family().loss), type(family().raw_loss)):
            continue
        try:
            likelihood = family.with_slope(slope, loss)
        except ReconError:  # no noise has this slope
            likelihood = family()
        in_slope = math.isclose(trade_off(likelihood), t.number, rel_tol=1e-9) and likelihood.slope != family().slope
        return likelihood, None if in_slope or name in SYMBOLS else t.number / trade_off(likelihood)
    raise ReconError(f"{loss.name} is no likelihood's own loss{loss.reason and ': '}{loss.reason}.", "Choose mse or l1, say.")


def converted_weight(before: Convention, after: Convention, weight: float, sizes: Sizes) -> tuple[str, float | None]:
    """Return the weight that keeps a trade-off when the convention changes, as a formula in B, D, K and as a number."""
    factor = after.ratio / before.ratio
    return (factor * Monomial(weight)).spell(digits=12), (factor * Monomial(weight)).at(sizes).value
