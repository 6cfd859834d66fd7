"""What is asked for on a GPU stays there: on tensors without values, of whose reading something is answered."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from test_captured import MISSING, SMALL, rows_of
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recon_cli import likelihoods
from recon_cli.benchmark.compare import sample
from recon_cli.comparison import cases, engines
from recon_cli.training import loop
from recon_cli.training.plan import Plan

NUMBERS = ("item", "__float__", "__int__", "__index__")
WITHIN = {"tweedie": 1.5}  # where a half is no number that a fit may find
COPIES = ("copy_", "_to_copy")
READS = ("index", "index_select", "gather")  # which read their tensor, whatever its size, at places


class Answers(TorchFunctionMode):
    """Answers what is read of a tensor without values: a number, and yes; of a mask the half of its places."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, first, kwargs = getattr(func, "__name__", ""), args[0] if args else None, dict(kwargs or {})
        if kwargs.get("device") == torch.device("meta"):
            kwargs.pop("generator", None)  # there are none for such tensors
        if isinstance(first, Tensor) and first.is_meta:
            if name == "__bool__":
                return True
            if name in NUMBERS:
                return self.number if name in ("item", "__float__") else int(self.number)
            there = (*args[1:], *kwargs.values())
            if name in ("tolist", "cpu", "numpy") or (name == "to" and any(str(each) == "cpu" for each in there)):
                read = torch.full(first.shape, self.number).to(first.dtype)
                return getattr(read, name)() if name in ("tolist", "numpy") else read
            if name == "__getitem__" and isinstance(args[1], Tensor) and args[1].dtype is torch.bool and args[1].is_meta:
                return first.flatten(0, args[1].ndim - 1)[: max(1, args[1].numel() // 2)]
        return func(*args, **kwargs)


class OneDevice(TorchDispatchMode):
    """Refuses an operation of tensors in two places."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, tensors = (
            func._schema.name.split("::")[1],
            [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)],
        )
        places = {each.device.type for each in tensors if each.ndim or name in READS}
        assert len(places) <= 1 or name in COPIES, f"{name} of tensors on {' and '.join(sorted(places))}"
        return func(*args, **(kwargs or {}))


def compared(name: str, gradients: str = "sample", **how: Any) -> None:
    x, mu = sample(likelihoods.parse(name).of_vectors(10), 4000)
    how = {**how, "weights": torch.rand(len(mu))} if "weights" in how else how
    likelihood = likelihoods.parse(name).of_vectors(10)
    case = cases.admit(likelihood, None, x, mu, torch.device("meta"), torch.float32, "data", False, **how)
    with OneDevice(), Answers(0.0):
        engines.run(dataclasses.replace(case, sample=500), "eager", gradients)


@pytest.mark.parametrize("name", likelihoods.names())
def test_a_comparison(name: str) -> None:
    compared(name, weights=True)


@pytest.mark.parametrize("how", [{}, {"gradients": "all"}, {"partial": True}, {"partial": True, "weights": True}], ids=str)
@pytest.mark.parametrize("name", ["gaussian", "poisson"])
def test_a_comparison_in_other_ways(name: str, how: dict[str, Any]) -> None:
    compared(name, **how)


def an_epoch(monkeypatch: pytest.MonkeyPatch, rows: numpy.ndarray, name: str, **how: Any) -> None:
    plan = Plan.of(rows, name, **{**SMALL, "epochs": 1, **how})
    state = plan.state()
    model, noise, there = state.model.to("meta"), state.noise.to("meta"), state.rows.to("meta")
    generator = torch.Generator
    monkeypatch.setattr(torch, "Generator", type("Here", (), {"__new__": lambda kind, device="cpu": generator()}))
    with OneDevice(), Answers(WITHIN.get(name, 0.5)):
        for _ in loop.walk(loop.State(model, noise, there, state.settings)):
            pass


@pytest.mark.parametrize("name", likelihoods.names())
def test_an_epoch(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    an_epoch(monkeypatch, rows_of(name), name)


@pytest.mark.parametrize(
    "how", [{"reading": MISSING}, {"sigma": "optimal"}, {"sigma": "per-element"}, {"model": "conv"}, {"average": 0.5}], ids=str
)
def test_an_epoch_in_other_ways(monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]) -> None:
    rows = numpy.random.default_rng(0).random((64, 16, 16), dtype=numpy.float32)
    if "reading" in how:
        rows = numpy.where(rows < 0.1, numpy.nan, rows)
    an_epoch(monkeypatch, rows, "gaussian", **how)


def test_two_places_are_seen() -> None:
    there, here = torch.empty(3, device="meta"), torch.zeros(3)
    works: list[Callable[[], object]] = [
        lambda: there + here,
        lambda: here[there.long()],
        lambda: torch.where(there > 0, here, here),
    ]
    for work in works:
        with pytest.raises((AssertionError, RuntimeError)), OneDevice(), Answers(0.0):
            work()
