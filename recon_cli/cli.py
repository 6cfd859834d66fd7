"""Finds the commands, turns a ReconError into a message and exit code 2."""

from __future__ import annotations

import os
from typing import Any

import click

from recon_cli import __version__, processes, registry
from recon_cli.errors import ReconError, from_system, unknown

COMPLETION = """\b
Shell completion (bash; zsh and fish likewise):
  eval "$(_RECON_COMPLETE=bash_source recon)"
"""


class Complaint(click.ClickException):
    """A ReconError as click shows one."""

    exit_code = 2

    def __init__(self, error: ReconError) -> None:
        super().__init__(error.message)
        self.hint = error.hint
        self.silent = processes.said_elsewhere(error)

    def show(self, file: Any = None) -> None:
        if self.silent:  # the first process says it for all
            return
        colour = False if "NO_COLOR" in os.environ else None
        click.echo(click.style("error: ", fg="red", bold=True) + self.message, err=True, color=colour)
        if self.hint:
            click.echo(click.style(" hint: ", fg="cyan", bold=True) + self.hint, err=True, color=colour)


def usage(error: click.UsageError) -> Complaint:
    """A word that click could not place, as a sentence like every other."""
    path = error.ctx.command_path if error.ctx else "recon"
    said = error.format_message().strip()
    return Complaint(ReconError(said if said.endswith((".", "?")) else f"{said}.", f"See {path} --help."))


class Commands(click.Group):
    """A command for each file of ``recon_cli/commands``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return registry.names("commands")

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in registry.names("commands"):
            return None
        return registry.load("commands", name).command

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            if type(error).__name__ == "NoArgsIsHelpError":  # a lone "recon" asks for help
                raise
            raise usage(error) from error

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in registry.names("commands") and not args[0].startswith("-"):
            raise Complaint(unknown("command", args[0], registry.names("commands")))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ReconError as error:
            raise Complaint(error) from error
        except click.UsageError as error:
            raise usage(error) from error
        except KeyboardInterrupt:
            click.echo("\nInterrupted.", err=True)
            ctx.exit(130)
        except (MemoryError, OSError, RuntimeError) as error:
            known = from_system(error)
            if known is None:
                raise
            raise Complaint(known) from error


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=COMPLETION)
@click.version_option(__version__, prog_name="recon")
def main() -> None:
    """A reconstruction loss is a likelihood in disguise.

    \b
        -log p(x | mu)  =  a * loss(x, mu)  +  b(x)  +  c(mu)

    MSE is a Gaussian with constant sigma, BCE a Bernoulli, L1 a Laplace. recon proves that line,
    measures it on data, and shows what it changes.
    """
