"""``recon calibrate``: for which noise?"""

from __future__ import annotations

from typing import Any

import click

from recon_cli.commands import _options as options
from recon_cli.runtime import progress


@click.command("calibrate", cls=options.Command)
@click.option("--data", type=options.SourceWord(), metavar="SOURCE", help="As in recon compare: digits, a file, images.")
@click.option("--recon", type=options.SourceWord(), metavar="SOURCE", help="Its reconstruction: your model's output, pca:K, ...")
@click.option(
    "--rate", type=float, metavar="NATS", help="The KL of the model behind it, per sample: its distance to Gaussian R(D)."
)
@click.option("--latent", type=int, metavar="NUMBER", help="Latents, K.")
@click.option("--shape", type=options.Shape(), metavar="1x28x28", help="Of one sample; read off the data where there are any.")
@click.option("--batch-size", type=int, metavar="NUMBER", help="Samples in a batch, B, where a weight depends on it.")
@click.option("--sigma", type=float, metavar="NUMBER", help="The noise whose weights are wanted, unless the fitted one.")
@click.option("--sigma2", type=options.Numbers(), metavar="NUMBER[,...]", help="The noises to look at, sigma squared.")
@click.option("--loss", type=options.LossWord(), metavar="NAME", help="The way back: the loss in your code (mse, l1, bce, ...),")
@click.option("--reduction", metavar="NAME", help="how it is reduced: sum, mean, batch-mean, mean-elements, half-sum, ...,")
@click.option("--kl-weight", type=float, metavar="NUMBER", help="what the KL is multiplied with,")
@click.option("--kl-reduction", metavar="NAME", help="and how that is reduced: sum, mean-batch, mean-latents, mean.")
@click.option("--keep", metavar="NAME[,NAME]", help="What the weight becomes under other reductions, as in sum,mean-batch.")
@click.option("--reported", metavar="NLL|FILE.csv", help="Is that published number possible? With")
@click.option("--dim", type=int, metavar="NUMBER", help="the elements of a sample,")
@click.option("--beta", type=float, metavar="NUMBER", help="the noise, if not as --sigma,")
@click.option("--rounding", type=float, metavar="NUMBER", help="and how far off the number may be.")
@click.option("--plot", metavar="FILE", help="Draw spectrum, R(D) and nll: png, svg or pdf.")
@options.scale
@click.option("--recon-scale", type=options.Scale(), metavar="NUMBER|none", help="Divide the reconstructions in a file by this.")
@options.binarize
@options.trust
@options.seed
@options.format
def command(format: str, plot: str | None, reported: str | None, dim: Any, beta: Any, rounding: Any, **settings: Any) -> None:
    """Which noise, which weight on the KL, and will the posterior collapse?

    From data: the noise that each likelihood would choose, the latents that survive at each sigma, and the weight to
    write in everyone's convention; from a weight: the noise it assumes. Exits with 1 where the sigma or the weight
    that was asked for is predicted to collapse, and for a reported number that is impossible.

    \b
      recon calibrate
      recon calibrate --data x.npy --recon xhat.npy --latent 16 --plot calibration.png
      recon calibrate --loss mse --reduction mean --kl-weight 0.00025 --kl-reduction mean-batch --shape 3x64x64
      recon calibrate --reported -1200 --dim 784 --beta 0.01 --rounding 0.5
    """
    from recon_cli import calibration

    if reported is not None:
        found = calibration.judge(reported, dim=dim, beta=beta, rounding=rounding, plot=plot, **settings)
        options.show(found.report(), format)
    calibration.plottable(plot)
    with progress.bar("calibrating", 100) as advance:
        found = calibration.calibrate_sources(progress=advance, dim=dim, beta=beta, rounding=rounding, **settings)
    if plot is not None:
        calibration.plot(found, plot)
    options.show(found.report(), format)
