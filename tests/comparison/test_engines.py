"""Two engines, one result."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from click.testing import CliRunner
from torch import Tensor

import recon_cli
from recon_cli import likelihoods
from recon_cli.cli import main
from recon_cli.comparison import cases, engines, kernels, tally
from recon_cli.comparison.kernels import Found
from recon_cli.comparison.tally import Tally
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.likelihoods.categorical import Categorical
from recon_cli.likelihoods.gaussian import Gaussian
from recon_cli.runtime.devices import Uncompiled


@pytest.fixture
def plain_compiler(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The compiler's front end without its back end (which takes seconds); counts what it is given."""
    sizes: list[int] = []

    def look(claim, x, mu):
        sizes.append(len(mu))
        return tally.reduced(claim, x, mu)

    monkeypatch.setattr(kernels, "find", lambda case, say: Found(look))
    monkeypatch.setattr(cases, "PIECE", 400)
    monkeypatch.setattr(cases, "CHUNK", 40)
    return sizes


def case(side: Likelihood, x: Tensor, mu: Tensor, loss: Loss | None = None) -> cases.ComparisonCase:
    return cases.admit(side, loss, x, mu, torch.device("cpu"), x.dtype, "data", False)


def same(left: Tally, right: Tally) -> None:
    for field in dataclasses.fields(Tally):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if field.name == "ratios":
            a, b = (torch.cat(part).sort().values for part in (a, b))
            torch.testing.assert_close(a, b, rtol=1e-12, atol=0)
        else:
            assert a == pytest.approx(b, rel=1e-12), field.name


@pytest.mark.parametrize("bent", [False, True], ids=["proportional", "not its loss"])
def test_both_engines_see_the_same(plain_compiler: list[int], bent: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    x, mu = (torch.randn(1000, generator=generator) for _ in range(2))
    side = Gaussian(0.3)
    loss = likelihoods.loss("l1") if bent else side.loss
    found, due = (engines.run(case(side, x, mu, loss), engine) for engine in ("compile", "eager"))
    same(found.tally, due.tally)
    assert plain_compiler == [400, 400]  # the rest of 200 is measured as it is
    assert "1,000 numbers" in found.notes[0]
    assert due.notes == ()


def test_vectors_are_not_cut(plain_compiler: list[int]) -> None:
    mu = torch.randn(300, 3, generator=torch.Generator().manual_seed(0)).softmax(dim=-1)
    x = Categorical().sample(mu, torch.Generator().manual_seed(1))
    same(*(engines.run(case(Categorical(), x, mu), engine).tally for engine in ("compile", "eager")))
    assert plain_compiler == [130, 130]  # the rest of 40 is measured as it is


def test_auto_compiles_where_it_pays(plain_compiler: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    x, mu = torch.rand(500), torch.rand(500)
    recon_cli.compare(x, mu, "gaussian", device="cpu")
    assert plain_compiler == []
    monkeypatch.setattr(engines, "PAYS", 500)
    assert "by the compiler" in recon_cli.compare(x, mu, "gaussian", device="cpu").notes[0]
    assert plain_compiler == [400]


def test_of_few_data_a_process_may_have_no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    x, mu = torch.rand(500), torch.rand(500)
    alone = engines.run(case(Gaussian(), x, mu), "eager")

    def with_another(value: object) -> list[object]:
        return [engines._Share(Tally(), [], True), value] if isinstance(value, engines._Share) else [value]

    monkeypatch.setattr(engines.processes, "all_gather", with_another)
    both = engines.run(case(Gaussian(), x, mu), "eager")
    assert both.tally.nll == alone.tally.nll
    assert torch.equal(both.x, alone.x)


@pytest.mark.parametrize("engine", ["eager", "compile"])
def test_progress_is_told_to_the_end(plain_compiler: list[int], monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    told: list[tuple[int, str]] = []
    x, mu = torch.rand(1000), torch.rand(1000)
    recon_cli.compare(x, mu, "gaussian", engine=engine, device="cpu", progress=lambda *words: told.append(words))
    assert [done for done, _ in told] == [40, 80, 100]
    assert all(words.startswith("gaussian, ") and words.endswith(" GB/s") for _, words in told)


def test_a_compiler_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*words: object) -> None:
        raise Uncompiled(RuntimeError("no working C++ compiler\nand more"))

    monkeypatch.setattr(kernels, "make", broken)
    monkeypatch.setattr(engines, "PAYS", 1)
    found = recon_cli.compare([[0.0, 1.0]], [[0.5, 0.25]], "gaussian", device="cpu")
    assert found.holds
    assert "no working C++ compiler" in found.notes[0]
    with pytest.raises(ReconError, match=r"The compiler failed here: no working C\+\+ compiler"):
        recon_cli.compare([[0.0, 1.0]], [[0.5, 0.25]], "gaussian", engine="compile", device="cpu")


def test_an_engine_that_is_none_is_a_sentence() -> None:
    with pytest.raises(ReconError, match="engine"):
        recon_cli.compare([[0.0, 1.0]], [[0.5, 0.25]], "gaussian", engine="steam")
    assert CliRunner().invoke(main, ["compare", "--engine", "steam"]).exit_code == 2


def test_where_the_compiler_fails_it_is_said_beside_what_else_there_is_to_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*words: object) -> None:
        raise Uncompiled(RuntimeError("no working C++ compiler"))

    monkeypatch.setattr(kernels, "make", broken)
    monkeypatch.setattr(engines, "PAYS", 1)
    x, mu = torch.rand(9600), torch.rand(9600)
    failed, gradients = engines.run(dataclasses.replace(case(Gaussian(), x, mu), sample=3000)).notes
    assert "no working C++ compiler" in failed
    assert "one in 3" in gradients


def test_ratios_of_all_elements_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    told = Tally.sampled_by

    def counted(self: Tally, some: Tally) -> Tally:
        seen.append(sum(len(ratios) for ratios in self.ratios))
        return told(self, some)

    monkeypatch.setattr(Tally, "sampled_by", counted)
    x, mu = torch.rand(9600), torch.rand(9600)
    found = engines.run(dataclasses.replace(case(Gaussian(), x, mu), sample=3000), gradients="all").tally
    assert seen == [0]
    assert found.ratio_elements == 9600
    assert sum(len(ratios) for ratios in found.ratios) == found.sampled == 3200


@pytest.mark.inductor
def test_more_noises_than_the_compiler_usually_takes() -> None:
    x, mu = torch.rand(64), torch.rand(64)
    sides = [Gaussian(i / 10) for i in range(1, 12)]
    assert recon_cli.compare(x, mu, *sides, engine="compile", device="cpu").holds


@pytest.mark.inductor
def test_the_real_compiler_sees_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    x, mu = torch.rand(1 << 16, generator=generator), torch.rand(1 << 16, generator=generator)
    for word in ("gaussian:sigma=0.5", "laplace:scale=0.2", "student-t"):
        side = likelihoods.parse(word)
        same(*(engines.run(case(side, x, mu), engine).tally for engine in ("compile", "eager")))
