"""A decoder that gives a noise of its own: whatever makes that positive is read off and said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import distributions as D
from torch.nn import GaussianNLLLoss
from torch.nn import functional as F

from recon_cli import audit

SMALL: dict[str, Any] = {"shape": (5,), "latent": 3, "args": "recon,spread,target"}


def nll(recon: torch.Tensor, x: torch.Tensor, var: torch.Tensor) -> torch.Tensor:
    return (0.5 * (x - recon) ** 2 / var + 0.5 * var.log()).sum()


# fmt: off
@pytest.mark.parametrize(("loss", "words"), [
    (lambda r, s, x: GaussianNLLLoss(reduction="sum")(r, x, F.softplus(s) + 1e-6), "variance is softplus(s) + 1e-06"),
    (lambda r, s, x: -D.Normal(r, 0.1 + 0.9 * F.softplus(s)).log_prob(x).sum(), "standard deviation is 0.9 * softplus(s) + 0.1"),
    (lambda r, s, x: nll(r, x, F.elu(s) + 1), "variance is elu(s) + 1"),
    (lambda r, s, x: nll(r, x, 0.01 + s.sigmoid()), "variance is sigmoid(s) + 0.01"),
    (lambda r, s, x: nll(r, x, (3 * s.tanh()).exp()), "log variance is 3 * tanh(s)"),
    (lambda r, s, x: nll(r, x, s**2 + 1e-6), "variance is s² + 1e-06"),
    (lambda r, s, x: nll(r, x, 1 / (1 + s**2)), "precision is s² + 1"),
    (lambda r, s, x: nll(r, x, s.clamp(-3, 2).exp()), "log variance is s, clamped"),
    (lambda r, s, x: nll(r, x, 0.5 * s.exp()), "variance is 0.5 * exp(s)"),
    (lambda r, s, x: nll(r, x, F.softplus(0.5 * s)), "standard deviation is a function of s (0.688532 at s = -1, "),
    (lambda r, s, x: -D.Laplace(r, F.softplus(s) + 1e-3).log_prob(x).sum(), "scale is softplus(s) + 0.001"),
])  # fmt: skip
def test_what_makes_a_noise_positive_is_said(loss: Callable[..., Any], words: str) -> None:
    result = audit(loss, **SMALL)
    assert result.rows[0].family == ("laplace" if "whose scale" in result.sentence else "heteroscedastic-gaussian")
    assert f"whose {words}" in result.sentence
    assert result.rows[0].weight == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("loss", [
    lambda r, s, x: (0.5 * (x - r) ** 2 / F.softplus(s) + 0.5 * s).sum(),
    lambda r, s, x: (0.5 * (x - r) ** 2 / F.softplus(s) - 0.5 * F.softplus(s).log()).sum(),
    lambda r, s, x: (0.5 * (x - r) ** 2 / F.softplus(s) + F.softplus(s).log()).sum(),
    lambda r, s, x: (0.5 * (x - r) ** 2 / F.softplus(s) ** 2 + 0.5 * F.softplus(s).log()).mean(),
    lambda r, s, x: ((x - r).abs() / F.softplus(s) + 2 * F.softplus(s).log()).sum(),
])
def test_a_noise_whose_logarithm_is_another_is_a_gap(loss: Callable[..., Any]) -> None:
    result = audit(loss, **SMALL)
    assert (result.verdict, result.defects) == ("defective", ("gap",))


# fmt: off
@pytest.mark.parametrize(("loss", "shape", "formula", "words"), [
    (lambda r, x, sigma: ((sigma**2 + 0.25) / (sigma * 0.5) ** 2 * (r - x) ** 2).mean(), (5,), "L = (1/(B·D))·Σ w·(x̂−x)²",
     "a function of sigma (15.11 at sigma = 0.3, 5 at sigma = 1, 4.02 at sigma = 7)"),
    pytest.param(lambda r, x, sigma: ((1 + sigma**-2).view(-1, 1, 1) * (r - x) ** 2).sum(),
        (3, 5), "L = Σ w·(x̂−x)²", "2 at sigma = 1", marks=pytest.mark.slow),
    (lambda r, x, snr: (snr.clamp(max=5) / snr * (r - x).square().mean(1)).mean(), (5,), "L = (1/(B·D))·Σ w·(x̂−x)²",
     "1 at snr = 1, 0.7143 at snr = 7"),
    (lambda r, x, std: ((r - x) / std[:, None, None]).square().sum(), (3, 5), "L = Σ w·(x̂−x)²", "1 at std = 1"),
    pytest.param(lambda r, x, t: ((1 + t) ** -0.5 * (r - x).abs().sum(1)).mean(),
        (5,), "L = (1/B)·Σ w·|x̂−x|", "0.7071 at t = 1", marks=pytest.mark.slow),
    (lambda r, x, u: (u / u.sum() * (r - x).square().sum(1)).sum(), (5,), "L = (1/B)·Σ w·(x̂−x)²", "a function of u:"),
    pytest.param(lambda r, x, u: (u * F.binary_cross_entropy_with_logits(r, x, reduction="none").sum(1)).sum(), (5,),
     "L = Σ w·CE", "1 at u = 1", marks=pytest.mark.slow),
])  # fmt: skip
def test_weights_that_are_given_for_each_sample_leave_the_family(
    loss: Callable[..., Any], shape: tuple[int, ...], formula: str, words: str
) -> None:
    found = audit(loss, shape, args="recon,target,spread")
    assert (found.verdict, found.defects, found.formula) == ("reconstruction-only", (), formula)
    assert "Its elements have weights w, " in found.sentence
    assert words in found.sentence


def test_a_weight_of_what_is_called_a_scale_has_two_readings() -> None:
    def loss(recon: torch.Tensor, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return ((sigma**2 + 0.25) / sigma**2 * (recon - x) ** 2).mean()

    found = audit(loss, (5,))
    assert found.verdict == "reconstruction-only"
    assert "where sigma is given, one of weight w has a sigma of 1/sqrt(w) times that of 1" in found.sentence
    assert "Where a network gives sigma, the log of the scale in w is missing" in found.sentence


@pytest.mark.parametrize("loss", [
    lambda r, s, x: (0.5 * (x - r) ** 2 / F.softplus(s)).sum(),
    lambda recon, logvar, x: ((x - recon) ** 2 * torch.exp(-logvar)).sum(),
    pytest.param(lambda recon, scale, x: ((x - recon).abs() / scale).mean(), marks=pytest.mark.slow),
])
def test_a_noise_of_every_element_without_its_logarithm_is_no_gap(loss: Callable[..., Any]) -> None:
    found = audit(loss, **SMALL)
    assert (found.verdict, found.defects) == ("defective", ("log-scale-missing",))
    assert "if somebody else does, nothing is missing" in found.findings[0].evidence


def normal(x: torch.Tensor, mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    return (0.5 * logvar + 0.5 * (x - mu) ** 2 / logvar.exp()).sum()


@pytest.mark.parametrize(("loss", "shape"), [
    (lambda out, x: normal(x, out[:, :1], out[:, 1:]), "1x28x28"),
    (lambda out, x: normal(x, out[:, :3], out[:, 3:6]), "3x28x28"),
    pytest.param(lambda out, x: normal(x, out[..., :1], out[..., 1:]), "1x28x1", marks=pytest.mark.slow),
    (lambda out, x: normal(x[:, 0], out[:, 0], out[:, 1]), "1x28x28"),
    pytest.param(lambda out, x: normal(x[:, 0], out.select(1, 0), out.select(1, 1)), "1x28x28", marks=pytest.mark.slow),
    (lambda out, x: normal(x, out[:, : x.shape[1]], out[:, x.shape[1] :]), "1x28x28"),
    pytest.param(lambda out, x: normal(x, *torch.split(out, x.shape[1], dim=1)), "1x28x28", marks=pytest.mark.slow),
])
def test_a_prediction_that_is_cut_in_columns_has_a_mean_and_a_noise_in_them(loss: Callable[..., Any], shape: str) -> None:
    found = audit(loss)
    assert (found.rows[0].family, found.verdict) == ("heteroscedastic-gaussian", "reconstruction-only")
    assert f"({shape})" in found.sizes


def test_columns_of_both_sides_are_the_datas() -> None:
    def loss(recon: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return F.mse_loss(recon[:, :1], x[:, :1], reduction="sum") + F.mse_loss(recon[:, 1:], x[:, 1:], reduction="sum")

    assert audit(loss, (3, 4, 4)).formula == "L = Σ(x̂−x)²"


def logistic(r: torch.Tensor, s: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    z = (x - r) / s
    return (z + s.log() + 2 * F.softplus(-z)).sum()


# a location-scale family whose scale a network gives, and what is said of it
FAMILIES: dict[str, tuple[Callable[..., Any], str]] = {
    "student-t": (lambda r, s, x: -D.StudentT(4.0, r, s.exp()).log_prob(x).sum(), "a student t of df 4 whose scale is exp(s)"),
    "logistic": (lambda r, s, x: logistic(r, F.softplus(s) + 0.1, x), "a logistic whose scale is softplus(s) + 0.1"),
    "cauchy": (lambda r, s, x: -D.Cauchy(r, F.softplus(s)).log_prob(x).sum(), "a student t of df 1 whose scale is softplus(s)"),
    "generalized-gaussian": (
        lambda r, s, x: (((x - r).abs() / s.exp()) ** 1.5 + s).sum(), "a generalized gaussian of power 1.5 whose scale is exp(s)"
    ),
    "hyperbolic-secant": (
        lambda r, s, x: (((x - r) / s.sigmoid()).cosh().log() + s.sigmoid().log()).sum(),
        "a hyperbolic secant whose scale is sigmoid(s)",
    ),
    "huber": (
        lambda r, s, x: (F.huber_loss((x - r) / s.exp(), 0 * x, reduction="none", delta=0.5) + s).sum(),
        "a huber of delta 0.5 whose scale is exp(s)",
    ),
    "asymmetric-laplace": (
        lambda r, s, x: (torch.maximum(0.3 * (x - r), -0.7 * (x - r)) / s.exp() + s).sum(),
        "an asymmetric laplace of quantile 0.3 whose scale is exp(s)",
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in ("student-t", "logistic") else [pytest.mark.hostile]) for name in FAMILIES]
)
def test_any_family_of_the_residual_over_a_scale_is_named(name: str) -> None:
    loss, words = FAMILIES[name]
    result = audit(loss, **SMALL)
    assert result.rows[0].family == {"cauchy": "student-t"}.get(name, name)
    assert words in result.sentence
    assert result.rows[0].weight == pytest.approx(1, rel=1e-6)
    assert result.holds


def test_its_beta_is_that_of_its_own_scale() -> None:
    def loss(r: torch.Tensor, s: torch.Tensor, x: torch.Tensor, mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
        kl = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum()
        return logistic(r, s.exp(), x) + 3 * kl

    result = audit(loss, shape=(5,), latent=3, args="recon,spread,target,mu,logvar")
    assert (result.verdict, result.rows[0].beta) == ("beta-elbo", pytest.approx(3))


def test_the_scale_is_written_as_it_is_made() -> None:
    spread = 0.1 + 0.9 * F.softplus(torch.tensor(0.3))

    def loss(r: torch.Tensor, s: torch.Tensor, x: torch.Tensor, mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
        kl = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum()
        return -D.Normal(r, 0.1 + 0.9 * F.softplus(s)).log_prob(x).sum() + 2 * kl

    result = audit(loss, shape=(5,), latent=3, args="recon,spread,target,mu,logvar")
    assert result.rows[0].beta == pytest.approx(2)
    written = dict(result.conversions)["a negative ELBO"]
    assert "(0.9 * torch.nn.functional.softplus(s) + 0.1)" in written
    at = {"torch": torch, "r": torch.tensor(0.2), "x": torch.tensor(0.5), "s": torch.tensor(0.3)}
    value = eval(written.partition(" + 0.5 * (mu")[0], at)
    assert value.item() == pytest.approx((0.5 * (0.3 / spread) ** 2 + spread.log()).item(), rel=1e-5)


@pytest.mark.parametrize(("axes", "length"), [((-1,), 3 * 4), ((1,), 4 * 5), ((1, 2), 5), ((1, 2, 3), None)])
def test_a_mean_over_any_axis_of_an_image_is_one(axes: tuple[int, ...], length: int | None) -> None:
    def loss(recon: torch.Tensor, x: torch.Tensor, mu: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
        kl = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum(-1).mean()
        return 0.5 * (recon - x).square().sum(axes).mean() + kl

    result = audit(loss, shape=(3, 4, 5), latent=3)
    assert result.rows[0].tradeoff == pytest.approx(length or 1)
    assert result.verdict == ("elbo" if length is None else "shape-dependent")
    assert (f"T = {length}" in result.sentence) == (length is not None)


def zero_inflated_poisson(pi, mu, x):
    counted = torch.distributions.Poisson(mu, validate_args=False).log_prob(x)
    return -torch.where(x == 0, torch.log(pi + (1 - pi) * torch.exp(-mu)), torch.log1p(-pi) + counted).sum()


def zeros_beside(pi, mu, x):
    return -torch.where(x == 0, torch.log(pi + torch.exp(-mu)), torch.log1p(-pi) + x * mu.log() - mu - torch.lgamma(x + 1)).sum()


def no_share(pi, mu, x):
    return -torch.where(x == 0, torch.log(pi + (1 - pi) * torch.exp(-mu)), x * mu.log() - mu - torch.lgamma(x + 1)).sum()


def zero_inflated_negative_binomial(x, mean, disp, dropout):
    logits = disp.log() - (disp + mean).log()
    counted = disp * logits + x * (mean.log() - (disp + mean).log())
    counted = counted + torch.lgamma(x + disp) - torch.lgamma(disp) - torch.lgamma(x + 1)
    zero = F.softplus(disp * logits - dropout) - F.softplus(-dropout)
    return -torch.where(x < 1e-8, zero, counted - dropout - F.softplus(-dropout)).sum()


def dispersed(x, mu, theta):
    return -torch.distributions.NegativeBinomial(theta, logits=(mu / theta).log(), validate_args=False).log_prob(x).sum()


def dispersed_without_rest(x, mu, theta):
    return dispersed(x, mu, theta) - torch.lgamma(theta).sum()


def of_rate(px_rate, dropout, x, mu, logvar):
    return zero_inflated_poisson(dropout.sigmoid(), px_rate, x) + 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()


@pytest.mark.parametrize(("loss", "recon", "verdict"), [
    (zero_inflated_poisson, "mu", "reconstruction-only"), (zeros_beside, "mu", "defective"),
    (of_rate, "px_rate", "elbo"),
    *(pytest.param(*case, marks=pytest.mark.hostile) for case in (
        (zero_inflated_negative_binomial, "mean", "reconstruction-only"), (no_share, "mu", "defective"),
        (dispersed, "mu", "reconstruction-only"), (dispersed_without_rest, "mu", "defective"))),
])  # fmt: skip
def test_what_a_network_gives_beside_a_mean_of_counts_is_known_by_how_it_leans(loss: Any, recon: str, verdict: str) -> None:
    """Although pi is in nothing but a term of its own where no datum is 0, and mu is what a mean of latents is called."""
    audited = audit(loss, shape=(6,), latent=3)
    roles = {key: role for key, role, _ in audited.roles}
    assert (audited.verdict, roles[recon], roles["x"]) == (verdict, "recon", "target")
    assert {"pi", "dropout", "disp", "theta"} & {*roles} == {key for key, role in roles.items() if role == "spread"}
