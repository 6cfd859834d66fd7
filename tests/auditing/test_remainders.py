"""Terms beside a reconstruction: the KL of classes and bits is recognised exactly, and what is no KL is no pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Normal, OneHotCategorical, kl_divergence

import recon_cli
from recon_cli import audit

LOG2 = math.log(2)


def squares(y: Tensor, x: Tensor) -> Tensor:
    return 0.5 * (y - x).square().sum()


def normal_kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()


def of_shares(q: Tensor, eps: float = 1e-20) -> Tensor:
    return (q * (q.clamp_min(eps).log() + math.log(q.shape[-1]))).sum()


def of_logits(logits: Tensor, axis: int = -1) -> Tensor:
    log_q = logits.log_softmax(axis)
    return (log_q.exp() * (log_q + math.log(logits.shape[axis]))).sum()


def grouped(logits: Tensor) -> Tensor:
    return of_logits(logits.view(-1, 2, 3))


def between(kind: Any, **q: Tensor) -> Tensor:
    (value,) = q.values()
    return kl_divergence(kind(**q), kind(logits=torch.zeros_like(value))).sum()


def of_bits(q: Tensor) -> Tensor:
    return (q * (2 * q).log() + (1 - q) * (2 - 2 * q).log()).sum()


def to_prior(q: Tensor) -> Tensor:
    p = torch.arange(1.0, q.shape[-1] + 1) / sum(range(1, q.shape[-1] + 1))
    return (q * (q.log() - p.log())).sum()


# a KL of classes or of bits beside a Gaussian of sigma 1: the latents' shape, the weight, a word of a note
DISCRETE: dict[str, tuple[Callable[..., Tensor], tuple[int, ...], float, str]] = {
    "shares": (lambda y, x, q: squares(y, x) + of_shares(q), (6,), 1, "6 classes"),
    "softmax of logits": (lambda y, x, logits: squares(y, x) + of_logits(logits), (2, 3), 1, "2 of them, of logits, 3 classes"),
    "bits": (lambda y, x, q: squares(y, x) + of_bits(q), (6,), 1, "bits"),
    "a stated prior": (lambda y, x, q: squares(y, x) + to_prior(q), (4,), 1, "stated: 0.1, 0.2, 0.3, 0.4"),
    "weighed": (lambda y, x, logits: squares(y, x) + 3 * of_logits(logits), (2, 3), 3, "3 classes"),
    "a large eps": (lambda y, x, qy: squares(y, x) + of_shares(qy, 1e-6), (6,), 1, "6 classes"),
    "viewed inside": (lambda y, x, z_logits: squares(y, x) + grouped(z_logits), (6,), 1, "2 of them, of logits, 3 classes"),
    "classes first": (lambda y, x, logits: squares(y, x) + of_logits(logits, 1), (3, 2, 2), 1, "4 of them, of logits, 3 classes"),
    "Categorical": (lambda y, x, logits: squares(y, x) + between(Categorical, logits=logits), (6,), 1, "6 classes"),
    "Categorical of shares": (lambda y, x, q: squares(y, x) + between(Categorical, probs=q), (6,), 1, "6 classes"),
    "OneHotCategorical": (lambda y, x, logits: squares(y, x) + between(OneHotCategorical, logits=logits), (6,), 1, "6 classes"),
    "Bernoulli": (lambda y, x, logits: squares(y, x) + between(Bernoulli, logits=logits), (6,), 1, "bits"),
    "logarithms": (lambda y, x, log_q: squares(y, x) + (log_q.exp() * (log_q + math.log(6))).sum(), (6,), 1, "log-probabilities"),
    "F.kl_div": (
        lambda y, x, log_q: squares(y, x)
        + F.kl_div(torch.full_like(log_q, -math.log(6)), log_q, reduction="sum", log_target=True), (6,), 1, "6 classes",
    ),
    "no log of how many": (lambda y, x, q: squares(y, x) + (q * q.log()).sum(), (6,), 1, "left out, which moves no gradient"),
    "beside normal latents": (
        lambda y, x, mu, logvar, qy: squares(y, x) + normal_kl(mu, logvar) + of_shares(qy), (6,), 1, "categorical"
    ),
    "to bits of 0.3": (
        lambda y, x, logits: squares(y, x) + kl_divergence(Bernoulli(logits=logits), Bernoulli(torch.tensor(0.3))).sum(),
        (6,), 1, "stated: 0.3",
    ),
    "of base 2": (lambda y, x, q: squares(y, x) + of_shares(q) / LOG2, (6,), 1 / LOG2, "6 classes"),
}  # fmt: skip
USUAL = ("softmax of logits", "bits", "a stated prior")


def some(names: Any, usual: tuple[str, ...]) -> list[Any]:
    return [pytest.param(name, marks=[] if name in usual else [pytest.mark.hostile]) for name in names]


@pytest.mark.parametrize("name", some(DISCRETE, USUAL))
def test_a_kl_of_classes_or_bits_is_one(name: str) -> None:
    loss, latent, weight, note = DISCRETE[name]
    found = audit(loss, (5,), latent)
    (row,) = found.rows
    assert found.verdict in ("elbo", "beta-elbo")
    assert row.beta == pytest.approx(weight, rel=1e-4)
    assert (row.tradeoff_batch, row.tradeoff_dim) == (0, 0)
    assert any(note in each for each in found.notes), found.notes


def kernel(a: Tensor, b: Tensor) -> Tensor:
    return torch.exp(-(a[:, None] - b[None]).square().sum(-1) / a.shape[1])


def rational(a: Tensor, b: Tensor) -> Tensor:
    return 8 / (8 + (a[:, None] - b[None]).square().sum(-1))


def discrepancy(z: Tensor, p: Tensor, k: Callable[..., Tensor] = kernel) -> Tensor:
    return k(p, p).mean() + k(z, z).mean() - 2 * k(p, z).mean()


def drawn(z: Tensor, k: Callable[..., Tensor] = kernel) -> Tensor:
    return discrepancy(z, torch.randn_like(z), k)


def total_correlation(mu: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
    log_q = Normal(mu[None], (logvar / 2).exp()[None]).log_prob(z[:, None])
    return (log_q.sum(2).logsumexp(1) - log_q.logsumexp(1).sum(1)).mean()


def covariance(mu: Tensor) -> Tensor:
    cov = (mu - mu.mean(0)).T @ (mu - mu.mean(0)) / len(mu)
    return (cov - torch.eye(len(cov))).square().sum()


def sliced(z: Tensor) -> Tensor:
    way = F.normalize(torch.randn(z.shape[1], 8), dim=0)
    return ((z @ way).sort(0)[0] - (torch.randn_like(z) @ way).sort(0)[0]).square().mean()


# what is no KL of a sample, and words of what is known of it
OTHERS: dict[str, tuple[Callable[..., Tensor], str]] = {
    "MMD": (lambda y, x, z: squares(y, x) + 10 * drawn(z), "(an MMD)"),
    "total correlation": (
        lambda y, x, mu, logvar, z: squares(y, x) + normal_kl(mu, logvar) + 5 * total_correlation(mu, logvar, z),
        "depends on the other samples",
    ),
    "DIP": (lambda y, x, mu, logvar: squares(y, x) + normal_kl(mu, logvar) + covariance(mu), "depends on the other samples"),
    "absolute values": (lambda y, x, z: squares(y, x) + z.abs().sum(), "absolute values"),
    "MMD of another kernel": (lambda y, x, z: squares(y, x) + drawn(z, rational), "(an MMD)"),
    "MMD of two arguments": (lambda y, x, z, z_prior: squares(y, x) + discrepancy(z, z_prior), "(an MMD)"),
    "KL and MMD": (lambda y, x, mu, logvar, z: squares(y, x) + normal_kl(mu, logvar) + drawn(z), "(an MMD)"),
    "only pushed apart": (lambda y, x, z: squares(y, x) + kernel(z, z).mean(), "depends on the other samples"),
    "DIP of the aggregate": (
        lambda y, x, mu, logvar: squares(y, x) + normal_kl(mu, logvar) + (logvar.exp().mean(0) - 1).square().sum(),
        "depends on the other samples",
    ),
    "InfoVAE": (lambda y, x, mu, logvar, z: squares(y, x) + 100 * drawn(z), "(an MMD)"),
    "InfoVAE, IMQ": (lambda y, x, mu, logvar, z: squares(y, x) + 100 * drawn(z, rational), "(an MMD)"),
    "sliced, drawn inside": (lambda y, x, mu, logvar, z: squares(y, x) + sliced(z), "depends on the other samples"),
    "sliced, of means": (lambda y, x, mu: squares(y, x) + sliced(mu), "depends on the other samples"),
    "moments": (
        lambda y, x, mu, logvar, z: squares(y, x) + z.mean(0).square().sum() + covariance(z), "depends on the other samples"
    ),
    "squares of draws": (lambda y, x, mu, logvar, z: squares(y, x) + z.square().sum(), "entropy"),
    "squares of codes": (lambda y, x, z: squares(y, x) + 0.01 * z.square().sum(), "entropy"),
    "sparse": (lambda y, x, h: squares(y, x) + (0.05 / h.mean(0)).log().sum(), "depends on the other samples"),
    "the other KL": (lambda y, x, q: squares(y, x) - q.log().mean(-1).sum(), "each sample's own"),
    "entropy of the batch": (lambda y, x, q: squares(y, x) + (q.mean(0) * q.mean(0).log()).sum(), "the other samples"),
    "two weights": (
        lambda y, x, mu, logvar, qy: squares(y, x) + normal_kl(mu, logvar) + 30 * of_shares(qy), "(mu 1, qy 30)"
    ),
    "sliced": (
        lambda y, x, z, z_rand: squares(y, x) + (z.sum(1).sort(0)[0] - z_rand.sum(1).sort(0)[0]).square().mean(),
        "depends on the other samples",
    ),
    "contrast": (
        lambda y, x, z_a, z_b: squares(y, x) + F.cross_entropy(z_a @ z_b.T, torch.arange(len(z_a))), "the other samples"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", some(OTHERS, ("InfoVAE", "sliced, of means", "total correlation", "absolute values")))
def test_what_is_no_kl_is_no_pass(name: str) -> None:
    loss, words = OTHERS[name]
    found = audit(loss, (5,), 3)
    assert (found.verdict, found.holds) == ("unrecognised", False)
    assert "Not recognised is the term in" in found.sentence
    assert words in found.sentence
    assert "kl-not-kl" not in found.defects


@pytest.mark.parametrize("loss", [
    lambda y, x, z_e, z_q: F.mse_loss(y, x) + F.mse_loss(z_q, z_e.detach()) + 0.25 * F.mse_loss(z_e, z_q.detach()),
    lambda y, x, d_fake: F.l1_loss(y, x) + 0.1 * F.binary_cross_entropy_with_logits(d_fake, torch.ones_like(d_fake)),
    lambda y, x, d_fake: F.l1_loss(y, x) - 0.1 * d_fake.mean(),
    lambda y, x, d_real, d_fake: F.l1_loss(y, x) + d_fake.mean() - d_real.mean(),
    lambda y, x, d_fake: F.l1_loss(y, x) + (d_fake - 1).square().mean(),
])  # fmt: skip
def test_codes_that_are_compared_and_scores_are_terms_of_their_own(loss: Any) -> None:
    found = audit(loss, (5,), 3)
    assert (found.verdict, found.holds, found.defects) == ("reconstruction-only", True, ())


# a term that is given ready-made: how it stands in the formula, and the verdict
READY: dict[str, tuple[Callable[..., Tensor], str, str]] = {
    "vq": (lambda y, x, vq_loss: squares(y, x) + vq_loss, "+ vq_loss (given, not audited)", "reconstruction-only"),
    "beside a KL": (
        lambda y, x, mu, logvar, perceptual_loss: squares(y, x) + normal_kl(mu, logvar) + 0.25 * perceptual_loss,
        "+ KL + 0.25·perceptual_loss (given, not audited)", "unrecognised",
    ),
    "parts of beta-TCVAE": (
        lambda y, x, mi, tc, dwkl: squares(y, x) + mi + 6 * tc + dwkl, "+ 6·tc (given, not audited)", "unrecognised"
    ),
    "subtracted": (lambda y, x, reg_loss: squares(y, x) - reg_loss, "− reg_loss (given, not audited)", "unrecognised"),
    "not used": (lambda y, x, mu, logvar, reg_loss: squares(y, x) + normal_kl(mu, logvar), "+ KL", "elbo"),
    "squared": (lambda y, x, vq_loss: squares(y, x) + vq_loss**2, "vq_loss (given, not audited)", "reconstruction-only"),
    "a factor": (lambda y, x, vq_loss: squares(y, x) * (1 + vq_loss), "vq_loss (given, not audited)", "unrecognised"),
}  # fmt: skip


@pytest.mark.parametrize("name", some(READY, ("vq", "beside a KL", "parts of beta-TCVAE")))
def test_a_term_that_is_given_ready_made_is_in_the_formula_and_in_no_claim(name: str) -> None:
    loss, formula, verdict = READY[name]
    found = audit(loss, (5,), 3)
    assert formula in found.formula
    assert found.verdict == verdict
    assert ("given ready-made, and not audited" in found.sentence) is ("given" in formula)


def tc_vae(y: Tensor, x: Tensor, log_pz: Tensor, log_qz: Tensor, log_qz_product: Tensor, log_q_zCx: Tensor) -> Tensor:
    mi, tc, dw = log_q_zCx - log_qz, log_qz - log_qz_product, log_qz_product - log_pz
    return squares(y, x) + (mi + 6 * tc + dw).sum()


# log-densities that are given: beta, and the verdict
DENSITIES: dict[str, tuple[Callable[..., Tensor], float | None, str]] = {
    "sums": (lambda y, x, log_pz, log_qz: squares(y, x) + (log_qz - log_pz).sum(), 1, "elbo"),
    "means": (lambda y, x, log_prior, log_q: squares(y, x) / len(x) + 4 * (log_q - log_prior).mean(), 4, "elbo"),
    "aggregated": (tc_vae, 1, "unrecognised"),
    "bare": (lambda y, x, log_q, log_p: squares(y, x) + (log_q - log_p).sum(), 1, "elbo"),
    "whose first": (lambda y, x, q_logp, p_logp: squares(y, x) + (q_logp - p_logp).sum(), 1, "elbo"),
    "of each latent": (lambda y, x, log_pz, log_qz_x: squares(y, x) + (log_qz_x.sum(1) - log_pz.sum(1)).sum(), 1, "elbo"),
    "the wrong sign": (lambda y, x, log_pz, log_qzx: squares(y, x) + (log_pz - log_qzx).sum(), -1, "defective"),
    "two weights": (lambda y, x, log_pz, log_qzx: squares(y, x) + (2 * log_qzx - log_pz).sum(), None, "defective"),
    "of each marginal": (
        lambda y, x, log_qz_x, log_qz, log_prod_qzi, log_pz: squares(y, x)
        + (log_qz_x - log_qz + 6 * (log_qz - log_prod_qzi) + log_prod_qzi - log_pz).sum(), 1, "unrecognised",
    ),
    "a total correlation": (
        lambda y, x, log_qz, log_qz_product: squares(y, x) + (log_qz - log_qz_product).sum(), None, "unrecognised"
    ),
    "all of weight 1": (
        lambda y, x, log_pz, log_qz, log_qz_x: squares(y, x) + (log_qz_x - log_qz + log_qz - log_pz).sum(), 1, "elbo"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", some(DENSITIES, ("sums", "aggregated")))
def test_log_densities_given_apart_are_a_kl_of_one_sample(name: str) -> None:
    loss, beta, verdict = DENSITIES[name]
    found = audit(loss, (5,), 3)
    assert (found.verdict, found.rows[0].beta) == (verdict, None if beta is None else pytest.approx(beta))
    assert ("of the aggregated posterior" in found.sentence) is (verdict == "unrecognised")


def test_a_sample_whose_log_q_is_none_is_still_no_kl() -> None:
    def loss(y: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, z: Tensor) -> Tensor:
        log_q = Normal(mu, (logvar / 4).exp() * 1.3).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
        return squares(y, x) + log_q.sum()

    assert audit(loss, (5,), 3).defects == ("kl-not-kl",)


def test_a_literal_number_of_classes_is_how_many_latents_there_are() -> None:
    def literal(recon: Tensor, x: Tensor, qy: Tensor) -> Tensor:
        return squares(recon, x) + (qy * (10 * qy).log()).sum()

    assert audit(literal).verdict == "elbo"
    assert "K = 10" in audit(literal).sizes
    assert audit(lambda recon, x, qy: squares(recon, x) + (qy * (9.5 * qy).log()).sum()).verdict == "defective"


def test_logits_beside_a_reconstruction_of_the_only_target_are_the_latents() -> None:
    found = audit(lambda recon, x, logits: squares(recon, x) + of_logits(logits))
    assert (found.verdict, found.rows[0].beta) == ("elbo", pytest.approx(1))


def test_a_kl_of_classes_of_the_wrong_sign() -> None:
    assert audit(lambda y, x, q: squares(y, x) - of_shares(q), (5,), 6).defects == ("kl-sign",)


def live(kind: str) -> None:
    """A step of an autoencoder with latents of some kind."""
    encoder, decoder, x = torch.nn.Linear(6, 6), torch.nn.Linear(6, 6), torch.rand(5, 6)
    raw = encoder(x)
    if kind == "classes":
        z, more = F.gumbel_softmax(raw.view(5, 2, 3), tau=0.7), of_logits(raw.view(5, 2, 3))
    elif kind == "bits":
        p = raw.sigmoid()
        z, more = torch.bernoulli(p.detach()) + p - p.detach(), of_bits(p)
    elif kind == "MMD":
        z, more = raw, drawn(raw)
    else:
        z, more = raw, raw.abs().sum()
    (squares(decoder(z.view(5, 6)), x) + more).backward()


@pytest.mark.parametrize(("kind", "verdict", "words"), [
    ("classes", "elbo", "2 of them, of logits, 3 classes"),
    ("bits", "elbo", "bits"),
    ("MMD", "unrecognised", "no KL of a sample"),
    pytest.param("absolute values", "unrecognised", "not recognised", marks=pytest.mark.hostile),
])  # fmt: skip
def test_the_same_in_a_live_step(kind: str, verdict: str, words: str) -> None:
    torch.manual_seed(0)
    with recon_cli.watch() as step:
        live(kind)
    found = step.audit()
    assert found.verdict == verdict
    assert any(words in each for each in (found.sentence, *found.notes))
