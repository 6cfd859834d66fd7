"""``recon bench``: how fast is it here?"""

from __future__ import annotations

from typing import Any

import click

from recon_cli import options


@click.command("bench")
@options.likelihood
@click.option(
    "--elements", type=options.Numbers(), default="1048576,8388608", show_default=True, metavar="NUMBER[,...]",
    help="How many, a row each.",
)  # fmt: skip
@click.option("--repeats", type=int, default=5, show_default=True, help="Of which the median is shown.")
@options.engine
@options.device
@options.format
def command(chosen: Any, elements: Any, repeats: int, engine: str, device: str, format: str) -> None:
    """Time the measurement beside what people write, and beside one read of the data.

    Both sides in one run, in turn, medians; ratios are what to compare between machines.

    \b
      recon bench
      recon bench --likelihood laplace --elements 1e6,1e8 --format json
    """
    from recon_cli import progress
    from recon_cli.benchmarking import USUAL, bench

    sizes = [int(size) for size in elements]
    with progress.bar("timing", len(chosen or USUAL) * len(sizes)) as advance:
        report = bench(*chosen, elements=sizes, repeats=repeats, engine=engine, device=device, progress=advance)
    options.show(report, format)
