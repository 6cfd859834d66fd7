"""The objective as a formula: every mean written out, every sign and every weight as measured; and as a line of torch."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from recon_cli.auditing.calling import Sizes
from recon_cli.auditing.families import Match
from recon_cli.auditing.latent_fields import FORMULAS
from recon_cli.auditing.links import link_of, words_of
from recon_cli.auditing.measurements import Measurements
from recon_cli.auditing.measuring import MADE
from recon_cli.auditing.noises import LINK
from recon_cli.auditing.norms import SAMPLE, WHOLE, Norm
from recon_cli.auditing.scaling import product
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.shapes import spell
from recon_cli.report import Block, Diagram

SUMS = {
    "gaussian": "Σ(x̂−x)²",
    "laplace": "Σ|x̂−x|",
    "bernoulli": "CE",
    "categorical": "NLL",
    "heteroscedastic-gaussian": "NLL",
    "poisson": "Σ(x̂−x log x̂)",
    "hyperbolic-secant": "Σ log cosh((x̂−x)/s)",
    "huber": "Σ huber(x̂−x)",
}
LINKED = {"gaussian": "Σ({0}−x)²", "laplace": "Σ|{0}−x|", "poisson": "Σ({0}−x log {0})"}  # of what is made of the output r
ENDS = {"logit": (torch.sigmoid, 1.0), "log": (torch.exp, math.inf)}  # of what a family is on, and the most that it is
MEANS = ("mu", "r")
FORM = "Σ(x̂−x)ᵀP(x̂−x)"
BOUND = "Σ −log mean w"
NAMESPACES = {"torch": "torch", "distributions": "torch.distributions", "F": "torch.nn.functional"}
PLACES = {"B": "the batch", "D": "a sample's elements", "T": "an axis of a sample", "K": "the latents"}


def bounds(link: str, own: str) -> list[str]:
    """Return what the mean never is, in words, of a family on a logit or a logarithm ``own`` that is made by a bounded link."""
    if own not in ENDS or (known := link_of(link)) is None or not known.words:
        return []
    to_mean, most = ENDS[own]
    ends = to_mean(known.mean(torch.tensor([-1e4, 0.0, 1e4], dtype=torch.float64)))
    low, high = float(ends.min()), float(ends.max())
    return [f"below {number(low)}"] * (low > 1e-9) + [f"above {number(high)}"] * (high < most - 1e-9)


def fraction(value: float) -> str:
    """Return a weight; one over a whole number as that."""
    inverse = 1 / value if value else 0.0
    small = 1 < abs(inverse) < 1e9 and abs(inverse - round(inverse)) < 1e-7 * abs(inverse) and len(f"{value:.6g}") > 5
    return f"1/{round(inverse)}" if small else number(value)


def number(value: float) -> str:
    """Return a number in six digits, a whole one whole."""
    if not math.isfinite(value):
        return str(value)
    return f"{round(value):,}" if abs(value - round(value)) < 1e-9 * max(1, abs(value)) and abs(value) < 1e15 else f"{value:.6g}"


def coefficient(value: float, powers: dict[str, float | None], sizes: dict[str, int]) -> str:
    """Return a weight as a number times powers of the sizes: ``1/(B·D)``."""
    over: list[str] = []
    above: list[str] = []
    for name, exponent in powers.items():
        if exponent:
            value /= sizes[name] ** exponent
            written = name if abs(exponent) == 1 else f"{name}^{number(abs(exponent))}"
            (over if exponent < 0 else above).append(written)
    head = "·".join(above)
    one = abs(value - 1) < 1e-7  # to an eps's digits
    top = head or "1" * bool(over) if one else "·".join(filter(None, (fraction(value) if not over else number(value), head)))
    below = "·".join(over)
    return (f"({top}/({below}))·" if len(over) > 1 else f"({top}/{below})·") if over else (f"{top}·" if top else "")


def of_norm(norm: Norm | None, powers: Mapping[str, float | None], sizes: dict[str, int]) -> str:
    """Return a norm's weight, whose pull falls with the root of each size that it is taken over."""
    if norm is None:
        return ""
    over = {SAMPLE: ("D", "T"), WHOLE: ("B", "D", "T")}.get(norm.of, ())
    own = {name: (power or 0.0) + 0.5 * (name in over) for name, power in powers.items() if over}
    return coefficient(norm.weight, {name: power for name, power in own.items() if abs(power) > 1e-6}, sizes)


@dataclass(frozen=True)
class Part:
    """One term of an objective: whether it is subtracted, its weight, what it is, and of which arguments.

    powers
        of the sizes in the weight, by name; empty where they are not known.
    """

    minus: bool
    weight: str
    what: str
    arguments: tuple[str, ...]
    powers: Mapping[str, float | None]


def parts_of(measured: Measurements) -> Iterator[Part]:
    """Yield the terms of an objective, every mean in B, D (of a table T) and K."""
    at_sizes, latent, terms = measured.sizes, measured.latent, measured.terms
    sizes = {"B": at_sizes.batch, "D": at_sizes.D, "K": at_sizes.K, "T": 1}
    masks = [key for key, role, _ in measured.roles if role == "mask"]
    for term in terms:
        if not term.recon:
            continue
        rec, scale, unmoved = term.rec, term.scaling, term.astray.left if term.astray else ""
        sizes["T"] = scale.length or 1
        powers = {"B": scale.batch[1], ("T" if scale.length else "D"): scale.dim[1], "K": scale.latent[1]}
        arguments = (term.recon, term.target) if term.target else (term.recon,)
        if unmoved or not rec.match:
            norm = rec.norm if not unmoved and not rec.bound else None
            each = "Σ" * (norm is not None and norm.of != WHOLE)
            what = unmoved or (BOUND if rec.bound else f"{each}‖x̂−x‖" if norm else FORM if rec.quadratic else "R(x̂, x)")
            yield Part(rec.sign < 0 and not unmoved and not rec.bound, of_norm(norm, powers, sizes), what, arguments, {})
            continue
        if rec.quadratic is not None:  # P is all that no size is in
            own = rec.quadratic.whose
            weight = abs(rec.quadratic.weight) or 1.0 if own else 0.5 * product([sizes[n] for n in powers], [*powers.values()])
            yield Part(rec.sign < 0, coefficient(weight, powers, sizes), "NLL" if own else FORM, arguments, powers)
            continue
        for family, weight in rec.match.parts or ((rec.match.family, rec.match.weight),):
            what = "NLL" if rec.spread else summed(rec.match, family)
            if weights := [*masks, *(["w"] if term.uneven or rec.given else [])]:
                what = f"Σ {'·'.join(weights)}·{what.removeprefix('Σ').strip()}"
            yield Part(weight < 0, coefficient(abs(weight), powers, sizes), what, arguments, powers)
    names = measured.latents if latent is not None and latent.line else (measured.mu, measured.scale)
    if latent is not None and latent.weight:
        scale = next(iter(terms)).scaling
        powers = {"B": scale.batch[2], ("T" if scale.length else "D"): scale.dim[2], "K": scale.latent[2]}
        what = FORMULAS[latent.forms.kind] if latent.forms else "KL"
        weight = abs(latent.weight)
        if (turn := latent.squared) is not None:  # it pulls at a mean by 1/B of this where the batch's mean is compared
            powers["B"] = None if powers["B"] is None or turn.moves else powers["B"] + turn.whose[1]
            weight = abs(turn.times)
        prefix = coefficient(weight, powers, sizes)
        yield Part(latent.weight < 0, prefix, what, names, powers)
    elif measured.mixed:
        yield Part(False, "", f"S({', '.join(measured.latents)})", names, {})
    elif latent is not None:
        yield Part(False, "", "(a term in the latents that is no KL)", names, {})
    for rest in measured.besides:
        if rest.times is not None:
            prefix = "" if math.isnan(rest.times) else coefficient(abs(rest.times), {}, sizes)
            yield Part(rest.times < 0, prefix, f"{rest.arguments[0]} (given, not audited)", rest.arguments, {})
            continue
        yield Part(False, "", f"S({', '.join(rest.arguments)})", rest.arguments, {})


def formula(measured: Measurements) -> str:
    """Return the objective; terms without a target by what they are of."""
    several = len(measured.terms) > 1
    named = (measured.mu, measured.scale), measured.latents, *(rest.arguments for rest in measured.besides)
    parts = [
        (part.minus, f"{part.weight}{part.what}{f' of {part.arguments[0]}' if several and part.arguments not in named else ''}")
        for part in parts_of(measured)
    ]
    if all(less for less, _ in parts):
        inside = " + ".join(part for _, part in parts)
        return f"L = −({inside})" if len(parts) > 1 else f"L = −{inside}"
    first = "−" * parts[0][0] + parts[0][1]
    return f"L = {first}" + "".join(f" {'−' if less else '+'} {part}" for less, part in parts[1:])


def diagram(measured: Measurements, total: Sequence[str]) -> Diagram:
    """Return the objective as a drawing of its terms: the weight of each, and what it is averaged and summed over."""
    bare = ((part, re.sub(r"^\((.*)\)$", r"\1", part.weight.removesuffix("·") or "1")) for part in parts_of(measured))
    blocks = [Block(part.what, ", ".join(part.arguments), weight, extent(part.powers), part.minus) for part, weight in bare]
    return Diagram("The loss: its terms, their weights, what each is averaged over", blocks, total)


def extent(powers: Mapping[str, float | None]) -> str:
    """Return in words which sizes a term is averaged over, and which it is summed over."""
    mean = [PLACES[name] for name, power in powers.items() if power is not None and abs(power + 1) < 1e-6]
    odd = [f"{name}^{number(power)}" for name, power in powers.items() if power and abs(power + 1) >= 1e-6]
    rest = ", summed over the rest" if powers.get("B") is not None and len(mean) < 2 else ""
    words = [f"averaged over {' and '.join(mean)}{rest}"] if mean else ["summed over everything"] if powers else []
    return ", ".join([*words, *([f"times {' '.join(odd)}"] if odd else [])])


def summed(match: Match, family: str) -> str:
    """Return the sum that a weight stands before, of the output r where the mean is made of it."""
    if match.link == LINK:
        return "Σ(x̂−x)²/(2 σ̂²)" if family == "gaussian" else "Σ|x̂−x|/ŝ"
    link = words_of(match.link)
    own = match.candidate.link if match.candidate else ""
    if link and family in LINKED:
        return LINKED[family].format(link)
    if family == "poisson" and own == "log":
        return "Σ(exp(r)−x r)"
    if match.link == MADE and family == "gaussian":
        return "Σ(x̂−f(x))²"
    return SUMS.get(family, f"Σ {f'({family})' if ' + ' in family else family} loss")


def at(sizes: Sizes, batch: float | None, dim: float | None, latent: float | None, length: int | None = None) -> str:
    """Return the sizes that a number moves with, as measured: `` at B = 4, D = 784``; empty where it moves with none.

    Where it moves with one axis of a sample alone that is T, of this length.
    """
    powers = {"B": (sizes.batch, batch), ("T" if length else "D"): (length or sizes.D, dim), "K": (sizes.K, latent)}
    named = [f"{name} = {size:,}" for name, (size, power) in powers.items() if power and abs(power) > 1e-6]
    return f" at {', '.join(named)}" if named else ""


def at_sizes(measured: Measurements) -> str:
    """Return at what a loss was measured: the sizes of the call."""
    sizes, latent = measured.sizes, measured.latent
    shape = f" ({spell(sizes.shape)})" if len(sizes.shape) > 1 else ""
    of_latents = f", K = {sizes.K:,}{f' ({spell(sizes.latent)})' if len(sizes.latent) > 1 else ''}" if latent is not None else ""
    elements = "" if measured.alone else f", D = {sizes.D:,}{shape}"
    return f"Measured at B = {sizes.batch:,}{elements}{of_latents}."


def line_of(text: str, recon: str, target: str, own: Mapping[str, float]) -> str:
    """Return ``text``, an expression in x, mu or r and the loss's own numbers, summed over everything; empty where it is none.

    Its functions are torch's or those of ``torch.nn.functional``, as they are called there without their module.
    """
    try:
        tree = ast.parse(text, mode="eval").body
        spelled = Spelling(recon, target, own).visit(tree)
    except (SyntaxError, KeyError):
        return ""
    return f"({ast.unparse(ast.fix_missing_locations(spelled))}).sum()"


def call_of(kind: type[Likelihood], method: str) -> str:
    """Return what people call for an nll of the mean, or of the raw output; empty where torch has nothing."""
    every = [text for text in kind.calls if "stats." not in text]
    own = [text for text in every if re.search(r"\br\b" if method == "nll_raw" else r"\bmu\b", text)]
    if own or method != "nll_raw":
        return own[0] if own else ""
    return of_output(every[0], kind.link.name) if every else ""


def of_output(text: str, link: str) -> str:
    """Return a formula of the mean as one of the raw output; empty under a link that is no one function of torch's."""
    means = {"logit": "sigmoid(r)", "log": "exp(r)", "identity": "mu"}
    return re.sub(r"\bmu\b", means.get(link, "mu"), text) if link in means or not re.search(r"\bmu\b", text) else ""


class Spelling(ast.NodeTransformer):
    """Puts names and numbers in their places. Raises KeyError for a name that means nothing here."""

    def __init__(self, recon: str, target: str, own: Mapping[str, float]) -> None:
        self.names = {**dict.fromkeys(MEANS, recon), "x": target, **NAMESPACES}
        self.own = own

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """Return what a name stands for."""
        if node.id in self.own:
            value = self.own[node.id]
            return ast.Constant(int(value) if value.is_integer() else value)
        return ast.parse(self.names[node.id], mode="eval").body

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Return a call with its function's module; of numbers alone, what it comes to."""
        arguments = [self.visit(argument) for argument in node.args]
        keywords = [ast.keyword(each.arg, self.visit(each.value)) for each in node.keywords]
        if not isinstance(node.func, ast.Name):
            return ast.Call(self.visit(node.func), arguments, keywords)
        name = node.func.id
        numbers = [value for value in map(number_of, arguments) if value is not None]
        if len(numbers) == len(arguments) and hasattr(math, name):
            return ast.Constant(getattr(math, name)(*numbers))
        if not hasattr(torch, name) and not hasattr(functional, name):
            raise KeyError(name)
        if not hasattr(torch, name):
            keywords.append(ast.keyword("reduction", ast.Constant("none")))
        module = "torch" if hasattr(torch, name) else "torch.nn.functional"
        return ast.Call(ast.parse(f"{module}.{name}", mode="eval").body, arguments, keywords)


def number_of(node: ast.AST) -> float | None:
    """Return the number that an expression without names is; None for any other."""
    if any(isinstance(part, (ast.Name, ast.Call, ast.Attribute)) for part in ast.walk(node)):
        return None
    expression = ast.fix_missing_locations(ast.Expression(node))  # type: ignore[arg-type]
    return float(eval(compile(expression, "<number>", "eval"), {"__builtins__": {}}))
