"""The gradient of a batch as a library that is kept: made once for all that it depends on, and loaded without the compiler."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from recon_cli.errors import Remark
from recon_cli.likelihoods.gaussian import Gaussian
from recon_cli.runtime import kernels
from recon_cli.runtime.devices import Uncompiled
from recon_cli.training import kept
from recon_cli.training.loop import State
from recon_cli.training.plan import Plan

ROWS = numpy.random.default_rng(0).random((40, 6), dtype=numpy.float32).round(1)
MASKED = numpy.where(ROWS > 0.9, numpy.nan, ROWS)
USUAL = {"latent": 2, "hidden": 4, "batch_size": 16, "holdout": 0.0, "device": "cpu"}


def state_of(likelihood: Any = "gaussian", rows: Any = ROWS, compile: bool = True, **how: Any) -> State:
    return Plan.of(rows, likelihood, compile=compile, **{**USUAL, **how}).state()


class Made:
    """In the place of torch's compiler: the graphs that a library was made of, and what runs one without compiling it."""

    def __init__(self) -> None:
        self.graphs: list[Any] = []

    def make(self, graph: Any, inputs: Any) -> bytes:
        self.graphs.append((graph, len([*graph.parameters()])))
        return str(len(self.graphs) - 1).encode()

    def kernel(self, path: Path) -> Any:
        graph, count = self.graphs[int(path.read_bytes())]

        def results(*tensors: torch.Tensor) -> list[torch.Tensor]:
            slopes, figures = graph.gradient(tensors[:count], *tensors[-3:], tensors[count:-3])
            return [*slopes, figures]

        return types.SimpleNamespace(results=results)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    every = Made()
    monkeypatch.setattr(kept, "make", every.make)
    monkeypatch.setattr(kernels, "Kernel", every.kernel)
    return every


def description(state: State) -> kernels.Description:
    assert isinstance(state.graph, kept.Gradient)
    x, eps = state.batch()
    graph = state.graph.graph
    return state.graph.description([*graph.parameters(), *graph.buffers(), x, eps, x.new_full((), 1.0)])


def places() -> list[Path]:
    return sorted(kernels.folder().glob("[!.]*"))


def test_it_is_made_once_and_then_loaded(made: Made) -> None:
    plain, first, second = state_of(compile=False), state_of(), state_of()
    for state in (plain, first, second):
        for _ in range(4):  # a shorter last batch among them
            state.step()
            if state.at == state.steps:
                state.begin()
    assert len(made.graphs) == len(places()) == 1
    assert places()[0].name.startswith("gradient-Mlp-Learned-")
    for state in (first, second):
        torch.testing.assert_close(state.trace, plain.trace, rtol=1e-6, atol=1e-6, equal_nan=True)
        for mine, other in zip(state.parameters, plain.parameters, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-6)


WHATEVER = [
    {"lr": 0.1},
    {"seed": 7},
    {"epochs": 3},
    {"optimizer": "sgd"},
    {"beta": 2.0},
    {"kl_warmup": 3},
    {"schedule": "cosine"},
]
OTHER = [
    {"batch_size": 8}, {"hidden": 5}, {"latent": 3}, {"model": "linear"}, {"model": "ae"}, {"free_bits": 0.1}, {"bf16": True},
    {"sigma": 0.5}, {"sigma": 0.25}, {"sigma": "per-element"}, {"sigma_floor": 0.1}, {"sigma_floor": 0.2}, {"beta": 0.0},
    {"likelihood": "laplace"}, {"likelihood": "student-t"}, {"likelihood": "student-t:df=4"}, {"likelihood": "student-t:df=5"},
    {"sigma": 0.5, "loss": "l1"}, {"sigma": 0.5, "loss": "log-cosh"}, {"sigma": 0.5, "loss": "log-cosh:scale=2"},
    {"likelihood": "huber"}, {"likelihood": "heteroscedastic-gaussian"}, {"likelihood": "continuous-bernoulli"},
    {"likelihood": "bernoulli"}, {"model": "regression", "latent": 0}, {"model": "regression", "latent": 0, "hidden": 0},
    {"model": "regression", "latent": 0, "target": "0,1"}, {"rows": ROWS[:, :5]}, {"rows": MASKED, "missing": "nan"},
]  # fmt: skip


def asked(how: dict[str, Any]) -> State:
    if "missing" in how:
        from recon_cli.sources import ReadOptions

        how = {name: value for name, value in how.items() if name != "missing"} | {"reading": ReadOptions(missing="nan")}
    return state_of(**how)


def test_it_is_one_for_what_it_does_not_depend_on() -> None:
    usual = description(state_of())
    assert [how for how in WHATEVER if description(asked(how)) != usual] == []
    assert description(state_of(rows=ROWS * 3 - 1)) == usual  # whose units are in the buffers
    regression = [description(state_of(model="regression", latent=0, target=target)) for target in ("0", "3")]
    assert regression[0] == regression[1]  # whose columns are


def test_and_another_for_all_that_it_depends_on() -> None:
    every = [description(state_of()), *(description(asked(how)) for how in OTHER)]
    same = [(i, j) for i in range(len(every)) for j in range(i) if every[i] == every[j]]
    assert [(OTHER[i - 1], OTHER[j - 1]) for i, j in same] == []


def test_what_torch_is_told_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    usual, state = description(state_of()), state_of()
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    assert description(state) != usual
    monkeypatch.undo()
    monkeypatch.setattr(torch, "get_default_dtype", lambda: torch.float64)
    assert description(state) != usual
    monkeypatch.undo()
    monkeypatch.setattr(kernels, "source", lambda *names: "of another version")
    assert description(state) != usual


class Own(Gaussian):
    """Somebody's own, of which not all can be said."""


def scaled(module: Any, inputs: Any, output: torch.Tensor) -> torch.Tensor:
    return 2 * output


@pytest.mark.parametrize(
    "spoil",
    [
        lambda state: state.model.encoder.register_forward_hook(scaled),
        lambda state: setattr(state.model, "extra", torch.ones(3)),
        lambda state: setattr(state.model, "extra", numpy.ones(3)),
        lambda state: setattr(state.model, "extra", object()),
        lambda state: setattr(state.model, "extra", {1, 2}),
        lambda state: setattr(state.model, "extra", torch.Generator()),
        lambda state: setattr(state.model, "extra", torch.autocast("cpu")),
        lambda state: setattr(state.model, "extra", scaled),
        lambda state: setattr(state.noise, "extra", Own()),
        lambda state: setattr(state.noise.noise, "family", Own),
    ],
)
def test_what_cannot_be_said_in_full_is_not_kept(made: Made, spoil: Any) -> None:
    state = state_of()
    spoil(state)
    with pytest.raises(kept.Unsaid):
        description(state)
    otherwise = []
    state.graph.otherwise = lambda *words: (
        otherwise.append(words) or kept.Graph(state.model, state.noise, state.objective).gradient(*words)
    )
    state.step()
    assert len(otherwise) == 1
    assert (made.graphs, places()) == ([], [])


@pytest.mark.parametrize("likelihood", [Own(), "laplace"])
def test_nor_is_a_likelihood_of_ones_own_or_made_on_the_way(made: Made, likelihood: Any) -> None:
    state = state_of(likelihood, **({"sigma": "network"} if likelihood == "laplace" else {}))
    with pytest.raises(kept.Unsaid):
        description(state)


def test_what_functions_have_from_around_them_counts() -> None:
    def power(exponent: float, more: float = 1.0) -> Any:
        return lambda x, offset=more: x**exponent + offset

    power.__module__ = "recon_cli.here"
    saying = lambda function: kept.Saying([]).of_function(function)  # noqa: E731
    functions = [power(2.0), power(3.0), power(2.0, 2.0)]
    pair = (lambda x: x + 1, lambda x: x - 1)
    for function in (*functions, *pair):
        function.__module__ = "recon_cli.here"
    said = [repr(saying(function)) for function in (*functions, *pair)]
    assert len({*said}) == 5
    again = power(2.0)
    again.__module__ = "recon_cli.here"
    assert repr(saying(again)) == said[0]
    again.__module__ = "mine"
    with pytest.raises(kept.Unsaid):
        saying(again)


@pytest.mark.parametrize(
    ("how", "rows"),
    [
        ({}, ROWS), ({"sigma": 0.5, "loss": "l1"}, ROWS), ({"free_bits": 0.1}, ROWS), ({"beta": 0.0}, ROWS),
        ({"likelihood": "heteroscedastic-gaussian"}, ROWS), ({"model": "regression", "latent": 0}, ROWS), ({"bf16": True}, ROWS),
        ({"missing": "nan"}, MASKED),
    ],
)  # fmt: skip
def test_nothing_is_read_that_is_not_said(how: dict[str, Any], rows: Any) -> None:
    """What a library is made of has nothing else: a setting that an objective reads anew is to be among READ."""
    state = asked({"rows": rows, **how})
    assert isinstance(state.graph, kept.Gradient)
    x, eps = state.batch()
    for mine, whole in zip(state.graph.objective.objective(x, eps), state.objective(x, eps), strict=True):
        torch.testing.assert_close(mine, whole, rtol=0, atol=0)


def test_one_that_was_harmed_is_made_anew_and_it_is_said(made: Made) -> None:
    state_of().step()
    (place,) = places()
    (place / kernels.LIBRARY).write_bytes(b"something else")
    with pytest.warns(Remark, match=r"^The kernel kept for the gradient of a batch could not be loaded \(its checksum"):
        state_of().step()
    assert len(made.graphs) == 2
    state_of().step()
    assert len(made.graphs) == 2


def test_a_batch_of_another_size_is_not_given_to_it(made: Made) -> None:
    """A library takes what it is given for what it was made of, and reads as far."""
    state, sizes = state_of(), []
    gradient = kept.Graph(state.model, state.noise, state.objective).gradient
    state.graph.otherwise = lambda parts, x, *more: sizes.append(len(x)) or gradient(parts, x, *more)
    state.step()
    with torch.no_grad():
        for size in (16, 15, 16):
            x, eps = state.rows[:size], torch.zeros(size, 2)
            slopes, _ = state.graph(state.parameters, x, eps, torch.ones(()))
            assert torch.equal(slopes[0], gradient(state.parameters, x, eps, torch.ones(()))[0][0])
    assert sizes == [15]


def test_where_none_can_be_kept_it_is_made_and_said(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*words: object) -> None:
        raise kernels.UnusableKernel("No space left on device")

    monkeypatch.setattr(kernels, "keep", full)
    with pytest.warns(Remark, match=r"could not be kept in .* \(No space left on device\)"):
        state_of().step()
    assert (len(made.graphs), places()) == (1, [])


def test_what_cannot_be_made_goes_on_otherwise_and_is_not_tried_again_today(monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[object] = []

    def refused(*words: object) -> bytes:
        tries.append(words)
        raise Uncompiled(RuntimeError("no compiler"))

    monkeypatch.setattr(kept, "make", refused)
    monkeypatch.setattr("recon_cli.training.loop.compiled", lambda function, whole=True: function)
    plain, first, second = state_of(compile=False), state_of(), state_of()
    for state in (plain, first, second):
        state.step()
    assert len(tries) == 1
    assert places() == []
    torch.testing.assert_close(second.trace, plain.trace, rtol=1e-6, atol=1e-6, equal_nan=True)
    monkeypatch.setattr(kernels, "DAY", -1)
    state_of().step()
    assert len(tries) == 2


def test_two_at_once_make_one(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = made.make

    def slowly(graph: Any, inputs: Any) -> bytes:
        time.sleep(0.2)
        return begun(graph, inputs)

    monkeypatch.setattr(kept, "make", slowly)
    states = [state_of(), state_of()]
    threads = [threading.Thread(target=state.step) for state in states]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(made.graphs) == 1
    assert torch.equal(states[0].trace[0], states[1].trace[0])


ALONE = """
import sys, numpy
from pathlib import Path
from recon_cli.runtime import kernels
from recon_cli.training import kept
from recon_cli.training.plan import Plan

kernels.folder = lambda: Path(sys.argv[1])
def none(*words):
    raise AssertionError("it is there")
kept.make = none
rows = numpy.random.default_rng(0).random((40, 6), dtype=numpy.float32).round(1)
state = Plan.of(rows, "gaussian", compile=True, latent=2, hidden=4, batch_size=16, holdout=0.0, device="cpu").state()
for _ in range(3):
    state.step()
print(state.trace.flatten().tolist())
print([name for name in ("torch._dynamo", "torch._inductor", "sympy") if name in sys.modules])
"""


@pytest.mark.inductor
def test_another_process_loads_it_without_the_compiler() -> None:
    state = state_of()
    for _ in range(3):
        state.step()
    (place,) = places()
    run = subprocess.run([sys.executable, "-c", ALONE, str(place.parent)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    trace, loaded = run.stdout.splitlines()
    assert trace == str(state.trace.flatten().tolist())  # to the last bit
    assert loaded == "[]"


@pytest.mark.inductor
@pytest.mark.parametrize(
    "how",
    [
        {"likelihood": "bernoulli"}, {"free_bits": 0.1, "sigma_floor": 1e-3, "kl_warmup": 2}, {"likelihood": "poisson"},
        {"rows": 1e6 * ROWS**9, "sigma": 0.5, "loss": "l1"}, {"rows": MASKED, "missing": "nan", "sigma": "per-element"},
        {"model": "regression", "latent": 0, "likelihood": "heteroscedastic-gaussian"},
    ],
)  # fmt: skip
def test_it_is_the_same_gradient(how: dict[str, Any]) -> None:
    counts = how.get("likelihood") in ("bernoulli", "poisson")
    how = {"rows": ROWS.round() if counts else ROWS, **how}
    plain, through = asked({**how, "compile": False}), asked(how)
    for _ in range(3):
        plain.step()
        through.step()
    assert len(places()) == 1
    torch.testing.assert_close(through.trace, plain.trace, rtol=1e-5, atol=1e-6)
    assert plain.trace.isfinite().all()
    for mine, other in zip(through.parameters, plain.parameters, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
