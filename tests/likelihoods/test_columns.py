"""Columns of several kinds in one row: a product of families, as ``gaussian+gaussian+categorical*3``."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import scipy.stats
import torch
from click.testing import CliRunner

import recon_cli
from recon_cli import likelihoods
from recon_cli.cli import main
from recon_cli.comparison import compare_sources
from recon_cli.errors import ReconError

DRAWS = numpy.random.default_rng(3)
MEANS, SHARES = DRAWS.normal(size=(400, 2)), DRAWS.dirichlet([1, 1, 1], 400)
REAL = MEANS + DRAWS.normal(size=(400, 2)) * [0.1, 0.3]
LABELS = numpy.array([DRAWS.choice(3, p=share) for share in SHARES])
X, MU = numpy.concatenate([REAL, numpy.eye(3)[LABELS]], axis=1), numpy.concatenate([MEANS, SHARES], axis=1)
WORD = "gaussian+gaussian+categorical*3"
TRUE = -scipy.stats.norm.logpdf(REAL, MEANS, [0.1, 0.3]).sum(axis=1) - numpy.log(SHARES[numpy.arange(400), LABELS])


def test_a_row_costs_what_its_columns_cost() -> None:
    likelihood = likelihoods.parse(f"{WORD}:sigma1=0.1,sigma2=0.3")
    assert likelihood.nll(X, MU).numpy() == pytest.approx(TRUE, rel=1e-12)
    (row,) = recon_cli.compare(X, MU, likelihood, device="cpu").rows
    assert row.holds
    assert row.nll == pytest.approx(TRUE.mean(), rel=1e-12)
    labelled = numpy.concatenate([REAL, LABELS[:, None]], axis=1)
    (same,) = recon_cli.compare(labelled, MU, likelihood, device="cpu").rows
    assert same.nll == row.nll
    assert likelihoods.parse(str(likelihood)) == likelihood


def test_each_group_has_the_noise_that_fits_it() -> None:
    (row,) = recon_cli.calibrate(X, MU, likelihood=[WORD]).noise
    errors = numpy.sqrt(((REAL - MEANS) ** 2).mean(axis=0))
    assert [*row.parameters.values()] == pytest.approx(errors, rel=1e-9)
    whole = likelihoods.find("gaussian*2+categorical*3").fit(torch.tensor(X), torch.tensor(MU))
    assert whole.parameters == {"sigma1": pytest.approx(numpy.sqrt(((REAL - MEANS) ** 2).mean()))}


def test_the_raw_output_and_its_gradient_are_each_column_s() -> None:
    word = "bernoulli+poisson*2+beta"
    likelihood, x = likelihoods.parse(word), torch.tensor([[1.0, 3.0, 0.0, 0.4]], dtype=torch.float64)
    raw = torch.tensor([[0.3, 1.1, -2.0, 0.5]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda raw: likelihood.nll_raw(x, raw), raw)
    alone = [likelihoods.parse(name).nll_raw(x[0, at], raw[0, at]).sum() for name, at in (
        ("bernoulli", slice(0, 1)), ("poisson", slice(1, 3)), ("beta", slice(3, 4)))]  # fmt: skip
    assert likelihood.nll_raw(x, raw).item() == pytest.approx(sum(alone).item(), rel=1e-15)
    torch.testing.assert_close(likelihood.nll(x, likelihood.link.inverse(raw)), likelihood.nll_raw(x, raw), rtol=1e-12, atol=0)
    assert likelihood.support.contains(likelihood.sample(likelihood.link.inverse(raw.detach()))).all()
    assert likelihood.module("sum", raw=True)(raw, x).item() == pytest.approx(sum(alone).item(), rel=1e-6)


def test_it_is_trained_and_a_run_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    numpy.save("x.npy", X)
    found = recon_cli.train("x.npy", likelihood=WORD, epochs=3, latent=2, hidden=8, beta=0, device="cpu", out="run")
    assert found.epochs[-1].nll < found.epochs[0].nll
    assert {*found.likelihood.noise} == {"sigma1", "sigma2"}
    (row,) = compare_sources("x.npy", "run:run", device="cpu").rows
    assert row.nll == pytest.approx(found.result.nll, rel=1e-3)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("gaussian*3+categorical*3", "is of 6 columns, columns 0 to 2 (gaussian), columns 3 to 5 (categorical); the data have 5"),
        ("gaussian+categorical", "categorical*1 is no group of columns"),
        ("gaussian*2+heteroscedastic-gaussian*3", "takes several numbers for each column"),
        ("gaussian+gausian*4", "Did you mean 'gaussian'?"),
        ("gaussian*2+beta*3", "columns 2 to 4 (beta)"),
        ("gaussian*4+bernoulli:sigma1=-1", "sigma1 = -1.0"),
    ],
)
def test_what_cannot_be_is_a_sentence(word: str, said: str) -> None:
    with pytest.raises(ReconError) as caught:
        recon_cli.compare(X, MU, word, device="cpu")
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_it_is_proved_where_its_families_are() -> None:
    done = CliRunner().invoke(main, ["derive", WORD])
    assert done.exit_code == 2
    assert "recon derive gaussian categorical" in done.stderr
