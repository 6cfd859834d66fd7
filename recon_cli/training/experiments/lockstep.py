"""Likelihood and loss side by side: the same network, the same draws, step by step, and whether they stay one model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from recon_cli import likelihoods
from recon_cli.errors import ReconError
from recon_cli.formats._presentable import Presentable
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.proportions import of_loss, proportion
from recon_cli.identity.regions import check
from recon_cli.identity.tensors import wide
from recon_cli.report import Column, Report, Table, column
from recon_cli.runtime import processes
from recon_cli.runtime.torch_state import in_default_state
from recon_cli.training import drawn
from recon_cli.training.evaluation.mean_alone import Alone, constant
from recon_cli.training.figures import loss_beside, passes
from recon_cli.training.loop import State, threads
from recon_cli.training.plan import Data, Plan
from recon_cli.training.saying import short
from recon_cli.training.settings import Everything, Settings, akin, split_options, with_options

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Unpack


EPOCHS = 5
SOME = 1024  # rows that tell whether two losses are one
MANY = 2.0  # times as far apart as one rounding an element takes it


class Twin(State):
    """The likelihood's side again, each element's gradient off by one unit in its last place: what rounding alone does."""

    closed = False

    def term(self, likelihood: Likelihood, x: Tensor, raw: Tensor, weights: Tensor | None) -> Tensor:
        """Return the same value, its gradient slightly tilted."""
        chance = torch.Generator(raw.device).manual_seed(self.epoch << 32 | self.at)
        way = torch.randint(0, 2, raw.shape, generator=chance, device=raw.device) * 2 - 1
        return super().term(likelihood, x, raw + (raw - raw.detach()) * (way * torch.finfo(raw.dtype).eps), weights)


@dataclass(frozen=True)
class Variant:
    """One way to train on the loss, beside the likelihood.

    apart
        after each step, the distance between the two networks divided by how far the likelihood's has moved; exactly
        0 where every weight is the same to the last bit.
    """

    name: str
    settings: Settings
    apart: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side as a row: whether it made the likelihood's steps, and what it was told, as in :class:`Settings`."""

    side: str = column("side", "*")
    equal: str | None = column("equal", "trajectory", default=None, brief=True)
    apart: float | None = column("relative distance", "trajectory", default=None, brief=True)
    lr: float = column("learning rate", "settings", brief=True)
    eps: float | None = column("eps", "settings")
    weight_decay: float | None = column("weight decay", "settings")
    kl_weight: float | None = column("KL weight", "settings", brief=True)

    @classmethod
    def of(cls, name: str, settings: Settings, equal: str | None = None, apart: float | None = None) -> Side:
        """Return the row of a side under its settings; the weight on the KL, where there are latents."""
        weight = settings.beta if settings.latent else None
        return cls(
            side=name, equal=equal, apart=apart,
            lr=settings.lr, eps=settings.eps, weight_decay=settings.weight_decay, kl_weight=weight,
        )  # fmt: skip


@dataclass(frozen=True)
class Lockstep(Presentable):
    """Two sides of -log p = slope * loss + offset, trained side by side.

    here
        whether the loss is the likelihood's own as measured where training begins, and not by any formula.
    has_kl
        whether there is a KL.
    rounding
        as ``Variant.apart``, of the likelihood's side and itself, each element's gradient off by one unit in its last place,
        and every weight rounded once.
    mean_alone
        nll of the best constant for the training rows: no model at all.
    """

    likelihood: Likelihood
    loss: Loss
    slope: float
    settings: Settings
    described: str
    objective: tuple[float, ...]
    variants: tuple[Variant, ...]
    rounding: tuple[float, ...]
    remarks: tuple[str, ...] = ()
    mean_alone: float = math.inf
    here: bool = False
    has_kl: bool = True

    @property
    def left(self) -> str:
        """What the side is trained on that is the measure."""
        return self.settings.loss or str(self.likelihood)

    @property
    def same(self) -> bool:
        """Whether, by the identity, both sides minimise the same thing: no gap, and each loss the likelihood's own."""
        mine = loss_beside(self.likelihood, self.settings)
        if self.here or (self.settings.loss and mine.per(self.loss) is not None):
            return True
        both = None not in (self.likelihood.slope_of(mine), self.likelihood.slope_of(self.loss))
        return both and (bool(self.settings.loss) or type(self.likelihood).gap is Likelihood.gap)

    @property
    def holds(self) -> bool:
        """Whether the loss, scaled as the identity says, makes the same steps: bitwise, or to rounding."""
        return self.word(self.variants[0]) != "no"

    def word(self, variant: Variant) -> str:
        """Return ``bitwise``, ``to rounding`` or ``no``."""
        if not any(variant.apart):
            return "bitwise"
        near = all(mine <= MANY * noise for mine, noise in zip(variant.apart, self.rounding, strict=True))
        return "to rounding" if near else "no"

    def is_off_by_eps(self, variant: Variant) -> bool:
        """Return whether it was told all that the scaled side was told, but for eps."""
        mine, theirs = (vars(one.settings) | {"eps": None} for one in (variant, self.variants[0]))
        return mine == theirs

    def report(self) -> Report:
        """Return what ``recon train --against`` prints. It holds where the two are one trajectory."""
        rows = [
            {"step": at + 1, "objective": value, "rounding": self.rounding[at]}
            | {variant.name: variant.apart[at] for variant in self.variants}
            for at, value in enumerate(self.objective)
        ]
        titles = {variant.name: variant.name for variant in self.variants}
        steps = [("step", "step"), ("objective", "objective"), *titles.items(), ("rounding", "one rounding")]
        sides = [Side.of(self.left, self.settings)]
        sides += [
            Side.of(f"{self.loss.name}, {variant.name}", variant.settings, self.word(variant), variant.apart[-1])
            for variant in self.variants
        ]
        tables = [
            Table(
                "steps",
                [Column(*pair) for pair in steps],
                rows,
                "relative distance of the two networks",
                most=12,
            ),
            Table.of("lockstep", Side, sides),
        ]
        apart = {variant.name: variant.apart for variant in self.variants}
        charts = [*drawn.trajectories(apart, self.rounding, self.objective)]
        return Report("train", tables, [*self.notes()], self.verdict(), self.holds, charts=charts)

    def notes(self) -> Iterator[str]:
        """Yield what was trained, and what it means."""
        beta, weight = self.settings.beta, self.variants[0].settings.beta
        count, half, name = len(self.objective), self.loss.convention, self.loss.name
        yield f"{self.described}; the same network, batches and draws on every side, {count} steps of {self.settings.optimizer}."
        yield "Relative distance: the difference of all weights, divided by how far training has moved the likelihood's."
        yield from self.remarks
        mine, theirs, halved = (f" + {part:.6g} KL" * self.has_kl for part in (beta, weight, half * weight))
        convention = f"; with the literature's half it is {half:g} × {name}{halved}" if half != 1 else ""
        convention += "; with nothing on the KL both are deterministic autoencoders" * (not beta)
        where = ", on these data as far as training begins" * self.here
        same = f", the same objective divided by the slope {self.slope:.6g}, but for a constant{where}{convention}"
        sides = f"Left: {'' if self.settings.loss else 'nll of '}{self.left}{mine}. Right: {name}{theirs}"
        if self.loss.reason:
            yield f"{sides}, which is no likelihood: {self.loss.reason}."
        else:
            yield f"{sides}{same}." if self.same else f"{sides}, another objective{convention}."
        for variant in self.variants[1:]:
            how = {"bitwise": "changes nothing", "to rounding": "changes no more than rounding", "no": "is another model"}
            word = self.word(variant)
            effect = "differs by eps only" if word == "no" and self.is_off_by_eps(variant) else how[word]
            yield f"{variant.name}: {effect}; relative distance {variant.apart[-1]:.3g} after the last step."

        best = max(self.mean_alone, self.objective[0])
        if not self.settings.loss and Alone(best, self.objective[-1], math.inf).worse:
            yield (
                f"The mean of the training rows alone is at {short(self.mean_alone)} nats per training sample, and both sides, "
                f"which began at {short(self.objective[0])}, end at {short(self.objective[-1])}: they run away together. Lower "
                f"--lr, which is {self.settings.lr:g}."
            )

    def verdict(self) -> str:
        """Return the verdict in one line."""
        first, count = self.variants[0], len(self.objective)
        sides = f"{self.left} and {self.loss.name}, scaled, under {self.settings.optimizer}"
        if not self.holds:
            return f"refuted: {sides} part: relative distance {first.apart[-1]:.3g} after {count} steps"
        how = {"bitwise": "every weight equal to the last bit", "to rounding": "equal to rounding"}[self.word(first)]
        return f"holds: {sides} are one trajectory, {how} over {count} steps"


@with_options(epochs=EPOCHS)
@in_default_state
def lockstep(
    against: Loss | str,
    *,
    data: Data = "digits",
    likelihood: str | Likelihood = "gaussian",
    sigma: float | str | None = None,
    device: str = "auto",
    binarize: str | None = None,
    scale: float | None = None,
    progress: Callable[[int, str], None] | None = None,
    **settings: Unpack[Everything],
) -> Lockstep:
    """Train on a likelihood and on a loss, side by side, and measure after each step how far apart they are.

    The loss's side is told what the identity predicts: under SGD the learning rate times the slope, under Adam and its like
    eps divided by it, and in both the weight decay and the weight on the KL divided by it. Beside it, what happens where
    only the loss is exchanged, and where the weight on the KL is left as it was. The rest is as for :func:`train`.

    Raises ReconError where the noise is not fixed: then the slope is none.
    """
    if processes.is_distributed():
        raise ReconError("--against sets steps side by side in one process, and here are several.", "Start it without torchrun.")
    loss = likelihoods.loss(against) if isinstance(against, str) else against
    settings.setdefault("epochs", EPOCHS)
    reading, numbers = split_options(settings)
    plan = Plan.of(data, likelihood, sigma, device, binarize, scale, reading, **numbers)
    if plan.whose != "fixed":
        raise ReconError(
            f"The noise of {plan.likelihood.name} is {plan.whose}, so its slope changes from step to step, and no loss keeps up "
            f"with it.",
            "Fix it to train side by side, as in --sigma 0.5.",
        )
    if plan.settings.patience or plan.settings.average or "plateau" in plan.settings.schedule:
        raise ReconError(
            "Likelihood and loss are trained side by side for as many steps and at the same rates, whatever the rows say.",
            "Leave --patience, --average and --schedule plateau out.",
        )
    if plan.train_rows.shape[1] > plan.model.elements:
        raise ReconError("--against takes no masks, missing values or weights.", "Leave masks and weights out.")
    loss = akin(loss, plan.likelihood, "--against")
    check(plan.model.target(plan.train_rows), loss.support, f"the data ({plan.word})", f"{loss.name} allows")
    return side_by_side(plan, loss, progress)


def side_by_side(plan: Plan, loss: Loss, progress: Callable[[int, str], None] | None) -> Lockstep:
    """Train on a plan's own objective, and on a loss in each of the ways that the identity speaks of."""
    settings, (slope, measured) = plan.settings, slope_between(plan, loss)
    scaled = settings.rescaled(slope)
    ways = {"scaled": scaled}
    if abs(slope - 1) > 1e-9:
        ways["unscaled"] = dataclasses.replace(settings, beta=scaled.beta)
        ways |= {"KL unchanged": dataclasses.replace(scaled, beta=settings.beta)} if settings.beta and settings.latent else {}
    ways = {name: dataclasses.replace(one, loss=loss.spelled(exact=True)) for name, one in ways.items()}
    sides = [dataclasses.replace(plan, settings=one).state() for one in ways.values()]
    for side in sides:
        side.asked = settings
    left, second = plan.state(), plan.state()
    twin = Twin(second.model, second.noise, second.rows, settings)
    begun = flat(left)
    apart: list[list[float]] = []
    objective: list[float] = []
    with threads(plan.train_rows, settings):
        for epoch in range(settings.epochs):
            for _ in range(left.steps):
                for side in (left, twin, *sides):
                    side.step()
                    side.check()
                here = flat(left)
                way = (here - begun).norm()
                nll, kl, _ = left.trace[left.at - 1].tolist()
                objective.append(nll + settings.beta * kl)
                least = torch.finfo(torch.float32).eps / 2 * here.norm()  # every weight rounded once
                far = [(flat(side) - here).norm() for side in (twin, *sides)]
                apart.append([share(part, way) for part in (far[0] + least, *far[1:])])
            for side in (left, twin, *sides):
                side.epoch += 1
                side.begin()
            if progress is not None:
                progress(epoch + 1, f"{apart[-1][1]:.2g} apart")
    rounding, *distances = (tuple(column) for column in zip(*apart, strict=True))
    variants = tuple(Variant(name, ways[name], far) for name, far in zip(ways, distances, strict=True))
    events = left.model.target(plan.train_rows)
    alone = constant(plan.likelihood, "fixed", events, events).mean().item()
    return Lockstep(
        plan.likelihood, loss, slope, settings, plan.described, tuple(objective), variants, rounding, plan.remarks, alone,
        measured, plan.model.has_kl,
    )  # fmt: skip


def slope_between(plan: Plan, loss: Loss) -> tuple[float, bool]:
    """Return the slope of what a plan minimises against ``loss``, and whether it is only measured, where training begins.

    By their forms, where they are the same in one or the other; else on some rows. Where they are none, that of the
    likelihood's own loss in place of each that is not.
    """
    likelihood, mine = plan.likelihood, plan.loss
    left, right = (1.0 if side is None else likelihood.slope_of(side) for side in (mine, loss))
    if mine is not None and (times := mine.per(loss)) is not None:
        return float(times), False
    if left is not None and right is not None:
        return float(right) / float(left), False
    if not (likelihood.head or loss.reason or (mine and mine.reason)):
        with torch.no_grad():
            x, raw, *_ = next(passes(plan.state().model, plan.train_rows[:SOME], plan.settings))
        objective = likelihood.nll if mine is None else of_loss(mine)
        mu = likelihood.link.inverse(raw).reshape(x.shape)
        if measured := proportion(objective, of_loss(loss), likelihood, x, mu):
            return measured.slope, True
    return float(likelihood.slope if right is None else right) / float(likelihood.slope if left is None else left), False


def flat(state: State) -> Tensor:
    """Return every weight, end to end, in float64."""
    return torch.cat([wide(part.detach()).flatten() for part in state.model.parameters()])


def share(part: Tensor, whole: Tensor) -> float:
    """Return one distance in units of another; 0 where there is none."""
    return (part / whole).item() if part else 0.0
