"""The user's own script, run as Python runs it and watched until it has derived its losses once."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import runpy
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from recon_cli.auditing.limiting import OURS, InterruptedLoss, limited
from recon_cli.auditing.reach.losses import DerivedLoss, Finished, Watching
from recon_cli.auditing.reach.patterns import OTHERS
from recon_cli.auditing.restoring import Library, folder
from recon_cli.errors import ReconError
from recon_cli.runtime.optimizers import optimizers_without_compiler


def run(words: Sequence[str], iteration: int = 1, timeout: float | None = None) -> list[DerivedLoss]:
    """Return the losses that a script derives in its ``iteration``-th step: ``SCRIPT.py ARGUMENT ...`` or ``-m MODULE ...``.

    It runs unmodified, with its arguments, folder and ``__main__``, and is stopped when every loss has been seen; what it
    prints goes to stderr. Raises ReconError where it fails by itself, which its own traceback shows, or derives nothing.
    """
    words = [*words]
    module = words[:1] == ["-m"]
    words = words[1:] if module else words
    if not words:
        raise ReconError("--run names no script.", "Write --run train.py, with the script's own arguments after it.")
    name = words[0]
    if not module and not Path(name).is_file():
        if name.startswith("-"):
            own = "Put recon's own options before it: recon audit --steps 21 --run SCRIPT.py, say."
            raise ReconError(f"After --run comes a script, and all behind it is the script's own: {name} is none.", own)
        raise ReconError(f"There is no script {name!r}.", f"recon looked in {Path.cwd()}.")
    watching, me = Watching(iteration, stop=True), os.getpid()
    late = ReconError(
        f"{name} derived no loss within {timeout or 0:g} seconds.", "Give it longer with --timeout, or less data to begin with."
    )
    with as_main(words, str(Path.cwd()) if module else os.path.dirname(os.path.abspath(name))):
        there = not module
        with contextlib.suppress(ImportError, ValueError):
            there = there or importlib.util.find_spec(name) is not None
        if not there:
            raise ReconError(f"There is no module {name!r} to run.", "Run recon where python -m finds it.")
        try:
            with limited(timeout, late), optimizers_without_compiler(), Library(), watching:
                if module:
                    runpy.run_module(name, run_name="__main__", alter_sys=True)
                else:
                    runpy.run_path(name, run_name="__main__")
        except Finished:
            pass
        except InterruptedLoss:
            raise
        except ReconError:
            if not watching.losses:
                raise
        except BaseException as error:
            if not watching.losses and os.getpid() == me:
                raise ended(name, error) from error
        finally:
            sys.settrace(None)
            if os.getpid() != me:  # a copy that the script made of this process has nothing to say
                os._exit(0)
    if not watching.losses:
        raise ReconError(
            f"{name} ended without deriving a loss{instead()}.",
            "recon watches loss.backward() and torch.autograd.grad: give the script that trains, and arguments for one step.",
        )
    return watching.losses


def instead() -> str:
    """Return, in words, which other library a script that derives nothing has imported."""
    other = next((word for key, word in OTHERS.items() if key in sys.modules), None)
    return f": it is a {other} script, and recon watches torch" if other else ""


def ended(name: str, error: BaseException) -> ReconError:
    """Return the error for a script that ended before it derived a loss; its own traceback goes to stderr."""
    if isinstance(error, SystemExit):
        how = "" if error.code in (None, 0) else f" with exit code {error.code}" if isinstance(error.code, int) else ""
        words = f", saying: {' '.join(error.code.split())}" if isinstance(error.code, str) else ""
        return ReconError(
            f"{name} ended by itself{how} before it derived a loss{instead()}{words}.",
            "Give it the arguments that it needs, after the script's name.",
        )
    missing = OTHERS.get((error.name or "").split(".")[0]) if isinstance(error, ModuleNotFoundError) else None
    if missing:
        return ReconError(f"{name} is a {missing} script, and recon watches torch.", "Write its loss as a function in torch.")
    shown(error)
    if isinstance(error, EOFError):
        return ReconError(
            f"{name} reads from the keyboard before it derives a loss, and there is none here.",
            "Have it take arguments in place of what is typed, or put recon_cli.watch() around its step.",
        )
    return ReconError(
        f"{name} failed by itself, with the {type(error).__name__} above, before it derived a loss.",
        "Mend that first: it is the script's own.",
    )


@contextlib.contextmanager
def as_main(words: Sequence[str], own: str) -> Iterator[None]:
    """Have the process look as if the script had been called by itself, without a keyboard; what it prints goes to stderr."""
    before = sys.argv, [*sys.path], sys.stdin
    place = folder()
    sys.argv, sys.stdin = [*words], io.StringIO()
    sys.path.insert(0, own)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.argv, sys.path[:], sys.stdin = before[0], before[1], before[2]
        if place is not None:
            os.chdir(place)


def shown(error: BaseException) -> None:
    """Write an exception's traceback to stderr, from the script on."""
    frames = error.__traceback__
    while frames is not None and (
        frames.tb_frame.f_code.co_filename.startswith((OURS, "<frozen")) or "runpy" in frames.tb_frame.f_code.co_filename
    ):
        frames = frames.tb_next
    print("".join(traceback.format_exception(type(error), error, frames)), file=sys.stderr, end="")
