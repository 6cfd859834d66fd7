"""Training through torch's compiler: one graph, the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch

from recon_cli.errors import ReconError
from recon_cli.runtime.devices import Uncompiled
from recon_cli.training import kept, loop, train
from recon_cli.training.plan import Plan


@pytest.fixture(autouse=True)
def no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the libraries that are kept (test_kept_gradients.py): as it is where none can be made."""

    def refused(*words: object) -> bytes:
        raise Uncompiled(RuntimeError("not here"))

    monkeypatch.setattr(kept, "make", refused)


def states(monkeypatch: pytest.MonkeyPatch, rows: torch.Tensor, **how) -> tuple[loop.State, loop.State]:
    """The same run without the compiler, and through its front end, which refuses a graph that breaks."""
    torch.compiler.reset()
    monkeypatch.setattr(
        loop, "compiled", lambda function, whole=True: torch.compile(function, backend="aot_eager", fullgraph=True, dynamic=False)
    )
    how = {"latent": 2, "hidden": 4, "batch_size": 16, "holdout": 0.0, "device": "cpu", **how}
    return Plan.of(rows, **how).state(), Plan.of(rows, compile=True, **how).state()


@pytest.mark.parametrize(
    ("likelihood", "sigma", "more"),
    [
        ("gaussian", "learned", {"sigma_floor": 1e-3}),
        ("gaussian", 0.5, {"free_bits": 0.1, "model": "linear"}),
        pytest.param("laplace", "learned", {}, marks=pytest.mark.inductor),
        pytest.param("student-t", None, {}, marks=pytest.mark.inductor),
        pytest.param("bernoulli", None, {}, marks=pytest.mark.inductor),
        ("heteroscedastic-gaussian", None, {}),
    ],
)
def test_a_step_is_one_graph_and_the_same(monkeypatch: pytest.MonkeyPatch, likelihood: str, sigma, more: dict) -> None:
    rows = torch.rand(40, 6, generator=torch.Generator().manual_seed(0)).round(decimals=1 if likelihood != "bernoulli" else 0)
    plain, through = states(monkeypatch, rows, likelihood=likelihood, sigma=sigma, **more)
    for _ in range(3):  # the last batch is of another size
        plain.step()
        through.step()
    torch.testing.assert_close(through.trace, plain.trace, rtol=1e-5, atol=1e-6)
    assert plain.trace.isfinite().all()
    for mine, other in zip(through.parameters, plain.parameters, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("likelihood", "sigma", "closed"),
    [("gaussian", "optimal", False), pytest.param("discretized-gaussian", "learned", True, marks=pytest.mark.inductor)],
)
def test_what_is_no_one_graph_goes_in_parts(monkeypatch: pytest.MonkeyPatch, likelihood: str, sigma, closed: bool) -> None:
    """A noise that is fitted to each batch is read back; and the compiler's front end will not have every likelihood whole."""
    plain_compile, asked = torch.compile, []

    def eager(function: object, *, fullgraph: bool, **how: object) -> object:
        asked.append(fullgraph)
        return plain_compile(function, backend="eager", fullgraph=fullgraph, dynamic=False)

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", eager)
    rows = (torch.rand(20, 6, generator=torch.Generator().manual_seed(0)) * 255).round() / 255
    how = {"likelihood": likelihood, "sigma": sigma, "latent": 2, "hidden": 4, "batch_size": 16, "holdout": 0.0, "device": "cpu"}
    plain, through = (Plan.of(rows, compile=compile, **how).state() for compile in (False, True))
    for state in (plain, through):
        state.step()
        state.step()
    assert (True in asked) is closed
    assert through.graph is None
    torch.testing.assert_close(through.trace, plain.trace, rtol=1e-5, atol=1e-6)


def test_a_compiler_that_fails_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*words: object, **more: object) -> None:
        raise torch._dynamo.exc.TorchDynamoException("no working C++ compiler\nand more")

    monkeypatch.setattr(torch, "compile", lambda *words, **how: broken)
    with pytest.raises(ReconError, match=r"^The compiler failed here: no working C\+\+ compiler Leave it out") as found:
        train("digits", compile=True, epochs=1, device="cpu")
    assert "more" not in found.value.message
    killed = Exception("C++ compile error\n\nCommand:\ng++ -O3 error.cpp\n\nOutput:\nx.cpp:3:1: fatal error: no Python.h\n1 more")
    assert Uncompiled(killed).message == "The compiler failed here: C++ compile error: x.cpp:3:1: fatal error: no Python.h"


@pytest.mark.inductor
def test_a_run_through_the_compiler(tmp_path) -> None:
    how = {"sigma": 0.5, "epochs": 2, "device": "cpu"}
    plain, through = (train("digits", compile=compile, **how) for compile in (False, True))
    for mine, other in zip(through.epochs, plain.epochs, strict=True):
        assert mine.nll == pytest.approx(other.nll, rel=1e-5)


def test_a_shorter_last_batch_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def compiled(function: Callable[..., Any], whole: bool = True) -> Callable[..., Any]:
        del whole

        def counted(*values: Any) -> Any:
            sizes.append(len(values[-3]))  # of parameters, rows, draws and a weight
            return function(*values)

        return counted

    monkeypatch.setattr("recon_cli.training.loop.compiled", compiled)
    rows = numpy.random.default_rng(0).random((20, 8), dtype=numpy.float32)
    alone, quick = (Plan.of(rows, batch_size=8, holdout=0.0, device="cpu", compile=each).state() for each in (False, True))
    for state in (alone, quick):
        for _ in range(state.steps):
            state.step()
    assert sizes == [8, 8]
    torch.testing.assert_close(alone.trace, quick.trace, rtol=1e-6, atol=1e-6)
