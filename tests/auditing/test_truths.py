"""Small inputs with the truth worked out by hand: losses that people have, and questions that they ask (skipped where absent)."""

from __future__ import annotations

import contextlib
import math
import re
from pathlib import Path
from typing import Any

import pytest

from recon_cli import audit
from recon_cli.auditing.reach import jax_bridge
from recon_cli.errors import ReconError

SHARED = Path(__file__).parents[3] / "shared"
ELBO = {"verdict": "elbo", "beta": 1.0}
# the function, how it is audited, and what is true of it: of a row, of a sentence in a refusal
TRUTHS: list[tuple[str, dict[str, Any], dict[str, Any] | str]] = [
    ("audit_cases/argument_blamed_on_self.py:Net.objective", {}, {"family": "gaussian", "verdict": "reconstruction-only"}),
    ("audit_cases/base_not_there.py:Net.objective", {}, {"family": "gaussian", "tradeoff": 0.5}),
    ("audit_cases/batch_not_said.py:objective", {}, {"tradeoff": 4 * 784 / 2, "batch": 4, "elements": 784, "latents": 20}),
    ("audit_cases/batch_not_said.py:objective", {"batch": 6, "shape": (30,)}, {"tradeoff": 90.0, "batch": 6, "elements": 30}),
    ("audit_cases/divide_both.py:objective", {}, {"tradeoff": 0.5 / 80, "tradeoff_batch": -1.0, "tradeoff_latent": -1.0}),
    ("audit_cases/factory_message.py:make", {}, r"make needs schedule to make"),
    ("audit_cases/gan_terms.py:objective", {}, {"family": "laplace", "verdict": "reconstruction-only", "weight": 50 / 4 / 784}),
    ("audit_cases/ignored_label.py:objective", {"shape": (12, 30)}, {"family": "categorical", "beta": 0.6,
     "tradeoff_dim": 1.0, "tradeoff_latent": -1.0}),
    ("audit_cases/jax.py:objective", {}, r"JAX"),
    ("audit_cases/kl_misprint.py:objective", {}, {"defects": ("kl-not-kl",), "sigma": None, "tradeoff": None}),
    ("audit_cases/loop_constant.py:objective", {}, {"family": "gaussian", "tradeoff": 8.0}),
    ("audit_cases/mask_as_index.py:objective", {}, {"family": "laplace", "verdict": "reconstruction-only"}),
    ("audit_cases/nested_tuple.py:Net.objective", {}, {"family": "bernoulli", **ELBO}),
    ("audit_cases/rows_summed.py:objective", {}, r"--shape 784 or --shape 1x28x28"),
    ("audit_cases/rows_summed.py:objective", {"shape": (784,)}, {"family": "bernoulli", **ELBO, "tradeoff_dim": 0.0}),
    ("audit_cases/training_loop_is_run.py:train", {}, r"training loop"),
    ("audit_cases/tuple_by_index.py:objective", {}, {"family": "categorical", **ELBO}),
    ("audit_cases/two_likelihoods_added.py:objective", {}, {"verdict": "defective"}),
    ("audit_cases/two_means.py:objective", {}, {"tradeoff": 19.6, "tradeoff_dim": 1.0, "tradeoff_latent": -1.0}),
    ("audit_cases/unused_epoch.py:objective", {}, {"family": "gaussian", "tradeoff": 0.5}),
    ("audit_cases/unused_spread.py:objective", {}, {"family": "gaussian", "tradeoff": 0.5, "defects": ("half-missing",)}),
    ("audit_cases/unused_spread.py:objective", {"bind": {"kind": "nll"}}, {"family": "heteroscedastic-gaussian", **ELBO}),
    ("audit_cases/wrong_nll_passes.py:objective", {}, {"verdict": "defective", "defects": ("gap",)}),
    ("audit_cases/project/shop/loss.py:objective", {"shape": (5, 6)}, {"family": "gaussian", "tradeoff": 0.5}),
    ("answers/not_integrable.py:welsch", {}, {"verdict": "defective", "defects": ("no-density",)}),
    ("answers/not_integrable.py:geman_mcclure", {}, {"verdict": "defective", "defects": ("no-density",)}),
    ("answers/not_integrable.py:tukey", {}, {"verdict": "defective", "defects": ("no-density",)}),
    ("answers/not_integrable.py:log_of_each_square", {}, {"verdict": "defective", "defects": ("no-density",)}),
    ("answers/not_normalised_binary.py:weighted", {}, {"verdict": "defective", "defects": ("gap",)}),
    ("answers/not_normalised_binary.py:smoothed", {}, {"verdict": "defective", "defects": ("gap",)}),
    ("answers/normalised_unknown.py:charbonnier", {}, {"family": "hyperbolic", "verdict": "elbo", "sigma": math.sqrt(0.1)}),
    ("answers/normalised_unknown.py:gumbel", {}, {**ELBO, "offset": 0.0}),
    ("answers/shared_noise.py:advised", {}, {"family": "gaussian", **ELBO}),
    ("answers/shared_noise.py:closed_form", {}, {"family": "gaussian", **ELBO}),
    ("answers/zero_inflated.py:zinb_of_mean", {}, {"family": None, **ELBO, "offset": 0.0}),
    ("answers/multinomial_mean.py:loss", {"shape": (50,)}, {"family": "categorical", "beta": 10.0, "tradeoff_dim": 1.0}),
    ("answers/multinomial_mean.py:loss", {"shape": (500,)}, {"family": "categorical", "beta": 100.0, "tradeoff_dim": 1.0}),
    ("answers/tokens.py:mean_of_indices", {"shape": {"logits": (12, 40), "target": (12,)}, "latent": 16},
     {"family": "categorical", "beta": 12.0, "tradeoff_dim": 1.0}),
    ("answers/tokens.py:mean_of_onehot", {"shape": (12, 40)}, {"family": "categorical", "beta": 12.0, "tradeoff_dim": 1.0}),
    ("answers/bins_minus1_1.py:loss", {}, {"verdict": "reconstruction-only", "offset": 0.0}),
    ("answers/weights_in_words.py:loss", {"shape": (3, 64, 64), "latent": 32}, {"tradeoff": 19.2, "words": "38.4 times"}),
]  # fmt: skip


@pytest.mark.parametrize("truth", TRUTHS, ids=lambda truth: f"{truth[0].rpartition('/')[2]} {truth[1] or ''}".strip())
def test_the_truth_is_said(truth: tuple[str, dict[str, Any], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    word, how, wanted = truth
    path = SHARED / word.partition(":")[0]
    if not path.exists():
        pytest.skip(f"{word.partition(':')[0]} is not there")
    monkeypatch.chdir(path.parents[1] if "project" in word else path.parent)
    if wanted == "JAX" and jax_bridge.installed():
        pytest.skip("here it is audited")
    if isinstance(wanted, str):
        with pytest.raises(ReconError, match=wanted):
            audit(f"{SHARED}/{word}", **how)
        return
    found = audit(f"{SHARED}/{word}", **how)
    row = found.rows[0]
    for key, value in wanted.items():
        if key == "offset":  # log Z, as it is said
            (said,) = re.findall(r"an offset of (\S+) nats", " ".join(found.notes))
            assert float(said) == pytest.approx(value, abs=1e-5)
        elif key == "words":
            assert any(value in finding.evidence for finding in found.findings)
        else:
            have = getattr(row, key)
            assert have == (pytest.approx(value, rel=1e-6, abs=1e-9) if isinstance(value, float) else value), key


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    loop = SHARED / "audit_cases/training_loop_is_run.py"
    if not loop.exists():
        pytest.skip("it is not there")
    with contextlib.chdir(tmp_path) if hasattr(contextlib, "chdir") else contextlib.nullcontext(), pytest.raises(ReconError):
        audit(f"{loop}:train")
    assert not list(tmp_path.iterdir())
