"""What is kept of a derivation, as plain data, and the reports that are made of it. Knows no sympy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recon_cli.derivation.movable import Density, charts
from recon_cli.report import Detail, Formula, Report, Table, column

MOVED = 4  # likelihoods that a page lets its reader move
WRITTEN, WHAT, WHERE = "what people write", "what it is", "where"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A likelihood in ``recon derive --list``; ``where`` is what the letters of its loss in torch are."""

    likelihood: str = column("likelihood", "*")
    torch: str = column("its loss, in torch", WRITTEN)
    where: str = column("where", WRITTEN)
    slope: Formula = column("slope", WRITTEN)
    loss: str = column("loss", WHAT, brief=True)
    dropped: str = column("drops", WHAT)
    proved: bool | None = column("proved", WHAT)
    support: str = column("x in", WHERE)
    link: str = column("link", WHERE)
    gap: Formula = column("gap c(μ)", None)
    offset: Formula = column("b(x)", None)


@dataclass(frozen=True)
class Impostor:
    """A loss that is taken for a likelihood's, and why it is not."""

    loss: str = column("loss", None)
    likelihood: str = column("taken for", None)
    why: str = column("why not", None)


@dataclass(frozen=True)
class StepRow:
    """A numbered step of a derivation: as :class:`recon_cli.derivation.trial.Step`."""

    likelihood: str = column("likelihood")
    step: int = column("step")
    statement: Formula = column("statement")
    because: str = column("because")
    checked: bool | None = column("checked")
    by: str = column("by")
    parameters: dict[str, float] = column("parameters")


@dataclass(frozen=True, kw_only=True)
class IdentityRow:
    """What is proved of a likelihood; ``exact`` is whether its loss leaves out nothing that depends on mu."""

    likelihood: str = column("likelihood", "*")
    loss: str = column("loss")
    nll: Formula = column("−log p(x|μ)")
    slope: Formula = column("slope")
    offset: Formula = column("offset")
    gap: Formula = column("gap")
    exact: bool = column("loss = likelihood")
    slope_value: float | None = column("slope here")
    parameters: dict[str, float] = column("noise", None)


@dataclass(frozen=True)
class Record:
    """What is kept of the derivation of one likelihood.

    holds
        whether no step is false but the misprints, each of which must be.
    listed, impostors
        its row of ``recon derive --list``, and the losses that are taken for its own.
    movable
        what a page needs to move its data, mean and noise; None of what it cannot move.
    """

    identity: IdentityRow
    steps: tuple[StepRow, ...]
    holds: bool
    listed: Listed
    impostors: tuple[Impostor, ...]
    movable: Density | None


def report_of(records: Sequence[Record], notes: Sequence[str] = ()) -> Report:
    """Return the report that ``recon derive`` prints."""
    steps, holds = [step for each in records for step in each.steps], all(each.holds for each in records)
    tables = [
        Table.of("steps", StepRow, steps, layout="steps"),
        Table.of("identity", IdentityRow, [each.identity for each in records]),
    ]
    moved = [each.movable for each in records[:MOVED] if each.movable]
    drawn = [chart for density in moved for chart in charts(density)]
    return Report("derive", tables, notes, summary(steps, holds), holds, charts=drawn, exhibits=moved)


def summary(steps: Sequence[StepRow], holds: bool) -> str:
    """Return how many statements are proved, checked at points, chosen and refuted, as a verdict."""
    proved = sum(step.checked is True and step.by == "symbols" for step in steps)
    points = sum(step.by == "points" and step.checked is not False for step in steps)
    choices = sum(step.by == "choice" for step in steps)
    wrong = sum(step.checked is False for step in steps)
    undecided = any(step.checked is None and step.by == "points" for step in steps)
    parts = [f"{proved} statements proved", f"{points} checked at points" * bool(points)]
    parts += [f"{choices} chosen" * bool(choices), f"{wrong} refuted{', a well-known misprint' * holds}" * bool(wrong)]
    word = ("checked" if undecided else "proved") if holds else "refuted"
    return f"{word}: {', '.join(filter(None, parts))}"


def catalogue_of(records: Sequence[Record], notes: Sequence[str] = ()) -> Report:
    """Return the report of ``recon derive --list``: a row for each likelihood, and losses that are none's."""
    rows, others = [each.listed for each in records], [other for each in records for other in each.impostors]
    refuted = [row.likelihood for row in rows if row.proved is False]
    proved = sum(row.proved is True for row in rows)
    verdict = f"{proved} of {len(rows)} identities proved"
    verdict += f", {len(rows) - proved - len(refuted)} checked at points" if proved + len(refuted) < len(rows) else ""
    verdict = f"refuted: {', '.join(refuted)}; {verdict}" if refuted else f"proved: {verdict.replace(' proved', '', 1)}"
    tables = [Table.of("likelihoods", Listed, rows), Table.of("impostors", Impostor, others)]
    why = [Detail(f"{each.loss} is not {each.likelihood}'s loss, though taken for it: {each.why}.") for each in others]
    return Report("derive", tables, [*notes, *why], verdict, not refuted)


def verdicts(record: Record) -> tuple[object, ...]:
    """Return what a derivation decides: what it drops, and of each step whether it is true and how that is known.

    How sympy spells a formula is left out: from one run to the next it writes 2*(a - b), or -2*(b - a).
    """
    steps = [(step.checked, step.by) for step in record.steps]
    listed = record.listed
    return record.holds, listed.proved, listed.loss, listed.dropped, record.identity.exact, steps
