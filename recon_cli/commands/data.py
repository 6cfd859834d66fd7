"""``recon data``: what is in a source?"""

from __future__ import annotations

from typing import Any

import click

from recon_cli.commands import _options as options
from recon_cli.commands import _output as output
from recon_cli.runtime import progress


@click.command("data", cls=options.Command)
@click.argument("source", type=options.SourceWord(), default="digits", metavar="[SOURCE]")
@options.scale
@options.reading
@output.format
def command(source: str, scale: float | None, format: str, **reading: Any) -> None:
    """Describe a data source: its shape, its range, and the likelihoods that its values allow.

    \b
      recon data x.npy
      recon data celeba --size 64x64 --colour grey --skip-bad
      recon data table.csv.gz --drop name,date --missing nan
      recon data train-images-idx3-ubyte.gz
      recon data x.npz:images --format json
    """
    from recon_cli.sources import ReadOptions
    from recon_cli.sources._survey import survey

    with progress.bar("reading", 100) as advance:
        report = survey(source, scale, advance, ReadOptions.asked(reading))
    output.show(report, format)
