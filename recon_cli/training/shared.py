"""A run shared by several processes: each takes its part of every batch, and the step is that of the whole batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.runtime import processes
from recon_cli.training.figures import Epoch
from recon_cli.training.loop import OFTEN, State, Terms
from recon_cli.training.noises import NoiseRule, Optimal
from recon_cli.training.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    from recon_cli.models._base import Model

BUFFERS = "forward_sync_buffers"  # between steps; by its older name where torch has that alone
if BUFFERS not in inspect.signature(DistributedDataParallel).parameters:
    BUFFERS = "broadcast_buffers"
APART = (nn.modules.batchnorm._BatchNorm, nn.modules.dropout._DropoutNd)  # of the batch at hand, or by a chance of their own


class Objective(nn.Module):
    """What DistributedDataParallel averages over the processes: ``terms`` of the rows at hand, by their ``weight``.

    Of B rows n are here, one process in N: weighted by n N/B, means over them average to the mean over B.

    message
        a parameter that stays 0 and whose gradient is what everybody must know of a step, so that no message more is sent:
        nll, KL and noise, and how many wish to stop, and to save.
    """

    def __init__(self, state: State, terms: Callable[[Tensor, Tensor], Terms]) -> None:
        super().__init__()
        self.model, self.noise, self.terms, self.free = state.model, state.noise, terms, state.settings.free_bits
        self.message = nn.Parameter(torch.zeros(5, device=state.rows.device))

    def forward(self, x: Tensor, eps: Tensor, weight: float, wishes: Tensor) -> Terms:
        """Return the terms, weighted."""
        nll, kl, paid, noise = self.terms(x, eps)
        figures = weight * torch.stack([part.detach().float() for part in (nll, kl, noise)])
        nll = weight * nll + self.message @ torch.cat([figures, wishes])
        return Terms(nll, weight * kl, paid if self.free else weight * paid, noise)


class SharedState(State):
    """One of several processes: the same order and the same draws in all, of which each takes its contiguous part.

    Weights, noise and trace are the same in all of them to the last bit. Raises ReconError for a network that is not a
    function of each row alone.
    """

    closed = False

    def __init__(self, model: Model, noise: NoiseRule, rows: Tensor, settings: Settings) -> None:
        super().__init__(model, noise, rows, settings)
        for part in model.modules():
            if isinstance(part, APART):
                raise ReconError(
                    f"The model has a {type(part).__name__}, whose output is of the batch at hand or of a chance of its own, and "
                    f"several processes have a part of the batch each.",
                    "Train it in one process, or give a model without it.",
                )
        self.heard = torch.zeros(2, device=rows.device)
        self.wishes: tuple[bool, ...] = (False, False)
        if settings.compile:  # but for what the processes tell each other
            for name in ("whole", "likelihood"):
                setattr(self, name, torch.compiler.disable(getattr(self, name)))
        if rows.is_cuda:
            torch.cuda.set_device(rows.device)
        between_steps: dict[str, Any] = {BUFFERS: False}
        self.objectives = DistributedDataParallel(
            Objective(self, self.terms),
            **between_steps,
            find_unused_parameters=True,  # which keeps the order of sums from step to step, so a resumed run has the same
            process_group=processes.group(rows.device),
        )
        self.terms = lambda x, eps: self.objectives(x, eps, self.part, self.heard.new_tensor(self.wishes))

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return this process's part of the rows and draws; one row of weight 0 where there is none."""
        first, settings = self.at * self.settings.batch_size, self.settings
        places = self.order[first : first + settings.batch_size]
        eps = torch.randn(len(places), self.model.latents, generator=self.generator, device=places.device)
        start, stop = processes.share(len(places))
        self.mine, self.most = stop - start, -(-len(places) // processes.count())
        self.part = self.mine * processes.count() / len(places)
        stop = max(stop, start + 1)
        return self.rows.index_select(0, places[start:stop]), eps[start:stop]

    def step(self) -> None:
        """Train on one batch, everybody's parts together."""
        message = self.objectives.module.message
        message.grad = None
        super().step()
        assert message.grad is not None
        self.trace[self.at - 1], self.heard = message.grad[:3], message.grad[3:]

    def whole(self, mean: Tensor) -> Tensor:
        """Return the mean over the whole batch; its gradient is left to be averaged over the processes, as all others are."""
        here = self.part * mean
        total = here.detach().clone()
        distributed.all_reduce(total)
        return here - here.detach() + total / processes.count()

    def likelihood(self, x: Tensor, mu: Tensor, weights: Tensor | None) -> Likelihood:
        """Return the likelihood with the noise that fits the whole batch best, where it is to; constant in the gradient."""
        if isinstance(self.noise, Optimal):
            x, mu = self.gathered(x), self.gathered(mu.detach())
            weights = None if weights is None else self.gathered(weights)
        return super().likelihood(x, mu, weights)

    def gathered(self, part: Tensor) -> Tensor:
        """Return the rows of all processes, in order."""
        padded = part.new_zeros(self.most, *part.shape[1:])
        padded[: self.mine] = part[: self.mine]
        counts = torch.full((1,), self.mine, device=part.device)
        sizes = [torch.zeros_like(counts) for _ in range(processes.count())]
        parts = [torch.empty_like(padded) for _ in range(processes.count())]
        distributed.all_gather(sizes, counts)
        distributed.all_gather(parts, padded)
        return torch.cat([rows[: int(size)] for rows, size in zip(parts, sizes, strict=True)])

    def agreed(self, *wishes: bool) -> tuple[bool, ...]:
        """Return what any process wished before the last step: the same in all. On a GPU asked for every few steps."""
        self.wishes = wishes
        if self.rows.is_cuda and self.at % OFTEN:
            return (False,) * len(wishes)
        heard: tuple[bool, ...] = tuple((self.heard > 0).tolist())
        if any(heard):
            self.heard, self.wishes = torch.zeros_like(self.heard), (False,) * len(wishes)
        return heard

    def look(self) -> tuple[Epoch, Likelihood]:
        """Return the figures and the likelihood as the first process has them, and take over whether to stop."""
        epoch, likelihood = super().look()
        epoch, likelihood, watch = processes.all_gather((epoch, likelihood, self.watch.pack()))[0]
        self.watch.unpack(watch, self.watch.best)
        return epoch, likelihood


def shareable(settings: Settings, rows: int, config: Mapping[str, Any]) -> None:
    """Raise ReconError where several processes cannot share a run of so many rows, or have not been given the same one."""
    if not processes.is_distributed():
        return
    for other, theirs in enumerate(processes.all_gather({**config})):
        for name in (name for name, value in config.items() if theirs.get(name) != value):
            what = "has other values of the data" if name == "rows" else f"has {name} {theirs.get(name)}"
            raise ReconError(
                f"Process {other} {what}, and process {processes.rank()} {config[name]}.", "Give all of them the same."
            )
    if settings.exact:
        raise ReconError("--exact takes all rows in every step: there is nothing to share.", "Start it without torchrun.")
    most = min(rows, settings.batch_size)
    if processes.count() > most:
        which = "training samples" if rows < settings.batch_size else "samples in a batch"
        raise ReconError(
            f"{processes.count()} processes are more than the {most} {which}: some would have nothing to do.",
            f"Give at most --nproc-per-node={most}" + (", or a larger --batch-size." if rows > most else "."),
        )
