"""``recon bench``: how fast is it here?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from recon_cli.commands import _options as options
from recon_cli.commands import _output as output
from recon_cli.runtime import progress

if TYPE_CHECKING:
    from recon_cli.identity.likelihood import Likelihood


@click.command("bench", cls=options.Command)
@click.argument("what", type=click.Choice(["compare", "train"]), default="compare", metavar="[compare|train]")
@options.likelihood
@click.option(
    "--elements", type=options.Numbers(), default="1048576,16777216", show_default=True, metavar="NUMBER[,...]",
    help="Numbers of elements to time, each on a row.",
)  # fmt: skip
@click.option("--repeats", type=int, default=5, show_default=True, help="Number of repeats; the result is their median.")
@click.option(
    "--engine", type=click.Choice(["both", "eager", "compile"]), default="both", show_default=True,
    help="Compute piece by piece (eager), compiled into one pass, or both.",
)  # fmt: skip
@click.option("--all", "everything", is_flag=True, help="Time every likelihood there is.")
@click.option("--files", is_flag=True, help="Also time reading from files, beside a sum over a memory map of them.")
@click.option("--sparse", is_flag=True, help="Time reading sparse files instead, of any size: does the cost of an element grow?")
@click.option(
    "--model", type=click.Choice(["mlp", "conv"]), default="mlp", show_default=True, help="Model that bench train trains."
)
@options.device
@output.format
def command(
    what: str, chosen: tuple[Likelihood, ...], elements: list[float], repeats: int, engine: str, everything: bool,
    files: bool, sparse: bool, model: str, device: str, format: str,
) -> None:  # fmt: skip
    """Time recon beside the usual torch code, and measure the memory of both.

    recon runs both sides in turn and prints medians. Compare the ratios between machines, not the seconds. bench train
    times an epoch of recon train beside its matrix products alone and beside the usual tutorial's loop.

    \b
      recon bench
      recon bench --likelihood laplace --elements 1e6,1e7,1e8 --files
      recon bench --all --engine eager --format json
      recon bench --sparse --elements 1048576,67108864,1073741824 --repeats 3
      recon bench train
      recon bench train --model conv
    """
    if what == "train":
        from recon_cli.benchmark.train import bench_training

        options.reject(click.get_current_context(), "bench train", "elements", "everything", "files", "sparse")
        names = [str(likelihood) for likelihood in chosen] or ["gaussian"]
        with progress.bar("timing", repeats) as advance:
            report = bench_training(names[0], repeats=repeats, engine=engine, device=device, model=model, progress=advance)
        output.show(report, format)
    if sparse:
        from recon_cli.benchmark.sparse import bench_sparse

        options.reject(click.get_current_context(), "bench --sparse", "files", "device")
        with progress.bar("timing", max(1, len(chosen)) * len(elements)) as advance:
            report = bench_sparse(*chosen, elements=elements, repeats=repeats, engine=engine, progress=advance)
        output.show(report, format)
    from recon_cli import likelihoods
    from recon_cli.benchmark.compare import USUAL, bench

    timed = likelihoods.names() if everything else chosen or USUAL
    with progress.bar("timing", len(timed) * len(elements)) as advance:
        report = bench(*timed, elements=elements, repeats=repeats, engine=engine, device=device, files=files, progress=advance)
    output.show(report, format)
