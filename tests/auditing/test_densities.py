"""Densities of torch.distributions outside the registry, and KLs between them: none is refuted, what is wrong beside each is."""

from __future__ import annotations

import math

import pytest
import torch
import torch.distributions as D
import torch.nn.functional as F

from recon_cli import audit

HALF = torch.tensor(0.5)
DENSITIES = {
    "Geometric of probabilities": (lambda p, x: -D.Geometric(probs=p).log_prob(x).sum(), "over 0, 1, 2, ..."),
    "Geometric of logits": (lambda recon, x: -D.Geometric(logits=recon).log_prob(x).mean(), "over 0, 1, 2, ..."),
    "NegativeBinomial": (lambda recon, x: -D.NegativeBinomial(5.0, logits=recon).log_prob(x).sum(), "over 0, 1, "),
    "Gumbel": (lambda recon, x: -D.Gumbel(recon, 1.0).log_prob(x).sum(), "over the real numbers"),
    "HalfNormal": (lambda recon, x: -D.HalfNormal(F.softplus(recon)).log_prob(x).sum(), "over x > 0"),
    "Weibull by its shape": (lambda recon, x: -D.Weibull(2.0, recon.exp()).log_prob(x).sum(), "over x > 0"),
    "Kumaraswamy": (lambda a, x: -D.Kumaraswamy(a, 2.0).log_prob(x).sum(), "over x from 0 to 1"),
    "RelaxedBernoulli": (lambda recon, x: -D.RelaxedBernoulli(HALF, logits=recon).log_prob(x).sum(), "over x from 0 to 1"),
    "RelaxedBernoulli of probabilities": (
        lambda recon, x: -D.RelaxedBernoulli(HALF, probs=recon).log_prob(x).sum(), "over x from 0 to 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DENSITIES)
def test_a_normalised_density_of_no_family_is_said_to_be_one(name):
    loss, over = DENSITIES[name]
    result = audit(loss, args="recon,target")
    assert result.verdict == "reconstruction-only"
    assert not result.rows[0].defects
    assert any(f"It is a likelihood of no name: {over}" in note and "to e^0, " in note for note in result.notes), result.notes


def test_a_density_whose_tails_are_beyond_all_digits_is_not_refuted():
    result = audit(lambda recon, x: -D.RelaxedBernoulli(torch.tensor(0.1), logits=recon).log_prob(x).sum())
    assert result.verdict in ("unrecognised", "reconstruction-only")


WRONG = {
    "cross-entropy that lost its 1 - x": lambda p, x: -(x * torch.log(p) + torch.log(1 - p)).sum(),  # geometric, of counts
    "its p counted twice": lambda p, x: (-2 * torch.log(p) - x * torch.log(1 - p)).sum(),
    "and none but counts": lambda p, x: (-D.Geometric(probs=p).log_prob(x) - torch.log(p)).sum(),
    "a constant that moves": lambda recon, x: (
        -(D.RelaxedBernoulli(HALF, logits=recon).log_prob(x) + 0.3 * F.logsigmoid(recon)).sum()
    ),
    "a Kumaraswamy's a twice": lambda a, x: -(D.Kumaraswamy(a, 2.0).log_prob(x) + a.log()).sum(),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_whose_sum_moves_with_the_prediction_is_refuted(name):
    assert "gap" in audit(WRONG[name], args="recon,target").rows[0].defects


def elbo_of(posterior, prior=None):
    def elbo(recon, x, mu, log_std):
        q = posterior(mu, log_std.exp())
        return F.mse_loss(recon, x, reduction="sum") / 2 + D.kl_divergence(q, prior or D.Normal(0.0, 1.0)).sum()

    return elbo


def laplace_written(recon, x, mu, log_b):
    kl = -log_b - math.log(2) - 1 + math.log(2 * math.pi) / 2 + (mu**2 + 2 * (2 * log_b).exp()) / 2
    return F.mse_loss(recon, x, reduction="sum") / 2 + kl.sum()


@pytest.mark.parametrize(
    "loss",
    [
        elbo_of(D.Laplace), elbo_of(D.Gumbel), elbo_of(lambda mu, s: D.Uniform(mu - s, mu + s)),
        elbo_of(lambda mu, s: D.Uniform(mu - s / 2, mu + s / 2)), elbo_of(D.Normal, D.Laplace(0.0, 1.0)),
    ],
)  # fmt: skip
def test_the_kl_of_another_posterior_is_one(loss):
    result = audit(loss)
    assert (result.verdict, result.rows[0].beta) == ("elbo", pytest.approx(1))


def test_the_kl_of_a_laplace_to_a_normal_written_out_is_one():
    assert audit(laplace_written, args="recon,target,mu,log_std").verdict == "elbo"


def beside_a_square(kl):
    return lambda recon, x, mu, log_std: F.mse_loss(recon, x, reduction="sum") / 2 + kl(mu, log_std).sum()


@pytest.mark.parametrize(
    "kl",
    [
        lambda mu, log_std: mu**2 / 2 + (2 * log_std).exp() - log_std - 0.5,  # a half forgotten, as in a Laplace's
        lambda mu, log_std: mu**2 / 2 + (2 * log_std).exp() / 6 - log_std - 0.5,  # or a uniform's
        lambda mu, log_std: mu**2 / 2 + (2 * log_std).exp() - log_std - math.log(2) - 1,
        lambda mu, log_std: mu**2 + (2 * log_std).exp() - log_std - math.log(2) - 1 + math.log(2 * math.pi) / 2,
    ],
)
def test_what_has_the_gradients_of_a_kl_alone_is_none(kl):
    assert "kl-not-kl" in audit(beside_a_square(kl)).rows[0].defects


def distilled(student_logits, teacher_logits):
    distilled.calls += 1
    return F.kl_div(F.log_softmax(student_logits, -1), F.softmax(teacher_logits, -1), reduction="batchmean")


def test_distillation_is_a_categorical_of_soft_labels():
    distilled.calls = 0
    result = audit(distilled)
    assert (result.verdict, result.rows[0].family, result.rows[0].defects) == ("reconstruction-only", "categorical", ())
    assert "softmax(teacher_logits), whose entropy is b(x)" in str(result)
    assert distilled.calls <= 200


@pytest.mark.parametrize(("T", "U"), [(4, 4), (2, 5)])
def test_distillation_at_temperatures_says_them(T, U):
    result = audit(
        lambda student, teacher: T**2 * F.kl_div((student / T).log_softmax(-1), (teacher / U).softmax(-1), reduction="sum")
    )
    assert (result.rows[0].family, result.rows[0].defects, result.rows[0].weight) == ("categorical", (), pytest.approx(T**2))
    assert f"logits are {1 / T:g}" in str(result)
    assert f"softmax(teacher / {U})" in str(result).replace("\n", " ")


@pytest.mark.parametrize(
    "loss",
    [
        lambda student, teacher: F.kl_div(F.log_softmax(teacher, -1), F.softmax(student, -1), reduction="batchmean"),
        lambda student, teacher: F.kl_div(F.softmax(student, -1), F.softmax(teacher, -1), reduction="batchmean"),
        lambda student, teacher: -(F.softmax(teacher, -1) * F.log_softmax(student, -1)).sum() + F.softmax(student, -1).max(),
    ],
)
def test_distillation_the_wrong_way_round_or_without_a_logarithm_is_not(loss):
    result = audit(loss, args="recon,target")
    assert result.verdict not in ("reconstruction-only", "elbo")
    assert result.rows[0].family != "categorical"


BETAS = torch.linspace(1e-4, 0.02, 1000)
ALPHAS_CUMPROD = torch.cumprod(1 - BETAS, 0)


def extract(a, t, x_shape):
    return a.gather(-1, t).reshape(t.shape[0], *((1,) * (len(x_shape) - 1)))


def min_snr(pred, target, timesteps):
    snr = ALPHAS_CUMPROD[timesteps] / (1 - ALPHAS_CUMPROD[timesteps])
    return (F.mse_loss(pred, target, reduction="none").mean(dim=[1, 2, 3]) * torch.clamp(snr, max=5.0) / snr).mean()


def of_the_image(x0_pred, x0, t):
    weight = extract(ALPHAS_CUMPROD, t, x0.shape) / (1 - extract(ALPHAS_CUMPROD, t, x0.shape))
    return (weight * (x0_pred - x0) ** 2).mean()


class Diffusion(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("betas", BETAS)

    def forward(self, noise_pred, noise, t):
        return (self.betas[t].view(-1, 1, 1, 1) * (noise_pred - noise) ** 2).mean()


class Learned(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.log_variances = torch.nn.Parameter(torch.zeros(1000))

    def forward(self, noise_pred, noise, t):
        return ((noise_pred - noise) ** 2 / self.log_variances[t].view(-1, 1, 1, 1).exp()).sum()


@pytest.mark.parametrize("loss", [min_snr, of_the_image, Diffusion()])
def test_weights_looked_up_by_steps_in_a_table_of_constants_are_given(loss):
    result = audit(loss)
    assert (result.verdict, result.rows[0].family, result.rows[0].defects) == ("reconstruction-only", "gaussian", ())
    assert result.rows[0].tradeoff_batch in (None, pytest.approx(0))
    assert any("looks up weights in a table of constants" in note for note in result.notes)


def test_a_table_that_is_trained_without_its_logarithm_is_refuted():
    assert "log-scale-missing" in audit(Learned()).rows[0].defects
