"""Likelihood and loss side by side: the same network, the same draws, step by step, and whether they stay one model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from recon_cli import likelihoods
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.proportions import of_loss, proportion
from recon_cli.identity.tensors import wide
from recon_cli.report import Column, Report, Table
from recon_cli.runtime import processes
from recon_cli.runtime.torch_state import in_default_state
from recon_cli.training.evaluation.mean_alone import Alone, constant
from recon_cli.training.figures import passes, shown
from recon_cli.training.loop import State, threads
from recon_cli.training.plan import Plan
from recon_cli.training.saying import short
from recon_cli.training.settings import Settings, akin, exactly

if TYPE_CHECKING:
    from torch import Tensor

SOME = 1024  # rows that tell whether two losses are one
MANY = 2.0  # times as far apart as one rounding an element takes it


class Twin(State):
    """The likelihood's side again, each element's gradient off by one unit in its last place: what rounding alone does."""

    closed = False

    def term(self, claim: Likelihood, x: Tensor, raw: Tensor) -> Tensor:
        """The same value, its gradient slightly tilted."""
        chance = torch.Generator(raw.device).manual_seed(self.epoch << 32 | self.at)
        way = torch.randint(0, 2, raw.shape, generator=chance, device=raw.device) * 2 - 1
        return super().term(claim, x, raw + (raw - raw.detach()) * (way * torch.finfo(raw.dtype).eps))


@dataclass(frozen=True)
class Variant:
    """One way to train on the loss, beside the likelihood.

    apart
        after each step, the distance between the two networks as a share of the way that the likelihood's has come; exactly
        0 where every weight is the same to the last bit.
    """

    name: str
    settings: Settings
    apart: tuple[float, ...]


@dataclass(frozen=True)
class Lockstep:
    """Two sides of -log p = slope * loss + offset, trained side by side.

    here
        whether the loss is the likelihood's own as measured where training begins, and not by any formula.
    rounding
        as ``Variant.apart``, of the likelihood's side and itself, each element's gradient off by one unit in its last place,
        and every weight rounded once.
    mean_alone
        nll of the best constant for the training rows: no model at all.
    """

    claim: Likelihood
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

    @property
    def left(self) -> str:
        """What the side is trained on that is the measure."""
        return self.settings.loss or str(self.claim)

    @property
    def same(self) -> bool:
        """Whether, by the identity, both sides minimise the same thing: no gap, and each loss the likelihood's own."""
        mine = shown(self.claim, self.settings)
        if self.here or (self.settings.loss and mine.per(self.loss) is not None):
            return True
        known = None not in (self.claim.slope_of(mine), self.claim.slope_of(self.loss))
        return known and (bool(self.settings.loss) or type(self.claim).gap is Likelihood.gap)

    @property
    def holds(self) -> bool:
        """Whether the loss, scaled as the identity says, makes the same steps: bitwise, or to rounding."""
        return self.word(self.variants[0]) != "no"

    def word(self, variant: Variant) -> str:
        """``bitwise``, ``to rounding`` or ``no``."""
        if not any(variant.apart):
            return "bitwise"
        near = all(mine <= MANY * noise for mine, noise in zip(variant.apart, self.rounding, strict=True))
        return "to rounding" if near else "no"

    def by_eps(self, variant: Variant) -> bool:
        """Whether it was told all that the scaled side was told, but for eps."""
        mine, theirs = (vars(one.settings) | {"eps": None} for one in (variant, self.variants[0]))
        return mine == theirs

    def report(self) -> Report:
        """As ``recon train --against`` prints it. Holds where the two are one trajectory."""
        rows = [
            {"step": at + 1, "objective": value, "rounding": self.rounding[at]}
            | {variant.name: variant.apart[at] for variant in self.variants}
            for at, value in enumerate(self.objective)
        ]
        titles = {variant.name: variant.name for variant in self.variants}
        steps = [("step", "step"), ("objective", "objective"), *titles.items(), ("rounding", "one rounding")]
        sides = [{**self.row(variant), "apart": variant.apart[-1], "equal": self.word(variant)} for variant in self.variants]
        sides.insert(0, {"side": self.left, **told(self.settings)})
        return Report(
            "train",
            [
                Table("steps", [Column(*pair) for pair in steps], rows, "apart, as a share of the way come", most=12),
                Table("lockstep", [Column(*one) for one in SIDES], sides),
            ],
            [*self.notes()],
            self.verdict(),
            self.holds,
        )

    def row(self, variant: Variant) -> dict[str, Any]:
        """What a side was told."""
        return {"side": f"{self.loss.name}, {variant.name}", **told(variant.settings)}

    def notes(self) -> Iterator[str]:
        """What was trained, and what it means."""
        beta, weight = self.settings.beta, self.variants[0].settings.beta
        count, half, name = len(self.objective), self.loss.convention, self.loss.name
        yield f"{self.described}; the same network, batches and draws on every side, {count} steps of {self.settings.optimizer}."
        yield from self.remarks
        mine, theirs, halved = (f" + {part:.6g} KL" * self.settings.bounded for part in (beta, weight, half * weight))
        said = f"; with the literature's half it is {half:g} × {name}{halved}" if half != 1 else ""
        said += "; with nothing on the KL both are deterministic autoencoders" * self.settings.deterministic
        where = ", on these data as far as training begins" * self.here
        same = f", the same objective divided by the slope {self.slope:.6g}, but for a constant{where}{said}"
        sides = f"Left: {'' if self.settings.loss else 'nll of '}{self.left}{mine}. Right: {name}{theirs}"
        if self.loss.reason:
            yield f"{sides}, which is no likelihood: {self.loss.reason}."
        else:
            yield f"{sides}{same}." if self.same else f"{sides}, another objective{said}."
        for variant in self.variants[1:]:
            how = {"bitwise": "changes nothing", "to rounding": "changes no more than rounding", "no": "is another model"}
            word = self.word(variant)
            said = "differs by eps only" if word == "no" and self.by_eps(variant) else how[word]
            yield f"{variant.name}: {said}, {variant.apart[-1]:.3g} of the way apart at the end."

        best = max(self.mean_alone, self.objective[0])
        if not self.settings.loss and Alone(best, self.objective[-1], math.inf).worse:
            yield (
                f"The mean of the training rows alone is at {short(self.mean_alone)} nats per training sample, and both sides, "
                f"which began at {short(self.objective[0])}, end at {short(self.objective[-1])}: they run away together. Lower "
                f"--lr, which is {self.settings.lr:g}."
            )

    def verdict(self) -> str:
        """In one line."""
        first, count = self.variants[0], len(self.objective)
        said = f"{self.left} and {self.loss.name}, scaled, under {self.settings.optimizer}"
        if not self.holds:
            return f"refuted: {said} part: {first.apart[-1]:.3g} of the way after {count} steps"
        how = {"bitwise": "every weight equal to the last bit", "to rounding": "equal to rounding"}[self.word(first)]
        return f"holds: {said} are one trajectory, {how} over {count} steps"


SIDES = (
    ("side", "side", "*"),
    ("equal", "equal", "trajectory"),
    ("apart", "apart at the end", "trajectory"),
    ("lr", "learning rate", "told"),
    ("eps", "eps", "told"),
    ("weight_decay", "weight decay", "told"),
    ("kl_weight", "KL weight", "told"),
)


@in_default_state
def lockstep(against: Loss | str, *, epochs: int = 5, progress: Callable[[int, str], None] | None = None, **how: Any) -> Lockstep:
    """Train on a likelihood and on a loss, side by side, and measure after each step how far apart they are.

    The loss's side is told what the identity predicts: under SGD the learning rate times the slope, under Adam and its like
    eps divided by it, and in both the weight decay and the weight on the KL divided by it. Beside it, what happens where
    only the loss is exchanged, and where the weight on the KL is left as it was. ``how`` is as for :func:`train`.

    Raises ReconError where the noise is not fixed: then the slope is none.
    """
    if processes.is_distributed():
        raise ReconError("--against sets steps side by side in one process, and here are several.", "Start it without torchrun.")
    loss = likelihoods.loss(against) if isinstance(against, str) else against
    plan = Plan.of(epochs=epochs, **how)
    claim, settings = plan.claim, plan.settings
    if plan.whose != "fixed":
        raise ReconError(
            f"The noise of {claim.name} is {plan.whose}, so its slope changes from step to step, and no loss keeps up with it.",
            "Fix it to train side by side, as in --sigma 0.5.",
        )
    if settings.patience or "plateau" in settings.schedule:
        raise ReconError(
            "Likelihood and loss are trained side by side for as many steps and at the same rates, whatever the rows say.",
            "Leave --patience and --schedule plateau out.",
        )
    akin(loss, claim, "--against")
    slope, measured = scale(plan, loss)
    scaled = settings.rescaled(slope)
    ways = {"scaled": scaled}
    if abs(slope - 1) > 1e-9:
        ways["unscaled"] = dataclasses.replace(settings, beta=scaled.beta)
        ways |= {"KL unchanged": dataclasses.replace(scaled, beta=settings.beta)} if settings.beta and settings.latent else {}
    ways = {name: dataclasses.replace(one, loss=exactly(loss)) for name, one in ways.items()}
    sides = [dataclasses.replace(plan, settings=one).state() for one in ways.values()]
    left, twin = plan.state(), Twin(*plan.state().parts)
    begun = flat(left)
    apart: list[list[float]] = []
    objective: list[float] = []
    with threads(plan.kept, settings):
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
            (progress or (lambda done, words: None))(epoch + 1, f"{apart[-1][1]:.2g} apart")
    noise, *found = (tuple(column) for column in zip(*apart, strict=True))
    variants = tuple(Variant(name, ways[name], far) for name, far in zip(ways, found, strict=True))
    events = left.model.target(plan.kept)
    alone = constant(claim, "fixed", events, events).mean().item()
    return Lockstep(
        claim, loss, slope, settings, plan.described, tuple(objective), variants, noise, plan.remarks, alone, measured
    )


def scale(plan: Plan, loss: Loss) -> tuple[float, bool]:
    """The slope of what a plan minimises against ``loss``, and whether it is only measured, where training begins.

    By their forms, where they are the same in one or the other; else on some rows. Where they are none, that of the
    likelihood's own loss in place of each that is not.
    """
    claim, mine = plan.claim, plan.loss
    slopes = [1.0 if side is None else claim.slope_of(side) for side in (mine, loss)]
    if mine is not None and (times := mine.per(loss)) is not None:
        return float(times), False
    if None not in slopes:
        return float(slopes[1]) / float(slopes[0]), False  # type: ignore[arg-type]
    if not (claim.head or loss.reason or (mine and mine.reason)):
        with torch.no_grad():
            x, raw, _ = next(passes(plan.state().model, plan.kept[:SOME], plan.settings))
        left = claim.nll if mine is None else of_loss(mine)
        if found := proportion(left, of_loss(loss), claim, x, claim.link.inverse(raw).reshape(x.shape)):
            return found.slope, True
    mine_, theirs = (float(claim.slope if slope is None else slope) for slope in slopes)
    return theirs / mine_, False


def told(settings: Settings) -> dict[str, Any]:
    """The settings of a side; the weight on the KL, where there is one."""
    return {**vars(settings), "kl_weight": settings.beta if settings.latent else None}


def flat(state: State) -> Tensor:
    """Every weight, end to end, in float64."""
    return torch.cat([wide(part.detach()).flatten() for part in state.model.parameters()])


def share(part: Tensor, whole: Tensor) -> float:
    """One distance in units of another; 0 where there is none."""
    return (part / whole).item() if part else 0.0
