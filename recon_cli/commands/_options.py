"""Words on the command line that become objects, and the options that commands share."""

from __future__ import annotations

import functools
import importlib.util
import pkgutil
import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import click
from click.shell_completion import CompletionItem

from recon_cli import registry
from recon_cli.commands import _project
from recon_cli.errors import ReconError
from recon_cli.identity.parametric import as_number, as_whole
from recon_cli.runtime import processes, progress

if TYPE_CHECKING:
    from recon_cli.identity.likelihood import Likelihood
    from recon_cli.identity.losses import Loss
    from recon_cli.likelihoods.gaussian import Gaussian

Value = TypeVar("Value")
Item = TypeVar("Item")
Words = ParamSpec("Words")
Decorated = TypeVar("Decorated", bound=Callable[..., Any])
NO_OPTIMIZERS = {"lr_scheduler", "optimizer", "swa_utils", "lbfgs", "muon", "sparse_adam"}  # of the files of torch.optim
NOTES = "recon_cli.notes"  # what words were taken for, until the report is shown


class Command(click.Command):
    """A command that refuses an option given as nothing, which none can be taken for; of one given twice the last counts."""

    def get_short_help_str(self, limit: int = 45) -> str:
        return super().get_short_help_str(max(limit, 200))  # whole: lists wrap it

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        given, notes = _project.defaults(self)
        ctx = super().make_context(
            info_name, args, parent, default_map={**given, **(extra.pop("default_map", None) or {})}, **extra
        )
        ctx.meta.setdefault(NOTES, []).extend(notes)
        return ctx

    def invoke(self, ctx: click.Context) -> Any:
        with progress.working(f"recon {ctx.info_name}"):
            return super().invoke(ctx)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        values, _, order = self.make_parser(ctx).parse_args([*args])
        rest = super().parse_args(ctx, args)
        for param in (param for param in order if isinstance(param, click.Option) and not param.is_flag):
            words = values.get(param.name or "", ())
            if not ctx.resilient_parsing and not all(str(word).strip() for word in (words if param.multiple else [words])):
                raise ReconError(f"{param.opts[0]} is given without a value.", "Leave it out, or give it a value.")
        return rest


class Word(click.ParamType, Generic[Value]):  # type: ignore[type-arg]  # click's is generic from 8.4 on
    """A word on the command line that becomes a value; what is a value already stays."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        del ctx
        return self.read(value, param.opts[0] if param is not None else self.name) if isinstance(value, str) else value

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        del ctx, param
        return [CompletionItem(word) for word in self.known_words() if word.startswith(incomplete)]

    def read(self, word: str, option: str) -> Value:
        """Return the value of a word. Raises ReconError, which names the ``option``."""
        raise NotImplementedError

    def known_words(self) -> Iterable[str]:
        """Return the words that the shell completes to."""
        return ()


class LikelihoodWord(Word["Likelihood | type[Likelihood] | str"]):
    """``laplace:scale=0.2`` to a Likelihood.

    ``FILE.py:Class`` is one of one's own. With ``symbols`` a bare ``laplace`` is the class, no noise chosen; with ``keep``
    the word stays a word, once it is checked.
    """

    name = "likelihood"

    def __init__(self, symbols: bool = False, keep: bool = False) -> None:
        self.symbols, self.keep = symbols, keep

    def read(self, word: str, option: str) -> Likelihood | type[Likelihood] | str:
        from recon_cli import likelihoods

        del option
        likelihood = likelihoods.as_family_or_likelihood(word) if self.symbols else likelihoods.parse(word)
        keep_notes(likelihoods.interpretations([word]))
        return word if self.keep else likelihood

    def known_words(self) -> Iterable[str]:
        return registry.names("likelihoods")


class LossWord(Word["Loss | str"]):
    """``mse`` to a Loss; with ``keep`` the word stays a word, once it is checked."""

    name = "loss"

    def __init__(self, keep: bool = False) -> None:
        self.keep = keep

    def read(self, word: str, option: str) -> Loss | str:
        from recon_cli import likelihoods

        del option
        loss, name = likelihoods.loss(word), word.partition(":")[0]
        if not {likelihoods.forms(other)[0] for other in (loss.name, *loss.aliases)} & {*likelihoods.forms(name)}:
            keep_notes([f"{name} was taken for {loss.name}."])
        return word if self.keep else loss

    def known_words(self) -> Iterable[str]:
        from recon_cli import likelihoods

        return likelihoods.losses()


class SourceWord(Word[str]):
    """A path or the name of a source; stays a word, completes to either."""

    name = "source"

    def read(self, word: str, option: str) -> str:
        del option
        return word

    def known_words(self) -> Iterable[str]:
        return registry.names("sources")

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [*super().shell_complete(ctx, param, incomplete), CompletionItem(incomplete, type="file")]


class Completed(Word[str]):
    """A word that is checked where it is used, and that the shell completes."""

    name = "text"

    def __init__(self, words: Callable[[], Iterable[str]]) -> None:
        self.known_words = words  # type: ignore[method-assign]

    def read(self, word: str, option: str) -> str:
        del option
        return word


def optimizers() -> list[str]:
    """Return the names of torch's optimizers, by its files: importing it would keep the shell waiting."""
    folder = importlib.util.find_spec("torch")
    files = pkgutil.iter_modules([f"{place}/optim" for place in (folder.submodule_search_locations or ())] if folder else [])
    return sorted(file.name for file in files if file.name[0] != "_" and file.name not in NO_OPTIMIZERS)


class Numbers(Word[list[float]]):
    """``0.1,0.5,1`` to a list of finite numbers."""

    name = "number,..."

    def read(self, word: str, option: str) -> list[float]:
        return [as_number(option, part.strip()) for part in word.split(",")]


class Scale(Word[float]):
    """``255`` to the number that values are divided by; ``none`` to 1."""

    name = "scale"

    def read(self, word: str, option: str) -> float:
        number = 1.0 if word == "none" else as_number(option, word, "255, or none")
        if number <= 0:
            raise ReconError(f"{option} must be above 0; found {word!r}.", "Values are divided by it: 255, say, or none.")
        return number


class Seconds(Word[float]):
    """A number of seconds above 0, up to a fortnight."""

    name = "float"

    def read(self, word: str, option: str) -> float:
        seconds = as_number(option, word, "60")
        if not 0 < seconds <= 1e6:
            raise ReconError(f"{option} must be above 0 and at most a million seconds; found {word!r}.", "Write 60, say.")
        return seconds


class Seed(Word[int]):
    """A whole number from 0 up that every generator takes."""

    name = "number"

    def read(self, word: str, option: str) -> int:
        if as_whole(word) is None:
            raise ReconError(f"{option} must be a whole number from 0 up, below 2^63; found {word!r}.", "Write --seed 0, say.")
        return int(word)


class Shape(Word[tuple[int, ...]]):
    """``1x28x28`` to a tuple of positive whole numbers."""

    name = "shape"

    def read(self, word: str, option: str) -> tuple[int, ...]:
        del option
        sizes = word.lower().replace("×", "x").split("x")
        if not all(as_whole(size) for size in sizes):
            raise ReconError(f"{word!r} is no shape.", "Write the sizes of one sample, as in --shape 1x28x28.")
        return tuple(int(size) for size in sizes)


class Size(Word["tuple[int, int]"]):
    """``64x48`` to a height and a width; ``64`` to a square's."""

    name = "size"

    def read(self, word: str, option: str) -> tuple[int, int]:
        sizes = [*Shape().read(word, option)] if as_whole(word.lower().replace("x", "").replace("×", "")) else []
        if len(sizes) not in (1, 2):
            raise ReconError(f"{option} must be a height and a width; found {word!r}.", f"Try {option} 64x64.")
        return sizes[0], sizes[-1]


class NamedShape(Word[tuple[str, tuple[int, ...]]]):
    """``1x28x28`` for every argument, ``pred=196x768`` for one: a pair of name and sizes."""

    name = "shape"

    def read(self, word: str, option: str) -> tuple[str, tuple[int, ...]]:
        name, sign, sizes = word.rpartition("=")
        if sign and not name.isidentifier():
            raise ReconError(f"{name!r} names no argument.", "Write --shape 1x28x28, or --shape pred=196x768 for one argument.")
        return name, Shape().read(sizes, option)


class NamedValue(Word[tuple[str, object]]):
    """``name=value`` to a pair; the value a number, a truth, a tuple, or else a word. ``a.b['c'][0]`` is a name too."""

    name = "name=value"

    def read(self, word: str, option: str) -> tuple[str, object]:
        import ast

        key, sign, text = (part.strip() for part in word.partition("="))
        if not sign or not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*|\[(\d+|'[^'\]]+'|\"[^\"\]]+\")\])*", key):
            raise ReconError(f"{option} {word!r} sets nothing.", f"Write {option} name=value.")
        try:
            return key, ast.literal_eval(text)
        except (ValueError, SyntaxError):
            return key, text


def keep_notes(notes: Iterable[str]) -> None:
    """Keep what words were taken for until the report is shown."""
    if ctx := click.get_current_context(silent=True):
        ctx.meta.setdefault(NOTES, []).extend(notes)


likelihood = click.option(
    "--likelihood", "chosen", type=LikelihoodWord(), multiple=True, metavar="NAME[:PARAM=VALUE]",
    help="Likelihood, as in laplace:scale=0.2; repeat the option for several.",
)  # fmt: skip
sigmas = click.option(
    "--sigma", "sigmas", type=Numbers(), multiple=True, metavar="NUMBER[,...]",
    help="Short for --likelihood gaussian:sigma=NUMBER; commas separate several.",
)  # fmt: skip
seed = click.option("--seed", type=Seed(), default=0, show_default=True, metavar="NUMBER", help="Seed of every random draw.")
device = click.option(
    "--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:N]|mps", help="Device to compute on."
)
engine = click.option(
    "--engine", type=click.Choice(["auto", "eager", "compile"]), default="auto", show_default=True,
    help="Compute piece by piece (eager), or compiled into one pass: auto does from half a billion numbers on, and with a "
    "kernel that was kept (recon warm) from four million on.",
)  # fmt: skip
gradients = click.option(
    "--gradients", type=click.Choice(["sample", "all"]), default="sample", show_default=True,
    help="Elements whose gradients the eager engine takes: a million, evenly spread, or all. Values are taken of all.",
)  # fmt: skip
data = click.option(
    "--data", type=SourceWord(), default="digits", show_default=True, metavar="SOURCE",
    help="Data: digits (bundled), mnist, a file (x.npy, x.npz:NAME, x.parquet, ...), a folder of images, hf:NAME, synthetic:...",
)  # fmt: skip
scale = click.option(
    "--scale", type=Scale(), default=None, metavar="NUMBER|none",
    help="Divide the data by this. By default 8-bit images and IDX files are divided by 255, everything else by 1.",
)  # fmt: skip
binarize = click.option(
    "--binarize", type=click.Choice(["threshold", "sample"]),
    help="Turn grey levels into 0 or 1: 1 above one half (threshold), or 1 with that probability (sample).",
)  # fmt: skip

recon_offset = click.option(
    "--recon-offset", type=float, default=0.0, metavar="NUMBER", help="Subtract this from the reconstructions in a file first."
)  # fmt: skip

READING = (
    click.option(
        "--offset", type=float, default=0.0, metavar="NUMBER", help="Subtract this before dividing: (x - offset)/scale."
    ),
    click.option("--size", type=Size(), metavar="HxW", help="Images of this size: the middle cut to its shape, then resized."),
    click.option("--colour", type=click.Choice(["grey", "rgb"]), help="Images of these colours."),
    click.option("--skip-bad", is_flag=True, default=False, help="Leave out files that cannot be read; says which."),
    click.option("--columns", default="", metavar="NAME[,...]", help="Only these columns of a table."),
    click.option("--drop", default="", metavar="NAME[,...]", help="All columns of a table but these."),
    click.option("--missing", type=click.Choice(["nan"]), help="NaN is a value that is not there: counts for nothing."),
    click.option("--mask", type=SourceWord(), metavar="SOURCE", help="0 where a value is not there; of the data's shape."),
    click.option("--weights", type=SourceWord(), metavar="SOURCE", help="How much each value, sample or class counts."),
    click.option("--totals", type=SourceWord(), metavar="SOURCE", help="Out of how many each value counts: a binomial's."),
)


def reading(command: Decorated) -> Decorated:
    """Give a command the options of how data are read, which come to it by their names in :class:`ReadOptions`."""
    for option in reversed(READING):
        command = option(command)
    return command


evaluate = click.option(
    "--evaluate", metavar="FILE.py:Class",
    help="A model already trained, not trained here: its weights are those of --weights W.safetensors.",
)  # fmt: skip
trust = click.option(
    "--trust", is_flag=True, default=False,
    help="Allow the code that a run's folder names for its model to run. Use it only if you wrote or read that code.",
)  # fmt: skip


def gaussians(sigmas: Iterable[Iterable[float]]) -> list[Gaussian]:
    """Return the likelihoods that ``--sigma`` is short for."""
    from recon_cli.likelihoods.gaussian import Gaussian

    return [Gaussian(sigma=value) for group in sigmas for value in group]


def in_all_processes(work: Callable[Words, Item]) -> Callable[Words, Item]:
    """Decorate a command that all processes which torchrun started carry out together."""

    @functools.wraps(work)
    def call(*args: Words.args, **kwargs: Words.kwargs) -> Item:
        with processes.connected():
            return work(*args, **kwargs)

    return call


def explicitly_set(ctx: click.Context, but: Sequence[str] = ()) -> dict[str, Any]:
    """Return the options that were written, not left at their defaults."""
    source = click.core.ParameterSource
    defaults = source.DEFAULT, source.DEFAULT_MAP
    return {
        name: value for name, value in ctx.params.items() if ctx.get_parameter_source(name) not in defaults and name not in but
    }


def mutually_exclusive(ctx: click.Context, name: str, *others: str) -> None:
    """Raise ReconError where ``name`` was written, and one of the ``others`` too."""
    names = explicitly_set(ctx)
    for other in others:
        if name in names and other in names:
            one, two = (param.opts[0] for word in (name, other) for param in ctx.command.params if param.name == word)
            raise ReconError(f"{one} and {two} do not go together.", f"Leave one of them out; see {ctx.command_path} --help.")


def reject(ctx: click.Context, what: str, *names: str) -> None:
    """Raise ReconError for the first of ``names`` that was written where it means nothing."""
    declared = {param.name: param for param in ctx.command.params}
    for name in names:
        if name in explicitly_set(ctx):
            word = declared[name].opts[0] if isinstance(declared[name], click.Option) else "name"
            raise ReconError(f"{what} takes no {word}.", f"Leave it out; see {ctx.command_path} --help.")
