"""Library calls set beside the density: what they silently change is recognised by name."""

from __future__ import annotations

import json
import math
import re

import numpy
import points
import pytest
import torch
from click.testing import CliRunner
from test_contract import SIDES

import recon_cli
from recon_cli import likelihoods
from recon_cli.cli import main
from recon_cli.comparison import against as beside
from recon_cli.comparison.against import HARMLESS, ROUNDING
from recon_cli.comparison.library_calls import LIBRARIES, calls, evaluate
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.likelihoods.von_mises_fisher import VonMisesFisher

CALLS = [(side, call) for side in SIDES for call in side.calls]


def tensors(*values: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype)


@pytest.mark.parametrize(("side", "call"), CALLS, ids=lambda part: str(part)[:60])
def test_every_call_is_the_density_but_for_constants_on_ordinary_data(side: Likelihood, call: str) -> None:
    x, mu = points.ordinary(side)
    found = beside.against(side, call, x, mu, "data")
    assert not found.refused
    assert found.elements == len(x)
    known = {*HARMLESS, "constant dropped", "Stirling term", "approximate Bessel function", "probability floor"}
    known |= {"eps inside the log"}
    large = {"constant dropped", "closed end bins", "approximate cdf"}
    names = {reason.name for reason in found.reasons}
    assert names <= known | large, found
    if not names & large:
        assert found.largest_nats < 0.1


def test_every_likelihood_has_a_call_in_torch() -> None:
    for name in likelihoods.names():
        side = likelihoods.parse(name)
        assert calls(side, "torch") or side.atoms, name  # Tweedie's density is a series that torch has not
        assert all(sum(re.search(words, call) is not None for words in LIBRARIES.values()) == 1 for call in side.calls)


# What is known of torch 2.13: the call, the data, what it returns and what is exact.
KNOWN = [
    ("variance clamp", "gaussian:sigma=0.0001", "full=True", 0.0, 0.0, -5.98882, -8.29140, torch.float64),
    ("constant dropped", "gaussian:sigma=0.5", "sigma**2), reduction", 0.0, 1.0, 2 - math.log(2), None, torch.float64),
    ("variance clamp and constant dropped", "gaussian:sigma=0.0001", "sigma**2), reduction", 0.0, 0.0, -6.90776, -8.29140, None),
    ("log clamp at -100", "bernoulli", "binary_cross_entropy(", 1.0, 1e-50, 100, 115.129, torch.float64),
    ("gradient clamp", "bernoulli", "binary_cross_entropy(", 1.0, 1e-30, 69.0776, 69.0776, torch.float64),
    ("probability clamp", "bernoulli", "Bernoulli(probs", 1.0, 1e-30, 36.0437, 69.0776, torch.float64),
    ("probability clamp", "bernoulli", "Bernoulli(probs", 1.0, 1.0, 2.2e-16, 0.0, torch.float64),
    ("probability clamp", "continuous-bernoulli", "Bernoulli(logits", 0.0, math.exp(-100), -3.58473, -4.60517, torch.float64),
    ("Stirling term", "poisson", "log_input=False, full=True", 2.0, 2.0, 1.265512, 1.306853, torch.float64),
    ("constant dropped", "poisson", "poisson_nll_loss(r, x, reduction", 2.0, 2.0, 2 - 2 * math.log(2), 1.306853, torch.float64),
    ("eps inside the log", "poisson", "log_input=False, full=True", 1.0, 1e-10, 18.4107, 23.0259, torch.float64),
    ("dead zone", "bernoulli", "binary_cross_entropy_with_logits", 0.0, 1 / (1 + math.exp(20)), 0.0, 2.06e-9, torch.float32),
    ("softplus threshold", "bernoulli", "softplus", 0.0, 1 / (1 + math.exp(-25)), 25.0, None, torch.float64),
]


@pytest.mark.parametrize(
    ("name", "word", "piece", "x", "mu", "returned", "exact", "dtype"), KNOWN, ids=[f"{case[0]} {case[1]}" for case in KNOWN]
)
def test_silent_changes_are_recognised_by_name(name, word, piece, x, mu, returned, exact, dtype) -> None:
    side = likelihoods.parse(word)
    (call,) = (call for call in side.calls if piece in call)
    one = {"dtype": dtype or torch.float64}
    found = beside.against(side, call, tensors(x, **one), tensors(mu, **one), "data")
    assert found.theirs == pytest.approx(returned, rel=2e-2, abs=1e-17)
    if exact is not None:
        assert found.ours == pytest.approx(exact, rel=1e-2)
    assert [reason.name for reason in found.reasons] == [name], found
    assert not found.holds
    assert found.reasons[0].elements == 1
    assert name.capitalize() in beside.because(found)


def test_the_continuous_bernoulli_of_logits_goes_through_clamped_probabilities() -> None:
    side = likelihoods.parse("continuous-bernoulli")
    point = tensors(100.0)
    theirs = evaluate(side, "-distributions.ContinuousBernoulli(logits=r).log_prob(x)", tensors(1.0), point, True)
    assert theirs.item() == pytest.approx(-3.58473, rel=1e-5)
    assert side.nll_raw(tensors(1.0), point).item() == pytest.approx(-4.60517, rel=1e-6)


def test_a_norm_that_is_clamped_is_named() -> None:
    side = VonMisesFisher(kappa=2.0)
    tiny = torch.tensor([[1e-9, 0.0, 0.0]], dtype=torch.float64)
    found = beside.against(side, "2*(1 - F.cosine_similarity(r, x, dim=-1))", tiny, tiny, "data")
    assert found.theirs == pytest.approx(2 * (1 - 0.01))
    assert "norm clamp" in {reason.name for reason in found.reasons}


def test_broadcasting_is_named_before_any_number_is_printed() -> None:
    with pytest.raises(ReconError, match=r"torch would broadcast them to 3x3 and say nothing"):
        recon_cli.compare(torch.zeros(3), torch.ones(3, 1), "gaussian", against="torch")


def test_float32_rounding_is_told_from_a_silent_change() -> None:
    side = likelihoods.parse("bernoulli")
    x, r = torch.zeros(400), torch.linspace(-8, 8, 400)
    found = beside.against(side, "F.binary_cross_entropy_with_logits(r, x, reduction='none')", x, r.sigmoid(), "data")
    assert [reason.name for reason in found.reasons] == [ROUNDING]
    assert found.largest > 100
    assert found.holds


def test_what_nothing_accounts_for_has_no_name() -> None:
    side = likelihoods.parse("gaussian")
    found = beside.against(
        side, "-distributions.Normal(mu, 1.01*sigma).log_prob(x)", tensors(0.0, 1.0), tensors(0.5, 0.5), "data"
    )
    assert [reason.name for reason in found.reasons] == [""]
    assert "unexplained" in beside.because(found).lower()
    assert not found.holds


def test_a_refusal_is_told_whatever_the_process_has_set() -> None:
    before = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(False)  # as torch's compiler leaves it
    try:
        test_what_a_library_refuses_is_told()
        assert torch.distributions.Distribution._validate_args is False
    finally:
        torch.distributions.Distribution.set_default_validate_args(before)


def test_what_a_library_refuses_is_told() -> None:
    side = likelihoods.parse("bernoulli")
    found = beside.against(side, "-distributions.Bernoulli(probs=2 + mu).log_prob(x)", tensors(1.0), tensors(0.5), "data")
    assert "refuses" in beside.because(found)
    assert not found.holds


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_table_of_calls_on_the_command_line(library: str) -> None:
    result = CliRunner().invoke(main, ["compare", "--all", "--against", library, "--format", "json"])
    assert result.exit_code == 1, result.output
    found = json.loads(result.stdout)
    rows = found["tables"]["against"]
    assert {row["likelihood"] for row in rows} >= {"gaussian", "laplace", "student-t", "logistic"}
    for row in rows:
        assert row["elements"] == 22528
        assert float(row["largest"]) >= float(row["mean"]) >= 0
        assert (row["gradient"] is None) == (library == "scipy")
    changes = {row["change"] for row in found["tables"]["changes"]}
    assert "log of zero" in changes
    assert "unexplained" not in changes
    assert {row["likelihood"] for row in found["tables"]["left_out"]} >= {"poisson", "categorical"}


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_change_is_recognised_whatever_the_last_bits_of_the_platforms_functions(monkeypatch, seed: int, dtype: str) -> None:
    erf, draws = torch.erf, torch.Generator().manual_seed(seed)

    def of_another_cpu(values: torch.Tensor) -> torch.Tensor:
        off = torch.randint(-1, 2, values.shape, generator=draws).to(values.device) * torch.finfo(values.dtype).eps
        return erf(values) * (1 + off)

    monkeypatch.setattr(torch, "erf", of_another_cpu)
    words = ["--likelihood", "discretized-gaussian:levels=17,scale=.1", "--against", "torch", "--format", "json"]
    result = CliRunner().invoke(main, ["compare", *words, "--dtype", dtype])
    found = json.loads(result.stdout)["tables"]
    assert {row["change"] for row in found["changes"]} >= {"closed end bins"}
    assert "unexplained" not in {row["change"] for row in found["changes"]}


def test_on_a_terminal_a_call_is_a_statement_with_its_reason() -> None:
    result = CliRunner().invoke(main, ["compare", "--sigma", "0.5", "--against", "torch"])
    assert result.exit_code == 1
    assert "✓ -distributions.Normal(mu, sigma).log_prob(x)" in result.output
    assert "Constant dropped" in result.output
    assert "not the density" in result.output
    assert "2 of 3 calls return the density" in " ".join(result.output.split())


def test_every_likelihood_that_the_data_allow_is_compared_and_the_others_say_why() -> None:
    result = CliRunner().invoke(main, ["compare", "--all", "--format", "json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)["tables"]
    rows = {row["likelihood"]: row for row in found["identity"]}
    left = {row["likelihood"]: row["why"] for row in found["left_out"]}
    assert {*rows, *left} == {*likelihoods.names()}
    assert [name for name, row in rows.items() if not row["holds"]] == ["continuous-bernoulli"]
    assert "whole numbers" in left["poisson"]
    assert "length 1" in left["von-mises-fisher"]
    assert len(rows["gaussian"]) == 22


@pytest.mark.slow
def test_the_same_list_on_counts_and_at_a_noise_of_ones_own(tmp_path) -> None:
    counts = numpy.random.default_rng(0).poisson(3.0, (50, 4)).astype(float)
    numpy.save(tmp_path / "x.npy", counts)
    numpy.save(tmp_path / "mu.npy", numpy.full((50, 4), 3.0))
    words = ["compare", "--all", "--sigma", "2", "--data", str(tmp_path / "x.npy"), "--recon", str(tmp_path / "mu.npy")]
    result = CliRunner().invoke(main, [*words, "--format", "json"])
    found = json.loads(result.stdout)["tables"]
    rows = {row["likelihood"]: row for row in found["identity"]}
    assert rows["poisson"]["holds"]
    assert rows["gaussian"]["parameters"] == {"sigma": 2.0}
    assert "bernoulli" not in rows
