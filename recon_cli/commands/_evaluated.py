"""What a command says of a model that was trained already, beside what it says of its data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from recon_cli.commands import _options as options

if TYPE_CHECKING:
    from recon_cli.identity.likelihood import Likelihood
    from recon_cli.report import Report


def of_trained(ctx: click.Context, report: Report, model: str, weights: str | None, chosen: Sequence[Likelihood] = ()) -> Report:
    """Return a report with what ``recon train --evaluate`` says of the same model on the same data; under a likelihood chosen."""
    from recon_cli.sources import ReadOptions
    from recon_cli.training import evaluate as measure

    names = {"binarize", "scale", "seed", "device", *ReadOptions.names()} - {"weights"}
    asked = {name: value for name, value in options.explicitly_set(ctx).items() if name in names}
    asked |= {"likelihood": chosen[0]} if len(chosen) == 1 else {}
    other = measure(ctx.params["data"] or "digits", model=model, state=weights, **asked).report()
    return replace(report, tables=[*report.tables, *other.tables], notes=[*report.notes, *other.notes[1:], f"{other.verdict}."])
