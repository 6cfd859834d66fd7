"""The training loop: a step at a time, from a state that can be written down."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from recon_cli import likelihoods
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.tensors import beside, wide
from recon_cli.models._base import Model
from recon_cli.runtime.devices import Uncompiled, compiled
from recon_cli.runtime.torch_state import process_settings
from recon_cli.training.average import Average
from recon_cli.training.captured import Captured, CapturedOptimizer, captures
from recon_cli.training.figures import CHUNK, Epoch, look, measured, total
from recon_cli.training.graph import Graph
from recon_cli.training.kept import Gradient
from recon_cli.training.noises import Fixed, NoiseRule, still
from recon_cli.training.schedules import Scheduler
from recon_cli.training.settings import Settings
from recon_cli.training.validation import Validation

if TYPE_CHECKING:
    from torch import Tensor

SMALL = 1e-9  # a noise whose inverse square is out of float32's reach before long
LITTLE = 1 << 24  # multiplications
SHOWN = 1 << 10  # rows, evenly spread, that the figures of an epoch are of at most
SHARE = 8  # of large samples (more than a million elements in so many rows): no more than this part of the rows
OFTEN = 64  # steps between two looks at whether the terms are still numbers


class Terms(NamedTuple):
    """A batch's nll and KL, summed over a sample, averaged over the batch; what is paid of the KL; and the noise."""

    nll: Tensor
    kl: Tensor
    paid: Tensor
    noise: Tensor


class State:
    """Everything that the next step depends on, and nothing else.

    Minimises, over batches of ``rows`` (N, D), the mean over a batch of nll + beta * KL, each summed over a sample; of
    another loss in place of the nll, where the settings name one.

    epoch, at
        epochs that are whole, and steps done in the one after them.
    order
        which rows that one takes, in which order.
    trace
        nll, KL and noise of each of its steps; NaN where it has not come to that.
    asked
        the settings that somebody gave, of which errors speak; ``settings`` may be made of them.
    closed
        as model and noise have it too: a step is computed of parameters, rows and draws, and nothing is read back.
    """

    closed = True

    def __init__(self, model: Model, noise: NoiseRule, rows: Tensor, settings: Settings) -> None:
        self.model, self.noise, self.rows, self.settings, self.asked = model, noise, rows, settings, settings
        self.optimizer = settings.optimizer_of(model, noise)
        self.loss = likelihoods.loss(settings.loss) if settings.loss else None
        self.parameters = [part for group in self.optimizer.param_groups for part in group["params"]]
        self.generator = torch.Generator(rows.device).manual_seed(settings.seed)
        self.steps = -(-len(rows) // settings.batch_size)
        self.scheduler = Scheduler(self.optimizer, settings.schedule, settings.lr, settings.epochs, self.steps)
        self.watch = Validation(model, noise, settings)
        self.average = Average(model, noise, settings.average, settings.epochs * self.steps)
        # Without autocast's cache, which would keep the first weights; and none at all where there is nothing to cast, for with
        # it torch's compiler keeps nothing of what it makes.
        device = rows.device.type
        self.precision = torch.autocast(device, torch.bfloat16, cache_enabled=False) if settings.bf16 else nullcontext()
        self.terms: Callable[[Tensor, Tensor], Terms] = self.objective
        self.graph: Callable[..., tuple[Sequence[Tensor], Tensor]] | None = None
        self.advance: Callable[[], object] = self.optimizer.step
        if settings.compile:
            quick = compiled(self.objective, whole=False)
            self.terms = lambda x, eps: (quick if self.is_usual else self.objective)(x, eps)
        if self.closed and model.closed and noise.closed and (settings.compile or captures(rows.device)):
            plain = Graph(model, noise, self.objective).gradient
            through = compiled(plain) if settings.compile else plain
            self.graph = Gradient(self, through) if device == "cpu" and settings.compile else through
            if captures(rows.device):
                captured = Captured(partial(through, self.parameters), partial(plain, self.parameters))
                self.graph = lambda _, *batch: captured(*batch)
                self.advance = CapturedOptimizer(self.optimizer) if CapturedOptimizer.takes(self.optimizer) else self.advance
        shown = min(SHOWN, max(CHUNK // rows.shape[1], len(rows) // SHARE, 1))
        every = max(1, len(rows) // shown)
        self.some = rows[::every][:shown] if every > 1 else rows
        self.still = still(noise.likelihood, model.target(rows), settings.sigma_floor) if isinstance(noise, Fixed) else ""
        self.epoch = 0
        self.begin()

    def begin(self) -> None:
        """Draw the order of an epoch, before its first step."""
        self.at = 0
        self.order = torch.randperm(len(self.rows), generator=self.generator, device=self.rows.device)
        self.trace = wide(torch.full((self.steps, 3), math.nan, device=self.rows.device))

    def step(self) -> None:
        """Train on one batch. Nothing is read back from the device (but by the fit of an optimal noise)."""
        x, eps = self.batch()
        with self.model.stepping(self.settings.seed * 1_000_003 + self.epoch * self.steps + self.at):
            self.trace[self.at] = self.descend(x, eps)
        self.scheduler(self.epoch * self.steps + self.at)
        self.advance()
        self.at += 1
        self.average(self.epoch * self.steps + self.at)

    def descend(self, x: Tensor, eps: Tensor) -> Tensor:
        """Leave a batch's gradient in the parameters, and return its nll, KL and noise."""
        if self.graph is not None and self.is_usual:
            try:
                with torch.no_grad():
                    slopes, figures = self.graph(self.parameters, x, eps, x.new_full((), self.weight))
                for part, slope in zip(self.parameters, slopes, strict=True):
                    part.grad = slope
                return figures
            except Uncompiled:
                self.graph = None  # in parts, then, if at all
        nll, kl, paid, noise = self.terms(x, eps)
        for part in self.parameters:
            part.grad = None
        (nll + (paid if self.weight == 1 else self.weight * paid)).backward()
        return torch.stack([nll.detach(), kl.detach(), noise])

    @property
    def is_usual(self) -> bool:
        """Whether the batch that comes is as long as most; a shorter last one, once an epoch, is not worth a graph of its own."""
        return self.at + 1 < max(2, self.steps) or len(self.rows) % self.settings.batch_size == 0

    def batch(self) -> tuple[Tensor, Tensor]:
        """Return rows and draws of the step that comes."""
        first = self.at * self.settings.batch_size
        x = self.rows.index_select(0, self.order[first : first + self.settings.batch_size])
        return x, torch.randn(len(x), self.model.latents, generator=self.generator, device=x.device)

    @property
    def weight(self) -> float:
        """The weight on the KL of the step that comes."""
        warm = self.settings.kl_warmup * self.steps
        return self.settings.beta * min(1.0, (self.epoch * self.steps + self.at) / warm if warm else 1.0)

    def objective(self, x: Tensor, eps: Tensor) -> Terms:
        """Return the terms of a batch."""
        with self.precision:
            raw, rates = self.model(x, eps)
        counts = self.model.counts(x)
        rates = rates if counts is None else rates * counts.samples[:, None]
        kl, free = rates.sum() / len(x), self.settings.free_bits
        paid = self.whole(rates.sum(dim=0) / len(x)).clamp(min=free).sum() if free else kl
        events = self.model.target(x)
        weights = None if counts is None else counts.events
        likelihood = self.likelihood(events, self.model.link.inverse(raw), weights).admitted()
        nll = (self.term(likelihood, events, raw, weights) / len(x)).to(raw.dtype)
        size = getattr(likelihood, self.noise.level) if self.noise.level else 1.0
        noise = size.detach().to(nll.dtype) if isinstance(size, torch.Tensor) else beside(nll.detach(), size)
        return Terms(nll, kl, paid, noise.min() if noise.ndim else noise)

    def whole(self, mean: Tensor) -> Tensor:
        """Return a mean over the rows at hand as that over the batch: they are all of it."""
        return mean

    def likelihood(self, x: Tensor, mu: Tensor, weights: Tensor | None) -> Likelihood:
        """Return the likelihood with its noise for the batch."""
        likelihood: Likelihood = self.noise(x, mu, weights)
        return likelihood

    def agreed(self, *wishes: bool) -> tuple[bool, ...]:
        """Return what is to be done between two steps, of what this process wishes."""
        return wishes

    def term(self, likelihood: Likelihood, x: Tensor, raw: Tensor, weights: Tensor | None) -> Tensor:
        """Return what is minimised, summed over the batch as events count; a loss as the nll is: in float64."""
        if self.loss is None:
            return total(likelihood, x, raw, weights)
        value = measured(self.loss, likelihood, wide(x), wide(raw))
        return (value if weights is None else value * weights).sum()

    def check(self) -> None:
        """Raise ReconError where a term of this epoch's steps is no number."""
        if not self.trace[: self.at].isfinite().all():
            raise self.diverged(self.epoch + 1, self.trace[: self.at].tolist())

    def look(self) -> tuple[Epoch, Likelihood]:
        """Return the figures after the epoch that is whole now, and the likelihood with its noise as it is."""
        try:
            figures, likelihood = look(self.model, self.noise, self.some, self.settings)
        except ReconError as error:
            raise self.diverged(self.epoch, self.trace.tolist(), error) from error
        finite = all(map(math.isfinite, (figures.loss, figures.ratio or 0.0)))
        trace = [*self.trace.tolist(), [figures.nll if finite else math.nan, figures.kl or 0.0, 1.0]]
        if not all(math.isfinite(value) for line in trace for value in line):
            raise self.diverged(self.epoch, trace)
        validation = self.watch.look(self.epoch, likelihood)
        return Epoch(**vars(figures), epoch=self.epoch, validation=validation), likelihood

    def diverged(self, epoch: int, trace: list[list[float]], error: ReconError | None = None) -> ReconError:
        """Return the error for a run that left the numbers: where, which term, and the likely cause.

        trace
            nll, KL and noise of each step of this epoch; NaN where it did not come to that.
        error
            why no noise fits best, where that is what stopped it.
        """
        bad = (at for at, line in enumerate(trace) if not all(map(math.isfinite, line)))
        at = next(bad, len(trace) - 1)
        nll, kl, noise = trace[at]
        where, is_given = f"Training broke off at epoch {epoch}, step {at + 1}: ", isinstance(self.noise, Fixed)
        slower = f"lower --lr, which is {self.asked.lr:g}"
        hint = self.still or f"The steps are probably too long: {slower}."
        if (epoch, at) == (1, 0) and not self.still:
            hint = "No step was made yet, so it is not --lr: rescale the data, or take a larger noise, another loss or --seed."
        if not math.isfinite(kl):
            return ReconError(f"{where}the KL is {kl:g}.", hint)
        if error is not None:
            return ReconError(
                f"{where}the reconstruction term (nll) has no least value. {error.message}",
                f"If the reconstruction is perfect, fix the noise, as in --sigma 0.1; if it overflowed, {slower}.",
            )
        if noise < SMALL:
            larger = "take a larger one, as in --sigma 0.1" if is_given else "keep it above a floor, as in --sigma-floor 1e-3"
            hint = f"Divided by so small a noise, errors overflow float32: {larger}."
        return ReconError(f"{where}the reconstruction term (nll) is {nll:g}, at a noise of {noise:g}.", hint)


def walk(state: State, between: Callable[[], None] = lambda: None) -> Iterator[tuple[Epoch, Likelihood]]:
    """Train from where ``state`` is, and after each epoch yield its figures and the likelihood with its noise as it then is.

    ``between`` is called after every step, where the state may be written down. Raises ReconError where a term is no
    longer finite: looked at every few steps, and before a state leaves this function.
    """
    while state.epoch < state.settings.epochs and not state.watch.is_over:
        while state.at < state.steps:
            try:
                state.step()
            except Uncompiled:
                raise
            except ReconError as error:
                trace = state.trace[: state.at + 1].tolist()
                raise state.diverged(state.epoch + 1, trace, error) from error
            if state.at % OFTEN == 0:
                state.check()
            if state.at < state.steps:
                between()
        state.check()
        state.epoch += 1
        figures, likelihood = state.look()
        state.scheduler.after(
            figures.nll + state.settings.beta * (figures.kl or 0.0) if figures.validation is None else figures.validation
        )
        state.begin()
        yield figures, likelihood
        between()


@contextmanager
def threads(rows: Tensor, settings: Settings) -> Iterator[None]:
    """Have one thread for steps of little work on a CPU, the caller's number again afterwards.

    There a second thread saves a tenth, and on a busy machine it costs tenfold: every step waits for
    its turn. The results are the same.
    """
    work = settings.batch_size * settings.hidden * (2 * rows.shape[1] + 3 * settings.latent)
    little = rows.device.type == "cpu" and work < LITTLE
    with process_settings().threads.at(1, each=True) if little else nullcontext():
        yield
