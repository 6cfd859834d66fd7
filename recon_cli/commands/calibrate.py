"""``recon calibrate``: for which noise?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from recon_cli.commands import _options as options
from recon_cli.runtime import progress

if TYPE_CHECKING:
    from recon_cli.identity.losses import Loss


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
@click.option(
    "--likelihood", type=options.LikelihoodWord(keep=True), multiple=True, metavar="NAME|FILE.py:Class",
    help="Fit this one, and no other but those given; all of them otherwise.",
)  # fmt: skip
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
@click.pass_context
def command(
    ctx: click.Context, data: str | None, recon: str | None, rate: float | None, latent: int | None,
    shape: tuple[int, ...] | None, batch_size: int | None, sigma: float | None, sigma2: list[float] | None,
    loss: Loss | None, reduction: str | None, kl_weight: float | None, kl_reduction: str | None, keep: str | None,
    likelihood: tuple[str, ...], reported: str | None, dim: int | None, beta: float | None, rounding: float | None,
    plot: str | None, scale: float | None, recon_scale: float | None, binarize: str | None, trust: bool, seed: int,
    format: str,
) -> None:  # fmt: skip
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
        own = ("reported", "dim", "sigma", "beta", "rounding", "seed", "format")
        others = {name: None if value == () else value for name, value in ctx.params.items() if name not in own}
        judged = calibration.judge(reported, dim=dim, sigma=sigma, beta=beta, rounding=rounding, **others)
        options.show(judged.report(), format)
    calibration.plottable(plot)
    hint = "It goes with --reported; the shape of a sample is --shape, a weight on the KL --kl-weight."
    calibration.reject({"dim": dim, "beta": beta, "rounding": rounding}, "data", hint)
    choices = calibration.Choices(
        latent, shape, batch_size, sigma, sigma2, loss, reduction, kl_weight, kl_reduction, keep, likelihood
    )
    with progress.bar("calibrating", 100) as advance:
        result = calibration.calibrate_sources(
            data, recon, choices, scale=scale, recon_scale=recon_scale, binarize=binarize, rate=rate, seed=seed, trust=trust,
            progress=advance,
        )  # fmt: skip
    if plot is not None:
        calibration.plot(result, plot)
    options.show(result.report(), format)
