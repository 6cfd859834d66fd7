"""What a defect looks at: one reconstruction as measured, and everything beside it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from recon_cli.auditing.checks import REDUCING
from recon_cli.auditing.formulas import at
from recon_cli.auditing.latents import Latent
from recon_cli.auditing.measurements import Measurements, Term
from recon_cli.auditing.scaling import product

ONE = 1e-6
Findings: TypeAlias = Iterator[tuple[str, str, str]]  # of one defect: evidence, fix, site


def is_one(value: float) -> bool:
    """Whether a number is one, to a rounding of the measurement."""
    return abs(value - 1) < ONE


@dataclass(frozen=True)
class Finding:
    """A defect: its code, the numbers that disagree, what to write, and FILE:LINE of what it is about."""

    code: str
    evidence: str
    fix: str
    site: str = ""


@dataclass(frozen=True)
class Reading:
    """The two readings of one trade-off, and the likelihood at beta = 1."""

    family: str | None = None
    tradeoff: float | None = None
    sigma: float | None = None
    beta: float | None = None
    exact: bool = False


@dataclass(frozen=True)
class Subject:
    """One reconstruction of a loss, and how its weight reads beside the KL's."""

    measured: Measurements
    term: Term
    reading: Reading

    @property
    def recognised(self) -> bool:
        """Whether the reconstruction is known to be a likelihood."""
        return self.term.rec.recognised

    @property
    def unmoved(self) -> bool:
        """Whether its target does not pull at it: then weights and signs are of no likelihood."""
        return self.term.astray is not None and bool(self.term.astray.left)

    @property
    def signed(self) -> tuple[int, float]:
        """The reconstruction's sign and the KL's weight; 0 where there is none, or not of a term that stands alone."""
        latent = self.measured.latent
        return self.term.rec.sign, (latent.weight if latent is not None else None) or 0.0

    @property
    def named_log_likelihood(self) -> bool:
        """Whether its name says that it is to be made large."""
        name = f"{self.measured.name}{self.measured.picked}".lower()
        return any(word in name for word in ("elbo", "log_prob", "log_lik", "loglik", "log_p")) and "neg" not in name

    @property
    def direction(self) -> str:
        """Whether it is a loss, or a log-likelihood."""
        sign, b = self.signed
        if self.measured.alone:
            return "log_likelihood" if b < 0 else "loss"
        if sign < 0 < b and not self.named_log_likelihood:
            return "loss"
        return "log_likelihood" if sign < 0 else "loss"

    @property
    def weighed(self) -> Latent | None:
        """The KL, where it has one weight to set beside the reconstruction's."""
        latent, rec = self.measured.latent, self.term.rec
        if latent is None or not latent.weight or not rec.additive or self.unmoved or latent.squared:
            return None
        return latent

    @property
    def weight(self) -> float:
        """The reconstruction's weight for one element."""
        rec = self.term.rec
        return rec.match.weight if rec.match else rec.curvature or 0.0

    @property
    def times(self) -> float:
        """How many KLs a KL alone is, its means over the batch and the latents undone."""
        sizes, scaling = self.measured.sizes, self.term.scaling
        return self.signed[1] / product((sizes.batch, sizes.K), (scaling.batch[2], scaling.latent[2]))

    @property
    def place(self) -> str:
        """The sizes that the trade-off moves with, in words."""
        return at(self.measured.sizes, *self.term.scaling.tradeoff, self.term.scaling.length)

    @property
    def averaged(self) -> bool:
        """Whether the reconstruction is averaged over the elements of a sample."""
        return (self.term.scaling.dim[1] or 0.0) < -ONE

    @property
    def elements(self) -> tuple[str, int]:
        """What a mean over a sample is over, in words, and how many."""
        length, D = self.term.scaling.length, self.measured.sizes.D
        return ("the length of a sample", length) if length else (f"the {D:,} elements of a sample", D)

    @property
    def batch_literal(self) -> float:
        """The batch size that a KL's weight was divided by, known by name or written beside the data's size; or 0."""
        if self.measured.batch_number:
            return float(self.measured.batch_number)
        own = self.term.scaling.batch[2], self.term.scaling.latent[2]
        inverse = (
            1 / abs(self.signed[1]) if self.signed[1] and not any(own) else 0.0
        )  # a weight of sizes of the call is no literal
        ratio = inverse / self.measured.sizes.D
        return round(ratio) if ratio > 1.5 and abs(inverse - round(inverse)) < 1e-6 and abs(ratio - round(ratio)) < 1e-9 else 0.0

    def site(self, *arguments: str, of: Collection[str] = REDUCING) -> str:
        """Return the line where these arguments, and none but targets and masks beside them, are last reduced; or first used."""
        alone = {self.term.recon, *self.measured.latents} - set(arguments)
        steps = [step for step in self.measured.steps if step.reads & set(arguments) and not step.reads & alone]
        reduced = [step.site for step in steps if step.name in of]
        return (reduced[-1:] or [step.site for step in steps[:1]] or [self.measured.site])[0]

    @property
    def reconstruction_site(self) -> str:
        """The line where the reconstruction is reduced."""
        return self.site(self.term.recon)

    @property
    def latent_site(self) -> str:
        """The line where the term of the latents is reduced."""
        return self.site(*self.measured.latents)
