"""The scales that a loss trains itself: whether log of each is in the loss, once for every element that it divides."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.elements import resting
from recon_cli.auditing.links import LINKS, MADE, link_of
from recon_cli.auditing.measuring import ReconstructionTerm
from recon_cli.auditing.probes import benign, gradients
from recon_cli.auditing.reach.roles import Pair
from recon_cli.auditing.scaling import Scaling, product

Placed: TypeAlias = Callable[[Problem, Tensor], Problem]  # a problem, with another value of a parameter
Parameter: TypeAlias = tuple[str, Tensor, Placed]  # its name, its value, and how a problem is that with another value
POWERS = {"gaussian": 2, "laplace": 1}  # of a residual in its loss, and of 1/scale; of others it is none
STEP = 1e-4
ODD = 37  # a batch whose size is no weight that anybody writes
FEW = 8  # what is no more is taken for a weight, not for a number of elements


@dataclass
class Replay:
    """A loss with parameters that are none of its arguments, by number; ``names`` where they have one, ``moved`` others in place.

    A function of named tensors, which is what a live step's loss is cut out as.
    """

    names: Mapping[int, str] = field(default_factory=dict, kw_only=True)
    moved: Mapping[int, Tensor] = field(default_factory=dict, kw_only=True)

    @property
    def trained(self) -> dict[int, Tensor]:
        """The parameters that its step trains, by number."""
        raise NotImplementedError


@dataclass(frozen=True)
class TrainedScale:
    """A scale that the loss itself trains.

    logs
        how many times log of the scale is in the loss for each element, where the likelihood has it once; None if not known.
    power
        of the scale in the loss: 2 of a Gaussian's, 0 where it is in it by no power.
    grows
        whether without its logarithm the parameter goes up.
    named
        whether the scale whose likelihood the error and the logarithm make is a plain function of the parameter: then what it is
        weighed with, a literal size say, is that of both.
    what
        in words, the logarithm that must be there, where it is another than that scale's.
    argument
        whether it is an argument of the loss, which a network gives or somebody.
    rest, size, residual
        where it rests, and of which size of the residuals that is the logarithm; NaN where it does not.
    """

    name: str
    logs: float | None
    power: int
    grows: bool
    named: bool = False
    what: str = ""
    argument: bool = False
    rest: float = math.nan
    size: str = ""
    residual: float = math.nan


def trained_scales(
    problem: Problem, rec: ReconstructionTerm, pair: Pair, meaning: str | None, scaling: Scaling
) -> tuple[TrainedScale, ...]:
    """Return the parameters that divide every residual, with how often the loss has their logarithm."""
    power = POWERS.get(rec.match.family, 0) if rec.match is not None and link_of(rec.match.link) else 0
    if not (power or rec.location) or pair[1] is None or not rec.additive or problem.layout.classes:
        return ()
    of = functools.partial(measured, power=power, rec=rec, pair=pair, meaning=meaning, scaling=scaling)
    known = ((each, judged(problem, functools.partial(of, each))) for each in parameters(problem) if fits(each[1], problem))
    return tuple(resting_place(problem, scale, pair, *each[1:]) for each, scale in known if scale is not None)


def judged(problem: Problem, scale_at: Callable[[Problem], TrainedScale | None]) -> TrainedScale | None:
    """Return a scale whose logarithm counts 1 where another number is a weight of the whole likelihood, at the problem's sizes.

    Which it is shows at a batch of its own, where the function takes that.
    """
    scale, there = None, problem.at(sizes=replace(problem.sizes, batch=ODD))
    with contextlib.suppress(Exception):  # of the user's function, which has sizes of its own
        if (scale := scale_at(there)) is None:
            return None
    if scale is None or scale.logs is not None and math.isnan(scale.logs):
        scale, there = scale_at(problem), problem
    if scale is None or scale.logs is None or not scale.logs > 0:
        return scale
    if not miscounted(scale.logs, (there.sizes.batch, *there.sizes.shape)):
        return replace(scale, logs=1.0)
    return replace(scale, logs=1.0) if not scale.what and (scale := scale_at(problem)) is not None and scale.named else scale


def parameters(problem: Problem) -> Iterator[Parameter]:
    """Yield what is trained beside the arguments."""
    owner, code = problem.reached.owner, problem.reached.code
    if isinstance(owner, torch.nn.Module):
        for name, parameter in owner.named_parameters():
            if parameter.requires_grad:

                def on_self(there: Problem, value: Tensor, name: str = name) -> Problem:
                    own: dict[str, Any] = {name: value if value.requires_grad else torch.nn.Parameter(value)}
                    return there.at(follow={**there.follow, **own}, memo={})

                yield name, parameter.detach().double(), on_self
    if isinstance(code, Replay):
        for number, value in code.trained.items():

            def in_replay(there: Problem, value: Tensor, number: int = number) -> Problem:
                own: Any = there.reached.code
                return there.at(reached=replace(there.reached, code=replace(own, moved={number: value})), memo={})

            yield code.names.get(number, "a parameter"), value.detach().double(), in_replay


def fits(parameter: Tensor, problem: Problem) -> bool:
    """Whether a parameter can be a scale of a sample's elements: one number, one of each, or one of each along some axis."""
    sample = problem.sizes.shape
    return parameter.ndim <= len(sample) + 1 and all(
        n in (1, whole) for n, whole in zip(reversed(parameter.shape), reversed((1, *sample)), strict=False)
    )


def measured(
    parameter: Parameter, problem: Problem, power: int, rec: ReconstructionTerm, pair: Pair, meaning: str | None, scaling: Scaling
) -> TrainedScale | None:
    """Return a parameter as a scale; None where it does not weigh each residual as a scale does, whatever the residual is.

    With L = rho(e/s(p)) + c(p) for each element and the pull P = dL/de, dP/dp = -(log s)' (P + e dP/de), and of dL/dp the
    residuals' part is -(log s)' e P. What is left is c'(p): of a likelihood of weight A, A (log s)'.
    """
    assert pair[1] is not None
    name, here, at = parameter
    link = rec.match is not None and link_of(rec.match.link) or LINKS[""]
    values, recon = resting(problem, meaning), pair[0].key
    x, r = values[pair[1].key], values[recon]
    if x.shape != r.shape:
        return None
    leaf = torch.nn.Parameter(here.clone())
    loss = at(problem, leaf)(values)
    if not loss.requires_grad or torch.autograd.grad(loss, leaf, allow_unused=True)[0] is None:
        return None  # detached: a noise that something else chooses
    data, rises = link.data(x), []

    def pulled(by: float, point: Tensor) -> tuple[float, Tensor, Tensor]:
        loss, grads = gradients(at(problem, here + by), {**values, recon: point}, [recon])
        spot = point.clone().requires_grad_()
        mean = link.mean(spot)
        (bent,) = torch.autograd.grad(mean.sum(), spot)
        return loss, grads[recon] / bent, mean.detach() - data

    for share in (1.0, 0.6):
        point = x + share * (r - x)
        up, down, now = (pulled(by * STEP, point) for by in (1, -1, 0))
        further, nearer = (pulled(0.0, point + by * STEP * (r - x)) for by in (1, -1))
        alive, pull, error = now[1] != 0, now[1], now[2]
        by_parameter = (up[1] - down[1]) / (2 * STEP)
        bend = pull + error * (further[1] - nearer[1]) / (further[2] - nearer[2])
        solid = alive & (bend.abs() > 0.05 * bend.abs().max())
        rise = -by_parameter / bend
        if not bool(solid.any()) or not bool(rise[solid].isfinite().all()) or not bool(rise[solid].abs().max() > 1e-6):
            return None
        rises.append((rise, solid, (up[0] - down[0]) / (2 * STEP), pull * error, by_parameter, bend, alive))
    (rise, solid, slope, work, by_parameter, bend, alive), (other, also, *_) = rises
    if bool((rise - other)[solid & also].abs().max() > 1e-4 * rise[solid].abs().max()):
        return None
    even = rise.where(solid, rise[solid].median())
    if bool((by_parameter + even * bend)[alive].abs().max() > 1e-4 * by_parameter.abs().max()):
        return None
    errors = -(even * work)[alive].sum().item()
    left = slope - errors
    left = 0.0 if abs(left) < 1e-5 * max(abs(errors), 1e-12) else left
    weight = left / even[alive].sum().item() * rec.sign
    own = product((problem.sizes.batch, scaling.length or problem.sizes.D), (scaling.batch[1], scaling.dim[1]))
    known = left == 0 or None not in (scaling.batch[1], scaling.dim[1])
    size = abs(rec.match.weight) if rec.match is not None else 0.0
    implied = (abs(weight) / (power * size)) ** (1 / power) if power and size else math.nan
    falls = bool(even[alive].mean() * rec.sign > 0)
    return TrainedScale(name, weight / own if known else None, power, falls, named=bool(power) and is_named(implied, here, power))


def is_named(scale: float, parameter: Tensor, power: int) -> bool:
    """Whether a scale, or a half or twice its square, is what people make of a parameter: it, its exponential, 1 over these."""
    p = parameter.flatten()[:1]
    plain = [function(p).item() for function in MADE.values()]
    made = [value**exponent for value in plain if value > 0 for exponent in (1, -1, 0.5, -0.5)]
    factors = (0.5**0.5, 1.0, 2**0.5) if power == 2 else (0.5, 1.0, 2.0)
    return bool((parameter == p).all()) and any(
        math.isclose(scale, factor * value, rel_tol=1e-5) for factor in factors for value in made
    )


def miscounted(logs: float, sizes: tuple[int, ...]) -> bool:
    """Whether a logarithm is there as often too seldom or too often as a batch or a sample has elements along some axes."""
    counts = {1}
    for size in sizes:
        counts |= {count * size for count in counts}
    return any(
        abs(math.log(logs * times / factor)) < 1e-3
        for count in counts
        if count > FEW
        for times in (count, 1 / count)
        for factor in (0.5, 1.0, 2.0)
    )


def resting_place(problem: Problem, scale: TrainedScale, pair: Pair, here: Tensor, at: Placed) -> TrainedScale:
    """Return a scale with where it rests at residuals as they are, if it is one number whose logarithm counts."""
    if here.numel() > 1 or scale.logs != 1 or pair[1] is None:
        return scale
    values = benign(problem)

    def pull(to: float) -> float:
        up, down = (at(problem, torch.full_like(here, to + h))(values).item() for h in (1e-5, -1e-5))
        return (up - down) / 2e-5

    low, high = here.item() - 20.0, here.item() + 20.0
    if not pull(low) < 0 < pull(high):
        return scale
    from scipy.optimize import root_scalar

    rest = float(root_scalar(pull, bracket=(low, high), xtol=1e-12).root)
    e = (values[pair[0].key].flatten() - values[pair[1].key].flatten()).abs()
    sizes = {"mean absolute error": e.mean().item(), "root mean squared error": e.square().mean().sqrt().item()}
    what = next((word for word, size in sizes.items() if abs(math.exp(rest) / size - 1) < 1e-4), "")
    return replace(scale, rest=rest, size=what, residual=e.mean().item())
