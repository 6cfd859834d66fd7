"""The values of a likelihood's code at points, as plain numbers: the only module here that runs torch."""

from __future__ import annotations

import functools
import gc
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from recon_cli.derivation.points import Setting, compositions, setting_total
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.regions import Circle, CountVector, Simplex, Sphere
from recon_cli.identity.vectors import RealVector

if TYPE_CHECKING:
    from torch import Tensor

DRAWS = 1 << 15  # in a sample
KEPT = 1 << 11  # quantiles of it
DRAWN = 2  # settings for which a sample is drawn

Measured: TypeAlias = dict[str, Any]  # quantity: a number for each event, a number, or the error as text


class Aside:
    """The code's values for several likelihoods, computed in a process beside this one while sympy works.

    Importing torch takes longer than most proofs. If it is imported already, or a process cannot be
    forked, the values are computed in this process when they are asked for.
    """

    def __init__(self, jobs: Sequence[Sequence[Setting]]) -> None:
        self.jobs, self.child = jobs, 0
        if jobs and "torch" not in sys.modules and sys.platform == "linux":
            source, sink = os.pipe()
            self.child = os.fork()
            if self.child == 0:
                os.close(source)
                self.work(sink)
            os.close(sink)
            self.source = os.fdopen(source)

    def work(self, sink: int) -> None:
        """Do all jobs in the other process, write a line of JSON for each, and end the process."""
        gc.disable()  # importing torch makes no garbage
        try:
            import torch

            torch.set_num_threads(1)
            with os.fdopen(sink, "w") as file:
                for job in self.jobs:
                    file.write(json.dumps(measure(job)) + "\n")
                    file.flush()
        finally:
            os._exit(0)

    def next(self, job: Sequence[Setting]) -> list[Measured]:
        """Return the values for the next of the jobs, which is this."""
        if self.child:
            line = self.source.readline()
            if line:
                values: list[Measured] = json.loads(line)
                return values
            self.close()
        return measure(job)

    def close(self) -> None:
        """End the other process."""
        if self.child:
            self.source.close()
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
            self.child = 0


def measure(settings: Sequence[Setting]) -> list[Measured]:
    """Return for each setting the code's values by quantity; of what raises, the error as text."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [measure_one(setting, index < DRAWN) for index, setting in enumerate(settings)]


def measure_one(setting: Setting, has_sample: bool) -> Measured:
    """Return the code's values for one setting, with a sample or without."""
    import torch

    likelihood = setting.likelihood
    results: Measured = {}

    def tensor(rows: Sequence[Sequence[float]], vectors: bool) -> Tensor:
        matrix = torch.tensor(rows, dtype=torch.float64)
        return matrix if vectors else matrix[:, 0]

    def note(quantity: str, function: Callable[[], object]) -> None:
        try:
            value = function()
            results[quantity] = value.detach().double().tolist() if isinstance(value, torch.Tensor) else value
        except Exception as error:
            results[quantity] = f"{type(error).__name__}: {error}"

    x = tensor(setting.xs, bool(likelihood.event))
    mu, raw = (tensor(rows, bool(likelihood.event or likelihood.head)) for rows in (setting.mus, setting.raws))
    if likelihood.event and likelihood.head:
        mu, raw = (rows.reshape(*x.shape, len(likelihood.head)) for rows in (mu, raw))

    def gradient() -> Tensor:
        point = mu.clone().requires_grad_()
        (slope,) = torch.autograd.grad(likelihood.nll(x, point).sum(), point)
        return slope.reshape(len(mu), -1)

    def loss_values(loss: Loss) -> Tensor:
        return loss(x, mu if loss.link.formula == "r" else raw)

    def moments() -> list[list[float]] | None:
        pair = likelihood.moments(mu)
        return None if pair is None else [part.tolist() for part in pair]

    note("nll", lambda: likelihood.nll(x, mu))
    note("gradient", gradient)
    note("nll of the raw output", lambda: likelihood.nll_raw(x, raw))
    note("slope", lambda: float(likelihood.slope))
    note("offset", lambda: likelihood.offset(x))
    note("gap", lambda: likelihood.gap(mu))
    if type(likelihood).normaliser is not Likelihood.normaliser:
        note("normaliser", lambda: float(likelihood.normaliser))
    for index, (loss, slope) in enumerate(likelihood.losses.items()):
        note(f"loss {index}", functools.partial(loss_values, loss))
        note(f"slope {index}", functools.partial(float, slope))
    note("link", lambda: likelihood.link.inverse(raw).reshape(len(raw), -1))
    note("moments", moments)
    if has_sample:
        note("sample", lambda: quantiles(likelihood, mu[0]))
    return results


def quantiles(likelihood: Likelihood, mu: Tensor) -> list[float]:
    """Return quantiles of a sample for one mean: of vectors on a sphere of their angles to it, of one-hot vectors of
    classes, of counts of their places among all of one total; of others of the root of twice what their nll is above the least.
    """
    import torch

    values = likelihood.sample(mu.expand(DRAWS, *mu.shape).contiguous(), torch.Generator().manual_seed(1))
    if isinstance(likelihood.support, Simplex):
        values = values.argmax(dim=-1)
    if isinstance(likelihood.support, CountVector):
        places = {row: i for i, row in enumerate(compositions(setting_total(likelihood), len(mu)))}
        values = torch.tensor([places[tuple(row)] for row in values.tolist()])
    if isinstance(likelihood.support, Sphere):
        across = values.mean(dim=0) - (values.mean(dim=0) @ mu) * mu
        if float(across.norm()) > 5 / math.sqrt(DRAWS):
            raise ArithmeticError("the draws lean to one side of their mean")
        values = (values @ mu).clamp(-1, 1).acos()
    if isinstance(likelihood.support, RealVector):
        centre = likelihood.centre(mu)
        above = likelihood.nll(values, mu.expand(DRAWS, *mu.shape)) - likelihood.nll(centre, mu)
        values = (2 * above.clamp(min=0)).sqrt()
    if isinstance(likelihood.support, Circle):
        values = mu + (values - mu + math.pi) % (2 * math.pi) - math.pi
    step = DRAWS // KEPT
    return values.double().flatten().sort().values[step // 2 :: step].tolist()
