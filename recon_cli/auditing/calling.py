"""Calling it: tensors in the shapes that it takes, and which number of what comes back is the loss."""

from __future__ import annotations

import contextlib
import inspect
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import CoroutineType, GeneratorType
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from recon_cli.auditing.limiting import Made, alone, readable
from recon_cli.auditing.links import MEANINGS
from recon_cli.auditing.reach.call_plans import BoundNumber, CallPlan, DecoderOutputs, Slot, Stacked, mapped
from recon_cli.auditing.reach.callables import Reached, with_names
from recon_cli.auditing.reach.expressions import Expression
from recon_cli.auditing.reach.objects import Stand, assign, replace_attribute
from recon_cli.auditing.reach.questions import Node
from recon_cli.auditing.restoring import lent, quiet
from recon_cli.auditing.watching import Watch, seed
from recon_cli.errors import ReconError

Values: TypeAlias = Mapping[str, Tensor]  # by the key of a slot


class Posterior(Normal):
    """A diagonal Gaussian posterior with the attributes that such objects have."""

    def __init__(self, mean: Tensor, logvar: Tensor) -> None:
        self.logvar = logvar
        super().__init__(mean, (logvar / 2).exp(), validate_args=False)

    std = property(lambda self: self.scale)
    var = property(lambda self: self.logvar.exp())
    mean = property(lambda self: self.loc)
    mu = mean
    log_var = property(lambda self: self.logvar)

    def kl(self, other: Any = None) -> Tensor:
        """Return the KL to the standard normal, or to another, summed over all but the batch."""
        if other is not None:
            between: Tensor = torch.distributions.kl_divergence(self, other)
            return between.flatten(1).sum(1)
        mean: Tensor = self.loc
        return 0.5 * (mean.square() + self.logvar.exp() - 1 - self.logvar).flatten(1).sum(1)

    def mode(self) -> Tensor:  # type: ignore[override]
        """Return the mean."""
        mean: Tensor = self.loc
        return mean


@dataclass(frozen=True)
class Sizes:
    """B samples of ``shape``, K latents (``latent``, a shape too)."""

    batch: int
    shape: tuple[int, ...]
    latent: tuple[int, ...]

    D = property(lambda self: math.prod(self.shape))
    K = property(lambda self: math.prod(self.latent))


@dataclass(frozen=True)
class Layout:
    """How canonical tensors are laid out for the call."""

    recon: str = "image"
    target: str = "image"
    latent: str = "flat"
    mask: str = "image"
    kl: str = "batch"
    posterior: str = "pair"
    classes: str = ""
    binary: bool = False
    spread: str = "elements"  # or "batch": one number for each sample
    long: bool = False  # a mask of positions


@dataclass
class Problem:
    """A function that takes named tensors of canonical shape (B, D), (B, K) and returns its loss as one number."""

    reached: Reached
    plan: CallPlan
    sizes: Sizes
    layout: Layout = field(default_factory=Layout)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    total: str | None = None
    pick: Any = None
    picked: str = ""
    follow: Mapping[str, int] = field(default_factory=dict)
    literals: dict[object, object] = field(default_factory=dict)
    dtype: Any = torch.float64
    noise: float | None = None
    prior: tuple[float, float] = (0.0, 1.0)  # mean and variance, where they are arguments
    data: Tensor | None = None  # some of the values that targets have
    watch: Any = None
    asked: list[Tensor] = field(default_factory=list)  # what models inside were given, at the last call
    memo: dict[object, Any] = field(default_factory=dict)  # of what was measured, at these and all other sizes

    def at(self, **changes: Any) -> Problem:
        """Return the same at other sizes, or in another layout."""
        return replace(self, **changes)

    def place(self, slot: Slot, value: Tensor) -> Tensor | list[Tensor]:
        """Return a canonical tensor in the shape that the call takes."""
        B = len(value) if value.ndim else 1
        named = self.shapes.get(slot.key) or self.shapes.get(slot.group)
        if slot.role == "unknown":
            return value.reshape(B, *self.sizes.shape)
        if slot.role == "spread" and self.layout.spread == "batch":
            return value.reshape(B)
        if slot.role in ("recon", "target", "spread"):
            how = self.layout.target if slot.role == "target" else self.layout.recon
            if how == "loss":
                return value
            if self.layout.classes:
                return self.classed(value)
            if named:
                return value.reshape(B, *named)
            return value if how == "flat" or value.shape[1] != self.sizes.D else value.reshape(B, *self.sizes.shape)
        if slot.role in ("mu", "scale", "probs"):
            own = named if named and slot.role == "probs" else self.sizes.latent
            shaped = value.reshape(B, *own) if self.layout.latent != "joined" else value
            return shaped.unsqueeze(1) if self.layout.latent == "one" else shaped
        if slot.role == "density" and self.layout.kl in ("latent", "data"):  # as many shares of each
            own = (self.sizes.K,) if self.layout.kl == "latent" else self.sizes.shape
            return (value / math.prod(own)).reshape(B, *(1 for _ in own)).expand(B, *own)
        if slot.role in ("kl", "density"):
            if self.layout.kl == "list":
                return [0.5 * value, 0.5 * value]
            return value.mean() if self.layout.kl == "scalar" else value
        return value

    def classed(self, value: Tensor) -> Tensor:
        """Return predictions of classes, canonical (B, E, V), and their labels, (B, E)."""
        shape, first = self.sizes.shape, self.layout.classes.startswith("first")
        events = shape[1:] if first else shape[:-1]
        if value.ndim == 2:
            return value.reshape(len(value), *events)
        moved = value.movedim(-1, 1) if first else value
        return moved.reshape(len(value), *shape)

    def labels(self, count: int) -> Tensor:
        """Return the labels of ``count`` classes that the loss does not leave out."""
        targets = [self.plan.trace.nodes[slot.key] for slot in self.plan.role("target") if slot.key in self.plan.trace.nodes]
        out = self.plan.trace.ignored.union(*(node.constants for node in targets))
        every = torch.arange(count)
        left = every[~torch.isin(every, torch.tensor([label for label in out if isinstance(label, int)], dtype=torch.long))]
        return left if len(left) else every[:1]

    def extra(self, slot: Slot, values: Mapping[str, Tensor]) -> Any:
        """Return what is no leaf of the measurement: a mask of everything, full lengths, a posterior object."""
        B, shape = self.sizes.batch, self.sizes.shape
        if slot.role == "posterior":
            pair = tuple(values[f"{slot.key}.{part}"].reshape(B, *self.sizes.latent) for part in ("mean", "logvar"))
            return pair if self.layout.posterior == "pair" else Posterior(*pair)
        if slot.role == "decoder":
            return Normal(values[slot.key].reshape(B, *shape), torch.ones(()), validate_args=False)
        if slot.role == "length":
            return torch.full((B,), shape[0], dtype=torch.long)
        if slot.role == "mask":
            pads = "pad" in slot.key
            named = self.shapes.get(slot.key)
            sizes = {"image": (B, *shape), "rows": (B, *shape[:-1]), "batch": (B,), "first": (B, *shape[:1])}
            size = sizes.get(self.layout.mask, (B, self.sizes.D))
            size = (B, *named) if named else size
            node = self.plan.trace.nodes.get(slot.key, Node(slot.key))
            if slot.meaning == "steps":
                return torch.ones(B, dtype=torch.long)
            if self.layout.long:
                return torch.arange((B, *shape)[min(node.axes, default=0)])
            truths = pads or bool(node.uses & {"index", "mask"})
            return torch.full(size, not pads, dtype=torch.bool) if truths else torch.ones(size)
        if slot.role == "prior":
            mean, variance = self.prior
            if slot.meaning == "distribution":
                level = torch.full((B, *self.sizes.latent), math.log(variance), dtype=self.dtype)
                return Posterior(torch.full_like(level, mean), level)
            known = MEANINGS.get(slot.meaning or "")
            level = torch.full((B, *self.sizes.latent), mean if known is None else variance**0.5, dtype=self.dtype)
            return level if known is None else known.of(level)
        if slot.role == "extra":
            return torch.zeros(())
        if slot.role == "compared":
            at = [*self.plan.trace.nodes].index(slot.key) if slot.key in self.plan.trace.nodes else 0
            return torch.linspace(0.2, 0.7 + at / 50, B * self.sizes.K).reshape(B, self.sizes.K)
        if slot.role == "skip":
            return torch.zeros(B, 1)
        raise ReconError(
            f"{slot.key} of {self.reached.spelled} could not be matched.", "Name the roles: --args recon,target,mu,logvar."
        )

    def fill(self, part: object, values: Values) -> Any:
        """Return a structure with tensors for its slots."""
        return mapped(part, lambda each: self.filled(each, values))

    def filled(self, part: object, values: Values) -> object:
        """Return what is passed for one part of a plan; NotImplemented of what only holds others."""
        if isinstance(part, Slot):
            known = part.key in values and part.role != "decoder"
            return self.place(part, values[part.key]) if known else self.extra(part, values)
        if isinstance(part, Stacked):
            halves = [self.fill(each, values) for each in part.parts]
            return torch.stack(halves, dim=-1) if part.joined is None else torch.cat(halves, dim=part.joined)
        if isinstance(part, BoundNumber):
            return self.follow.get(part.name, part.value)
        if isinstance(part, Expression):
            slots = [slot for slot in self.plan.slots() if slot.key in part.names]
            return part.value({slot.key: self.fill(slot, values) for slot in slots})
        if isinstance(part, DecoderOutputs):
            return Answer(self.fill(part.parts, values), self.fill(part.attributes, values), self.asked)
        return NotImplemented

    def raw(self, values: Mapping[str, Tensor], seeded: int | None = 0, again: bool = False) -> Any:
        """Return what the function returns. Its own exceptions become a sentence with the shapes that were passed."""
        with torch._C.DisableTorchFunction():  # nothing to overrule in our own arithmetic
            values = {key: value.to(self.dtype) if value.is_floating_point() else value for key, value in values.items()}
            leaves = self.leaves(values)
        self.asked.clear()
        call = self.reached.caller()
        owner = getattr(call, "__self__", None) or (call.args[0] if hasattr(call, "args") and call.args else call)
        if owner is not None and self.reached.bound:
            if isinstance(owner, nn.Module):
                owner.to(self.dtype)
            for key, number in self.follow.items():
                with contextlib.suppress(AttributeError):  # of a name that is no attribute, or that of a module inside
                    operator.attrgetter(key)(owner)
                    assign(owner, {key: number})
            for name, part in self.plan.inner.items():
                model, answer = getattr(owner, name, None), self.fill(part, values)
                if isinstance(model, Stand):
                    vars(answer).update({key: value for key, value in vars(model).items() if key[0] != "_"})
                replace_attribute(owner, name, answer)
        if self.plan.free:
            call = with_names(call, {name: self.fill(slot, values) for name, slot in self.plan.free.items()})
        arguments, keywords = self.fill(self.plan.arguments, values), self.fill(self.plan.keywords, values)
        if seeded is not None:
            seed(seeded)
        self.watch = Watch(self.dtype, self.literals, leaves, self.noise)
        with lent(), self.watch, quiet():
            try:
                result = call(*arguments, **keywords)
                alone()
                if again:
                    result = call(*arguments, **keywords)
            except BaseException as error:
                raise readable(error) from None
            finally:
                alone()
        return self.returned(result, has_tensors=bool(values))

    def returned(self, result: Any, has_tensors: bool) -> object:
        """Return what came back, if it may be a loss. A function of no tensors that makes another is that one's factory."""
        if inspect.isawaitable(result) or inspect.isgenerator(result) or inspect.isasyncgen(result):
            what = "yields values one by one" if inspect.isgenerator(result) else "is asynchronous"
            running: Any = result
            if type(running) in (CoroutineType, GeneratorType):
                running.close()
            raise ReconError(f"{self.reached.spelled} {what}, and never returns a loss.", "Audit the function that computes it.")
        if callable(result) and not isinstance(result, (Tensor, type)):
            if not has_tensors:
                raise Made(result)
            raise ReconError(
                f"{self.reached.spelled} returns a {type(result).__name__} that is to be called, and no number.",
                "Audit what it returns, or return the loss.",
            )
        return result

    def leaves(self, values: Mapping[str, Tensor]) -> object:
        """Return reconstructions, latents and targets that want gradients, where sums are to be looked at."""
        groups: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        for key, value in values.items():
            if value.requires_grad:
                slot = next((s for s in self.plan.slots() if s.key == key), None)
                role = slot.role if slot else "mu"
                groups[0 if role in ("recon", "spread", "decoder") else 2 if role == "target" else 1].append(value)
        return groups if groups[0] else None

    def __call__(self, values: Mapping[str, Tensor], **how: Any) -> Tensor:
        """Return the loss as one number; a vector is summed."""
        return self.chosen(self.raw(values, **how)).sum()

    def chosen(self, result: object) -> Tensor:
        """Return the loss among what came back."""
        value = self.pick(result)
        if not isinstance(value, Tensor):
            raise ReconError(
                f"{self.picked} of {self.reached.spelled} is a {type(value).__name__} without a gradient.",
                "Return the tensor itself (no .item(), no float()), or choose another part with --total.",
            )
        return value


class Answer(Stand):
    """A model that answers with what it was given, whatever it is asked."""

    def __init__(self, answer: object, attributes: Mapping[str, object], asked: list[Tensor]) -> None:
        super().__init__("model", **{key: value for key, value in attributes.items() if key != "_about"})
        self.__dict__["_answer"], self.__dict__["_asked"] = answer, asked

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.__dict__["_asked"] += [each for each in (*args, *kwargs.values()) if isinstance(each, Tensor)]
        return self.__dict__["_answer"]
