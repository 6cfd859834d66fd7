"""``recon calibrate``: for which noise?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from recon_cli.commands import _evaluated
from recon_cli.commands import _options as options
from recon_cli.commands import _output as output
from recon_cli.runtime import progress

if TYPE_CHECKING:
    from recon_cli.identity.losses import Loss


@click.command("calibrate", cls=options.Command)
@click.option(
    "--data",
    type=options.SourceWord(),
    metavar="SOURCE",
    help="Data: digits (bundled), a file or a folder of images, as in recon compare.",
)
@click.option(
    "--recon",
    type=options.SourceWord(),
    metavar="SOURCE",
    help="Reconstruction of the data: a file of your model's output, pca:K, run:FOLDER, ...",
)
@click.option(
    "--rate",
    type=float,
    metavar="NATS",
    help="KL of the model behind --recon, per sample: gives its distance to the Gaussian R(D).",
)
@click.option("--latent", type=int, metavar="NUMBER", help="Number of latents, K.")
@click.option("--shape", type=options.Shape(), metavar="1x28x28", help="Shape of one sample; not needed with --data.")
@click.option(
    "--batch-size", type=int, metavar="NUMBER", help="Number of samples in a batch, B; needed if a weight depends on it."
)
@click.option("--sigma", type=float, metavar="NUMBER", help="Sigma whose weights to print, instead of the fitted one.")
@click.option("--sigma2", type=options.Numbers(), metavar="NUMBER[,...]", help="Values of sigma squared to tabulate.")
@click.option(
    "--loss",
    type=options.LossWord(),
    metavar="NAME",
    help="Loss in your code (mse, l1, bce, ...), to convert its KL weight to a sigma.",
)
@click.option("--reduction", metavar="NAME", help="Reduction of that loss: sum, mean, batch-mean, mean-elements, half-sum, ...")
@click.option("--kl-weight", type=float, metavar="NUMBER", help="Weight of the KL beside that loss.")
@click.option("--kl-reduction", metavar="NAME", help="Reduction of that KL: sum, batch-mean, mean-latents, mean.")
@click.option("--keep", metavar="NAME[,NAME]", help="Convert the weight to other reductions, as in sum,batch-mean.")
@click.option(
    "--likelihood", type=options.LikelihoodWord(keep=True), multiple=True, metavar="NAME|FILE.py:Class",
    help="Fit only this likelihood; repeatable. Without it, all of them.",
)  # fmt: skip
@click.option("--reported", metavar="NLL|FILE.csv", help="Check whether a published nll (or a CSV of many) is possible.")
@click.option("--dim", type=int, metavar="NUMBER", help="Number of elements of a sample, with --reported.")
@click.option("--beta", type=float, metavar="NUMBER", help="Noise of the published number, with --reported, instead of --sigma.")
@click.option(
    "--rounding", type=float, metavar="NUMBER", help="Rounding of the published number, with --reported: how far off it may be."
)
@click.option("--plot", metavar="FILE", help="Draw the spectrum, R(D) and the nll into a png, svg or pdf file.")
@options.scale
@options.reading
@options.evaluate
@click.option("--recon-scale", type=options.Scale(), metavar="NUMBER|none", help="Divide the reconstructions in a file by this.")
@options.recon_offset
@options.binarize
@options.trust
@options.seed
@output.format
@click.pass_context
def command(
    ctx: click.Context, /, data: str | None, recon: str | None, rate: float | None, latent: int | None,
    shape: tuple[int, ...] | None, batch_size: int | None, sigma: float | None, sigma2: list[float] | None, loss: Loss | None,
    reduction: str | None, kl_weight: float | None, kl_reduction: str | None, keep: str | None,
    likelihood: tuple[str, ...], reported: str | None,
    dim: int | None, beta: float | None, rounding: float | None, plot: str | None, scale: float | None,
    recon_scale: float | None, recon_offset: float, binarize: str | None, trust: bool, seed: int, format: str,
    evaluate: str | None, **reading: Any,
) -> None:  # fmt: skip
    """Find the sigma for your data and the weight on the KL; predict posterior collapse.

    From data: the noise that fits each likelihood best, the latents that stay active at each sigma, and the weight to
    write under every reduction. From the weight in your code (--loss): the noise that it assumes. The exit code is 1
    if the given sigma or weight is predicted to collapse, or if a reported number is impossible.

    \b
      recon calibrate
      recon calibrate --data x.npy --recon xhat.npy --latent 16 --plot calibration.png
      recon calibrate --loss mse --reduction mean --kl-weight 0.00025 --kl-reduction batch-mean --shape 3x64x64
      recon calibrate --reported -1200 --dim 784 --beta 0.01 --rounding 0.5
    """
    from recon_cli import calibration
    from recon_cli.sources import ReadOptions

    if reported is not None:
        own = ("reported", "dim", "sigma", "beta", "rounding", "seed", "format")
        others = {name: value for name, value in options.explicitly_set(ctx).items() if name not in own}
        judged = calibration.judge(reported, dim=dim, sigma=sigma, beta=beta, rounding=rounding, **others)
        output.show(judged.report(), format)
    calibration.plottable(plot)
    hint = "It goes with --reported; the shape of a sample is --shape, a weight on the KL --kl-weight."
    calibration.reject({"dim": dim, "beta": beta, "rounding": rounding}, "data", hint)
    state = reading.pop("weights") if evaluate else None
    if evaluate:
        data, recon = data or "digits", f"model:{evaluate}:{state or ''}"
    choices = calibration.Choices(
        latent, shape, batch_size, sigma, sigma2, loss, reduction, kl_weight, kl_reduction, keep, likelihood
    )
    with progress.bar("calibrating", 100) as advance:
        result = calibration.calibrate_sources(
            data, recon, choices, scale=scale, recon_scale=recon_scale, recon_offset=recon_offset, binarize=binarize, rate=rate,
            seed=seed, trust=trust, reading=ReadOptions.asked(reading), progress=advance,
        )  # fmt: skip
    if plot is not None:
        calibration.plot(result, plot)
    report = result.report()
    output.show(_evaluated.of_trained(ctx, report, evaluate, state) if evaluate else report, format)
