"""How fast is it here? The measurement beside what people write, and beside reading the data once: both sides in one run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from recon_cli import devices, likelihoods
from recon_cli.comparison import engines
from recon_cli.comparison.against import calls, evaluate, takes_raw
from recon_cli.errors import ReconError
from recon_cli.likelihood import Likelihood
from recon_cli.report import Column, Report, Table

if TYPE_CHECKING:
    from torch import Tensor

USUAL = ("gaussian", "laplace", "bernoulli", "student-t", "poisson")
COLUMNS = (
    Column("likelihood", "likelihood", "*"),
    Column("elements", "elements", ""),
    Column("read", "read, s", "seconds"),
    Column("recon", "recon, s", "seconds"),
    Column("written", "as written, s", "seconds"),
    Column("over_read", "recon / read", "ratios"),
    Column("under_written", "as written / recon", "ratios"),
    Column("gigabytes", "recon, GB/s", "ratios"),
    Column("engine", "engine", ""),
    Column("call", "as written", None),
)


def bench(
    *sides: Likelihood | str,
    elements: Sequence[int] = (1 << 20, 1 << 23),
    repeats: int = 5,
    engine: str = "auto",
    device: str = "auto",
    progress: Callable[[int, str], None] | None = None,
) -> Report:
    """Seconds for values, both gradients, their ratio and every error, in float32: medians of ``repeats``, taken in turn.

    read
        a dot product of data and means: each read once.
    recon
        the measurement, all of it, on every element, by ``engine``.
    written
        what people write: torch's log_prob and its functional loss, each with an autograd gradient, then the
        least, largest and mean ratio. None for a likelihood that torch has no call for.

    Raises ReconError for sizes below 1, and for a device that is not there.
    """
    if repeats < 1 or any(size < 1 for size in elements):
        raise ReconError("A benchmark takes at least one element, at least once.", "Try --elements 1000000 --repeats 5.")
    where, rows = devices.device(device), []
    chosen = [likelihoods.parse(side) if isinstance(side, str) else side for side in sides or USUAL]
    for side in chosen:
        if side.event or side.head:
            raise ReconError(f"{side.name} takes vectors, or several numbers an element; bench times numbers.", "Leave it out.")
        for size in elements:
            rows.append(_row(side, size, repeats, engine, where))
            (progress or (lambda done, words: None))(len(rows), f"{side.name}, {size:,} elements")
    notes = [f"On {where}, float32; {_threads()}. Medians of {repeats}, each taken in turn."]
    return Report("bench", [Table("bench", COLUMNS, rows)], notes)


def _row(side: Likelihood, size: int, repeats: int, engine: str, device: Any) -> dict[str, Any]:
    import torch

    generator = torch.Generator().manual_seed(0)
    mu = torch.empty(size).uniform_(0.05, 0.95, generator=generator)
    x, mu = side.sample(mu, generator).float().to(device), mu.to(device)
    call = next((call for call in calls(side, "torch") if not takes_raw(call)), None)
    ways: dict[str, Callable[[], object]] = {
        "read": lambda: torch.dot(x, mu).item(),
        "recon": lambda: engines.run(engine, side, x, mu, side.loss, side, max(1, size >> 20)),
    }
    if call:
        ways["written"] = lambda: written(side, call, x, mu)
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:  # the first is for warmth
                taken[name].append(time.perf_counter() - start)
    found = {name: statistics.median(times) for name, times in taken.items()}
    return {
        "likelihood": str(side),
        "elements": size,
        **{name: found.get(name) for name in ("read", "recon", "written")},
        "over_read": found["recon"] / found["read"],
        "under_written": found["written"] / found["recon"] if call else None,
        "gigabytes": 2 * 4 * size / found["recon"] / 1e9,
        "call": call,
        "engine": "compile" if engines.compiles(engine, mu) else "eager",
    }


def written(side: Likelihood, call: str, x: Tensor, mu: Tensor) -> tuple[float, float, float]:
    """What people write to see how likelihood and loss relate: two autograd gradients, and their ratio."""
    import torch
    from torch.nn import functional

    mean, own = mu.detach().requires_grad_(), side.loss
    named = own.torch.isidentifier() and own.torch != "poisson_nll_loss"  # which takes a logarithm unless told
    loss = getattr(functional, own.torch)(mean, x, reduction="none", **own.parameters) if named else own(x, mean)
    (of_nll,) = torch.autograd.grad(evaluate(side, call, x, mean, False).sum(), mean)
    (of_loss,) = torch.autograd.grad(loss.sum(), mean)
    ratio = of_nll / of_loss
    return ratio.min().item(), ratio.max().item(), ratio.mean().item()


def _threads() -> str:
    import torch

    count = torch.get_num_threads()
    return f"{count} thread{'s' * (count != 1)}"
