"""What a calibration found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from recon_cli.calibration.noise import Noise
from recon_cli.calibration.weights import DIVERGENCES, Convention, Weight, numbers, short
from recon_cli.identity.likelihood import Likelihood
from recon_cli.numerics.spectrum import Eigenvalues, Ppca, RateDistortion, point
from recon_cli.report import Chart, Column, Report, Table

NATS, CHOSEN = "nats per sample, the likeliest first", "the noise that each would choose"
NOISE = (
    Column("likelihood", "likelihood", "*"),
    Column("kind", "kind", NATS),
    Column("rank", "rank", None),
    Column("nll", "nll", NATS),
    Column("nll_at_unit", "at unit noise", NATS),
    Column("cost", "costs", NATS),
    Column("bits_per_dimension", "bits/dim", NATS),
    Column("parameters", "best noise", CHOSEN),
)
LEFT_OUT = (Column("likelihood", "left out", "*"), Column("why", "why"))
COVARIANCE = tuple(
    Column(key, key.replace("_", " "), None)
    for key in ("samples", "dimensions", "rank", "total_variance", "largest_eigenvalue", "exact")
)
SPECTRUM = (
    Column("sigma2", "sigma²", "*"),
    Column("active", "active"),
    Column("rate", "rate R"),
    Column("distortion", "distortion D"),
    Column("log_likelihood", "log p(x)"),
)
PPCA = (
    Column("latent", "latents", "*"),
    Column("sigma2", "best sigma²"),
    Column("log_likelihood", "log p(x)"),
)
MODEL = (
    Column("distortion", "distortion D", "*"),
    Column("rate", "rate"),
    Column("bound", "Gaussian R(D)"),
    Column("distance", "above it"),
)
WEIGHTS = tuple(
    Column(key, key.replace("_", " "), None)
    for key in ("convention", "kl_weight", "likelihood", "loss", "reduction", "kl_reduction", "formula", "literal")
)


@dataclass(frozen=True)
class Model:
    """A model's own point beside the Gaussian R(D) of its data. Nats, and squared error, per sample.

    distortion
        the mean over draws of the posterior where ``drawn``; else of the reconstructions that were given, and those at
        the posterior's mean err less than the average draw does.
    bound
        R(D) there; distance is what the measured rate is above it, None where none was measured. Data that are
        not Gaussian can be below.
    """

    distortion: float
    bound: float | None
    rate: float | None
    distance: float | None
    drawn: bool = False


@dataclass(frozen=True)
class Calibration:
    """What was found; empty, or None, where what it takes was not given.

    found
        the eigenvalues of the data's covariance; ``points`` and ``ppca`` follow from them.
    side, given
        the likelihood whose weights are shown, and whether it was asked for (or fitted).
    beta
        where that has no noise in its slope, the weight on the KL beside its nll.
    """

    found: Eigenvalues | None = None
    latent: int | None = None
    noise: tuple[Noise, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    points: tuple[RateDistortion, ...] = ()
    ppca: tuple[Ppca, ...] = ()
    side: Likelihood | None = None
    given: bool = False
    beta: float | None = None
    weights: tuple[Weight, ...] = ()
    convention: Convention | None = None
    kl_weight: float | None = None
    keep: str | None = None
    model: Model | None = None
    notes: tuple[str, ...] = ()

    @property
    def sigma(self) -> float | None:
        """The Gaussian standard deviation whose weights are shown."""
        return float(self.side.parameters["sigma"]) if self.side is not None and self.side.name == "gaussian" else None

    @property
    def predicted(self) -> RateDistortion | None:
        """The optimum of a linear model at that noise; None without data, or without a Gaussian."""
        if self.found is None or self.sigma is None:
            return None
        return point(self.found, self.sigma**2, self.latent)

    @property
    def collapses(self) -> bool:
        """Whether at the noise that was asked for no latent is predicted to live."""
        return self.given and self.predicted is not None and self.predicted.active == 0

    def report(self) -> Report:
        """As ``recon calibrate`` prints it. Does not hold where the noise that was asked for collapses the posterior."""
        tables = [table for table in self._tables() if table.rows]
        chart = self._chart()
        return Report("calibrate", tables, [*self._notes()], self._verdict(), not self.collapses, charts=[chart] if chart else [])

    def _tables(self) -> Iterator[Table]:
        bits = any(row.bits_per_dimension is not None for row in self.noise)
        mixed = len({row.kind for row in self.noise}) > 1
        shown = {"bits_per_dimension": bits, "kind": mixed}
        columns = [column if shown.get(column.key, True) else replace(column, panel=None) for column in NOISE]
        yield table("noise", columns, self.noise)
        yield table("left_out", LEFT_OUT, [{"likelihood": name, "why": why} for name, why in self.left_out])
        at_most = f", at most {self.latent:,} latents" if self.latent else ""
        yield table("covariance", COVARIANCE, [self._covariance()] if self.found is not None else [])
        yield table("spectrum", SPECTRUM, self.points, f"a linear model at each noise{at_most}, nats per sample")
        yield table("ppca", PPCA, self.ppca, "the best noise for so many latents, nats per sample")
        yield table(
            "model", MODEL, [self.model] if self.model else [], "the reconstruction beside the Gaussian bound, per sample"
        )
        yield table("weights", WEIGHTS, self.weights)
        for name in dict.fromkeys(weight.loss_name for weight in self.weights):
            yield self._literals(name, [weight for weight in self.weights if weight.loss_name == name])

    def _covariance(self) -> dict[str, Any]:
        found = self.found
        assert found is not None
        rank, largest = found.rank if found.exact else None, float(found.values[0])
        row = (found.samples, found.dimensions, rank, found.trace, largest, found.exact)
        return {column.key: value for column, value in zip(COVARIANCE, row, strict=True)}

    def _literals(self, name: str, found: Sequence[Weight]) -> Table:
        """The weights of a loss once more: a row for each way to reduce it, a column for each way to reduce the KL."""
        columns = [Column("reduction", name, "*"), *(Column(f"kl_{kl}", kl if kl != "sum" else "KL sum") for kl in DIVERGENCES)]
        rows: dict[str, dict[str, str]] = {}
        for weight in found:
            row = rows.setdefault(weight.reduction, {"reduction": weight.reduction})
            row[f"kl_{weight.kl_reduction}"] = weight.literal
        return table(f"literals_{name}", columns, [*rows.values()], f"the weight on the KL, for {found[0].noise}")

    def _notes(self) -> Iterator[str]:
        yield from self.notes
        if {row.kind for row in self.noise} == {"density", "probability"}:
            yield (
                "Densities and probabilities are ranked apart: a density's nll changes with the units of x, a probability's does "
                "not. To compare, dequantise the data (add uniform noise of a level's width), or discretise the density."
            )
        if any(row.bits_per_dimension is not None for row in self.noise):
            yield (
                "bits/dim are of 8-bit levels: nll/(D log 2) of a probability; of a density less log2 of a level's width "
                "(+ 7.99435 for x/255, + 8 for x/256, 0 for bytes), its value at the level taken for the whole bin: "
                "a bound on the bits of the levels only where the data were dequantised."
            )
        if self.found is not None:
            yield from self._about_the_spectrum(self.found)
        if self.model is not None:
            yield from self._about_the_model(self.model)
        if self.side is not None and self.convention is not None:
            loss = short(self.side.loss)
            said = f"{loss} {self.convention} with weight {self.kl_weight:g} is "
            if self.beta is not None:
                yield f"{said}{self.side.name} with beta = {self.beta:.6g}: no noise in its slope could stand for it."
            else:
                variance = f" (sigma^2 = {self.sigma**2:.6g})" if self.sigma is not None else ""
                yield f"{said}{self.side.name} with {numbers(self.side)}{variance} and an honest KL, beta = 1."
        elif any(weight.loss_name == "l1" for weight in self.weights) and not any(
            row.likelihood == "laplace" for row in self.noise
        ):
            yield "The laplace noise is the one of the same variance, scale = sigma/√2."
        if self.keep:
            yield self.keep
        if open_sizes := sorted({size for weight in self.weights for size in "BK" if size in weight.literal}):
            names = {"B": "B is the batch size (--batch-size)", "K": "K the number of latents (--latent)"}
            yield f"{'; '.join(names[size] for size in open_sizes)}."

    def _about_the_spectrum(self, found: Eigenvalues) -> Iterator[str]:
        most, flat = float(found.values[0]), found.dimensions - found.rank
        if found.exact and found.samples <= found.dimensions:
            yield (
                f"Fewer samples than dimensions: the covariance of {found.samples:,} samples of {found.dimensions:,} dimensions "
                f"has rank {found.rank:,}, and its other {flat:,} eigenvalues are 0."
            )
        elif found.exact and flat:
            yield f"The covariance has rank {found.rank:,}: {flat:,} of {found.dimensions:,} dimensions do not vary on their own."
        if not found.exact:
            known = len(found.values)
            yield (
                f"Of {found.dimensions:,} eigenvalues the {known:,} largest are computed, by randomised subspace iteration, each "
                f"to {found.error:.2g}; the others hold {found.tail(known) / found.trace:.2%} of the variance, all of it counted "
                f"as distortion. What they decide, below a noise of {found.values[-1]:.3g}, is left open."
            )
        yield (
            f"The last latent dies at sigma^2 = {most:.6g}, the largest eigenvalue (sigma = {math.sqrt(most):.4g}); above it, "
            "predicted total posterior collapse."
        )

    def _about_the_model(self, model: Model) -> Iterator[str]:
        if model.distance is None:
            return
        where = "above" if model.distance >= 0 else "below"
        why = "" if model.distance >= 0 else ", as data that are not Gaussian allow"
        why += ", or means that err less than the draws do" if why and not model.drawn else ""
        over = " on average over its draws" if model.drawn else ""
        yield (
            f"The model tells its data in {model.rate:.6g} nats to a squared error of {model.distortion:.6g}{over}: "
            f"{abs(model.distance):.6g} nats {where} the Gaussian bound{why}."
        )

    def _verdict(self) -> str:
        predicted = self.predicted
        if self.found is None or self.sigma is None or predicted is None or predicted.active is None:
            return next((weight.noise for weight in self.weights), "")
        if self.collapses:
            return (
                f"predicted total posterior collapse: sigma^2 = {self.sigma**2:.6g} is not below the largest eigenvalue, "
                f"{float(self.found.values[0]):.6g}"
            )
        of = f" of {self.latent:,}" if self.latent else ""
        return f"at sigma = {self.sigma:.6g} predicted active: {predicted.active:,}{of} latents"

    def _chart(self) -> Chart | None:
        if self.found is None or self.found.rank < 2:
            return None
        values = [float(value) for value in self.found.values if value > 0]
        return Chart("eigenvalues of the data's covariance", values, None if self.sigma is None else self.sigma**2, "sigma²")


def table(name: str, columns: Sequence[Column], rows: Sequence[Any], title: str = "") -> Table:
    """A table of dataclasses, or of rows as they are."""
    found = [row if isinstance(row, dict) else {column.key: getattr(row, column.key) for column in columns} for row in rows]
    return Table(name, columns, found, title)
