"""``recon derive``: is the identity true?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from recon_cli.commands import _options as options
from recon_cli.commands import _output as output

if TYPE_CHECKING:
    from recon_cli.identity.likelihood import Likelihood


@click.command("derive", cls=options.Command)
@click.argument(
    "words", nargs=-1, metavar="[LIKELIHOOD|FILE.py:Class[:PARAM=VALUE]]...", type=options.LikelihoodWord(symbols=True)
)
@options.sigmas
@click.option(
    "--shape", type=options.Shape(), metavar="1x28x28", help="Shape of one sample; substitutes its number of elements for D."
)
@click.option("--prove", is_flag=True, help="Prove anew, here and now, what the table of proofs has.")
@click.option("--list", "everything", is_flag=True, help="List every likelihood and its loss in one table, each proved.")
@output.plot
@output.format
def command(
    words: tuple[Likelihood | type[Likelihood], ...], sigmas: tuple[list[float], ...], shape: tuple[int, ...] | None,
    prove: bool, everything: bool, format: str,
) -> None:  # fmt: skip
    """Derive a loss from its likelihood, step by step; SymPy checks each step.

    Without arguments it derives squared error from gaussian and binary cross-entropy from bernoulli. What no number and no
    class of yours enters is shown from a table of proofs, made of this very code by its tests; --prove proves it anew. The
    exit code is 1 if a step does not check.

    \b
      recon derive
      recon derive --sigma 0.5 --shape 1x28x28
      recon derive laplace:scale=0.2 --format latex
      recon derive laplace -o laplace.html
      recon derive mine.py:Gamma
      recon derive --list
      recon derive --list --prove
    """
    from recon_cli.derivation.table import catalogue, report

    if everything:
        output.without_plot("--list")
        options.reject(click.get_current_context(), "derive --list", "words", "sigmas", "shape")
        output.show(catalogue(prove), format)
    output.show(report([*words, *options.gaussians(sigmas)], shape, prove), format)
