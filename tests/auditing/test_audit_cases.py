"""The losses that people wrote, listed with what is true of them: written anew in tests/losses, right in every field."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from recon_cli import audit
from recon_cli.auditing.result import Audit
from recon_cli.errors import ReconError

LOSSES = Path(__file__).parents[1] / "losses"


def at(name: str) -> str:
    """``case01.py:f`` with its folder in front."""
    return f"{LOSSES}/{name}"


def module(name: str) -> Any:
    """A fixture as a module."""
    spec = importlib.util.spec_from_file_location(name, LOSSES / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


def pyramid() -> torch.nn.Module:
    """The MS-SSIM of case 19's file."""
    text = (LOSSES / "case19.py").read_text()
    names: dict[str, Any] = {}
    exec(text.replace("import lightning_that_is_not_there as pl", "pl = None").replace("pl.BaseVAE", "nn.Module"), names)
    return names["MSSIM"]()


def vamp() -> dict[str, Any]:
    """What VampVAE has on self: pseudo-inputs and an encoder of them."""
    made = torch.Generator().manual_seed(3)
    pseudo, mean, level = (torch.randn(shape, generator=made) for shape in ((50, 7), (7, 20), (7, 20)))
    return {
        "embed_pseudo": lambda x: x @ pseudo.to(x),
        "encoder": lambda x: x,
        "fc_mu": lambda h: h @ mean.to(h),
        "fc_var": lambda h: 0.1 * h @ level.to(h),
    }


RGB64 = {"shape": (3, 64, 64), "latent": 128}
PATCHES = {"shape": {"": (3, 16, 16), "pred": (16, 48), "mask": (16,)}}
MAE = {"patch_embed.patch_size": (4, 4)}
LOGISTIC = {"anneal_function": "logistic", "step": 2500, "k": 0.0025, "x0": 2500}
NAMES = ("family", "tradeoff", "powers", "sigma", "beta", "latent_scale", "verdict", "defects")
# what to audit, how, and: family, tradeoff, its powers of B, D and K, sigma, beta, meaning of the scale, verdict, defects
CASES: dict[str, tuple[Any, dict[str, Any], tuple[Any, ...]]] = {
    "1": (at("case01.py:loss_function"), {},
          ("bernoulli", 1, (0, 0, 0), None, 1, "log_variance", "elbo", ["hard-coded-shape"])),
    "2": (at("case02.py:loss_function"), {"bind": {"args.batch_size": 128}},
          ("bernoulli", 1, (1, 1, 0), None, 1, "log_variance", "shape-dependent", ["hard-coded-shape", "batch-dependent"])),
    "3": (at("case03.py:loss_function"), {"total": "r[0] + r[1]", "shape": (3, 128, 128), "latent": 512},
          ("gaussian", 4.8, (0, 1, -1), 4.8**0.5, 4.8, "log_variance", "shape-dependent", ["recon-mean",
           "kl-mean-latents", "half-missing"])),
    "5": (at("case05.py:ConvVAE.loss_function"), {"total": "r[0] + r[1]", "attributes": {"model": "gaussian_vae"}},
          ("gaussian", 1.0049636485656853, (0, 0, 0), 1.0024787521766663, 1.0049636485656853, "log_variance", "elbo", [])),
    "7": (at("case07.py:loss_function"), {"shape": (3, 64, 64), "latent": 32},
          ("gaussian", 0.5, (0, 0, 0), 0.5**0.5, 0.5, "log_std", "elbo", ["half-missing"])),
    "10": (at("case10.ipynb:loss_fn"), {"shape": (3, 32, 32), "latent": 32, "batch": 32},
           ("bernoulli", 1 / 1024, (-1, 0, -1), None, 1 / 1024, "log_variance", "shape-dependent",
            ["kl-mean-latents", "batch-dependent"])),
    "13": (at("case13.py:wrapped"), {"bind": LOGISTIC, "total": "(r[0] + r[2]*r[1]) / 4", "shape": (12, 50), "latent": 16},
           ("categorical", 0.5, (0, 0, 0), None, 0.5, "log_variance", "beta-elbo", [])),
    "17": (at("case17.py:ACTPolicy.__call__"), {"attributes": {"kl_weight": 10, "model.num_queries": 100},
     "shape": (100, 14), "latent": 32},
           ("laplace", 14000, (0, 1, 0), 14000, 14000, "log_variance", "shape-dependent", ["recon-mean"])),
    "19": (at("case19.py:VanillaVAE.loss_function"), {"bind": {"M_N": 0.00025}, **RGB64},
           ("gaussian", 1.536, (0, 1, 0), 1.536**0.5, 1.536, "log_variance", "shape-dependent", ["recon-mean", "half-missing"])),
    "19 in validation": (at("case19.py:VanillaVAE.loss_function"), {"bind": {"M_N": 1.0}, **RGB64},
           ("gaussian", 6144, (0, 1, 0), 6144**0.5, 6144, "log_variance", "shape-dependent", ["recon-mean", "half-missing"])),
    "21": (at("case19.py:LogCoshVAE.loss_function"), {"bind": {"M_N": 0.00025}, "attributes": {"alpha": 10.0}, **RGB64},
           ("hyperbolic-secant", 3.072, (0, 1, 0), 3.072**0.5, 307.2, "log_variance", "shape-dependent",
            ["recon-mean", "overflow"])),
    "23": (at("case19.py:VampVAE.loss_function"), {"bind": {"M_N": 0.00025}, "attributes": vamp(), "shape": (3, 64, 64)},
           ("gaussian", None, (None, None, None), None, None, None, "defective", ["kl-not-kl"])),
    "26": (at("case19.py:MSSIMVAE.loss_function"), {"bind": {"M_N": 0.00025},
     "attributes": {"mssim_loss": pyramid()}, "shape": (3, 32, 32)},
           (None, None, (None, None, None), None, None, "log_variance", "not-factorised", ["not-additive"])),
    "27": (at("case27.py:VAE.loss_function"), {"attributes": {"model_config.reconstruction_loss": "mse"}},
           ("gaussian", 1, (0, 0, 0), 1, 1, "log_variance", "elbo", [])),
    "27 beta": (at("case27.py:BetaVAE.loss_function"), {"attributes": {"model_config.reconstruction_loss": "bce", "beta": 4.0}},
           ("bernoulli", 4, (0, 0, 0), None, 4, "log_variance", "beta-elbo", [])),
    "32": (lambda: module("case32").BetaHLoss(beta=4, rec_dist="gaussian"), {},
           ("gaussian", 4 / 510, (0, 0, 0), (4 / 510) ** 0.5, 4 / 510, "log_variance", "elbo", [])),
    "32 from its file": (at("case32.py:BetaHLoss.__call__"), {"attributes": {"beta": 1, "rec_dist": "gaussian"}},
           ("gaussian", 1 / 510, (0, 0, 0), 510**-0.5, 1 / 510, "log_variance", "elbo", [])),
    "32 annealed": (lambda: module("case32").BetaHLoss(beta=4, rec_dist="gaussian", steps_anneal=100), {},
           ("gaussian", 0.04 / 510, (0, 0, 0), (0.04 / 510) ** 0.5, 0.04 / 510, "log_variance", "elbo", ["stateful"])),
    "34": (lambda: module("case34").BetaVae().compute_loss, {"shape": (3, 64, 64), "latent": 9},
           ("gaussian", 2.048, (0, 1, -1), 2.048**0.5, 2.048, None, "shape-dependent", ["recon-mean",
            "kl-mean-latents", "half-missing"])),
    "34 mean_sum": (lambda: module("case34").BetaVae("mean_sum", 1.0).compute_loss, {"shape": (3, 64, 64), "latent": 9},
           ("gaussian", 0.5, (0, 0, 0), 0.5**0.5, 0.5, None, "elbo", ["half-missing"])),
    "42": (at("case42.py:VAE_ELBO._create_pytorch_loss"), {"shape": (100,)},
           ("bernoulli", 5, (0, 1, -1), None, 5, "std", "defective", ["latent-scale-misread", "recon-mean", "kl-mean-latents"])),
    "44": (at("case44.py:VAELoss"), {"shape": (120, 5), "latent": 8},
           ("heteroscedastic-gaussian", 120, (0, 1, 0), None, 120, "std", "shape-dependent", ["broadcast"])),
    "46": (at("case46.py:loss_function"), {"latent": (20, 10)},
           ("bernoulli", 1, (0, 0, 0), None, 1, None, "elbo", ["hard-coded-shape"])),
    "47": (at("case46.py:joined"), {"latent": (20, 10)},
           ("bernoulli", 0.25, (-1, 0, 0), None, 0.25, None, "defective", ["kl-not-kl", "hard-coded-shape", "batch-dependent"])),
    "50": (lambda: module("case50").LPIPSWithDiscriminator(), {"shape": (3, 32, 32), "latent": (4, 8, 8)},
           ("laplace", 1e-6, (0, 0, 0), 1e-6, 1e-6, None, "elbo", [])),
    "50 learned": (lambda: module("case50").LPIPSWithDiscriminator(logvar_init=0.3), {"shape": (3, 32, 32), "latent": (4, 8, 8)},
           ("laplace", 1.3498588075760032e-6, (0, 0, 0), 1.3498588075760032e-6, 1e-6, None, "elbo", [])),
    "56": (at("case56.py:MaskedAutoencoderViT.forward_loss"), {"attributes": MAE, **PATCHES},
           ("gaussian", None, (None, None, None), None, None, None, "reconstruction-only", [])),
    "56 standardised": (at("case56.py:MaskedAutoencoderViT.forward_loss"), {"attributes": {**MAE,
     "norm_pix_loss": True}, **PATCHES},
           ("gaussian", None, (None, None, None), None, None, None, "reconstruction-only", [])),
    "59": (at("case59.py:train_loss"), {},
           ("the decoder's own", 0.7, (0, 0, 0), None, 0.7, None, "beta-elbo", [])),
    "59 alone": (at("case59.py:reconstruction_loss"), {},
           ("the decoder's own", None, (None, None, None), None, None, None, "reconstruction-only", [])),
    "61": (at("case61.py:reproduce"), {},
           ("bernoulli", 1, (0, 0, 0), None, 1, None, "elbo", [])),
    "64": (lambda: module("case64").compile_(1000), {},
           ("gaussian", 0.392, (0, 1, 0), 0.392**0.5, 0.392, "log_variance", "shape-dependent", ["recon-mean", "half-missing"])),
    "64 faces": (lambda: module("case64").compile_(10000), {"shape": (3, 128, 128), "latent": 200},
           ("gaussian", 2.4576, (0, 1, 0), 2.4576**0.5, 2.4576, "log_variance", "shape-dependent", ["recon-mean",
            "half-missing"])),
    "66": (at("case66.py:whole"), {"shape": (3, 32, 32), "latent": 1024},
           ("gaussian", 0.0025 / 1024, (0, 0, -1), 0.05 / 32, 1 / 1024, "log_variance", "shape-dependent", ["kl-mean-latents"])),
    "66 alone": (at("case66.py:elbo"), {},
           ("gaussian", None, (None, None, None), None, None, None, "reconstruction-only", [])),
}  # fmt: skip


def facts(found: Audit, index: int = 0) -> dict[str, Any]:
    """A row as the table above has them."""
    row = found.rows[index]
    powers = (row.tradeoff_batch, row.tradeoff_dim, row.tradeoff_latent)
    return {"family": row.family, "tradeoff": row.tradeoff, "powers": powers, "sigma": row.sigma, "beta": row.beta,
            "latent_scale": row.latent_scale, "verdict": row.verdict, "defects": sorted(row.defects)}  # fmt: skip


def equals(found: Audit, wanted: tuple[Any, ...], index: int = 0) -> None:
    """Every field, numbers to 1e-6 relative."""
    have = facts(found, index)
    for name, value in zip(NAMES, wanted, strict=True):
        if name == "defects":
            value = sorted(value)
        if isinstance(value, (int, float)):
            assert have[name] == pytest.approx(value, rel=1e-6), name
        else:
            assert have[name] == value, name


@pytest.mark.parametrize("case", CASES)
def test_the_listed_losses(case: str) -> None:
    loss, how, wanted = CASES[case]
    found = audit(loss() if callable(loss) else loss, **how)
    equals(found, wanted)
    assert found.rows[0].direction == "loss"
    assert found.holds == (wanted[-2] in ("elbo", "beta-elbo", "reconstruction-only"))


def test_three_reconstructions_in_one() -> None:
    found = audit(at("case41.py:VAE.calc_loss"), attributes={"nsamples": 10}, shape=(10,), latent=32)
    names = {row.term: i for i, row in enumerate(found.rows)}
    tnf, abundance = 103 / (2 * 0.15 * 32 * 200), 10 / (2 * 0.85 * 32 * 200)
    equals(found, ("gaussian", tnf, (0, 0, -1), tnf**0.5, tnf, None, "shape-dependent", ["kl-mean-latents"]), names["tnf_out"])
    codes = ["kl-mean-latents", "recon-mean"]
    equals(
        found,
        ("gaussian", abundance, (0, 1, -1), abundance**0.5, abundance, None, "shape-dependent", codes),
        names["abundance_out"],
    )
    row = found.rows[names["depths_out"]]
    assert row.family == "categorical"
    assert row.beta == pytest.approx(torch.log(torch.tensor(10.0)).item() * 10 / 9 / (0.85 * 32 * 200), rel=1e-6)


def test_the_optimal_sigma_is_a_gaussian_of_its_own_noise() -> None:
    found = audit(at("case05.py:ConvVAE.loss_function"), total="r[0] + r[1]", attributes={"model": "optimal"})
    assert (found.verdict, found.defects) == ("elbo", ())
    assert "sigma^2 = mean (x̂−x)² of the batch, and beta = 1" in found.sentence


@pytest.mark.parametrize(
    ("loss", "how", "words"),
    [
        ("case03.py:loss_function", {}, ["returns 2 parts (r[0], r[1])", '--total "r[0] + r[1]"']),
        ("case02.py:loss_function", {}, ["reads args", "By the file's own defaults: --bind args.batch_size=128"]),
        ("case19.py:VanillaVAE.loss_function", {}, ["needs M_N", "--bind M_N"]),
        (
            "case61.py:reproduce.loss_fn",
            {},
            ["inside another function (line 7)", "def loss_fn(x, _, preds):", "logits, kl = preds"],
        ),
        ("case13.py:main.loss_fn", {}, ["NLL = ...  # from around it"]),
        ("case01.py:loss_funktion", {}, ["no 'loss_funktion'", "Did you mean 'loss_function'?"]),
        ("case05.py:ConvVAE.loss", {}, ["no 'loss'", "Did you mean 'loss_function'?"]),
    ],
)
def test_what_to_pass_is_said(loss: str, how: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ReconError) as raised:
        audit(at(loss), **how)
    for word in words:
        assert word in str(raised.value)


def test_a_learned_scale_comes_to_rest() -> None:
    found = audit(module("case50").LPIPSWithDiscriminator(logvar_init=0.3), shape=(3, 32, 32), latent=(4, 8, 8))
    assert any("comes to rest where exp(logvar) is the mean absolute error" in note for note in found.notes)


def test_formulas_spell_the_means_out() -> None:
    assert audit(at("case03.py:loss_function"), total="r[0] + r[1]").formula == "L = (1/(B·D))·Σ(x̂−x)² + (0.1/(B·K))·KL"
    assert audit(at("case44.py:VAELoss"), shape=(12, 5)).formula == "L = (1/(B·T))·NLL + (1/B)·KL"
    assert audit(at("case02.py:loss_function"), bind={"args.batch_size": 128}).formula == "L = (1/(B·D))·CE + 1/100352·KL"


def test_a_kl_is_never_negative() -> None:
    found = audit(at("case46.py:joined"), latent=200)
    (finding,) = [f for f in found.findings if f.code == "kl-not-kl"]
    assert "its minimum is -2.99573 nats a sample" in finding.evidence  # -log 20
