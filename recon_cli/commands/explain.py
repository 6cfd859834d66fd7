"""``recon explain``: what does a word mean?"""

from __future__ import annotations

import click

from recon_cli import registry
from recon_cli.commands import _options as options
from recon_cli.commands import _output as output


def known() -> list[str]:
    """Return the words that load no engine: likelihoods and defects."""
    return [*registry.names("likelihoods"), *registry.names("auditing/defects")]


@click.command("explain", cls=options.Command)
@click.argument("word", type=options.Completed(known), required=False, metavar="[WORD]")
@output.format
def command(word: str | None, format: str) -> None:
    """Explain a word: a defect, a likelihood, a loss, a column of a table, or a term.

    Without a word it lists every defect that recon audit finds.

    \b
      recon explain recon-mean
      recon explain laplace
      recon explain ratio_median
      recon explain "posterior collapse"
    """
    from recon_cli.guide import words

    output.show(words.listing("defects") if word is None else words.explanation(word), format)
