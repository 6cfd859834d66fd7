"""Steps on a GPU are captured: nothing in them waits, copies or asks a library that does. Seen on tensors without values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from recon_cli import likelihoods
from recon_cli.benchmark.compare import sample
from recon_cli.identity.tensors import beside
from recon_cli.sources import ReadOptions
from recon_cli.training import captured, loop
from recon_cli.training.captured import Captured, NothingWaits, Uncapturable
from recon_cli.training.graph import Graph
from recon_cli.training.plan import Plan

SOLVED = ("cholesky-gaussian", "low-rank-gaussian:rank=2")  # by libraries that wait
MISSING = ReadOptions(missing="nan")
SMALL: dict[str, Any] = {"device": "cpu", "holdout": 0.0, "epochs": 3, "batch_size": 16, "latent": 2, "hidden": 4}


class NothingMade(TorchFunctionMode):
    """Refuses tensors made of Python's numbers: on a GPU they would be copied there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in ("tensor", "as_tensor", "new_tensor") and made.device.type != "cpu":
            assert isinstance(args[0], Tensor), f"{func.__name__} of {args} is copied to the device"
        return made


def rows_of(name: str) -> numpy.ndarray:
    likelihood = likelihoods.parse(name)
    x, _ = sample(likelihood.of_vectors(10), 64 * 60)
    return (x[:64] if likelihood.event else x[: len(x) // 64 * 64].reshape(64, -1)).numpy()


def without_values(state: loop.State) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The gradient of a step, and its arguments, where there is nothing to read."""
    x, eps = state.batch()
    parts = [part.detach().to("meta") for part in state.parameters]
    state.model.to("meta")
    state.noise.to("meta")
    arguments = parts, x.to("meta"), eps.to("meta"), torch.empty((), device="meta")
    return Graph(state.model, state.noise, state.objective).gradient, arguments


@pytest.mark.parametrize("name", [*likelihoods.names(), "low-rank-gaussian:rank=2"])
def test_a_step_waits_for_nothing(name: str) -> None:
    gradient, arguments = without_values(Plan.of(rows_of(name), name, **SMALL).state())
    if name in SOLVED:
        with pytest.raises(Uncapturable, match="cannot be captured"), NothingWaits():
            gradient(*arguments)
        return
    with NothingMade(), NothingWaits():
        slopes, figures = gradient(*arguments)
    assert [slope.shape for slope in slopes] == [part.shape for part in arguments[0]]
    assert figures.shape == (3,)


@pytest.mark.parametrize(
    "more", [{"free_bits": 0.1}, {"bf16": True}, {"model": "linear"}, {"model": "conv"}, {"reading": MISSING}], ids=str
)
def test_nor_does_that_of_another_objective_or_network(more: dict[str, Any]) -> None:
    rows = numpy.random.default_rng(0).random((64, 16, 16), dtype=numpy.float32)
    if "reading" in more:
        rows = numpy.where(rows < 0.1, numpy.nan, rows)
    gradient, arguments = without_values(Plan.of(rows, "gaussian", **SMALL, **more).state())
    with NothingMade(), NothingWaits():
        gradient(*arguments)


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x.sum().item(),
        lambda x: x if x.any() else -x,
        lambda x: x[x > 0],
        lambda x: x.unique(),
        lambda x: x + torch.ones(3).to(x.device),
        lambda x: x.new_empty(3).copy_(torch.ones(3)),
        lambda x: torch.linalg.cholesky(x.expand(3, 3)),
    ],
)
def test_what_waits_is_seen(work: Callable[[Tensor], object]) -> None:
    with pytest.raises((Uncapturable, RuntimeError)), NothingWaits():
        work(torch.empty(3, device="meta"))


@pytest.mark.parametrize("numbers", [2.5, [1.0, 2.0], [[1, 2], [3, 4]]])
def test_numbers_beside_a_tensor_are_written_where_it_is(numbers: Any) -> None:
    like = torch.zeros(2, dtype=torch.float64)
    assert torch.equal(beside(like, numbers), torch.tensor(numbers, dtype=torch.float64))
    with NothingMade():
        assert beside(like.to("meta"), numbers).shape == torch.tensor(numbers).shape


class OnACpu(Captured[Any]):
    """As a GPU replays it: the same work on the same places, of which only the contents change."""

    def capture(self, rooms: list[Tensor]) -> None:
        self.rooms, self.results = rooms, None
        self.graph = self  # type: ignore[assignment]

    def replay(self) -> None:
        fresh = self.work(*self.rooms)
        if self.results is None:
            self.results = fresh
            return
        for room, values in zip(*(torch.utils._pytree.tree_leaves(each) for each in (self.results, fresh)), strict=True):
            if isinstance(room, Tensor):
                room.copy_(values)


@pytest.mark.parametrize(
    "more",
    [{}, {"schedule": "cosine"}, {"optimizer": "sgd", "momentum": 0.9}, {"kl_warmup": 1, "schedule": "onecycle"}],
    ids=str,
)
def test_a_run_of_replayed_steps_is_the_run(monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]) -> None:
    """With a last batch that is shorter, learning rates and weights that change from step to step, and momenta that do."""
    rows = numpy.random.default_rng(0).random((40, 6), dtype=numpy.float32)
    plain = Plan.of(rows, "gaussian", **{**SMALL, **more}).state()
    monkeypatch.setattr(loop, "captures", lambda device: True)
    monkeypatch.setattr(loop, "Captured", OnACpu)
    monkeypatch.setattr(captured, "Captured", OnACpu)
    replayed = Plan.of(rows, "gaussian", **{**SMALL, **more}).state()
    for (figures, _), (others, _) in zip(loop.walk(plain), loop.walk(replayed), strict=True):
        assert figures.nll == pytest.approx(others.nll, rel=1e-6)
    assert replayed.graph is not None
    for mine, other in zip(replayed.parameters, plain.parameters, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)
