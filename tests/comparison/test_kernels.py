"""A kernel is made once for a family, whatever its noise; what it measures is what is measured without."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy
import points
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

import recon_cli
from recon_cli import likelihoods
from recon_cli.cli import main
from recon_cli.comparison import cases, engines, kernels, tally, warming
from recon_cli.comparison.claim import Claim
from recon_cli.comparison.kernels import Kind
from recon_cli.comparison.parts import apart, together, unstack
from recon_cli.identity.likelihood import Likelihood
from recon_cli.likelihoods._by_decoder import by_network
from recon_cli.likelihoods.gaussian import Gaussian
from recon_cli.runtime import kernels as kept
from recon_cli.runtime.devices import Uncompiled

PROJECT = Path(recon_cli.__file__).parents[1]
SIDES = [likelihoods.parse(name) for name in likelihoods.names()]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Claim]:
    """A compiler that takes no time: its library is the number of a claim, and a kernel evaluates that claim. What it made."""
    claims: list[Claim] = []

    def make(kind: Kind) -> bytes:
        claims.append(kind.claim)
        time.sleep(0.05)
        return str(len(claims) - 1).encode()

    def kernel(path: Path) -> Callable[..., Tensor]:
        claim = claims[int(path.read_bytes())]
        return lambda x, mu, *rest: tally.reduced(claim.with_numbers(rest[0].unbind()) if rest else claim, x, mu)

    monkeypatch.setattr(kernels, "make", make)
    monkeypatch.setattr(kept, "Kernel", kernel)
    monkeypatch.setattr(kernels, "Kernel", kernel)
    monkeypatch.setattr(engines, "PAYS_WHEN_KEPT", 100)
    return claims


def pair(count: int = 1000) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, generator=generator), torch.rand(count, generator=generator)


def compare(likelihood: Likelihood | str = "gaussian:sigma=0.5", engine: str = "auto", **words: object) -> recon_cli.Comparison:
    return recon_cli.compare(*pair(), likelihood, engine=engine, device="cpu", **words)


def compiled(comparison: recon_cli.Comparison) -> bool:
    return any("by the compiler" in note for note in comparison.notes)


@pytest.mark.parametrize("side", SIDES, ids=str)
def test_at_numbers_that_are_tensors_the_expression_is_the_same(side: Likelihood) -> None:
    """In every family: so one kernel does for all noises, and is given them."""
    means = torch.tensor([points.mean(side, where) for where in (0.21, 0.33, 0.58, 0.83)], dtype=torch.float64)
    mu = means.repeat(16, *(1,) * (means.ndim - 1))
    x = side.sample(mu, torch.Generator().manual_seed(7))
    claim = Claim.of(side.admitted())
    other = claim.with_numbers(torch.tensor(claim.numbers, dtype=torch.float64).unbind())
    torch.testing.assert_close(tally.reduced(other, x, mu), tally.reduced(claim, x, mu), rtol=1e-12, atol=1e-12)


def test_a_kernel_of_one_noise_is_that_of_every_noise(made: list[Claim]) -> None:
    assert not compiled(compare())
    first = compare(engine="compile")
    for word in ("gaussian:sigma=0.5", "gaussian:sigma=0.03", "gaussian:sigma=7"):
        found, due = compare(word), compare(word, "eager")
        assert compiled(found)
        assert not compiled(due)
        assert found.rows[0].nll == pytest.approx(due.rows[0].nll, rel=1e-14)
        assert found.rows[0].ratio_max == due.rows[0].ratio_max
    assert compiled(first)
    assert len(made) == 1


def test_another_likelihood_loss_or_dtype_is_another_kernel_and_another_noise_is_not() -> None:
    def name(word: str, loss: str | None = None, dtype: torch.dtype = torch.float32, event: tuple[int, ...] = ()) -> str:
        claim = Claim.of(likelihoods.parse(word).admitted(), likelihoods.as_loss(loss))
        return kept.name_of(Kind(claim, dtype, event).description)

    several = [
        name("gaussian"), name("laplace"), name("gaussian", "l1"), name("gaussian", dtype=torch.float64), name("huber"),
        name("huber:delta=2"), name("binomial:count=3"), name("binomial:count=4"), name("categorical", event=(10,)),
        name("categorical", event=(11,)), name("generalized-gaussian:power=2"), name("generalized-gaussian:power=3"),
        name("generalized-gaussian:power=2.5"),
    ]  # fmt: skip
    assert len({*several}) == len(several)  # a number that torch's functional takes as a number, or a whole one, is fixed
    for one, other in (
        ("gaussian", "gaussian:sigma=9"),
        ("student-t", "student-t:df=3,scale=2"),
        ("generalized-gaussian:power=1.5", "generalized-gaussian:power=0.7"),
    ):
        assert name(one) == name(other)


def test_a_kernel_of_another_recon_or_torch_is_made_anew(made: list[Claim], monkeypatch: pytest.MonkeyPatch) -> None:
    compare(engine="compile")
    for name, value in (("source", lambda *names: "other"), ("surroundings", lambda: {"torch": "9.9"})):
        with monkeypatch.context() as patch:
            patch.setattr(kept, name, value)
            assert not compiled(compare())
            notes = compare(engine="compile").notes
            assert compiled(compare())
            assert not any("could not be loaded" in note for note in notes)
    assert len(made) == 3


def test_a_kernel_that_is_harmed_is_told_and_made_anew(made: list[Claim]) -> None:
    compare(engine="compile")
    (library,) = kept.folder().glob("*/kernel.so")
    library.write_bytes(b"1")
    notes = compare().notes
    assert "The kernel kept for gaussian could not be loaded (its checksum is another than when recon wrote it)" in notes[0]
    assert "by the compiler" in notes[1]
    assert not any("could not be loaded" in note for note in compare().notes)
    assert len(made) == 2


def test_where_none_can_be_kept_it_is_used_and_told(made: list[Claim], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*words: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept.os, "rename", full)
    notes = compare(engine="compile").notes
    assert "could not be kept" in notes[0]
    assert "No space left on device" in notes[0]
    assert "by the compiler" in notes[1]
    result = CliRunner().invoke(main, ["warm", "gaussian"])
    assert result.exit_code == 2
    assert "No space left on device" in result.stderr
    assert "RECON_CACHE" in result.stderr


def test_of_several_processes_at_once_one_makes_it(made: list[Claim]) -> None:
    kind = Kind(Claim.of(Gaussian().admitted()), torch.float32)
    threads = [threading.Thread(target=kernels.made_or_loaded, args=(kind, str)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(made) == 1


@dataclasses.dataclass(frozen=True)
class Mine(Gaussian):
    """-log p(x | mu) = somebody's own."""

    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return super().nll(x, mu) * 1.0


def test_one_of_a_class_of_ones_own_is_not_kept(made: list[Claim]) -> None:
    assert compiled(compare(Mine(0.5), "compile"))
    assert not compiled(compare(Mine(0.5)))
    assert not kept.folder().exists()


def test_without_a_compiler_it_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(kind: Kind) -> bytes:
        raise Uncompiled(RuntimeError("no working C++ compiler\nand more"))

    monkeypatch.setattr(kernels, "make", none)
    result = CliRunner().invoke(main, ["warm", "gaussian"])
    assert result.exit_code == 2
    assert "no working C++ compiler" in result.stderr
    assert "install g++" in result.stderr
    monkeypatch.setattr(engines, "PAYS", 1)
    found = compare()
    assert found.holds
    assert "Measured piece by piece: the compiler failed here (no working C++ compiler)." in found.notes


def test_kernels_made_ahead(made: list[Claim]) -> None:
    words = ["warm", "gaussian:sigma=3", "categorical", "heteroscedastic-gaussian", "--format", "json"]
    for state in ("made", "was there"):
        result = CliRunner().invoke(main, words)
        assert result.exit_code == 0, result.output
        rows = json.loads(result.stdout)["tables"]["kernels"]
        assert [(row["likelihood"], row["state"]) for row in rows] == [(claim.likelihood.name, state) for claim in made]
    assert compiled(compare("gaussian:sigma=0.1"))
    labels, chances = torch.arange(100) % 10, torch.full((100, 10), 0.1)
    assert compiled(recon_cli.compare(labels, chances, "categorical", device="cpu"))
    assert not compiled(recon_cli.compare(labels % 5, chances[:, :5] * 2, "categorical", device="cpu"))
    assert len(made) == 3


@pytest.mark.parametrize(
    "words", [["gaussian", "--loss", "categorical-cross-entropy"], ["no-such"], ["categorical", "--length", "0"]]
)
def test_what_cannot_be_made_is_a_sentence(made: list[Claim], words: list[str]) -> None:
    result = CliRunner().invoke(main, ["warm", *words])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert made == []


def test_a_large_comparison_has_one_made_for_the_next(made: list[Claim], monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []

    class Child:
        pid = 1 << 30

        def __init__(self, words: list[str], **named: object) -> None:
            started.append(words[3:])

    monkeypatch.setattr(engines, "PAYS_NEXT_TIME", 1000)
    monkeypatch.setattr(warming.subprocess, "Popen", Child)
    monkeypatch.setattr(warming.shutil, "which", lambda name: name)
    told = compare(loss="l1").notes
    assert any(
        "recon warm gaussian --dtype float32 --loss absolute-error makes a kernel, in the background" in note for note in told
    )
    compare(loss="l1")  # no second one on the same day
    compare(engine="eager")
    fixed = Kind(Claim.of(likelihoods.parse("huber").admitted()), torch.float32)
    assert warming.make_in_background(fixed) == ()  # of a number that has no place in words
    compare(engine="compile")
    compare()  # which has one
    assert started == [["warm", "gaussian", "--dtype", "float32", "--loss", "absolute-error"]]
    monkeypatch.setattr(warming.shutil, "which", lambda name: None)
    compare("laplace")
    assert len(started) == 1


@pytest.mark.inductor
def test_the_real_one_is_made_once_and_loaded_without_the_compiler(tmp_path: Path) -> None:
    for name, values in zip(("x", "mu"), pair(1 << 22), strict=True):
        numpy.save(tmp_path / f"{name}.npy", values.numpy())
    code = """
import sys, recon_cli
comparison = recon_cli.compare("x.npy", "mu.npy", "gaussian:sigma=SIGMA", engine="ENGINE", device="cpu")
compiled = any("by the compiler" in note for note in comparison.notes)
print(comparison.rows[0].nll, comparison.holds, compiled, "torch._inductor" in sys.modules)
"""

    def run(engine: str, sigma: float) -> subprocess.Popen[str]:
        words = [sys.executable, "-c", code.replace("ENGINE", engine).replace("SIGMA", str(sigma))]
        environment = {**os.environ, "RECON_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(PROJECT)}
        return subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)

    first = [run("compile", 0.5), run("compile", 0.5)]  # at once
    outputs = [process.communicate(timeout=300)[0].split() for process in first]
    assert sorted(output[3] for output in outputs) == ["False", "True"]  # one made it, the other waited
    for sigma in (0.5, 0.07):
        found, due = (run(engine, sigma).communicate(timeout=60)[0].split() for engine in ("auto", "eager"))
        assert found[1:] == ["True", "True", "False"]
        assert due[1:] == ["True", "False", "False"]
        assert float(found[0]) == pytest.approx(float(due[0]), rel=1e-14)


@pytest.mark.inductor
@pytest.mark.parametrize(
    "name", ["laplace", "student-t", "poisson", "categorical", "multinomial", "von-mises-fisher", "heteroscedastic-gaussian"]
)
def test_the_real_one_measures_the_same(name: str) -> None:
    side = likelihoods.parse(name)
    means = torch.tensor([points.mean(side, where) for where in (0.21, 0.33, 0.58, 0.83)], dtype=torch.float64)
    mu = means.repeat(5000, *(1,) * (means.ndim - 1))
    x = side.sample(mu, torch.Generator().manual_seed(7))
    for dtype, close in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        case = cases.admit(side, None, x.to(dtype), mu.to(dtype), torch.device("cpu"), dtype, "data", False)
        reduction = kernels.find(case, str).reduction
        assert reduction is not None
        for count in (2, 3, 1001, len(x)):
            data = case.x[:count], case.mu[:count]
            found, due = reduction(case.claim, *data), tally.reduced(case.claim, *data).detach()
            assert found[:4].tolist() == pytest.approx(due[:4].tolist(), rel=close, abs=1e-12)
            assert found[5:].tolist() == pytest.approx(due[5:].tolist(), rel=close)


@pytest.mark.parametrize(("length", "by_component"), [(3, True), (16, True), (17, False)])
def test_short_vectors_are_taken_one_component_after_another(length: int, by_component: bool) -> None:
    kind = Kind(Claim.of(likelihoods.parse("categorical").admitted()), torch.float32, (length,))
    x, mu = torch.rand(5, length), torch.rand(5, length)
    for taken, given in zip(kind.laid_out(x, mu), (x, mu), strict=True):
        assert taken.is_contiguous()
        assert taken.equal(given.T if by_component else given)


@pytest.mark.parametrize("scale", [0.1, 0.004, 1e-3])
def test_what_a_kernel_is_not_for_is_measured_beside(made: list[Claim], scale: float) -> None:
    """Open and wide bins of a Gaussian: few, some, all."""
    mu = torch.rand(4000, generator=torch.Generator().manual_seed(7))
    side = likelihoods.parse(f"discretized-gaussian:scale={scale}")
    x = side.sample(mu, torch.Generator().manual_seed(7))
    found, due = (recon_cli.compare(x, mu, side, engine=engine, device="cpu").rows[0] for engine in ("compile", "eager"))
    assert found.nll == pytest.approx(due.nll, rel=1e-14)
    assert (found.worst, found.ratio_min, found.ratio_max) == (due.worst, due.ratio_min, due.ratio_max)
    assert (found.elements, found.ratio_elements) == (due.elements, due.ratio_elements) == (4000, 4000)


def test_it_is_given_pieces_that_stay_in_the_cache_and_never_a_single_event() -> None:
    claim = Claim.of(likelihoods.parse("low-rank-gaussian").admitted())
    count = kernels.VECTORS // 30 + 1  # vectors of ten components, three numbers each
    parts = [*kernels.divided(claim, torch.zeros(count, 10), torch.ones(count, 10, 3), tally.reduce)]
    assert [(len(x), by is None) for (x, _), by in parts] == [(count - 1, False), (1, True)]


@pytest.mark.inductor
@pytest.mark.parametrize("name", ["discretized-gaussian", "low-rank-gaussian", "cholesky-gaussian:size=3"])
def test_a_real_one_of_bins_or_of_matrices_measures_the_same(name: str) -> None:
    side = likelihoods.parse(name)
    means = torch.tensor([points.mean(side, where) for where in (0.21, 0.33, 0.58, 0.83)], dtype=torch.float64)
    mu = means.repeat(5000, *(1,) * (means.ndim - 1))
    x = side.sample(mu, torch.Generator().manual_seed(7))
    found, due = (recon_cli.compare(x, mu, side, engine=engine, device="cpu").rows[0] for engine in ("compile", "eager"))
    assert found.nll == pytest.approx(due.nll, rel=1e-12)
    assert found.holds


@pytest.mark.inductor
def test_a_real_one_depends_on_no_number_of_events() -> None:
    @dataclasses.dataclass(frozen=True)
    class Counting(Gaussian):
        def nll(self, x: Tensor, mu: Tensor) -> Tensor:
            return super().nll(x, mu) + math.log(float(len(x)))

    with pytest.raises(Uncompiled, match="depends on how many events there are"):
        kernels.make(Kind(Claim.of(Counting().admitted()), torch.float32))


def test_a_ratio_that_is_uneven_for_a_reason_is_taken_from_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a gradient that is not finite is found, behind ratios that are."""
    x, mu = pair(100)
    side = Gaussian().admitted()
    claims = [Claim.of(side, likelihoods.as_loss("l1")), Claim.of(likelihoods.parse("continuous-bernoulli").admitted())]
    due = [tally.measure(claim, x, mu) for claim in claims]
    with monkeypatch.context() as patch:
        patch.setattr(tally, "chunks", lambda *words: pytest.fail("the elements were looked at again"))
        for claim, wanted in zip(claims, due, strict=True):
            found = tally.measure(claim, x, mu, reduction=tally.reduced)
            assert (found.ratio_min, found.ratio_max, found.infinite) == (wanted.ratio_min, wanted.ratio_max, 0)
            assert found.nll == pytest.approx(wanted.nll, rel=1e-14)

    def steep(claim: Claim, x: Tensor, mu: Tensor) -> Tensor:
        evaluation, slopes = tally.evaluate_with_gradients(claim, x, mu)
        slopes.loss[3] = math.inf
        return tally.reduce(claim, x, evaluation, slopes)

    again: list[int] = []
    monkeypatch.setattr(tally, "chunks", lambda *words: again)
    assert tally.measure(claims[0], x, mu, reduction=steep).elements == 0


@pytest.mark.parametrize("name", ["heteroscedastic-gaussian", "laplace-by-network", "gaussian-mixture"])
def test_a_gradient_that_cancels_is_no_doubt_of_a_kernel(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a variance it is (1 - z^2)/2, of few digits at z = 1: looked at once more, a kernel was slower than none."""
    plain = likelihoods.parse(name.removesuffix("-by-network"))
    side = (by_network(plain) if plain.name != name else plain).admitted()
    mu = side.usual_outputs(torch.rand(100), torch.full((100,), 0.1))
    x, claim = side.sample(mu, torch.Generator().manual_seed(3)), Claim.of(side)
    x[:7] = mu[:7, 0] + 0.1  # z = 1, but for a rounding
    due = tally.measure(claim, x, mu)
    with monkeypatch.context() as patch:
        patch.setattr(tally, "chunks", lambda *words: pytest.fail("the elements were looked at again"))
        found = tally.measure(claim, x, mu, reduction=tally.reduced)
    assert (found.ratio_min, found.ratio_max, found.infinite) == (due.ratio_min, due.ratio_max, 0)

    x[0] = 1e30  # whose square is beyond float32
    assert tally.measure(claim, x, mu, reduction=tally.reduced).infinite == tally.measure(claim, x, mu).infinite


@pytest.mark.parametrize(
    "name", ["heteroscedastic-gaussian", pytest.param("laplace-by-network", marks=pytest.mark.slow), "student-t-by-network"]
)
def test_numbers_of_an_element_are_computed_apart(name: str) -> None:
    """No stack of them is left for the compiler, which would take it element by element; the numbers are the same."""
    plain = likelihoods.parse(name.removesuffix("-by-network"))
    side = (by_network(plain) if plain.name != name else plain).admitted()
    mu = side.usual_outputs(torch.rand(50), torch.full((50,), 0.1))
    x, claim = side.sample(mu, torch.Generator().manual_seed(3)), Claim.of(side)

    def expression(x: Tensor, numbers: Tensor) -> Tensor:
        return tally.reduced(claim, x, together(numbers), parts=True)

    graph = make_fx(expression, tracing_mode="symbolic")(x, apart(mu))
    unstack(graph)
    stacks = [node for node in graph.graph.nodes if node.target is torch.ops.aten.stack.default]
    assert not [node for node in stacks if node.meta["val"].shape[0] == len(x)]
    found, due = graph(x, apart(mu)), tally.reduced(claim, x, mu)
    assert found.tolist() == pytest.approx(due.tolist(), rel=1e-12)


def test_what_is_changed_in_place_is_left_as_it_is() -> None:
    def expression(numbers: Tensor) -> Tensor:
        return together(numbers).mul_(2)[..., 0] + 1

    numbers = torch.rand(2, 5)
    graph = make_fx(expression)(numbers)
    unstack(graph)
    assert torch.equal(graph(numbers), expression(numbers))


def test_a_library_that_calls_what_is_not_in_it_is_no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch compiles a triangular solver to a call of its own runtime, which a library alone does not have."""

    def compiled(module: object, inputs: object, options: dict[str, str]) -> None:
        Path(options["aot_inductor.output_path"]).write_bytes(b"")

    def load(library: bytes) -> Callable[..., Tensor]:
        def run(*tensors: Tensor) -> Tensor:
            raise RuntimeError("Unable to find a proxy executor to run custom ops.")

        return run

    monkeypatch.setattr(torch._inductor, "aot_compile", compiled)
    monkeypatch.setattr(kept, "load_fresh", load)
    claim = Claim.of(likelihoods.parse("gaussian").admitted())
    with pytest.raises(Uncompiled, match="proxy executor"):
        kernels.make(Kind(claim, torch.float32))
