"""Nothing passes that was not recognised: misprinted KLs, targets that pull at nothing, losses that are no likelihood."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional as F

import recon_cli
from recon_cli import likelihoods
from recon_cli.auditing.result import Audit
from recon_cli.cli import main

SMALL = {"shape": (4,), "latent": 3}


def audited(terms: str, arguments: str) -> Audit:
    """The audit of an expression."""
    names: dict[str, Any] = {"torch": torch, "F": F}
    exec(f"def objective({arguments}):\n    return {terms}", names)
    return recon_cli.audit(names["objective"], **SMALL)


MISPRINTS = [
    ("logvar", "-0.5*(1 + logvar - mu**2 - (0.5*logvar).exp()).sum()"),
    ("logvar", "-0.5*(1 + logvar - mu**2 - (2*logvar).exp()).sum()"),
    ("logvar", "-0.5*(1 + logvar - mu - logvar.exp()).sum()"),
    ("logvar", "-0.5*(1 + logvar - mu**2 - 1.01*logvar.exp()).sum()"),
    ("logvar", "-0.5*(1 - logvar - mu**2 - logvar.exp()).sum()"),
    ("logvar", "-0.5*(1 + logvar - mu**2 - logvar**2).sum()"),
    ("logvar", "0.5*(mu**2 + (2*logvar).exp() - 2*logvar - 1).sum()"),
    ("std", "0.5*(mu**2 + std - std.log() - 1).sum()"),
    ("std", "0.5*(mu**2 + std**2 - std.log() - 1).sum()"),
    ("var", "0.5*(mu**2 + var**2 - var.log() - 1).sum()"),
    ("logvar", "(0.5*(mu**2 + (0.5*logvar).exp() - logvar - 1).sum() - 5).abs()"),
    ("logvar", "0.5*((mu - 1)**2 + (0.5*logvar).exp() - logvar - 1).sum()"),
]


@pytest.mark.parametrize(("scale", "kl"), MISPRINTS)
def test_a_misprinted_kl_is_no_pass(scale: str, kl: str) -> None:
    found = audited(f"0.5*((pred - x)**2).sum() + {kl}", f"pred, x, mu, {scale}")
    assert not found.holds
    assert {"kl-not-kl", "latent-scale-misread"} & {*found.defects}


@pytest.mark.parametrize(
    ("scale", "kl"),
    [
        ("logvar", "0.5*(mu**2 + logvar.clamp(-4, 4).exp() - logvar.clamp(-4, 4) - 1).sum()"),
        ("std", "0.5*(mu**2 + std**2 - (std**2 + 1e-8).log() - 1).sum()"),
        ("logvar", "0.5*((mu - 1)**2 + logvar.exp() - logvar - 1).sum()"),
        ("logvar", "torch.clamp(0.5*(mu**2 + logvar.exp() - logvar - 1), min=0.5).sum()"),
    ],
)
def test_a_kl_passes(scale: str, kl: str) -> None:
    assert audited(f"0.5*((pred - x)**2).sum() + {kl}", f"pred, x, mu, {scale}").holds


KL = " + 0.5*(mu**2 + logvar.exp() - logvar - 1).sum()"


@pytest.mark.parametrize("terms", ["(torch.square(y) - t).mean()", "torch.square(y).sum()", "torch.square(y - t.mean()).sum()",
                                   "F.l1_loss(y, torch.zeros_like(t))"])  # fmt: skip
@pytest.mark.parametrize("kl", ["", KL])
def test_a_target_that_pulls_at_nothing(terms: str, kl: str) -> None:
    found = audited(terms + kl, "y, t, mu, logvar" if kl else "y, t")
    assert found.verdict == "defective"
    assert "target-unused" in found.defects
    fixes = " ".join(finding.fix for finding in found.findings)
    assert ("parentheses are misplaced" in fixes) == ("- t).mean()" in terms)


@pytest.mark.parametrize(
    ("terms", "density"),
    [
        pytest.param(*("F.relu(t - y).sum()", False), marks=pytest.mark.hostile),
        pytest.param(*("((t - y)**2/(1 + (t - y)**2)).sum()", False), marks=pytest.mark.hostile),
        ("(1 - torch.exp(-(t - y)**2/2)).sum()", False),
        pytest.param(*("(y.abs() - t).sum()", False), marks=pytest.mark.hostile),
        pytest.param(*("0.5*torch.log((t - y)**2 + 1e-9).sum()", False), marks=pytest.mark.hostile),
        ("(t*(t - y)**2).sum()", True),
        pytest.param(*("(t**2*(t - y)**2).sum()", True), marks=pytest.mark.hostile),
    ],
)
def test_no_likelihood_is_no_pass(terms: str, density: bool) -> None:
    found = audited(terms + KL, "y, t, mu, logvar")
    assert not found.holds
    assert found.verdict in ("unrecognised", "defective")
    assert bool({"no-density", "target-unused"} & {*found.defects}) != density  # where x moves no gradient that is said


@pytest.mark.parametrize(
    "terms",
    ["1 - (y*t).mean()/(y.std()*t.std())", "1 - F.cosine_similarity(y, t).mean()",
     pytest.param("((y - t)**2).sum()/((t - t.mean())**2).sum()", marks=pytest.mark.hostile),
     "10*torch.log10(((y - t)**2).mean())", "((y - t)**2*1e-320).sum()"],
)  # fmt: skip
def test_no_traceback_of_arithmetic(terms: str) -> None:
    assert not audited(terms + KL, "y, t, mu, logvar").holds


WORDS = {"mse": "gaussian", "L1": "laplace", "mae": "laplace", "BCE": "bernoulli", "cross_entropy": "categorical",
         "ce": "categorical", "normal": "gaussian", "gauss": "gaussian", "poisson-nll": "poisson", "Huber_Loss": "huber",
         "nn.MSELoss": "gaussian"}  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_what_people_call_a_likelihood(word: str) -> None:
    assert likelihoods.find(word).name == WORDS[word]
    assert likelihoods.interpretations([word]) == (f"{word} was taken for {WORDS[word]}.",)
    likelihoods.loss(word)


def test_what_a_word_was_taken_for_is_said() -> None:
    assert "mse was taken for gaussian." in recon_cli.compare([0.1], [0.2], "mse", device="cpu").report().notes
    assert "mse was taken for gaussian." in recon_cli.derive("mse").report().notes
    result = CliRunner().invoke(main, ["derive", "normal:sigma=0.5"])
    assert result.exit_code == 0
    assert "normal was taken for gaussian." in " ".join(result.stdout.split())
    assert likelihoods.interpretations(["Gaussian", "student_t"]) == ()


@pytest.mark.parametrize(
    "words",
    [["--expect", word] for word in ("beta=one", "nonsense", "", "beta=", "verdict=elbow", "family=gausian", "beta=1,beta=1")]
    + [["--accept", "nonsense"], ["--timeout", "inf"], ["--timeout", "nan"]],
    ids=" ".join,
)
def test_a_mistaken_option_is_the_users(words: list[str]) -> None:
    result = CliRunner().invoke(main, ["audit", "--loss", "mse", "--reduction", "sum", "--shape", "4", "--latent", "3", *words])
    assert result.exit_code == 2


def test_one_verdict_for_coins_on_grey_levels() -> None:
    words = ["audit", "--loss", "bce", "--reduction", "sum", "--data", "digits"]
    said = "bernoulli is no likelihood of these data:"
    for command in (words, ["compare", "--likelihood", "bernoulli", "--device", "cpu"]):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 1
        assert said in " ".join(result.stdout.split())
    assert CliRunner().invoke(main, [*words, "--accept", "bce-on-nonbinary"]).exit_code == 0


def test_a_scale_that_is_clamped_where_a_kl_is_looked_at_is_one_with_a_note() -> None:
    kl = "0.5*(mu**2 + logvar.clamp(-4, 4).exp() - logvar.clamp(-4, 4) - 1).sum()"
    found = audited(f"0.5*(y - t).square().sum() + {kl}", "y, t, mu, logvar")
    assert (found.verdict, found.defects) == ("elbo", ())
    assert any(note.startswith("logvar is clamped: beyond -3.9") for note in found.notes)
