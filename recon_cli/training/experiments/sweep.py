"""One setting through several values: what a linear model's theory predicts of each, and what was found."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recon_cli.errors import ReconError, unknown
from recon_cli.formats._presentable import Presentable
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.parametric import as_number
from recon_cli.models._options import Options
from recon_cli.report import Column, Report, Table, columns_of
from recon_cli.runtime.torch_state import in_default_state
from recon_cli.training.experiments import optimum
from recon_cli.training.figures import GRADIENTS, Figures
from recon_cli.training.plan import Data, Plan
from recon_cli.training.result import CODED, ERRORS, Result, Training
from recon_cli.training.saying import remedy
from recon_cli.training.settings import Everything, split_options, with_options
from recon_cli.training.trainer import train

if TYPE_CHECKING:
    from typing_extensions import Unpack


EXACTLY, NEARLY = 1e-6, 0.05  # nats per sample: what a linear model may miss with L-BFGS, and with samples of z
SWEPT = ("sigma", *(field.name for field in dataclasses.fields(Options) if field.type in ("float", "int", "float | None")))


@dataclass(frozen=True)
class Sweep(Presentable):
    """Runs that differ in one setting."""

    name: str
    values: tuple[float, ...]
    runs: tuple[Training, ...]

    @property
    def within(self) -> float:
        """What a run of a linear model may miss of its optimum, in nats per sample."""
        return EXACTLY if self.runs[0].settings.exact else NEARLY

    @property
    def judged(self) -> list[Training]:
        """Those whose optimum is known, and was sought: trained on the nll."""
        return [run for run in self.runs if run.optimum and not run.settings.loss]

    @property
    def missed(self) -> list[Training]:
        """Those that did not reach it."""
        return [run for run in self.judged if not run.optimum.reached(self.within)]  # type: ignore[union-attr]

    @property
    def worse(self) -> dict[float, Training]:
        """Those to which the mean alone is to be preferred, by their value."""
        return {value: run for value, run in zip(self.values, self.runs, strict=True) if run.worse}

    def report(self) -> Report:
        """Return what ``recon train --sweep`` prints.

        It holds unless a linear model missed what is predicted of it, or a run is worse than the mean alone.
        """
        model, titles = self.runs[0].model, {"loss": self.runs[0].loss.name}
        hidden = () if model.has_latents else CODED
        columns = [Column(self.name, self.name, "*")] if self.name != "sigma" else []
        columns += [
            Column(each.key, titles.get(each.key, each.title), None if each.key in hidden else each.panel)
            for each in columns_of(Figures)
            if each.panel != GRADIENTS
        ]
        columns += [each for each in columns_of(Result) if each.key in ERRORS and model.supervised]
        rows = [{self.name: value, **vars(run.result)} for value, run in zip(self.values, self.runs, strict=True)]
        tables = [Table("sweep", columns, rows)]
        if self.judged:
            tables.append(optimum.table([run.optimum for run in self.judged if run.optimum]))
        return Report("train", tables, [*self.notes()], self.verdict(), not (self.missed or self.worse))

    def notes(self) -> Iterator[str]:
        """Yield on which rows, and what is predicted."""
        first = self.runs[0]
        yield f"{first.described}; {first.result.rows_trained:,} rows trained; the figures are of {first.result.data}."
        yield from first.remarks
        if self.judged:
            yield (
                "Predicted: PPCA (Tipping and Bishop 1999; Lucas and others 2019). At sigma^2 as many latents are active as the "
                "covariance has larger eigenvalues, and KL and squared error are rate and distortion of reverse water-filling."
            )
        for value, run in self.worse.items():
            yield f"At {self.name} = {value:g}: {remedy(run)}"

    def verdict(self) -> str:
        """Return the verdict in one line."""
        if self.worse:
            at = ", ".join(f"{value:g}" for value in self.worse)
            return f"defective: {len(self.worse)} of {len(self.runs)} runs are worse than the mean alone: {self.name} = {at}"
        if not self.judged:
            return f"{len(self.runs)} runs; of these models nothing is predicted (--model linear is PPCA)"
        if self.missed:
            return f"refuted: {len(self.missed)} of {len(self.judged)} linear models miss what is predicted of them"
        worst = max(run.optimum.gap for run in self.judged if run.optimum)
        return (
            f"holds: {len(self.judged)} of {len(self.judged)} linear models are at their optimum, {worst:.2g} nats below at most"
        )


@with_options()
@in_default_state
def sweep(
    asked: str,
    *,
    data: Data = "digits",
    likelihood: str | Likelihood = "gaussian",
    sigma: float | str | None = None,
    device: str = "auto",
    binarize: str | None = None,
    scale: float | None = None,
    progress: Callable[[int, str], None] | None = None,
    **settings: Unpack[Everything],
) -> Sweep:
    """Return a run for each value of ``NAME=VALUE,VALUE,...``; the rest as for :func:`train`. Nothing is written.

    Raises ReconError for a setting that is no number, before the first run.
    """
    name, values = swept(asked)
    usual: dict[str, object] = {field.name: field.default for field in dataclasses.fields(Options)}
    given: dict[str, Any] = {"sigma": sigma, **settings}
    if given.get(name) not in (None, 1.0 if name == "beta" else usual.get(name)):
        raise ReconError(f"--{name} is given, and swept too.", "Leave one of them out.")
    common = {
        "data": data,
        "likelihood": likelihood,
        "device": device,
        "binarize": binarize,
        "scale": scale,
        **given,
    }
    each = [{**common, name: value} for value in values]
    for keywords in each:
        reading, numbers = split_options(keywords)
        Plan.of(reading=reading, **numbers)
    runs = []
    for value, keywords in zip(values, each, strict=True):
        runs.append(train(**keywords))
        if progress is not None:
            progress(len(runs), f"{name} = {value:g}")
    return Sweep(name, tuple(values), tuple(runs))


def swept(asked: str) -> tuple[str, list[float]]:
    """Return ``sigma=0.05,0.1`` as the name and its values; whole numbers where the setting is one."""
    word, _, listed = asked.partition("=")
    name = word.strip().replace("-", "_").replace("kl_weight", "beta")
    if name not in SWEPT:
        raise unknown("setting to sweep", word, [one.replace("_", "-") for one in SWEPT])
    values = [as_number(f"--sweep {word}", part.strip(), "0.1") for part in listed.split(",")]
    whole = any(field.name == name and field.type == "int" for field in dataclasses.fields(Options))
    return name, [int(value) if whole and value == int(value) else value for value in values]
