"""A model that was trained elsewhere, measured: its bounds on log p(x), its noise, its latents, its distance to R(D)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.likelihoods._grey_levels import bits_per_dimension, spacing
from recon_cli.models._options import is_own
from recon_cli.models._user import Own, own_sizes
from recon_cli.models._vae import Vae, rate_and_distortion
from recon_cli.numerics.spectrum import Blocks, eigenvalues
from recon_cli.numerics.spectrum import rate as bound_of
from recon_cli.report import Report, Table, column
from recon_cli.runtime.torch_state import in_default_state
from recon_cli.sources._weights import put
from recon_cli.training.evaluation import bounds
from recon_cli.training.evaluation.mean_alone import Alone, alone
from recon_cli.training.evaluation.residuals import Residuals, calibration
from recon_cli.training.figures import CHUNK, Figures, look, rates
from recon_cli.training.noises import Fixed, Optimal
from recon_cli.training.plan import Data, Plan
from recon_cli.training.result import latents
from recon_cli.training.settings import Everything, split_options, with_options

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from recon_cli.models._base import Model

RATES = ("rate", "distortion", "bound", "distance")
IWAE = 64  # samples of z of a bound, where none are asked for
AGAINST, RATE = "what it makes of the data", "rate and distortion, beside Gaussian R(D)"


@dataclass(frozen=True, kw_only=True)
class TrainedFigures(Figures):
    """The figures of a trained model on some rows: nats per sample.

    rate, distortion, bound, distance
        KL(q(z | x) || p(z)); the squared error of mu(z), z drawn from q; Shannon's Gaussian R(D) at that distortion; and how far
        above it the rate is. None without a KL, and where some values are not there.
    """

    data: str = column("data", "*")
    rows: int = column("rows", AGAINST)
    bits_per_dimension: float | None = column("bits/dim", AGAINST, default=None)
    iwae: float | None = column("IWAE bound", AGAINST, default=None)
    mean_alone: float | None = column("mean alone", AGAINST, default=None)
    rate: float | None = column("rate", RATE, default=None)
    distortion: float | None = column("distortion", RATE, default=None)
    bound: float | None = column("R(D)", RATE, default=None)
    distance: float | None = column("above R(D)", RATE, default=None)


@dataclass(frozen=True)
class Evaluated:
    """A trained model on some data; ``likelihood`` with its noise: as given, or the best for these data (``whose`` optimal)."""

    likelihood: Likelihood
    whose: str
    described: str
    figures: TrainedFigures
    model: Model = dataclasses.field(repr=False, compare=False)
    bounds: tuple[tuple[int, float], ...] = ()
    bound_errors: tuple[float, ...] = ()
    latents: tuple[float, ...] = ()
    residuals: Residuals | None = None
    beside: Alone | None = None
    width: float | None = None
    remarks: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether it is a model of these data: with latents in use, and better than their mean alone."""
        return self.figures.active != 0 and not (self.beside is not None and self.beside.worse)

    def report(self) -> Report:
        """Return what ``recon train --evaluate`` prints."""
        table = Table.of("result", TrainedFigures, [self.figures])
        hidden = {each.key for each in table.columns if getattr(self.figures, each.key) is None}
        columns = [dataclasses.replace(each, panel=None) if each.key in hidden else each for each in table.columns]
        tables = [dataclasses.replace(table, columns=columns)]
        if self.bounds:
            elements = self.model.elements
            tables.append(bounds.table(self.bounds, self.bound_errors, elements, self.width, self.likelihood.discrete))
        if any(self.latents):
            tables.append(latents(self.latents))
        if self.residuals:
            tables.append(self.residuals.table())
        return Report("train", tables, [*self.notes()], self.verdict(), self.holds)

    def notes(self) -> Iterator[str]:
        """Yield what it means, a sentence each."""
        yield f"{self.described}."
        yield from self.remarks
        how = "as given" if self.whose == "fixed" else "the best for these data"
        yield f"The likelihood is {self.likelihood}{f', its noise {how}' * bool(self.likelihood.noise)}."
        if self.figures.distance is not None:
            rate, distortion, bound, distance = (getattr(self.figures, name) for name in RATES)
            where = "above R(D)" if distance >= 0 else "below R(D), as data that are not Gaussian allow"
            yield (
                f"Its code costs {rate:.4g} nats at a squared error of {distortion:.4g}, of draws of z; a Gaussian of the data's "
                f"covariance takes {bound:.4g} at least: {abs(distance):.4g} {where}."
            )
        if self.residuals:
            yield self.residuals.words(self.likelihood, "given")

    def verdict(self) -> str:
        """Return the verdict in one line."""
        figures = self.figures
        cost = f"nll {figures.nll:.4g}" if figures.negative_elbo is None else f"negative ELBO {figures.negative_elbo:.4g}"
        active = "" if figures.active is None else f", {figures.active} of {self.model.latents} latents active"
        if self.beside is not None and self.beside.worse:
            return f"worse than the mean alone: {cost} nats per sample, and that {self.beside.nll:.4g}{active}"
        return f"measured, not trained: {cost} nats per sample{active}"


@with_options(holdout=0.0, iwae=IWAE)
@in_default_state
def evaluate(
    data: Data = "digits",
    *,
    likelihood: str | Likelihood = "gaussian",
    sigma: float | str | None = None,
    device: str = "auto",
    binarize: str | None = None,
    scale: float | None = None,
    state: str | Path | None = None,
    **settings: Unpack[Everything],
) -> Evaluated:
    """Measure a model that was trained elsewhere, without training it: ELBO, IWAE, bits per dimension, latents, R(D).

    data, likelihood, sigma, scale and the settings are as for :func:`train`; all the data are taken, unless a ``holdout`` is
    asked for. ``model`` is a module, or ``FILE.py:Class`` with its weights in the file ``state`` (.safetensors, .pt); a noise
    that is not given is the best for these data. Raises ReconError for weights of another class.
    """
    reading, asked = split_options(settings)
    source = asked.get("model", "")
    if isinstance(source, str) and not is_own(source):
        raise ReconError(
            f"--evaluate takes a class of your own, FILE.py:Class; found {source!r}.",
            "Of a run of recon's: recon compare --recon run:FOLDER.",
        )
    numbers: Any = own_sizes(source) if isinstance(source, str) else {}
    numbers |= {name: value for name, value in asked.items() if value is not None}
    numbers |= {"epochs": 1, "validation": 0.0, "patience": 0}
    usual: Any = {"holdout": 0.0, "iwae": IWAE, **numbers}
    plan = Plan.of(data, likelihood, sigma, device, binarize, scale, reading, **usual)
    assert isinstance(plan.model, Own)
    if state is not None:
        put(plan.model.module, str(state), plan.model.word)
    return measured(plan)


def measured(plan: Plan) -> Evaluated:
    """Return what the model of a plan is to its data: those held out, or all of them."""
    settings, model, rows = plan.settings, plan.model, plan.held_out if len(plan.held_out) else plan.train_rows
    free = plan.whose != "fixed" and bool(plan.likelihood.noise)
    figures, likelihood = look(model, Optimal(plan.likelihood) if free else Fixed(plan.likelihood), rows, settings)
    events, whole = model.target(rows), rows.shape[1] == model.elements
    width = None if plan.grey or likelihood.event or not model.has_kl else spacing(events.cpu())
    sizes, means, errors = bounds.estimates(model, likelihood, rows, settings.iwae, settings.seed + 2)
    beside = alone(model, plan.likelihood, plan.whose, likelihood, plan.train_rows, rows, settings)
    pieces = rows.split(max(1, CHUNK // rows.shape[1]))
    point = rate_and_distortion(model, pieces, settings.seed) if whole and isinstance(model, Vae) and model.has_kl else None
    bound = None if point is None else bound_of(eigenvalues(Blocks(rows.cpu().numpy()), seed=settings.seed), point[1])
    bits = None
    if width and figures.negative_elbo is not None:
        bits = bits_per_dimension(figures.negative_elbo / events[0].numel(), width, likelihood.discrete)
    result = TrainedFigures(
        **vars(figures),
        data=plan.word,
        rows=len(rows),
        bits_per_dimension=bits,
        iwae=means[-1] if means else None,
        mean_alone=beside.nll,
        rate=point and point[0],
        distortion=point and point[1],
        bound=bound,
        distance=None if bound is None or point is None else point[0] - bound,
    )
    return Evaluated(
        likelihood,
        "optimal" if free else "fixed",
        f"{plan.described}; the model is {model.word if isinstance(model, Own) else model.noun}, as it is",
        result,
        model,
        tuple(zip(sizes, means, strict=True)),
        errors,
        rates(model, rows, settings),
        calibration(model, likelihood, rows, settings, plan.word),
        beside,
        width,
        plan.remarks,
    )
