"""The result of a calibration: what it knows of data, noise and weights, and the report of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from recon_cli.calibration.noise import FEW, FittedNoise
from recon_cli.calibration.weights import CONVENTIONS, DIVERGENCES, Convention, Weight, noise_in_words, short_name, trade_off
from recon_cli.formats._presentable import Presentable
from recon_cli.identity.likelihood import Likelihood
from recon_cli.numerics.spectrum import Eigenvalues, Ppca, RateDistortion, point
from recon_cli.report import Adjustable, Chart, Column, Detail, LeftOut, Report, Series, Table, column


@dataclass(frozen=True)
class Covariance:
    """What is known of the data's covariance; the rank is None where not every eigenvalue is known."""

    samples: int = column("samples", None)
    dimensions: int = column("dimensions", None)
    rank: int | None = column("rank", None)
    total_variance: float = column("total variance", None)
    largest_eigenvalue: float = column("largest eigenvalue", None)
    exact: bool = column("exact", None)

    @classmethod
    def of(cls, known: Eigenvalues) -> Covariance:
        """Return the row of a covariance with these eigenvalues."""
        rank, largest = known.rank if known.exact else None, float(known.values[0])
        return cls(known.samples, known.dimensions, rank, known.trace, largest, known.exact)


@dataclass(frozen=True)
class ModelPoint:
    """A model's own point beside the Gaussian R(D) of its data. Nats, and squared error, per sample.

    distortion
        the mean over draws of the posterior where ``of_draws``; else of the reconstructions that were given, and those at
        the posterior's mean err less than the average draw does.
    bound
        R(D) there; distance is what the measured rate is above it, None where none was measured. Data that are
        not Gaussian can be below.
    """

    distortion: float = column("distortion D", "*")
    rate: float | None = column("rate", brief=True)
    bound: float | None = column("Gaussian R(D)", brief=True)
    distance: float | None = column("above it", brief=True)
    of_draws: bool = False


@dataclass(frozen=True)
class TradeOff(Adjustable):
    """What a page takes to show the trade-off at other noises, weights and numbers of latents.

    eigenvalues, dimensions, trace
        of the covariance, the first empty without data; ``error`` the mean squared error of a reconstruction's sample, and
        ``model`` its distortion and rate, None where there is none.
    noise
        sigma of a gaussian, the scale of a laplace, of another family its 1/slope.
    sizes
        B, D and K, None where not known.
    conventions
        (reduction, reduction of the KL, number, power of B, of D, of K): what the weight is for 1/slope = 1.
    """

    eigenvalues: tuple[float, ...]
    dimensions: int
    trace: float
    latent: int | None
    family: str
    loss: str
    noise: float
    beta: float
    error: float | None
    model: tuple[float, float] | None
    sizes: Mapping[str, int | None]
    conventions: tuple[tuple[str, str, float, int, int, int], ...]


@dataclass(frozen=True)
class Calibration(Presentable):
    """Eigenvalues, noises, weights and a model's point; empty, or None, where what it takes was not given.

    eigenvalues
        of the data's covariance; ``points`` and ``ppca`` follow from them.
    likelihood, is_asked_for
        the likelihood whose weights are shown, and whether it was asked for (or fitted).
    beta
        where that has no noise in its slope, the weight on the KL beside its nll.
    sizes
        B, D and K, as far as they are known.
    """

    eigenvalues: Eigenvalues | None = None
    latent: int | None = None
    noise: tuple[FittedNoise, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    points: tuple[RateDistortion, ...] = ()
    ppca: tuple[Ppca, ...] = ()
    likelihood: Likelihood | None = None
    is_asked_for: bool = False
    beta: float | None = None
    weights: tuple[Weight, ...] = ()
    convention: Convention | None = None
    kl_weight: float | None = None
    keep: str | None = None
    model: ModelPoint | None = None
    notes: tuple[str, ...] = ()
    sizes: Mapping[str, int | None] = field(default_factory=dict)

    @property
    def sigma(self) -> float | None:
        """The Gaussian standard deviation whose weights are shown."""
        if self.likelihood is None or self.likelihood.name != "gaussian":
            return None
        return float(self.likelihood.parameters["sigma"])

    @property
    def predicted(self) -> RateDistortion | None:
        """The optimum of a linear model at that noise; None without data, or without a Gaussian."""
        if self.eigenvalues is None or self.sigma is None:
            return None
        return point(self.eigenvalues, self.sigma**2, self.latent)

    @property
    def collapses(self) -> bool:
        """Whether at the noise that was asked for no latent is predicted to live."""
        return self.is_asked_for and self.predicted is not None and self.predicted.active == 0

    @property
    def _holds(self) -> bool | None:
        """Whether the noise that was asked for leaves a latent alive; None where one that was fitted leaves none."""
        if not self.is_asked_for and self.predicted is not None and self.predicted.active == 0:
            return None
        return not self.collapses

    def report(self) -> Report:
        """Return what ``recon calibrate`` prints. It does not hold where the noise that was asked for collapses the posterior."""
        tables = [table for table in self._tables() if table.rows]
        chart = self._chart()
        lead = [self._in_code()] if self.convention is None and self.weights else []
        charts = [chart] if chart else []
        exhibits = [moved] if (moved := self._trade_off()) else []
        return Report(
            "calibrate", tables, [*self._notes()], self._verdict(), self._holds,
            charts=charts, lead=lead, exhibits=exhibits,
        )  # fmt: skip

    def _tables(self) -> Iterator[Table]:
        visible = {
            "bits_per_dimension": any(row.bits_per_dimension is not None for row in self.noise),
            "kind": len({row.kind for row in self.noise}) > 1,
        }
        noise = Table.of("noise", FittedNoise, self.noise)
        columns = [each if visible.get(each.key, True) else replace(each, panel=None) for each in noise.columns]
        yield replace(noise, columns=columns, few=FEW)
        yield Table.of("left_out", LeftOut, [LeftOut(*pair) for pair in self.left_out])
        known = [] if self.eigenvalues is None else [Covariance.of(self.eigenvalues)]
        yield Table.of("covariance", Covariance, known)
        at_most = f", at most {self.latent:,} latents" if self.latent else ""
        yield Table.of(
            "spectrum",
            RateDistortion,
            self.points,
            f"a linear model at each noise{at_most}, nats per sample",
            few=FEW,
            spread=True,
        )
        yield Table.of("ppca", Ppca, self.ppca, "the best noise for each number of latents, nats per sample")
        model = [self.model] if self.model else []
        beside = Table.of("model", ModelPoint, model, "the reconstruction beside the Gaussian bound, per sample")
        yield beside if self.model and self.model.distance is not None else beside.details()
        yield Table.of("weights", Weight, self.weights)
        for name in dict.fromkeys(weight.loss_name for weight in self.weights):
            yield _literals(name, [weight for weight in self.weights if weight.loss_name == name])

    def _notes(self) -> Iterator[str]:
        yield from self.notes
        if any(row.nll < 0 and row.kind == "density" for row in self.noise):
            yield "An nll below 0 is no mistake: it is minus the logarithm of a density, which may exceed one."
        if mixed := [row.likelihood for row in self.noise if row.kind == "mixed"]:
            yield (
                f"{' and '.join(mixed)}: ranked apart, its nll being of a probability where x is 0 and of a density above; a "
                "density alone gives a value that comes again and again no chance of its own."
            )
        if {"density", "probability"} <= {row.kind for row in self.noise}:
            yield Detail(
                "Densities and probabilities are ranked apart: a density's nll changes with the units of x, a probability's does "
                "not. To compare, dequantise the data (add uniform noise of a level's width), or discretise the density."
            )
        if any(row.bits_per_dimension is not None for row in self.noise):
            yield Detail(
                "bits/dim are of 8-bit levels: nll/(D log 2) of a probability, D the elements of a sample; of a density less "
                "log2 of a level's width (+ 7.99435 for x/255, + 8 for x/256, + 6.99435 for x/127.5 - 1, 0 for bytes), its value "
                "at the level taken for the whole bin: a bound on the bits of the levels only where the data were dequantised."
            )
        if self.eigenvalues is not None:
            yield from self._about_the_spectrum(self.eigenvalues)
        if self.model is not None:
            yield from self._about_the_model(self.model)
        if self.likelihood is not None and self.convention is not None:
            in_code = f"{short_name(self.likelihood.loss)} {self.convention} with weight {self.kl_weight:g} is "
            if self.beta is not None:
                yield f"{in_code}{self.likelihood.name} with beta = {self.beta:.6g}: no noise in its slope could stand for it."
            else:
                variance = f" (sigma^2 = {self.sigma**2:.6g})" if self.sigma is not None else ""
                noise = noise_in_words(self.likelihood)
                yield f"{in_code}{self.likelihood.name} with {noise}{variance} beside a KL of weight 1 (beta = 1)."
        elif any(weight.loss_name == "l1" for weight in self.weights) and not any(
            row.likelihood == "laplace" for row in self.noise
        ):
            yield Detail("The laplace noise is the one of the same variance, scale = sigma/√2.")
        if self.keep:
            yield self.keep
        if open_sizes := sorted({size for weight in self.weights for size in "BDK" if size in weight.literal}):
            names = {
                "B": "B is the batch size (--batch-size)",
                "D": "D the number of elements of a sample (--shape)",
                "K": "K the number of latents (--latent)",
            }
            yield Detail(f"{'; '.join(names[size] for size in open_sizes)}.")

    def _in_code(self) -> str:
        """Return the weights of the two commonest conventions, to be written as they are."""
        first = self.weights[0].loss_name
        literal = {(row.reduction, row.kl_reduction): row.literal for row in self.weights if row.loss_name == first}
        return (
            f"Write {first} summed + {literal['sum', 'sum']} * KL summed, or {first} averaged over everything + "
            f"{literal['mean', 'batch-mean']} * KL averaged over the batch; recon calibrate -v has the other reductions."
        )

    def _about_the_spectrum(self, eigenvalues: Eigenvalues) -> Iterator[str]:
        most, flat = float(eigenvalues.values[0]), eigenvalues.dimensions - eigenvalues.rank
        samples, dimensions, rank = eigenvalues.samples, eigenvalues.dimensions, eigenvalues.rank
        if eigenvalues.exact and samples <= dimensions:
            yield (
                f"Fewer samples than dimensions: the covariance of {samples:,} samples of {dimensions:,} dimensions "
                f"has rank {rank:,}, and its other {flat:,} eigenvalues are 0."
            )
        elif eigenvalues.exact and flat:
            yield Detail(f"The covariance has rank {rank:,}: {flat:,} of {dimensions:,} dimensions do not vary on their own.")
        if not eigenvalues.exact:
            count = len(eigenvalues.values)
            yield (
                f"Of {dimensions:,} eigenvalues the {count:,} largest are computed, by randomised subspace iteration, each "
                f"to {eigenvalues.error:.2g}; the others hold {eigenvalues.tail(count) / eigenvalues.trace:.2%} of the variance, "
                f"all of it counted as distortion. What they decide, below a noise of {eigenvalues.values[-1]:.3g}, is left open."
            )
        yield (
            f"The last latent dies at sigma^2 = {most:.6g}, the largest eigenvalue (sigma = {math.sqrt(most):.4g}); above it, "
            "predicted total posterior collapse."
        )

    def _about_the_model(self, model: ModelPoint) -> Iterator[str]:
        if model.distance is None:
            return
        where = "above" if model.distance >= 0 else "below"
        why = "" if model.distance >= 0 else ", as data that are not Gaussian allow"
        why += ", or means that err less than the draws do" if why and not model.of_draws else ""
        over = " on average over its draws" if model.of_draws else ""
        yield (
            f"The model tells its data in {model.rate:.6g} nats to a squared error of {model.distortion:.6g}{over}: "
            f"{abs(model.distance):.6g} nats {where} the Gaussian bound{why}."
        )

    def _verdict(self) -> str:
        predicted = self.predicted
        if self.eigenvalues is None or self.sigma is None or predicted is None or predicted.active is None:
            return next((weight.noise for weight in self.weights), self._collapse())
        if predicted.active == 0:
            fitted = "" if self.is_asked_for else ", of the noise that fits the reconstruction,"
            return (
                f"predicted total posterior collapse: sigma^2 = {self.sigma**2:.6g}{fitted} is not below the largest "
                f"eigenvalue, {float(self.eigenvalues.values[0]):.6g}"
            )
        of = f" of {self.latent:,}" if self.latent else ""
        return f"at sigma = {self.sigma:.6g} predicted active: {predicted.active:,}{of} latents"

    def _collapse(self) -> str:
        """Return from which noise on no latent of a linear model lives, where no noise is known; nothing without data."""
        if self.eigenvalues is None:
            return ""
        largest = float(self.eigenvalues.values[0])
        return f"no noise is named: at sigma = {math.sqrt(largest):.4g} and above, predicted total posterior collapse"

    def _chart(self) -> Chart | None:
        if self.eigenvalues is None or self.eigenvalues.rank < 2:
            return None
        values = [float(value) for value in self.eigenvalues.values if value > 0]
        bars = [Series("eigenvalue", values, "bars")]
        level = None if self.sigma is None else self.sigma**2
        title = "eigenvalues of the data's covariance"
        at, scales = range(1, len(values) + 1), ("linear", "log")
        return Chart(title, at, bars, "latent", scales=scales, level=level, named="sigma²", ranked=True)

    def _trade_off(self) -> TradeOff | None:
        """Return what a page with sliders computes from; None where no noise is known."""
        if self.likelihood is None:
            return None
        known, name, at = self.eigenvalues, self.likelihood.name, trade_off(self.likelihood)
        fitted = next((row for row in self.noise if row.likelihood == "gaussian"), None)
        own = [convention for convention in CONVENTIONS if not (convention.reduction.startswith("half-") and self._is_halved)]
        model = self.model
        return TradeOff(
            eigenvalues=tuple(map(float, known.values)) if known is not None else (),
            dimensions=known.dimensions if known is not None else self.sizes.get("D") or 0,
            trace=known.trace if known is not None else 0.0,
            latent=self.latent,
            family=name,
            loss=short_name(self.likelihood.loss),
            noise=float(self.likelihood.parameters["sigma"]) if name == "gaussian" else at if self.beta is None else 1.0,
            beta=1.0 if self.beta is None else self.beta,
            error=None if fitted is None or known is None else known.dimensions * fitted.parameters["sigma"] ** 2,
            model=(model.distortion, model.rate) if model is not None and model.rate is not None else None,
            sizes=self.sizes,
            conventions=tuple(
                (each.reduction, each.divergence, each.ratio.number, each.ratio.B, each.ratio.D, each.ratio.K) for each in own
            ),
        )

    @property
    def _is_halved(self) -> bool:
        """Whether the loss that people write has its half already, so that no convention halves it once more."""
        return self.likelihood is not None and self.likelihood.loss.convention == 1


def _literals(loss: str, weights: Sequence[Weight]) -> Table:
    """Return the weights of a loss once more: a row for each way to reduce it, a column for each way to reduce the KL."""
    columns = [Column("reduction", loss, "*"), *(Column(f"kl_{kl}", kl if kl != "sum" else "KL sum") for kl in DIVERGENCES)]
    rows: dict[str, dict[str, str]] = {}
    for weight in weights:
        row = rows.setdefault(weight.reduction, {"reduction": weight.reduction})
        row[f"kl_{weight.kl_reduction}"] = weight.literal
    return Table(f"literals_{loss}", columns, [*rows.values()], f"the weight on the KL, for {weights[0].noise}")
