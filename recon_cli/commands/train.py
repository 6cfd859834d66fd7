"""``recon train``: what does it change?"""

from __future__ import annotations

from typing import Any

import click

from recon_cli import options


class Open(options.LikelihoodWord):
    """Checked, and stays a word: ``gaussian`` leaves the noise to ``--sigma``, ``gaussian:sigma=1`` does not."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        super().convert(value, param, ctx)
        return value


@click.command("train")
@click.option(
    "--likelihood", type=Open(), default="gaussian", show_default=True, metavar="NAME[:PARAM=VALUE]",
    help="The noise model; a parameter given here is fixed.",
)  # fmt: skip
@click.option(
    "--sigma", metavar="NUMBER|learned|optimal", show_default="learned",
    help="Its noise: fixed, trained with the network, or the best for each batch.",
)  # fmt: skip
@options.data
@options.scale
@options.binarize
@click.option("--holdout", type=float, default=0.2, show_default=True, metavar="FRACTION", help="Of the samples, kept back.")
@click.option("--epochs", type=int, default=100, show_default=True, help="Passes over the training samples.")
@click.option("--batch-size", type=int, default=128, show_default=True, help="Samples in a step.")
@click.option("--latent", type=int, default=24, show_default=True, help="Latents.")
@click.option("--hidden", type=int, default=256, show_default=True, help="Width of the hidden layers.")
@click.option("--lr", type=float, default=0.002, show_default=True, help="Learning rate.")
@click.option("--optimizer", default="adam", show_default=True, metavar="NAME", help="One of torch's: adam, adamw, sgd, ...")
@click.option("--beta", type=float, default=1.0, show_default=True, help="Weight on the KL.")
@options.seed
@options.device
@click.option("--out", metavar="DIR", show_default="runs/NAME", help="The run folder; never overwritten.")
@options.format
def command(likelihood: str, epochs: int, out: str | None, format: str, **settings: Any) -> None:
    """Train a small VAE under a likelihood and watch both sides.

    Each epoch: nll, matching loss, KL, negative ELBO, noise, active latents, and the ratio of the two
    losses' gradients at the decoder, measured beside predicted. Exits with 1 if the posterior collapses.

    \b
      recon train
      recon train --sigma 1
      recon train --likelihood laplace --sigma optimal --data x.npy --holdout 0
    """
    from recon_cli import progress
    from recon_cli.training import fresh, train

    folder = fresh(likelihood.partition(":")[0]) if out is None else out
    try:
        with progress.bar("training", epochs) as advance:
            found = train(likelihood=likelihood, epochs=epochs, out=folder, progress=advance, **settings)
    except KeyboardInterrupt:
        click.echo(f"\nStopped. The epochs so far are in {folder}/metrics.jsonl.", err=True)
        raise
    options.show(found.report(), format)
