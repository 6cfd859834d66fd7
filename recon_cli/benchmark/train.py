"""How fast is training here? An epoch beside its matrix products alone, and beside the usual tutorial's loop, in one run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy
import torch

from recon_cli.benchmark import rivals
from recon_cli.benchmark.compare import clock, load, timed
from recon_cli.benchmark.rivals import BATCH, COLOUR, ELEMENTS, HIDDEN, LATENT, PICTURES, ROWS
from recon_cli.errors import ReconError
from recon_cli.report import Report, Table, column
from recon_cli.runtime import devices
from recon_cli.training.loop import walk
from recon_cli.training.plan import Plan


@dataclass(frozen=True)
class EpochTiming:
    """Seconds of an epoch in one way: see :func:`bench_training`."""

    way: str = column("an epoch of", "*")
    seconds: float = column("seconds", brief=True)
    least: float = column("least")
    most: float = column("most")
    samples_per_second: float = column("samples/s")
    over_products: float | None = column("/ products", brief=True)
    tutorial_over: float = column("tutorial / it", brief=True)
    first: float = column("first time")


def bench_training(
    likelihood: str = "gaussian",
    *,
    repeats: int = 5,
    engine: str = "both",
    device: str = "auto",
    model: str = "mlp",
    progress: Callable[[int, str], None] | None = None,
) -> Report:
    """Return seconds for an epoch of 10,000 images of 28x28, a VAE of 784-400-20 in batches of 128: medians of ``repeats``.

    With the ``model`` conv, of 1,024 images of 64x64 in colours.

    products
        the eleven matrix products of each step, forward and backward, and nothing else; not of convolutions.
    recon
        steps and the figures of the epoch; ``compiled`` with ``--compile``, bf16 with ``--bf16``.
    tutorial
        the loop that everybody starts from: a DataLoader over bytes converted one at a time, BCE, torch's Adam, ``.item()``
        each step; of conv, with recon's layers, and once more with transposed convolutions.
    pythae
        its own trainer, on the same sizes and floats in memory, where it is installed (pip install 'recon-loss[rivals]').

    Raises ReconError for fewer repeats than one.
    """
    if repeats < 1:
        raise ReconError("A benchmark is of at least one epoch.", "Try --repeats 5.")
    where = devices.device(device)
    mlp = model == "mlp"
    count, shape = (ROWS, rivals.SHAPE) if mlp else (PICTURES, COLOUR)
    images = numpy.random.default_rng(0).integers(0, 256, (count, *shape), dtype=numpy.uint8)
    ways: dict[str, Callable[[], object]] = {"products": products(where)} if mlp else {}
    ways["recon"] = epoch(images, likelihood, device, model)
    if engine in ("both", "compile"):
        ways["recon, compiled"] = epoch(images, likelihood, device, model, compile=True)
    ways["recon, bf16"] = epoch(images, likelihood, device, model, bf16=True)
    ways["tutorial"] = rivals.tutorial(images, where, model)
    if not mlp:
        ways["tutorial, transposed"] = rivals.tutorial(images, where, "transposed")
    with contextlib.suppress(ImportError):  # not there, or without what it needs
        ways |= {"pythae": rivals.pythae(images, where)} if mlp else {}
    after = None if progress is None else lambda turn, seconds: progress(turn, f"{seconds['recon']:.2f} s")
    busy = load()
    first, seconds = timed(ways, repeats, where, after)
    usual = {name: spread.median for name, spread in seconds.items()}
    rows = [
        EpochTiming(
            way=name,
            seconds=usual[name],
            least=seconds[name].least,
            most=seconds[name].most,
            samples_per_second=count / usual[name],
            over_products=usual[name] / usual["products"] if mlp else None,
            tutorial_over=usual["tutorial"] / usual[name],
            first=first[name],
        )
        for name in ways
    ]
    threads = f", {torch.get_num_threads()} threads" if where.type == "cpu" else ""
    notes = [
        f"{count:,} images of {'x'.join(map(str, shape))}, a VAE of {f'{ELEMENTS}-' if mlp else 'convolutions, '}"
        f"{HIDDEN}-{LATENT}, batches of {BATCH}, on {where}{threads}. {clock(where).capitalize()}, medians of "
        f"{repeats}, each in turn, after a first time that is not counted (it compiles). recon: {likelihood}, its epoch's "
        f"figures included; tutorial: BCE on the same bytes.",
        *busy,
    ]
    return Report("bench", [Table.of("train", EpochTiming, rows)], notes)


def products(where: torch.device) -> Callable[[], None]:
    """Return an epoch's matrix products: four forward, seven backward (none for the data's own gradient)."""
    generator = torch.Generator(where).manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=where)

    x, hidden, code, both = normal(BATCH, ELEMENTS), normal(BATCH, HIDDEN), normal(BATCH, LATENT), normal(BATCH, 2 * LATENT)
    first, second = normal(HIDDEN, ELEMENTS), normal(2 * LATENT, HIDDEN)
    third, fourth = normal(HIDDEN, LATENT), normal(ELEMENTS, HIDDEN)

    def multiply() -> None:
        for _ in range(-(-ROWS // BATCH)):
            x @ first.T, hidden @ second.T, code @ third.T, hidden @ fourth.T
            x @ fourth, x.T @ hidden, hidden @ third, hidden.T @ code, both @ second, both.T @ hidden, hidden.T @ x

    return multiply


def epoch(
    images: numpy.ndarray, likelihood: str, device: str, model: str = "mlp", *, compile: bool = False, bf16: bool = False
) -> Callable[[], object]:
    """Return an epoch of ``recon train``, the next one at each call."""
    plan = Plan.of(
        images, likelihood, device=device, scale=255, holdout=0.0, epochs=1 << 30, batch_size=BATCH, latent=LATENT,
        hidden=HIDDEN, lr=1e-3, model=model, compile=compile, bf16=bf16,
    )  # fmt: skip
    steps = walk(plan.state())
    return lambda: next(steps)
