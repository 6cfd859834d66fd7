"""``recon show``: what has a run come to?"""

from __future__ import annotations

import click

from recon_cli.commands import _options as options
from recon_cli.commands import _output as output


@click.command("show", cls=options.Command)
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@output.format
def command(runs: tuple[str, ...], format: str) -> None:
    """Show the result of a run of recon train; show several runs side by side, with the options that differ.

    \b
      recon show runs/gaussian
      recon show runs/gaussian runs/laplace
    """
    from recon_cli.training.shown import show

    output.show(show(runs).report(), format)
