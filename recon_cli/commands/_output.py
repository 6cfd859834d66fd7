"""How an answer leaves a command: its format, how much of it, where to, and the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from recon_cli import registry
from recon_cli.commands._options import NOTES, Word
from recon_cli.errors import ReconError, unknown
from recon_cli.runtime import plotting, processes, progress

if TYPE_CHECKING:
    from recon_cli.report import Report

Function = TypeVar("Function", bound=Callable[..., None])
AMOUNT, FILE, PLOT = "recon_cli.amount", "recon_cli.file", "recon_cli.plot"  # of the context's meta
COLOURS = {"always": "FORCE_COLOR", "never": "NO_COLOR"}  # what rich and click go by


class FormatWord(Word[str]):
    """The name of an output format; checked before any work."""

    name = "format"

    def read(self, word: str, option: str) -> str:
        del option
        if word not in self.known_words():
            raise unknown("format", word, self.known_words())
        return word

    def get_metavar(self, *_: Any, **__: Any) -> str:
        return "|".join(self.known_words())

    def known_words(self) -> Iterable[str]:
        return registry.names("formats")


class OutputFile(Word["tuple[str, str]"]):
    """``report.json`` to a pair: the path, and the format that its ending names. Checked before any work."""

    name = "file"

    def read(self, word: str, option: str) -> tuple[str, str]:
        from recon_cli import formats

        del option
        return word, formats.format_of(word)


def keep(ctx: click.Context, param: click.Parameter, value: object) -> None:
    """Keep what an option says until the report is shown."""
    if value:
        key = FILE if param.name == "output" else AMOUNT
        ctx.meta[key] = value if param.name == "output" else param.name


def colour(ctx: click.Context, param: click.Parameter, value: str) -> None:
    """Have terminal colours always, never, or where there is a terminal that has not asked for none."""
    del ctx, param
    if value in COLOURS:
        for name in COLOURS.values():
            os.environ.pop(name, None)
        os.environ[COLOURS[value]] = "1"


def keep_plot(ctx: click.Context, param: click.Parameter, path: str | None) -> None:
    """Keep where to draw to until the report is there, once it is known that it can be drawn."""
    del param
    plotting.plottable(path)
    if path is not None:
        ctx.meta[PLOT] = path


plot = click.option(
    "--plot", metavar="FILE", callback=keep_plot, expose_value=False, help="Draw what there is to see: png, svg or pdf."
)


def without_plot(option: str) -> None:
    """Raise ReconError where --plot was given beside an option with which there is nothing to draw."""
    if PLOT in click.get_current_context().meta:
        raise ReconError(f"--plot has nothing to draw with {option}.", "Leave one of them out.")


def format(function: Function) -> Function:
    """Give a command the options that all have for their answer; ``--format`` alone is an argument of the function."""
    each = (
        click.option(
            "--format", "format", type=FormatWord(), default="table", show_default=True, help="Format of the result."
        ),
        click.option(
            "-o", "--output", type=OutputFile(), callback=keep, expose_value=False, metavar="FILE",
            help="Write the whole result to a file too, in the format that its ending names.",
        ),
        click.option(
            "-v", "--verbose", is_flag=True, callback=keep, expose_value=False, help="Show every number, step and note."
        ),
        click.option("-q", "--quiet", is_flag=True, callback=keep, expose_value=False, help="Show the verdict alone."),
        click.option(
            "--color", type=click.Choice(["auto", "always", "never"]), default="auto", callback=colour, expose_value=False,
            is_eager=True, help="Write in colour; auto does so on a terminal.",
        ),
    )  # fmt: skip
    for option in reversed(each):
        function = option(function)
    return function


def show(report: Report, format: str) -> NoReturn:
    """Write a report to standard output (of several processes the first does), and exit: 0 if it holds, 1 if not.

    A table is of the answer alone, with ``-v`` of everything, with ``-q`` of the verdict; other formats are whole. 130 where
    it was interrupted. Raises ReconError for a file that cannot be written.
    """
    ctx = click.get_current_context()
    progress.quiet()
    notes = [*dict.fromkeys((*ctx.meta.get(NOTES, ()), *report.notes))]
    report = replace(report, notes=notes, arguments={**asked(ctx), **report.arguments})
    if processes.rank() == 0:
        plotting.save(report.charts, ctx.meta.get(PLOT))
        if FILE in ctx.meta:
            from recon_cli import formats

            formats.write_file(report, *ctx.meta[FILE])
        write(report, format, ctx.meta.get(AMOUNT, ""))
    ctx.exit(int(report.holds is False) if report.whole else 130)


def write(report: Report, format: str, amount: str) -> None:
    """Write as much of a report to standard output as was asked for."""
    from recon_cli import formats

    if format == "table" and amount != "verbose":
        report = report.summary()
        if amount == "quiet":
            report = replace(report, tables=(), notes=(), lead=() if report.verdict else report.lead)
    formats.write(report, format, sys.stdout)
    sys.stdout.flush()


def asked(ctx: click.Context) -> Mapping[str, object]:
    """Return what a command was called with, defaults too, by option; objects as on the command line."""
    return {name: plain(value) for name, value in ctx.params.items() if name != "format"}


def plain(value: object) -> object:
    """Return a value of an option as JSON holds it."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
