"""``recon compare``: is the identity true here?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from recon_cli.commands import _evaluated
from recon_cli.commands import _options as options
from recon_cli.commands import _output as output
from recon_cli.runtime import processes, progress

if TYPE_CHECKING:
    from recon_cli.identity.likelihood import Likelihood
    from recon_cli.identity.losses import Loss


@click.command("compare", cls=options.Command)
@click.argument("runs", nargs=-1, metavar="[RUN...]")
@options.likelihood
@options.sigmas
@click.option("--loss", type=options.LossWord(), metavar="NAME", help="Compare the likelihood with this loss instead of its own.")
@click.option("--all", "everything", is_flag=True, help="Compare every likelihood; for those that the data rule out, print why.")
@click.option(
    "--against", type=click.Choice(["torch", "scipy"]),
    help="Compare each nll with the usual torch or scipy calls: how far apart they are, and why.",
)  # fmt: skip
@options.data
@click.option(
    "--recon", type=options.SourceWord(), default="pca", show_default="pca:16", metavar="SOURCE",
    help="Reconstruction: pca:K, mean, noise:S, a file of your model's output, run:FOLDER, or synthetic (the true means).",
)  # fmt: skip
@options.scale
@options.reading
@options.evaluate
@click.option(
    "--recon-scale", type=options.Scale(), metavar="NUMBER|none",
    help="Divide the reconstructions in a file by this. The default follows the same rule as --scale.",
)  # fmt: skip
@options.recon_offset
@options.binarize
@options.engine
@options.gradients
@options.device
@click.option(
    "--dtype", default="auto", show_default=True, metavar="auto|float32|float64|...", help="Number format of both sides."
)
@options.trust
@options.seed
@output.plot
@output.format
def command(
    runs: tuple[str, ...], chosen: tuple[Likelihood, ...], sigmas: tuple[list[float], ...], loss: Loss | None,
    everything: bool, against: str | None, data: str, recon: str, scale: float | None, recon_scale: float | None,
    recon_offset: float, binarize: str | None, engine: str, gradients: str, device: str, dtype: str, trust: bool, seed: int,
    format: str, evaluate: str | None, **reading: Any,
) -> None:  # fmt: skip
    """Measure on your data whether a loss is a likelihood: values and gradients.

    Without arguments it compares gaussian with squared error on the bundled digits, and bernoulli with
    binary cross-entropy on the same digits made 0 or 1. The exit code is 1 if a loss is not the likelihood.

    \b
      recon compare --sigma 0.5
      recon compare --data x.npy --recon xhat.npy --likelihood laplace:scale=0.1
      recon compare --likelihood gaussian --loss l1
      recon compare --all
      recon compare runs/gaussian runs/laplace
      recon compare --likelihood bernoulli --binarize threshold --against torch
      torchrun --nproc-per-node=2 -m recon_cli compare --data x.npy --recon xhat.npy
    """
    if runs:
        from recon_cli.training.shown import show

        options.reject(
            click.get_current_context(), "compare RUN RUN", "chosen", "sigmas", "data", "recon", "against", "everything"
        )
        output.show(show(runs).report(), format)
    from recon_cli.comparison import compare_sources
    from recon_cli.sources import ReadOptions

    options.mutually_exclusive(click.get_current_context(), "against", "loss", "engine", "gradients")
    if against:
        output.without_plot("--against")

    state = reading.pop("weights") if evaluate else None
    recon = f"model:{evaluate}:{state or ''}" if evaluate else recon
    with processes.connected(), progress.bar("measuring", 100) as advance:
        comparison = compare_sources(
            data, recon, [*chosen, *options.gaussians(sigmas)], loss=loss, everything=everything, against=against, engine=engine,
            gradients=gradients, binarize=binarize, scale=scale, recon_scale=recon_scale, recon_offset=recon_offset,
            device=device, dtype=dtype, seed=seed, trust=trust, reading=ReadOptions.asked(reading), progress=advance,
        )  # fmt: skip
    report = comparison.report()
    if evaluate:
        report = _evaluated.of_trained(
            click.get_current_context(), report, evaluate, state, [*chosen, *options.gaussians(sigmas)]
        )
    output.show(report, format)
