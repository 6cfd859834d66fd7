"""``recon explain``: what does a defect's code mean?"""

from __future__ import annotations

import click

from recon_cli.commands import _options as options
from recon_cli.commands import _output as output


@click.command("explain", cls=options.Command)
@click.argument("code", required=False, metavar="[CODE]")
@output.format
def command(code: str | None, format: str) -> None:
    """Say what a defect that recon audit finds is, what comes of it and what mends it; without a code, list them all.

    \b
      recon explain recon-mean
      recon explain
    """
    from recon_cli.auditing import defects
    from recon_cli.report import Column, Report, Table

    if code is not None:
        title, *paragraphs = defects.explanation(code).split("\n\n")
        output.show(Report("explain", [], [" ".join(text.split()) for text in paragraphs], lead=[f"{code}: {title}"]), format)
    rows = [{"code": each, "meaning": defects.explanation(each).split("\n")[0]} for each in defects.codes()]
    output.show(Report("explain", [Table("defects", [Column("code", "defect", "*"), Column("meaning", "is")], rows)]), format)
