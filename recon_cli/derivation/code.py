"""What the code of a likelihood gives at points, as plain numbers: the only place here that runs torch."""

from __future__ import annotations

import gc
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from recon_cli.derivation.points import Setting
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.regions import Circle, Simplex, Sphere

if TYPE_CHECKING:
    from torch import Tensor

DRAWS, KEPT, DRAWN = 1 << 15, 1 << 11, 2  # of a sample, of it in order, and for how many settings

Measured = dict[str, Any]


class Aside:
    """The code's numbers for several likelihoods, computed in a process beside this one while sympy works.

    Importing torch takes longer than most proofs. Where it is imported already, or a process cannot be
    forked, the numbers are computed here, when they are asked for.
    """

    def __init__(self, jobs: Sequence[Sequence[Setting]]) -> None:
        self.jobs, self.ready, self.child = jobs, [], 0
        if jobs and "torch" not in sys.modules and sys.platform == "linux":
            source, sink = os.pipe()
            self.child = os.fork()
            if self.child == 0:
                os.close(source)
                self.work(sink)
            os.close(sink)
            self.source = os.fdopen(source)

    def work(self, sink: int) -> None:
        """All jobs, a line each, in the other process, which ends here."""
        gc.disable()  # of what torch's import makes nothing is garbage
        try:
            import torch

            torch.set_num_threads(1)
            with os.fdopen(sink, "w") as file:
                for job in self.jobs:
                    file.write(json.dumps(measured(job)) + "\n")
                    file.flush()
        finally:
            os._exit(0)

    def next(self, job: Sequence[Setting]) -> list[Measured]:
        """The numbers for the next of the jobs, which is this."""
        if self.child:
            line = self.source.readline()
            if line:
                return json.loads(line)
            self.close()
        return measured(job)

    def close(self) -> None:
        """End the other process."""
        if self.child:
            self.source.close()
            os.kill(self.child, signal.SIGKILL)
            os.waitpid(self.child, 0)
            self.child = 0


def measured(settings: Sequence[Setting]) -> list[Measured]:
    """For each setting the code's numbers by what they are; of what raised, the error as text."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [one(setting, index < DRAWN) for index, setting in enumerate(settings)]


def one(setting: Setting, drawn: bool) -> Measured:
    """The numbers of one setting."""
    import torch

    side, found = setting.side, {}

    def tensor(rows: Sequence[Sequence[float]], vectors: bool) -> Tensor:
        whole = torch.tensor(rows, dtype=torch.float64)
        return whole if vectors else whole[:, 0]

    def note(name: str, values: Callable[[], Any]) -> None:
        try:
            value = values()
            found[name] = value.detach().double().tolist() if isinstance(value, torch.Tensor) else value
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"

    x = tensor(setting.xs, bool(side.event))
    mu, raw = (tensor(rows, bool(side.event or side.head)) for rows in (setting.mus, setting.raws))

    def gradient() -> Tensor:
        point = mu.clone().requires_grad_()
        (slope,) = torch.autograd.grad(side.nll(x, point).sum(), point)
        return slope.reshape(len(mu), -1)

    def moments() -> Any:
        pair = side.moments(mu)
        return None if pair is None else [part.tolist() for part in pair]

    note("nll", lambda: side.nll(x, mu))
    note("gradient", gradient)
    note("nll of the raw output", lambda: side.nll_raw(x, raw))
    note("slope", lambda: float(side.slope))
    note("offset", lambda: side.offset(x))
    note("gap", lambda: side.gap(mu))
    if type(side).normaliser is not Likelihood.normaliser:
        note("normaliser", lambda: float(side.normaliser))
    for index, (loss, slope) in enumerate(side.losses.items()):
        note(f"loss {index}", lambda loss=loss: loss(x, mu if loss.link.formula == "r" else raw))
        note(f"slope {index}", lambda slope=slope: float(slope))
    note("link", lambda: side.link.inverse(raw).reshape(len(raw), -1))
    note("moments", moments)
    if drawn:
        note("sample", lambda: draws(side, mu[0]))
    return found


def draws(side: Likelihood, mu: Tensor) -> list[float]:
    """Some of a sample for one mean, in order; of vectors their angles to it, of classes which they are."""
    import torch

    values = side.sample(mu.expand(DRAWS, *mu.shape).contiguous(), torch.Generator().manual_seed(1))
    if isinstance(side.support, Simplex):
        values = values.argmax(dim=-1)
    if isinstance(side.support, Sphere):
        across = values.mean(dim=0) - (values.mean(dim=0) @ mu) * mu
        if float(across.norm()) > 5 / math.sqrt(DRAWS):
            raise ArithmeticError("the draws lean to one side of their mean")
        values = (values @ mu).clamp(-1, 1).acos()
    if isinstance(side.support, Circle):
        values = mu + (values - mu + math.pi) % (2 * math.pi) - math.pi
    step = DRAWS // KEPT
    return values.double().flatten().sort().values[step // 2 :: step].tolist()
