"""Finds the commands, and is the one way out: what went wrong as a sentence, and an exit code for each kind."""

from __future__ import annotations

import _thread
import contextlib
import os
import shutil
import sys
import textwrap
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Any

import click

from recon_cli import registry
from recon_cli.errors import DISTRIBUTION, ReconError, Remark, from_system, printable, unknown
from recon_cli.runtime import garbage, processes

HELP = """A reconstruction loss is a likelihood in disguise.

\b
    -log p(x | mu)  =  a * loss(x, mu)  +  b(x)  +  c(mu)

MSE is a Gaussian with constant sigma, BCE a Bernoulli, L1 a Laplace. recon proves that line,
measures it on your data, reads sigma and beta off your loss, and predicts posterior collapse.

\b
Start with one of these:
  recon audit --run train.py     which sigma and beta does my loss assume?
  recon calibrate --data x.npy   which sigma should I use?
  recon guide                    the pages of the guide
"""
WIDEST = 88  # columns of prose
COMPLETION = """\b
Shell completion (bash; zsh and fish likewise):
  eval "$(_RECON_COMPLETE=bash_source recon)"
"""


def in_colour() -> bool | None:
    """Return whether to write in colour: as the environment (or ``--color``, which sets it) says; None where neither does."""
    return False if os.environ.get("NO_COLOR") else True if os.environ.get("FORCE_COLOR") else None


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Have Ctrl-C heard where it comes inside a finalizer too, whose exceptions Python ignores: it is raised again behind it."""
    before = sys.unraisablehook

    def hook(what: sys.UnraisableHookArgs) -> None:
        if issubclass(what.exc_type, KeyboardInterrupt):
            threading.Timer(0.01, _thread.interrupt_main).start()  # not at once: it would come inside this function
        else:
            before(what)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def remark(title: str, colour: str, text: str) -> None:
    """Write a sentence to standard error: a line in a pipe, on a terminal wrapped by words below its title."""
    if sys.stderr.isatty():
        width = min(shutil.get_terminal_size().columns, WIDEST) - len(title) - 1
        lines = textwrap.wrap(text, max(width, 20), break_long_words=False, break_on_hyphens=False)
        text = ("\n" + " " * len(title)).join(lines)
    click.echo(click.style(title, fg=colour, bold=True) + text, err=True, color=in_colour())


@contextlib.contextmanager
def environment_kept() -> Iterator[None]:
    """Put back what ``--color`` says to every part of recon, and to what it starts, by the environment."""
    names = ("NO_COLOR", "FORCE_COLOR")
    before = {name: os.environ[name] for name in names if name in os.environ}
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


class Complaint(click.ClickException):
    """A ReconError as click shows one."""

    exit_code = 2

    def __init__(self, error: ReconError) -> None:
        super().__init__(error.message)
        self.hint = error.hint
        self.silent = processes.is_reported_elsewhere(error)

    def show(self, file: IO[str] | None = None) -> None:
        del file
        if self.silent:  # the first process says it for all
            return
        remark("error: ", "red", self.message)
        if self.hint:
            remark(" hint: ", "cyan", self.hint)


class Interruption(click.ClickException):
    """Ctrl-C."""

    exit_code = 130

    def show(self, file: IO[str] | None = None) -> None:
        del file
        click.echo(f"\n{self.message}", err=True)


class Unread(click.ClickException):
    """A reader of standard output that went away, as ``head`` does; click's own answer, exit code 1, means refuted."""

    exit_code = 141  # as a shell reports SIGPIPE

    def show(self, file: IO[str] | None = None) -> None:
        del file
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  (where what is left in the buffer goes)

    @classmethod
    @contextlib.contextmanager
    def instead(cls) -> Iterator[None]:
        """Raise this in place of a BrokenPipeError."""
        try:
            yield
        except BrokenPipeError as error:
            raise cls("Nobody reads on.") from error


class Bug(click.ClickException):
    """What no user can mend: its traceback, and whose it is."""

    exit_code = 70

    def show(self, file: IO[str] | None = None) -> None:
        del file
        click.echo(f"{self.message}\n\nThis is a bug of recon's, not of yours: please report it with the lines above.", err=True)


def reopen_standard_streams() -> None:
    """Give closed standard streams back to nobody, so that no file that is opened takes their numbers.

    Raises ReconError where stdout is closed: the answer would be lost.
    """
    closed = sys.stdout is None
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            while (opened := os.open(os.devnull, os.O_RDWR)) < number:
                pass
            setattr(sys, name, open(opened, "w" if number else "r"))  # noqa: SIM115
    if closed:
        raise ReconError("Standard output is closed, so the answer has nowhere to go.", "Send it to a file, or to /dev/null.")


def usage(error: click.UsageError) -> Complaint:
    """Return what click could not place as a sentence like every other."""
    path = error.ctx.command_path if error.ctx else "recon"
    sentence = error.format_message().strip()
    return Complaint(ReconError(sentence if sentence.endswith((".", "?")) else f"{sentence}.", f"See {path} --help."))


def remarking(otherwise: Callable[..., None]) -> Callable[..., None]:
    """Return how warnings are shown: recon's own as sentences like its errors, any other as ``otherwise`` does."""

    def show(message: Warning | str, category: type[Warning], *rest: object, **named: object) -> None:
        if not issubclass(category, Remark):
            return otherwise(message, category, *rest, **named)
        return remark("warning: ", "yellow", printable(str(message)))

    return show


class Commands(click.Group):
    """A command for each file of ``recon_cli/commands``, and one way out for all of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return registry.names("commands")

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        del ctx
        if name not in registry.names("commands"):
            return None
        command: click.Command = registry.load("commands", name).command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in registry.names("commands") and not args[0].startswith("-"):
            raise unknown("command", args[0], registry.names("commands"))
        return super().resolve_command(ctx, args)

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with Unread.instead():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with Unread.instead(), warnings.catch_warnings():
            warnings.showwarning = remarking(warnings.showwarning)
            return super().invoke(ctx)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line and exit: 0 it holds, 1 refuted, 2 the user's mistake, 70 a bug, 130 Ctrl-C, 141 nobody reads on."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        with environment_kept(), interruptible(), garbage.seldom_searched():
            code = self.outcome(args, prog_name=prog_name, complete_var=complete_var, **extra)
        sys.exit(code)

    def outcome(self, args: Sequence[str] | None = None, **extra: Any) -> int:
        """Return the exit code of a command line, and show on stderr why, where that is no verdict."""
        complaint: click.ClickException
        try:
            reopen_standard_streams()
            code: int | None = super().main(args, standalone_mode=False, **extra)
            with Unread.instead():
                sys.stdout.flush()
            return code or 0
        except click.UsageError as error:  # a lone "recon" asks for help
            complaint = error if type(error).__name__ == "NoArgsIsHelpError" else usage(error)
        except click.ClickException as error:
            complaint = error
        except ReconError as error:
            complaint = Complaint(error)
        except (click.Abort, KeyboardInterrupt):
            complaint = Interruption("Interrupted.")
        except Exception as error:
            refusal = from_system(error)
            complaint = Complaint(refusal) if refusal else Bug(traceback.format_exc().rstrip())
        with contextlib.suppress(OSError):  # of a stderr that is full or closed
            complaint.show()
        return complaint.exit_code


@click.command(cls=Commands, help=HELP, context_settings={"help_option_names": ["-h", "--help"]}, epilog=COMPLETION)
@click.version_option(None, "-V", "--version", package_name=DISTRIBUTION, prog_name="recon")
def main() -> None:
    """Run a command line."""
