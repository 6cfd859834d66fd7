"""Words on the command line that become objects, and the options that commands share."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import click
from click.shell_completion import CompletionItem

from recon_cli import registry
from recon_cli.errors import ReconError, unknown
from recon_cli.identity.parametric import as_number, as_whole
from recon_cli.runtime import processes


class Command(click.Command):
    """A command that refuses an option given as nothing, which none can be taken for; of one given twice the last counts."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        written, _, order = self.make_parser(ctx).parse_args([*args])
        rest = super().parse_args(ctx, args)
        for param in (param for param in order if isinstance(param, click.Option) and not param.is_flag):
            words = written.get(param.name, ())
            if not ctx.resilient_parsing and not all(str(word).strip() for word in (words if param.multiple else [words])):
                raise ReconError(f"{param.opts[0]} is given without a value.", "Leave it out, or give it a value.")
        return rest


class LikelihoodWord(click.ParamType):
    """``laplace:scale=0.2`` to a Likelihood; with ``symbols``, a bare ``laplace`` to the class, no noise chosen.

    keep
        whether the word stays a word, once it is checked: ``gaussian`` may leave its noise to another option.
    """

    name = "likelihood"

    def __init__(self, symbols: bool = False, keep: bool = False) -> None:
        self.symbols, self.keep = symbols, keep

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        from recon_cli import likelihoods

        if not isinstance(value, str):
            return value
        found = likelihoods.kind_or_side(value) if self.symbols else likelihoods.parse(value)
        noted(likelihoods.taken([value]))
        return value if self.keep else found

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[Any]:
        return complete("likelihoods", incomplete)


class LossWord(click.ParamType):
    """``mse`` to a Loss; with ``keep`` it stays a word, once it is checked."""

    name = "loss"

    def __init__(self, keep: bool = False) -> None:
        self.keep = keep

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        from recon_cli import likelihoods

        if not isinstance(value, str):
            return value
        found, word = likelihoods.loss(value), value.partition(":")[0]
        if not {likelihoods.forms(name)[0] for name in (found.name, *found.aliases)} & {*likelihoods.forms(word)}:
            noted([f"{word} was taken for {found.name}."])
        return value if self.keep else found

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[Any]:
        from recon_cli import likelihoods

        return [CompletionItem(word) for word in likelihoods.losses() if word.startswith(incomplete)]


class SourceWord(click.ParamType):
    """A path or the name of a source; stays a word, completes to either."""

    name = "source"

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[Any]:
        return [*complete("sources", incomplete), CompletionItem(incomplete, type="file")]


class FormatWord(click.ParamType):
    """The name of an output format; checked before any work."""

    name = "format"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        known = registry.names("formats")
        if value not in known:
            raise unknown("format", value, known)
        return value

    def get_metavar(self, *_: Any, **__: Any) -> str:
        return "|".join(registry.names("formats"))

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[Any]:
        return complete("formats", incomplete)


class Numbers(click.ParamType):
    """``0.1,0.5,1`` to a list of finite numbers."""

    name = "number,..."

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not isinstance(value, str):
            return value
        return [as_number(param.opts[0], part.strip()) for part in value.split(",")]


class Scale(click.ParamType):
    """``255`` to the number that values are divided by; ``none`` to 1."""

    name = "scale"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not isinstance(value, str):
            return value
        number = 1.0 if value == "none" else as_number(param.opts[0], value, "255, or none")
        if number <= 0:
            raise ReconError(f"{param.opts[0]} must be above 0; found {value!r}.", "Values are divided by it: 255, say, or none.")
        return number


class Seconds(click.ParamType):
    """A number of seconds above 0, up to a fortnight."""

    name = "float"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        seconds = as_number(param.opts[0], value, "60") if isinstance(value, str) else value
        if not 0 < seconds <= 1e6:
            raise ReconError(f"{param.opts[0]} must be above 0 and at most a million seconds; found {value!r}.", "Write 60, say.")
        return seconds


class Seed(click.ParamType):
    """A whole number from 0 up that every generator takes."""

    name = "number"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if isinstance(value, str) and as_whole(value) is None:
            raise ReconError(f"--seed must be a whole number from 0 up, below 2^63; found {value!r}.", "Write --seed 0, say.")
        return int(value)


class Shape(click.ParamType):
    """``1x28x28`` to a tuple of positive whole numbers."""

    name = "shape"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not isinstance(value, str):
            return value
        sizes = value.lower().replace("×", "x").split("x")
        if not all(as_whole(size) for size in sizes):
            raise ReconError(f"{value!r} is no shape.", "Write the sizes of one sample, as in --shape 1x28x28.")
        return tuple(int(size) for size in sizes)


class Setting(click.ParamType):
    """``name=value`` to a pair; the value a number, a truth, a tuple, or else a word."""

    name = "name=value"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        import ast

        if not isinstance(value, str):
            return value
        key, sign, text = (part.strip() for part in value.partition("="))
        if not sign or not all(part.isidentifier() for part in key.split(".")):
            raise ReconError(f"{param.opts[0]} {value!r} sets nothing.", f"Write {param.opts[0]} name=value.")
        try:
            return key, ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return key, text


class NamedShape(Shape):
    """``1x28x28`` for every argument, ``pred=196x768`` for one: a pair of name and sizes."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if not isinstance(value, str):
            return value
        name, sign, sizes = value.rpartition("=")
        if sign and not name.isidentifier():
            raise ReconError(f"{name!r} names no argument.", "Write --shape 1x28x28, or --shape pred=196x768 for one argument.")
        return name, super().convert(sizes, param, ctx)


NOTES = "recon_cli.notes"


def noted(said: Iterable[str]) -> None:
    """Keep what words were taken for until the report is shown."""
    if ctx := click.get_current_context(silent=True):
        ctx.meta.setdefault(NOTES, []).extend(said)


def complete(folder: str, incomplete: str) -> list[Any]:
    """The names in a registry that begin with what was typed."""
    return [CompletionItem(name) for name in registry.names(folder) if name.startswith(incomplete)]


likelihood = click.option(
    "--likelihood",
    "chosen",
    type=LikelihoodWord(),
    multiple=True,
    metavar="NAME[:PARAM=VALUE]",
    help="A noise model, as in laplace:scale=0.2; repeatable.",
)
sigmas = click.option(
    "--sigma",
    "sigmas",
    type=Numbers(),
    multiple=True,
    metavar="NUMBER[,...]",
    help="Short for --likelihood gaussian:sigma=NUMBER; a list, or repeated, for several.",
)
seed = click.option("--seed", type=Seed(), default=0, show_default=True, metavar="NUMBER", help="Of every random draw.")
device = click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]|mps", help="Where to compute.")
engine = click.option(
    "--engine",
    type=click.Choice(["auto", "eager", "compile"]),
    default="auto",
    show_default=True,
    help="Piece by piece, or compiled into one pass: pays from half a billion numbers.",
)
gradients = click.option(
    "--gradients",
    type=click.Choice(["sample", "all"]),
    default="sample",
    show_default=True,
    help="Piece by piece: of a million numbers, evenly spread, or of all (values are of all).",
)
format = click.option(
    "--format",
    "format",
    type=FormatWord(),
    default="table",
    show_default=True,
    help="How to write the result.",
)


data = click.option(
    "--data",
    type=SourceWord(),
    default="digits",
    show_default=True,
    metavar="SOURCE",
    help="digits (bundled), mnist, a file (x.npy, x.npz:NAME, x.parquet, ...), a folder of images, hf:NAME, synthetic:...",
)
scale = click.option(
    "--scale",
    type=Scale(),
    default=None,
    metavar="NUMBER|none",
    help="Divide the data by this; unless given, 8-bit images and IDX by 255, all else by nothing.",
)
binarize = click.option(
    "--binarize",
    type=click.Choice(["threshold", "sample"]),
    help="Make grey levels 0 or 1: 1 above one half, or with that probability.",
)

trust = click.option(
    "--trust",
    is_flag=True,
    default=False,
    help="Run the code that a run's folder names for its model: only if you wrote or read it.",
)


def gaussians(sigmas: Any) -> list[Any]:
    """The likelihoods that ``--sigma`` is short for."""
    from recon_cli.likelihoods.gaussian import Gaussian

    return [Gaussian(sigma=value) for group in sigmas for value in group]


def together(work: Any) -> Any:
    """Decorates a command that all processes which torchrun started carry out together."""

    @functools.wraps(work)
    def call(*words: Any, **named: Any) -> Any:
        with processes.together():
            return work(*words, **named)

    return call


def given(ctx: Any, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """The options that were written, not left at their defaults."""
    written = click.core.ParameterSource.DEFAULT, click.core.ParameterSource.DEFAULT_MAP
    return {
        name: value for name, value in ctx.params.items() if ctx.get_parameter_source(name) not in written and name not in but
    }


def alone(ctx: Any, name: str, *others: str) -> None:
    """Raise ReconError where ``name`` was written, and one of the ``others`` too."""
    written = given(ctx)
    for other in others:
        if name in written and other in written:
            one, two = (param.opts[0] for word in (name, other) for param in ctx.command.params if param.name == word)
            raise ReconError(f"{one} and {two} do not go together.", f"Leave one of them out; see {ctx.command_path} --help.")


def refuse(ctx: Any, what: str, *names: str) -> None:
    """Raise ReconError for the first of ``names`` that was written where it means nothing."""
    declared = {param.name: param for param in ctx.command.params}
    for name in names:
        if name in given(ctx):
            word = declared[name].opts[0] if isinstance(declared[name], click.Option) else "name"
            raise ReconError(f"{what} takes no {word}.", f"Leave it out; see {ctx.command_path} --help.")


def show(report: Any, format: str) -> None:
    """Write a report to standard output (of several processes the first does), and exit: 0 if it holds, 1 if not.

    130 where it was interrupted.
    """
    from recon_cli import formats

    if said := click.get_current_context().meta.get(NOTES):
        report = replace(report, notes=[*dict.fromkeys((*said, *report.notes))])
    if processes.rank() == 0:
        formats.write(report, format, sys.stdout)
        sys.stdout.flush()
    click.get_current_context().exit((0 if report.holds else 1) if report.whole else 130)
