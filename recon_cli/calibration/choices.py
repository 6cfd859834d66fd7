"""What a calibration is for: the choices of who asks, checked before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from recon_cli import likelihoods
from recon_cli.calibration.weights import Convention, converted_weight
from recon_cli.errors import ReconError
from recon_cli.identity.losses import Loss
from recon_cli.identity.shapes import spell

IN_CODE = ("kl_weight", "loss", "reduction", "kl_reduction")


@dataclass(frozen=True)
class Choices:
    """What to calibrate for. Raises ReconError for a number that none can be, and a convention that there is not.

    latent, batch_size, shape
        K, B and the shape of one sample (of the data where there are any), for what depends on them.
    sigma
        the Gaussian noise whose weights are wanted; without it the one that a given weight assumes, or the one that fits
        the reconstruction, or that of probabilistic PCA.
    sigma2
        the noises to look at, in squared units of the data; 1, 2 and 5 of every decade unless given.
    loss, reduction, kl_weight, kl_reduction
        a trade-off as it stands in somebody's code, to be read as a noise: all four or none.
    keep
        other reductions, as in ``sum`` or ``mean,batch-mean``: what the weight becomes there.
    likelihood
        the likelihoods that are fitted, by name, one's own among them (``FILE.py:Class``); all of the registry without any.
    """

    latent: int | None = None
    shape: Sequence[int] | None = None
    batch_size: int | None = None
    sigma: float | None = None
    sigma2: Sequence[float] | None = None
    loss: Loss | str | None = None
    reduction: str | None = None
    kl_weight: float | None = None
    kl_reduction: str | None = None
    keep: str | None = None
    likelihood: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in ("sigma", "sigma2"):
            value = getattr(self, name)
            for number in [value] if name == "sigma" and value is not None else value or ():
                if not 0 < number < math.inf:
                    raise ReconError(f"--{name} must be a positive number; found {number!r}.", f"Try --{name} 0.1, say.")
        for option, size, usual in (("--latent", self.latent, 16), ("--batch-size", self.batch_size, 128)):
            if size is not None and size < 1:
                raise ReconError(f"{option} must be a whole number from 1 up; found {size}.", f"Try {option} {usual}.")
        missing = [f"--{name.replace('_', '-')}" for name in IN_CODE if getattr(self, name) is None]
        if self.reads_back and missing:
            raise ReconError(
                f"What a weight means depends on the whole loss; missing: {', '.join(missing)}.",
                "Write --loss mse --reduction mean --kl-weight 0.00025 --kl-reduction batch-mean, say.",
            )
        if self.reads_back and self.sigma is not None:
            raise ReconError("The noise is given twice: by --sigma and by --kl-weight.", "Leave one of them out.")
        if self.keep is not None and not self.reads_back:
            raise ReconError(
                "--keep keeps a trade-off that stands in code.", "Give it: --loss, --reduction, --kl-weight, --kl-reduction."
            )

    @property
    def reads_back(self) -> bool:
        """Whether a trade-off in code is to be read."""
        return any(getattr(self, name) is not None for name in IN_CODE)

    @property
    def weights_only(self) -> bool:
        """Whether this can be answered without data."""
        return self.reads_back or (self.sigma is not None and self.shape is not None)

    @property
    def in_code(self) -> tuple[Loss, Convention, float] | None:
        """The loss, its convention and the weight on the KL, as they stand in code; None where they are not given."""
        if self.loss is None or self.reduction is None or self.kl_weight is None or self.kl_reduction is None:
            return None
        loss = likelihoods.loss(self.loss) if isinstance(self.loss, str) else self.loss
        return loss, Convention.parse(self.reduction, self.kl_reduction), self.kl_weight

    def sizes(self, sample: tuple[int, ...] | None) -> dict[str, int | None]:
        """Return B, D and K, None where not known. ``sample`` is the shape of one sample of the data, if there are any.

        Raises ReconError where the shape that was chosen is another, or K is above D.
        """
        own = None if sample is None else sample or (1,)
        shape = tuple(self.shape) if self.shape is not None else own
        dimensions = math.prod(shape) if shape is not None else None
        if own is not None and dimensions != math.prod(own):
            raise ReconError(
                f"--shape {spell(shape or ())} has {dimensions:,} elements, and a sample of the data {math.prod(own):,} "
                f"({spell(own)}).",
                "Leave it out: it is read off the data.",
            )
        if self.latent is not None and dimensions is not None and self.latent > dimensions:
            raise ReconError(
                f"There are more latents than dimensions: {self.latent:,} of {dimensions:,}.",
                f"Choose --latent from 1 to {dimensions:,}.",
            )
        return {"B": self.batch_size, "D": dimensions, "K": self.latent}

    def kept_trade_off(self, before: Convention, sizes: dict[str, int | None]) -> str | None:
        """Return the sentence of ``keep``: the weight under other reductions, as a formula in B, D and K and as a number."""
        if self.keep is None or self.kl_weight is None:
            return None
        reduction, _, divergence = self.keep.partition(",")
        after = Convention.parse(reduction.strip(), divergence.strip() or "sum")
        formula, number = converted_weight(before, after, self.kl_weight, sizes)
        value = f" = {number:.6g}" if number is not None and formula != f"{number:.12g}" else ""
        return f"To keep today's trade-off after switching from {before} to {after}, set beta = {formula}{value}."
