"""Losses that are one slip away from a right one: each must be seen, or be the same function but for a factor and a constant."""

from __future__ import annotations

import ast
import copy
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from recon_cli import audit
from recon_cli.errors import ReconError

BASES = {
    "gaussian": "0.5 * ((recon - x) ** 2).sum() + 0.5 * (mu ** 2 + logvar.exp() - logvar - 1).sum()",
    "minus": "0.5 * ((recon - x) ** 2).sum() - 0.5 * torch.sum(1 + logvar - mu ** 2 - logvar.exp())",
    "batch": "0.5 * ((recon - x) ** 2).sum(1).mean() + 0.5 * (mu ** 2 + logvar.exp() - logvar - 1).sum(1).mean()",
    "scaled": "((recon - x) ** 2).sum() / (2 * 0.3 ** 2) + 0.5 * (mu ** 2 + logvar.exp() - logvar - 1).sum()",
    "laplace": "(recon - x).abs().sum() / 0.2 + 0.5 * (mu ** 2 + logvar.exp() - logvar - 1).sum()",
    "bernoulli": "F.binary_cross_entropy(recon, x, reduction='sum')"
                 " + 0.5 * (mu ** 2 + logvar.exp() - logvar - 1).sum()",
    "logits": "(F.softplus(recon) - x * recon).sum() + 0.5 * (mu ** 2 + logvar.exp() - logvar - 1).sum()",
    "poisson": "(recon.exp() - x * recon).sum() + 0.5 * (mu ** 2 + logvar.exp() - logvar - 1).sum()",
    "log std": "0.5 * ((recon - x) ** 2).sum() + (0.5 * (mu ** 2 + (2 * log_std).exp() - 1) - log_std).sum()",
    "std": "0.5 * ((recon - x) ** 2).sum() + (0.5 * (mu ** 2 + std ** 2 - 1) - std.log()).sum()",
    "student": "2 * torch.log1p((recon - x) ** 2 / 3).sum() + 0.5 * (mu ** 2 + logvar.exp() - logvar - 1).sum()",
    "log cosh": "torch.log(torch.cosh(recon - x)).sum() + 0.5 * (mu ** 2 + logvar.exp() - logvar - 1).sum()",
    "spread": "0.5 * (((recon - x) ** 2) / logvar_x.exp() + logvar_x).sum() + 0.5 * (mu ** 2 + logvar.exp() - logvar - 1).sum()",
    "softplus": "0.5 * (((recon - x) ** 2) / F.softplus(logvar_x) + F.softplus(logvar_x).log()).sum()"
                " + 0.5 * (mu ** 2 + logvar.exp() - logvar - 1).sum()",
    "laplace spread": "((recon - x).abs() / logvar_x.exp() + logvar_x).sum() + 0.5 * (mu ** 2 + logvar.exp() - logvar - 1).sum()",
    "charbonnier": "((recon - x) ** 2 + 0.01).sqrt().sum() + 0.5 * (mu ** 2 + logvar.exp() - logvar - 1).sum()",
}  # fmt: skip
SMALL: dict[str, Any] = {"shape": (5,), "latent": 3}
SCALES = ("logvar", "log_std", "std")


def arguments(expression: str) -> list[str]:
    names = {node.id for node in ast.walk(ast.parse(expression)) if isinstance(node, ast.Name)}
    scale = next(name for name in SCALES if name in expression.replace("logvar_x", ""))
    return ["recon", *(["logvar_x"] if "logvar_x" in expression else []), "x", "mu", scale] if names else []


def written(expression: str, names: list[str]) -> Callable[..., Any]:
    scope: dict[str, Any] = {"torch": torch, "F": F, "math": math}
    exec(f"def loss({', '.join(names)}):\n    return {expression}", scope)
    return scope["loss"]


def slips(node: ast.AST, names: list[str]) -> Iterator[ast.AST]:
    """What somebody may have written in a node's place."""
    if isinstance(node, ast.BinOp):
        turned = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
        if type(node.op) in turned:
            yield ast.BinOp(node.left, turned[type(node.op)](), node.right)
            yield node.left
            yield node.right
        if isinstance(node.op, ast.Pow):
            yield node.left
            yield ast.BinOp(node.left, ast.Pow(), ast.Constant(4))
            yield ast.Call(ast.Attribute(node.left, "abs", ast.Load()), [], [])
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield from (ast.Constant(value) for value in (2 * node.value, node.value / 2, node.value + 1))
    if isinstance(node, ast.UnaryOp):
        yield node.operand
    if isinstance(node, ast.Name) and node.id in names:
        yield from (ast.Name(name, ast.Load()) for name in names if name != node.id)
        yield ast.Call(ast.Attribute(node, "exp", ast.Load()), [], [])
        yield ast.Call(ast.Attribute(node, "detach", ast.Load()), [], [])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr == "sum" and not isinstance(node.func.value, ast.Name):
            yield ast.Call(ast.Attribute(node.func.value, "mean", ast.Load()), node.args, [])
        if node.func.attr in ("exp", "log", "abs") and not (
            isinstance(node.func.value, ast.Name) and node.func.value.id == "torch"
        ):
            yield node.func.value
        elif node.func.attr == "binary_cross_entropy":
            yield ast.Call(node.func, node.args[::-1], node.keywords)
            yield ast.Call(
                ast.Attribute(node.func.value, "binary_cross_entropy_with_logits", ast.Load()), node.args, node.keywords
            )
        elif node.func.attr in ("log", "cosh", "log1p", "softplus"):
            yield node.args[0]


def mutants(expression: str, names: list[str]) -> list[str]:
    """Every way to write an expression with one slip."""
    tree = ast.parse(expression, mode="eval")
    texts = []
    for index, node in enumerate(ast.walk(tree)):
        for new in slips(node, names):

            class Slip(ast.NodeTransformer):
                place = -1

                def visit(self, each: ast.AST, index: int = index, new: ast.AST = new) -> Any:
                    return new if getattr(each, "place", None) == index else self.generic_visit(each)

            copied = copy.deepcopy(tree)
            for place, each in enumerate(ast.walk(copied)):
                each.place = place  # type: ignore[attr-defined]
            texts.append(ast.unparse(ast.fix_missing_locations(Slip().visit(copied))))
    return [text for text in dict.fromkeys(texts) if text != ast.unparse(tree)]


def gradients(loss: Callable[..., Any], names: list[str], seed: int) -> torch.Tensor:
    """The gradients by everything but the data, at random places."""
    draw = torch.Generator().manual_seed(seed)
    ranges = {"recon": (0.1, 0.9), "x": (0.1, 0.9), "std": (0.3, 2.0)}
    values = []
    for name in names:
        low, high = ranges.get(name, (-1.5, 1.5))
        size = (3, 5) if name in ("recon", "x", "logvar_x") else (3, 3)
        values.append((low + (high - low) * torch.rand(size, generator=draw, dtype=torch.float64)).requires_grad_(name != "x"))
    total = loss(*values).sum()
    leaves = [value for value in values if value.requires_grad]
    grads = torch.autograd.grad(total, leaves, allow_unused=True)
    return torch.cat([(torch.zeros_like(v) if g is None else g).flatten() for v, g in zip(leaves, grads, strict=True)])


def same(one: Callable[..., Any], other: Callable[..., Any], names: list[str]) -> bool:
    """Whether two losses have the same gradients everywhere, but for a positive factor."""
    return parallel(one, other, names, 0)


def parallel(one: Callable[..., Any], other: Callable[..., Any], names: list[str], last: int) -> bool:
    """Whether two losses have the same gradients (the ``last`` of them; 0 for all) but for a factor, positive or 0."""
    factors = []
    for seed in (1, 2, 3):
        first, second = (gradients(loss, names, seed)[-last:] for loss in (one, other))
        factor = (first @ second / (second @ second)).item()
        if not (factor >= 0 and (first - factor * second).abs().max() <= 1e-9 * second.abs().max()):
            return False
        factors.append(factor)
    return max(factors) - min(factors) <= 1e-9 * max(factors)


KLS = {
    "logvar": lambda mu, s: mu**2 + s.exp() - s - 1,
    "log_std": lambda mu, s: mu**2 + (2 * s).exp() - 2 * s - 1,
    "std": lambda mu, s: mu**2 + s**2 - 2 * s.log() - 1,
}


def has_kl(loss: Callable[..., Any], names: list[str]) -> bool:
    """Whether the gradients by the latents are those of a KL of what the scale is called, times a number; or 0."""
    kl = KLS[names[-1]]
    latents = [len(names) - 2, len(names) - 1]
    return parallel(loss, lambda *values: kl(values[latents[0]], values[latents[1]]), names, 6 * 3)


def facts(loss: Callable[..., Any]) -> tuple[Any, ...]:
    """What is said of a loss, to six digits; the error's type where it cannot be audited."""
    try:
        found = audit(loss, **SMALL)
    except ReconError:
        return ("refused",)
    (row, *_) = found.rows
    powers = [None if p is None else round(p, 4) + 0.0 for p in (row.tradeoff_batch, row.tradeoff_dim, row.tradeoff_latent)]
    numbers = [None if n is None else float(f"{n:.6g}") for n in (row.tradeoff, row.sigma, row.beta, *row.parameters.values())]
    return (
        found.holds,
        row.family,
        *numbers,
        *powers,
        row.latent_scale,
        row.direction,
        row.verdict,
        row.defects,
        row.link,
        "with_logits" in str(found.conversions),
        "".join(re.findall("whose (?:log |standard )?(?:variance|deviation|scale|precision) is [^,]*", found.sentence)),
    )


def unseen(name: str, step: int = 1) -> list[str]:
    """Mutants of which the same is said as of the loss itself, and that are another one."""
    expression = BASES[name]
    names = arguments(expression)
    loss = written(expression, names)
    wanted, missed = facts(loss), []
    assert wanted[0] is True, (name, wanted)
    for text in mutants(expression, names)[::step]:
        mutant = written(text, names)
        said = facts(mutant)
        try:
            if said == wanted and not same(mutant, loss, names):
                missed.append(text)
            if said[0] is True and said != wanted and not has_kl(mutant, names):
                missed.append(f"passes with no KL: {text}")
        except IndexError:  # of other axes than these tensors have
            continue
        except RuntimeError:
            missed.append(text)
    return missed


@pytest.mark.hostile
@pytest.mark.parametrize("name", BASES)
def test_every_slip_is_seen(name: str) -> None:
    assert unseen(name) == []


@pytest.mark.parametrize("name", ["minus", "spread"])
def test_some_slips_are_seen(name: str) -> None:
    assert unseen(name, 12) == []


def test_there_are_enough_mutants() -> None:
    assert sum(len(mutants(text, arguments(text))) for text in BASES.values()) >= 300
