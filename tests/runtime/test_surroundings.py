"""The same result in whatever state the caller has torch and numpy, and that state as it was."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import recon_cli
from recon_cli.runtime.torch_state import flushes_denormals, process_settings

DRAWS = numpy.random.default_rng(3)
X = DRAWS.random((48, 6)).astype(numpy.float32)
MU = numpy.clip(X + DRAWS.normal(0, 0.1, X.shape), 0.01, 0.99).astype(numpy.float32)


class Halving(TorchFunctionMode):
    """Whatever comes out is halved."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        return found / 2 if isinstance(found, torch.Tensor) and found.is_floating_point() else found


class Refusing(TorchDispatchMode):
    """No operation at all."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} was called under the caller's mode")


@contextlib.contextmanager
def set_to(write: Callable[[Any], Any], value: Any, before: Any) -> Iterator[None]:
    write(value)
    try:
        yield
    finally:
        write(before)


@contextlib.contextmanager
def seeded(number: int) -> Iterator[None]:
    before = random.getstate(), numpy.random.get_state(), torch.get_rng_state()
    random.seed(number)
    numpy.random.seed(number)
    torch.manual_seed(number)
    try:
        yield
    finally:
        random.setstate(before[0])
        numpy.random.set_state(before[1])
        torch.set_rng_state(before[2])


STATES: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "float64": lambda: set_to(torch.set_default_dtype, torch.float64, torch.float32),
    "bfloat16": lambda: set_to(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "meta": lambda: set_to(torch.set_default_device, "meta", None),
    "with meta": lambda: torch.device("meta"),
    "flush": lambda: set_to(torch.set_flush_denormal, True, False),
    "deterministic": lambda: set_to(torch.use_deterministic_algorithms, True, False),
    "threads": lambda: set_to(torch.set_num_threads, 3, torch.get_num_threads()),
    "anomaly": lambda: set_to(torch.autograd.set_detect_anomaly, True, False),
    "products": lambda: set_to(torch.set_float32_matmul_precision, "medium", "highest"),
    "function mode": Halving,
    "dispatch mode": Refusing,
    "errstate": lambda: numpy.errstate(all="raise"),
    "print options": lambda: numpy.printoptions(precision=1, legacy="1.13"),
    "seed": lambda: seeded(7),
    "seed again": lambda: seeded(8),
}


def drawn() -> bytes:
    """The state of torch's generator; a dispatch mode does not let it be read."""
    stacked = torch._C._len_torch_dispatch_stack() or torch._C._len_torch_function_stack()
    return b"" if stacked else torch.random.default_generator.get_state().numpy().tobytes()


def state() -> tuple[Any, ...]:
    """All of it that can be asked for."""
    return (
        torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"), torch.get_default_dtype(),
        torch.get_default_device(), flushes_denormals(), torch.are_deterministic_algorithms_enabled(), torch.get_num_threads(),
        torch.is_anomaly_enabled(), torch.get_float32_matmul_precision(), torch._C._len_torch_function_stack(),
        torch._C._len_torch_dispatch_stack(), numpy.geterr(), numpy.get_printoptions(), random.getstate(),
        numpy.random.get_state()[1].tobytes(), drawn(),
    )  # fmt: skip


def half(y: Any, t: Any, mean: Any, logvar: Any) -> Any:
    scale = torch.tensor(0.5) * torch.ones(()) + torch.arange(2)[0] / 3
    kl = -0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())
    return scale * torch.nn.functional.mse_loss(y, t, reduction="sum") + kl


def table(report: Any) -> Any:
    return [{key: row[key] for key in row if not key.startswith(("seconds", "samples_per"))} for row in report.tables[-1].rows]


class Pair(torch.nn.Module):
    """Made under the caller's defaults, and it makes tensors without saying of which kind."""

    def __init__(self, latent: int = 2) -> None:
        super().__init__()
        self.into, self.out = torch.nn.Linear(6, 2 * latent), torch.nn.Linear(latent, 6)

    def encode(self, x: Any) -> Any:
        return (self.into(x) * torch.ones(1)).chunk(2, dim=1)

    def decode(self, z: Any) -> Any:
        return self.out(z) + torch.zeros(6)


def trained(data: Any = X, **how: Any) -> Any:
    found = recon_cli.train(data, sigma=0.5, epochs=1, latent=2, hidden=8, device="cpu", holdout=0, **how)
    return [vars(epoch) for epoch in found.epochs]


ENGINES: dict[str, Callable[[], Any]] = {
    "derive": lambda: recon_cli.derive("laplace:scale=0.25").report().tables[1].rows[0]["slope_value"],
    "compare": lambda: [table(recon_cli.compare(X, MU, side, device="cpu").report()) for side in (
        "gaussian:sigma=0.3", "continuous-bernoulli", "huber", "student-t",
    )],
    "calibrate": lambda: str(recon_cli.calibrate(
        X, MU, latent=2, loss="mse", reduction="mean", kl_weight=0.1, kl_reduction="batch-mean"
    ).report().tables),
    "audit": lambda: table(recon_cli.audit(half, shape=(5,), latent=3).report()),
    "train": trained,
    "train a model": lambda: trained(model=Pair),
}  # fmt: skip


@pytest.fixture(scope="module")
def usual() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_result_is_the_same_in_any_state_and_the_state_stays(engine: str, name: str, usual: dict[str, Any]) -> None:
    plain = usual.get(engine) or usual.setdefault(engine, ENGINES[engine]())
    with STATES[name]():
        before = state()
        found = ENGINES[engine]()
        assert state() == before
    assert repr(found) == repr(plain)


def test_one_of_several_threads_does_not_undo_another() -> None:
    """Each of them finds what it left, though the first to come is the first to go."""
    switch, order = process_settings().anomaly, threading.Barrier(2, timeout=20)
    found: list[bool] = []

    def second() -> None:
        order.wait()
        with switch.at(True):
            order.wait()  # both are in
            order.wait()  # the first is out
            found.append(torch.is_anomaly_enabled())

    thread = threading.Thread(target=second)
    thread.start()
    with switch.at(True):
        order.wait()
        order.wait()
    order.wait()
    thread.join()
    assert found == [True]
    assert not torch.is_anomaly_enabled()


def test_a_progress_callback_sees_its_caller() -> None:
    seen = []
    with torch.no_grad(), torch.device("meta"):
        recon_cli.compare(
            X, MU, device="cpu", progress=lambda *_: seen.append((torch.is_grad_enabled(), torch.zeros(1).device.type))
        )
    assert seen
    assert set(seen) == {(False, "meta")}


TENSORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "float64": lambda x: x.double(),
    "wants a gradient": lambda x: x.clone().requires_grad_(),
    "on a graph": lambda x: x.clone().requires_grad_() * 1,
    "parameter": lambda x: torch.nn.Parameter(x.clone()),
    "not contiguous": lambda x: x.t().contiguous().t(),
    "strided": lambda x: x.repeat_interleave(2, 1)[:, ::2],
    "sparse": lambda x: x.to_sparse(),
}


def of_inference(x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return x * 1


@pytest.fixture(scope="module")
def of_arrays() -> tuple[str, float, str]:
    """What compare, calibrate and train say of the numbers themselves."""
    return repr(recon_cli.compare(X, MU, device="cpu").rows), recon_cli.calibrate(X, MU).noise[0].nll, repr(trained())


@pytest.mark.parametrize("make", [*TENSORS.values(), of_inference], ids=[*TENSORS, "inference"])
def test_a_tensor_of_any_history_is_its_numbers_and_stays_what_it_is(
    make: Callable[[torch.Tensor], torch.Tensor], of_arrays: tuple[str, float, str]
) -> None:
    given, means = make(torch.from_numpy(X)), make(torch.from_numpy(MU))
    before = given.requires_grad, given.grad, given.is_leaf, means._version if not means.is_inference() else 0
    rows, nll, epochs = of_arrays
    assert repr(recon_cli.compare(given, means, dtype="float32", device="cpu").rows) == rows
    assert recon_cli.calibrate(given, means).noise[0].nll == pytest.approx(nll, rel=1e-12)
    assert repr(trained(given)) == epochs
    side = recon_cli.likelihoods.find("gaussian")()
    assert torch.equal(side.nll(given, means).detach().float(), side.nll(torch.from_numpy(X), torch.from_numpy(MU)))
    assert (given.requires_grad, given.grad, given.is_leaf, means._version if not means.is_inference() else 0) == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_read_as_it_is(dtype: torch.dtype) -> None:
    x, mu = torch.from_numpy(X).to(dtype), torch.from_numpy(MU).to(dtype)
    assert recon_cli.compare(x, mu, device="cpu").rows[0].elements == X.size
    assert repr(recon_cli.calibrate(x, mu).noise) == repr(recon_cli.calibrate(x.float(), mu.float()).noise)
    assert repr(trained(x)) == repr(trained(x.float()))


def test_a_tensor_without_numbers_is_a_sentence() -> None:
    with pytest.raises(recon_cli.errors.ReconError, match="meta"):
        recon_cli.compare(torch.zeros(2, 3, device="meta"), torch.zeros(2, 3, device="meta"))


class Learned(torch.nn.Module):
    """A scale that came out of inference mode."""

    def forward(self, y: Any, t: Any) -> Any:
        return (OUT * (y - t) ** 2).sum()


OUT = of_inference(torch.ones(()))


def test_a_loss_that_closes_over_a_tensor_of_inference_mode_is_audited() -> None:
    assert recon_cli.audit(Learned()).rows[0].family == "gaussian"
