"""The user's own script, run as Python runs it and watched until it has derived its losses once."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from recon_cli.auditing.lines import OURS
from recon_cli.auditing.reach.losses import Derived, Finished, Watching
from recon_cli.errors import ReconError

OTHERS = {"tensorflow": "TensorFlow", "jax": "JAX", "mlx": "MLX", "paddle": "PaddlePaddle"}


def run(words: Sequence[str], iteration: int = 1) -> list[Derived]:
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
        raise ReconError(f"There is no script {name!r}.", f"recon looked in {Path.cwd()}.")
    watching = Watching(iteration, stop=True)
    with as_main(words, str(Path.cwd()) if module else os.path.dirname(os.path.abspath(name))):
        try:
            with watching:
                if module:
                    runpy.run_module(name, run_name="__main__", alter_sys=True)
                else:
                    runpy.run_path(name, run_name="__main__")
        except Finished:
            pass
        except SystemExit as error:
            if not watching.losses and error.code not in (None, 0):
                raise ReconError(
                    f"{name} ended by itself with exit code {error.code} before it derived a loss.",
                    "Give it the arguments that it needs, after the script's name.",
                ) from error
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if not watching.losses:
                shown(error)
                raise ReconError(
                    f"{name} failed by itself, with the {type(error).__name__} above, before it derived a loss.",
                    "Mend that first: it is the script's own.",
                ) from error
    if not watching.losses:
        other = next((word for key, word in OTHERS.items() if key in sys.modules), None)
        why = f": it is a {other} script, and recon watches torch" if other else ""
        raise ReconError(
            f"{name} ended without deriving a loss{why}.",
            "recon watches loss.backward() and torch.autograd.grad: give the script that trains, and arguments for one step.",
        )
    return watching.losses


@contextlib.contextmanager
def as_main(words: Sequence[str], folder: str) -> Iterator[None]:
    """Have the process look as if the script had been called by itself, without a keyboard; what it prints goes to stderr."""
    before = sys.argv, [*sys.path], sys.stdin
    sys.argv, sys.stdin = [*words], io.StringIO()
    sys.path.insert(0, folder)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        sys.argv, sys.path[:], sys.stdin = before[0], before[1], before[2]


def shown(error: BaseException) -> None:
    """Write an exception's traceback to stderr, from the script on."""
    frames = error.__traceback__
    while frames is not None and (
        frames.tb_frame.f_code.co_filename.startswith((OURS, "<frozen")) or "runpy" in frames.tb_frame.f_code.co_filename
    ):
        frames = frames.tb_next
    print("".join(traceback.format_exception(type(error), error, frames)), file=sys.stderr, end="")
