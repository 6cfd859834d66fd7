"""Losses of our own: other families, orders, defects, combinations, and clean ones that look suspicious."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from recon_cli import audit
from recon_cli.errors import ReconError

D, K, B = 784, 20, 4


def kl_sum(mu, logvar):
    return -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


# Clean ones that look suspicious.


def both_over_d(recon_x, x, mu, logvar):
    n = x[0].numel()
    return 0.5 * F.mse_loss(recon_x, x) + kl_sum(mu, logvar) / (len(x) * n)


def overall_factor(x_hat, x, mu, logvar):
    return 1e-4 * (F.mse_loss(x_hat, x, reduction="sum") + 2 * kl_sum(mu, logvar)) / x.size(0)


def twice_half(x_hat, x, mu, logvar):
    return (x_hat - x).square().sum() + 2 * kl_sum(mu, logvar)


def constants_dropped(x_hat, x, mu, logvar):
    return 0.5 * (x_hat - x).square().sum() + 0.5 * (mu**2 + logvar.exp() - logvar).sum()


def binary_by_hand(logits, x, mu, logvar):
    nll = F.softplus(logits) - x * logits
    return (nll.flatten(1).sum(1) + 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(1)).mean()


def weight_of_a_sigma(x_hat, x, mu, logvar, weight=50.0):
    return weight * (x_hat - x).square().sum() + kl_sum(mu, logvar)


def normalised(x_hat, x, z_mean, z_std, sigma=0.2):
    nll = -torch.distributions.Normal(x_hat, sigma).log_prob(x).flatten(1).sum(1)
    q = torch.distributions.Normal(z_mean, z_std)
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(1)
    return (nll + kl).mean()


def elbo(x, x_hat, mu, logvar):
    log_p = -0.5 * ((x - x_hat) ** 2).sum()
    return log_p - kl_sum(mu, logvar)


def variance_given(target, output, mean, variance):
    return F.l1_loss(output, target, reduction="sum") + 0.5 * (mean**2 + variance - variance.log() - 1).sum()


def tanh_scaled(recon, x, mu, logvar):
    return F.binary_cross_entropy((recon + 1) / 2, (x + 1) / 2, reduction="sum") + kl_sum(mu, logvar)


def float32_inside(recon, x, mu, logvar):
    return F.mse_loss(recon.float(), x.to(torch.float32), reduction="sum").float() / 2 + kl_sum(mu.float(), logvar.float())


def devices(recon, x, mu, logvar):
    zero = torch.zeros(1, device="cuda")
    return 0.5 * ((recon.cuda() - x.to("cuda:0")) ** 2).sum() + kl_sum(mu, logvar) + zero.sum()


def prior_of_its_own(recon, x, mu, logvar, s2=4.0):
    kl = 0.5 * ((mu**2 + logvar.exp()) / s2 - 1 - logvar + math.log(s2)).sum()
    return 0.5 * (recon - x).square().sum() + kl


def monte_carlo(recon, x, mu, logvar):
    std = torch.exp(0.5 * logvar)
    z = mu + std * torch.randn_like(std)
    q = torch.distributions.Normal(mu, std).log_prob(z)
    p = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(std)).log_prob(z)
    return 0.5 * (recon - x).square().sum() + (q - p).sum()


def given_sample(recon, x, mu, logvar, z):
    log_q = -0.5 * (logvar + (z - mu) ** 2 / logvar.exp())
    mixture = torch.logsumexp(torch.stack([-0.5 * (z - c) ** 2 for c in (-1.0, 1.0)]).sum(-1), dim=0)
    return 0.5 * (recon - x).square().sum() + log_q.sum() - mixture.sum()


def nothing_of_names(a, b, c, d):
    return 0.5 * (a - b).pow(2).sum() + 0.5 * (c.pow(2) + d.exp() - d - 1).sum()


def nothing_of_names_bce(c, b, d, a):
    return F.binary_cross_entropy(a, b, reduction="sum") + 0.5 * (c.pow(2) + d.exp() - d - 1).sum()


def coins_only(x, x_hat, q):
    nll = -torch.distributions.Bernoulli(logits=x_hat, validate_args=True).log_prob(x).sum()
    return nll + torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum()


def graph(preds, labels, mu, logvar, n_nodes, norm, pos_weight):
    cost = norm * F.binary_cross_entropy_with_logits(preds, labels, pos_weight=pos_weight)
    return cost - 0.5 / n_nodes * torch.mean(torch.sum(1 + 2 * logvar - mu.pow(2) - logvar.exp().pow(2), 1))


def model_inside(model, batch):
    x, _ = batch
    recon, mu, logvar = model(x)
    return 0.5 * (recon - x).square().sum() + kl_sum(mu, logvar)


def other_terms(recons, inputs, vq_loss):
    return F.mse_loss(recons, inputs) + vq_loss


def capacity(recon, x, mu, logvar, C=5.0, gamma=100.0):
    return 0.5 * (recon - x).square().sum() + gamma * (kl_sum(mu, logvar) - C).abs()


def charbonnier(x_hat, x, mu, logvar):
    return ((x_hat - x) ** 2 + 1e-6).sqrt().sum() + kl_sum(mu, logvar)


def softplus_scale(recon, x, mu, sigma_raw):
    std = F.softplus(sigma_raw)
    return 0.5 * (recon - x).square().sum() + 0.5 * (mu**2 + std**2 - 2 * std.log() - 1).sum()


def eps_in_the_kl(x_recon, x, mean, sigma):
    return 0.5 * (x_recon - x).square().sum() + 0.5 * (mean**2 + sigma**2 - (1e-8 + sigma**2).log() - 1).sum()


def total_at_the_end(recon, x, mu, logvar):
    rec, kl = 0.5 * (recon - x).square().sum(), kl_sum(mu, logvar)
    return rec, kl, rec + kl


def two_images(recon_a, recon_b, a, b, mu, logvar):
    return 0.5 * (recon_a - a).square().sum() + 2 * (recon_b - b).square().sum() + kl_sum(mu, logvar)


def variance_of_pixels(recon, x, var, mu, logvar):
    return F.gaussian_nll_loss(recon, x, var, reduction="sum") + kl_sum(mu, logvar)


def variance_held(recon, x, mu, logvar, held=True):
    return 0.5 * (recon - x).square().sum() + (0.5 * mu.square().sum() if held else kl_sum(mu, logvar))


def clamped(recon, x, mu, logvar):
    return 0.5 * (recon - x).square().sum() + kl_sum(mu, logvar.clamp(-30, 20))


def bits_per_dim(recon, x, mu, logvar):
    return (0.5 * (recon - x).square().sum() + kl_sum(mu, logvar)) / (math.log(2) * x.numel())


def in_place(recon, x, mu, logvar):
    kl = mu.pow(2).add_(logvar.exp()).mul_(-1).add_(1).add_(logvar)
    return (recon - x).pow_(2).mul_(0.5).sum() + kl.sum().mul_(-0.5)


def mean_undone(recon, x, mu, logvar):
    return 0.5 * F.mse_loss(recon, x) * x[0].numel() + kl_sum(mu, logvar) / x.size(0)


# Other families.


def grey_levels(recon, x, mu, logvar, scale=0.1):
    above, below = (torch.sigmoid((x - recon + side / 510) / scale) for side in (1, -1))
    return -(above - below).log().sum() + kl_sum(mu, logvar)


def log_cosh(recon, x, mu, logvar):
    e = recon - x
    return (e + F.softplus(-2 * e) - math.log(2)).sum() + kl_sum(mu, logvar)


def sharp(recon, x, mu, logvar):
    return -torch.distributions.Laplace(recon, 0.1).log_prob(x).sum() + kl_sum(mu, logvar)


def smooth(x_hat, x, mu, logvar):
    return F.smooth_l1_loss(x_hat, x, reduction="sum", beta=0.5) + kl_sum(mu, logvar)


def cauchy(x_hat, x, mu, logvar):
    return 2 * torch.log1p(((x_hat - x) / 0.3) ** 2).sum() + kl_sum(mu, logvar)


def counts(rate, x, mu, logvar):
    return F.poisson_nll_loss(rate, x, log_input=True, reduction="sum") + 3 * kl_sum(mu, logvar)


def elastic(x_hat, x, mu, logvar):
    return 0.5 * (x_hat - x).square().sum() + 0.1 * (x_hat - x).abs().sum() + kl_sum(mu, logvar)


def pinball(x_hat, x, mu, logvar):
    e = x - x_hat
    return torch.maximum(0.9 * e, -0.1 * e).sum() / 0.25 + kl_sum(mu, logvar)


def continuous(x_hat, x, mu, logvar):
    return -torch.distributions.ContinuousBernoulli(x_hat).log_prob(x).sum() + kl_sum(mu, logvar)


def pixels(logits, target, mu, logvar):
    return F.cross_entropy(logits, target, reduction="sum") + kl_sum(mu, logvar)


def onehot(logits, x, mu, logvar):
    return -(x * logits.log_softmax(-1)).sum() + kl_sum(mu, logvar)


def cubic(x_hat, x, mu, logvar):
    return (x_hat - x).abs().pow(3).sum() + kl_sum(mu, logvar)


def with_variance(x_mean, x_logvar, x, mu, logvar):
    nll = 0.5 * (x_logvar + (x - x_mean) ** 2 / x_logvar.exp())
    return nll.sum() + kl_sum(mu, logvar)


# Defects.


def vaal(recon, x, mu, logvar):
    return F.mse_loss(recon, x) + kl_sum(mu, logvar)


def literal_batch(recon_x, x, mu, logvar):
    return F.mse_loss(recon_x, x) / 2 + kl_sum(mu, logvar) / (64 * 784)


def kl_rewarded(recon, x, mu, logvar):
    return 0.5 * (recon - x).square().sum() + 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())


def recon_rewarded(recon, x, mu, logvar):
    return -0.5 * (recon - x).square().sum() + kl_sum(mu, logvar)


def half_forgotten_in_part(recon, x, mu, logvar):
    return 0.5 * (recon - x).square().sum() - 0.5 * torch.sum(1 + logvar - mu.pow(2)) + logvar.exp().sum()


def log_std_read_as_log_variance(recon, x, mu, logvar):
    return 0.5 * (recon - x).square().sum() + (0.5 * (mu**2 + (2 * logvar).exp() - 1) - logvar).sum()


def std_as_log(recon, x, mu, log_std):
    return 0.5 * (recon - x).square().sum() + 0.5 * (mu**2 + log_std**2 - (log_std**2).log() - 1).sum()


def never_trained(recon, x, mu, logvar):
    return 0.5 * (recon - x).square().sum() + kl_sum(mu.detach(), logvar)


def recon_detached(recon, x, mu, logvar):
    return 0.5 * (recon.detach() - x).square().sum() + kl_sum(mu, logvar)


def exp_forgotten(recon, x, mu, logvar):
    return 0.5 * (recon - x).square().sum() - 0.5 * (1 + logvar - mu**2 - logvar).sum()


def wrong_side(recon, x, mu, logvar):
    return 0.5 * (recon.detach() - x).square().sum() + 0.1 * recon.square().sum() + kl_sum(mu, logvar)


def broadcast(recon, x, mu, logvar):
    rec = 0.5 * (recon - x).square().flatten(1).sum(1)
    kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(1, keepdim=True)
    return (rec + kl).mean()


def naive_logs(recon, x, mu, logvar):
    return -(x * recon.log() + (1 - x) * (1 - recon).log()).sum() + kl_sum(mu, logvar)


def free_nats(recon, x, mu, logvar):
    kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1)
    return 0.5 * (recon - x).square().sum() + torch.clamp(kl, min=0.5).sum()


def whole_image(recon, x, mu, logvar):
    return (recon - x).square().flatten(1).sum(1).sqrt().sum() + kl_sum(mu, logvar)


def worse_counts_more(recon, x, mu, logvar):
    nll = 0.5 * (recon - x).square().flatten(1).sum(1)
    return (torch.softmax(nll, 0).detach() * nll).sum() + kl_sum(mu, logvar)


def iwae(recon, x, mu, logvar, sign=-1.0):
    nll = 0.5 * (recon - x).square().flatten(1).sum(1)
    return (torch.softmax(sign * nll, 0).detach() * nll).sum() + kl_sum(mu, logvar)


def test_importance_weights_of_the_wrong_sign() -> None:
    said = [" ".join(f.evidence for f in audit(iwae, bind={"sign": sign}).findings) for sign in (1.0, -1.0)]
    assert "look at the sign" in said[0]
    assert "look at the sign" not in said[1]


KERNEL = torch.ones(1, 1, 3, 3)


def test_float32_constants_meet_float64_probes() -> None:
    def blurred(recon, x):
        return (F.conv2d(recon, KERNEL) - F.conv2d(x, KERNEL)).square().sum()

    assert audit(blurred).defects == ("no-density",)  # of fewer numbers than the image has


class Counting(nn.Module):
    """Its weight grows with every call."""

    def __init__(self):
        super().__init__()
        self.steps = 0

    def forward(self, recon, x, mu, logvar):
        self.steps += 1
        return 0.5 * (recon - x).square().sum() + min(1.0, self.steps / 10) * kl_sum(mu, logvar)


class Outcome(NamedTuple):
    """An object with attributes."""

    rec: torch.Tensor
    kl: torch.Tensor
    loss: torch.Tensor


def outcome(outputs, batch, beta=2.0):
    rec = F.binary_cross_entropy_with_logits(outputs["logits"], batch["x"], reduction="none").flatten(1).sum(1).mean()
    kl = kl_sum(outputs["mu"], outputs["logvar"]) / len(batch["x"])
    return Outcome(rec, kl, rec + beta * kl)


NONE, ELBO = (0, 0, 0), "elbo"
VARIATIONS: list[tuple[Any, dict[str, Any], str | None, float | None, Any, str | None, str, list[str]]] = [
    (both_over_d, {}, "gaussian", 1, NONE, "log_variance", ELBO, []),
    (overall_factor, {}, "gaussian", 1, NONE, "log_variance", ELBO, []),
    (twice_half, {}, "gaussian", 1, NONE, "log_variance", ELBO, []),
    (constants_dropped, {}, "gaussian", 1, NONE, "log_variance", ELBO, []),
    (binary_by_hand, {}, "bernoulli", 1, NONE, "log_variance", ELBO, []),
    (weight_of_a_sigma, {}, "gaussian", 0.01, NONE, "log_variance", ELBO, []),
    (normalised, {}, "gaussian", 0.04, NONE, "std", ELBO, []),
    (elbo, {}, "gaussian", 1, NONE, "log_variance", ELBO, []),
    (variance_given, {}, "laplace", 1, NONE, "variance", ELBO, []),
    (tanh_scaled, {}, "bernoulli", 1, NONE, "log_variance", ELBO, []),
    (float32_inside, {}, "gaussian", 1, NONE, "log_variance", ELBO, []),
    (devices, {}, "gaussian", 1, NONE, "log_variance", ELBO, []),
    (prior_of_its_own, {}, "gaussian", 1, NONE, "log_variance", ELBO, []),
    (monte_carlo, {}, "gaussian", 1, NONE, "log_variance", ELBO, ["stochastic"]),
    (given_sample, {}, "gaussian", 1, NONE, "log_variance", ELBO, []),
    (nothing_of_names, {}, "gaussian", 1, NONE, "log_variance", ELBO, []),
    (nothing_of_names_bce, {}, "bernoulli", 1, NONE, "log_variance", ELBO, []),
    (coins_only, {}, "bernoulli", 1, NONE, None, ELBO, []),
    (graph, {"shape": (16,), "batch": 16, "bind": {"n_nodes": 16, "norm": 1.0, "pos_weight": torch.tensor(1.0)}},
     "bernoulli", 1, NONE, "log_std", "defective", ["latent-scale-misread"]),
    (model_inside, {}, "gaussian", 1, NONE, "log_variance", ELBO, []),
    (other_terms, {}, "gaussian", None, (None, None, None), None, "reconstruction-only", []),
    (capacity, {}, "gaussian", 100, NONE, "log_variance", "beta-elbo", []),
    (charbonnier, {}, None, None, NONE, "log_variance", ELBO, []),
    (softplus_scale, {"args": "recon,target,mu,scale"}, "gaussian", 1, NONE, None, ELBO, []),
    (eps_in_the_kl, {}, "gaussian", 1, NONE, "std", ELBO, []),
    (total_at_the_end, {}, "gaussian", 1, NONE, "log_variance", ELBO, []),
    (two_images, {}, "gaussian", 1, NONE, "log_variance", ELBO, []),
    (variance_of_pixels, {}, "heteroscedastic-gaussian", 1, NONE, "log_variance", ELBO, []),
    (variance_held, {}, "gaussian", 1, NONE, None, ELBO, []),
    (clamped, {}, "gaussian", 1, NONE, "log_variance", ELBO, []),
    (bits_per_dim, {}, "gaussian", 1, NONE, "log_variance", ELBO, []),
    (in_place, {}, "gaussian", 1, NONE, "log_variance", ELBO, []),
    (mean_undone, {}, "gaussian", 1, NONE, "log_variance", ELBO, []),
    (grey_levels, {}, "discretized-logistic", 1, NONE, "log_variance", ELBO, []),
    (log_cosh, {}, "hyperbolic-secant", 1, NONE, "log_variance", ELBO, []),
    (sharp, {}, "laplace", 0.1, NONE, "log_variance", ELBO, []),
    (smooth, {}, "huber", 0.5, NONE, "log_variance", ELBO, []),
    (cauchy, {}, "student-t", 0.0225, NONE, "log_variance", ELBO, []),
    (counts, {}, "poisson", 3, NONE, "log_variance", "beta-elbo", []),
    (elastic, {}, "elastic-net", 1, NONE, "log_variance", ELBO, []),
    (pinball, {}, "asymmetric-laplace", 0.25, NONE, "log_variance", ELBO, []),
    (continuous, {}, "continuous-bernoulli", 1, NONE, "log_variance", ELBO, []),
    (pixels, {"shape": (8, 5, 5)}, "categorical", 1, NONE, "log_variance", ELBO, []),
    (onehot, {"shape": (25, 8)}, "categorical", 1, NONE, "log_variance", ELBO, []),
    (cubic, {}, "generalized-gaussian", 1, NONE, "log_variance", ELBO, []),
    (with_variance, {}, "heteroscedastic-gaussian", 1, NONE, "log_variance", ELBO, []),
    (outcome, {}, "bernoulli", 2, NONE, "log_variance", "beta-elbo", []),
    (vaal, {}, "gaussian", B * D / 2, (1, 1, 0), "log_variance", "shape-dependent", ["half-missing", "kl-sum-batch",
     "recon-mean"]),
    (literal_batch, {}, "gaussian", B / 64, (1, 1, 0), "log_variance", "shape-dependent", ["batch-dependent", "recon-mean"]),
    (kl_rewarded, {}, "gaussian", 1, NONE, "log_variance", "defective", ["kl-sign"]),
    (recon_rewarded, {}, "gaussian", 1, NONE, "log_variance", "defective", ["recon-sign"]),
    (half_forgotten_in_part, {}, "gaussian", None, (None, None, None), "log_variance", "defective", ["kl-not-kl"]),
    (log_std_read_as_log_variance, {}, "gaussian", 1, NONE, "log_std", "defective", ["latent-scale-misread"]),
    (std_as_log, {}, "gaussian", 1, NONE, "std", "defective", ["latent-scale-misread"]),
    (never_trained, {}, "gaussian", None, (None, None, None), None, "defective", ["kl-not-kl", "value-gradient-mismatch"]),
    (recon_detached, {}, None, None, NONE, "log_variance", "defective", ["value-gradient-mismatch"]),
    (exp_forgotten, {}, "gaussian", None, (None, None, None), None, "defective", ["kl-not-kl"]),
    (wrong_side, {}, None, None, NONE, "log_variance", "defective", ["target-unused",
     "value-gradient-mismatch"]),
    (broadcast, {}, "gaussian", 1, NONE, "log_variance", "defective", ["broadcast"]),
    (naive_logs, {}, "bernoulli", 1, NONE, "log_variance", "defective", ["overflow"]),
    (free_nats, {}, "gaussian", 1, NONE, "log_variance", "beta-elbo", []),
    (whole_image, {}, None, None, (None, None, None), "log_variance", "not-factorised", ["not-additive"]),
    (worse_counts_more, {}, None, None, (None, None, None), "log_variance", "not-factorised", ["not-additive",
     "value-gradient-mismatch"]),
    (Counting(), {}, "gaussian", 0.1, NONE, "log_variance", ELBO, ["stateful"]),
]  # fmt: skip


@pytest.mark.parametrize("variation", VARIATIONS, ids=lambda v: getattr(v[0], "__name__", type(v[0]).__name__))
def test_variations(variation: Any) -> None:
    loss, how, family, tradeoff, powers, meaning, verdict, defects = variation
    found = audit(loss, **how)
    row = found.rows[0]
    if family is not None:
        assert row.family == family
        assert row.tradeoff == (None if tradeoff is None else pytest.approx(tradeoff, rel=1e-6))
        assert (row.tradeoff_batch, row.tradeoff_dim, row.tradeoff_latent) == powers
    assert (row.latent_scale, row.verdict, sorted(row.defects)) == (meaning, verdict, sorted(defects))
    assert row.direction == ("log_likelihood" if loss is elbo else "loss")


def test_each_reconstruction_beside_its_own_target() -> None:
    found = audit(two_images)
    assert [(row.term, row.tradeoff) for row in found.rows] == [
        ("recon_a", pytest.approx(1)),
        ("recon_b", pytest.approx(0.25, rel=1e-6)),
    ]


def test_a_noise_that_is_written_has_a_beta_of_its_own() -> None:
    (row,) = audit(sharp).rows
    assert (row.sigma, row.beta) == (pytest.approx(0.1, rel=1e-6), pytest.approx(1, rel=1e-6))


def test_no_gaussian_near_zero_where_nothing_bends() -> None:
    assert audit(cubic).sentence == "This is a generalized gaussian of power 3 with scale = 1 if beta is 1."


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"shape": {"x": (3,), "x_hat": (4,)}}, "broadcast a dimension of length 3"),
        ({"bind": {"weight": math.nan}}, "runs, but the loss is nan"),
    ],
)
def test_refusals_name_the_plainest_call(how: Any, words: str) -> None:
    with pytest.raises(ReconError, match=words):
        audit(weight_of_a_sigma, **how)


def test_a_loss_that_ends_the_program() -> None:
    def leaving(recon, x):
        raise SystemExit(3)

    with pytest.raises(ReconError, match="SystemExit: 3"):
        audit(leaving)
