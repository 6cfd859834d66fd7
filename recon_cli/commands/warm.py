"""``recon warm``: make ahead what makes large comparisons fast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from recon_cli.commands import _options as options
from recon_cli.commands import _output as output
from recon_cli.runtime import progress

if TYPE_CHECKING:
    from recon_cli.identity.likelihood import Likelihood
    from recon_cli.identity.losses import Loss


@click.command("warm", cls=options.Command)
@click.argument("words", nargs=-1, metavar="[LIKELIHOOD]...", type=options.LikelihoodWord())
@click.option("--loss", type=options.LossWord(), metavar="NAME", help="For this loss instead of the likelihood's own.")
@click.option(
    "--dtype", type=click.Choice(["float32", "float64"]), default="float32", show_default=True, help="Number format of the data."
)
@click.option(
    "--length", type=click.IntRange(1), default=10, show_default=True, metavar="NUMBER",
    help="Length of vectors, for likelihoods of vectors: how many classes there are.",
)  # fmt: skip
@output.format
def command(words: tuple[Likelihood, ...], loss: Loss | None, dtype: str, length: int, format: str) -> None:
    """Compile kernels for recon compare ahead of time, and keep them.

    A kernel passes over the data once. It is made for a likelihood at any noise, in about ten seconds, by a C++ compiler.
    recon compare takes the kernels that are kept from four million numbers on. Without arguments recon warm makes those of
    the usual likelihoods.

    \b
      recon warm
      recon warm gaussian laplace
      recon warm categorical --length 1000
      recon warm gaussian --dtype float64
    """
    from recon_cli.comparison.warming import USUAL, warm
    from recon_cli.likelihoods import parse

    chosen = words or tuple(map(parse, USUAL))
    with progress.bar("compiling", len(chosen)) as advance:
        report = warm(*chosen, loss=loss, dtype=dtype, length=length, progress=advance)
    output.show(report, format)
