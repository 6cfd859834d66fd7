"""``recon list``: which likelihoods, losses, sources, formats, defects and models are there?"""

from __future__ import annotations

import click

from recon_cli.commands import _options as options
from recon_cli.commands import _output as output

KINDS = ("likelihoods", "losses", "sources", "formats", "defects", "models")


@click.command("list", cls=options.Command)
@click.argument("kind", type=options.Completed(lambda: KINDS), required=False, metavar="[KIND]")
@output.format
def command(kind: str | None, format: str) -> None:
    """List all likelihoods, losses, sources, formats, defects or models.

    \b
      recon list
      recon list likelihoods
    """
    from recon_cli.guide import words

    output.show(words.listing(kind), format)
