"""A Gaussian of vectors with a full covariance passes under its name, where its matrix is one and log det is where it must be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

import recon_cli
from recon_cli import audit
from recon_cli.auditing.result import Audit

D = 5
ROOT = torch.eye(D) + 0.4 * torch.arange(1.0, D * D + 1).reshape(D, D).sin().tril(-1)
MATRIX = ROOT @ ROOT.T
VARIANCE = float(MATRIX.diagonal().mean())


def kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()


def solved(root: Tensor, e: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(root.to(e), e.unsqueeze(-1), upper=False).squeeze(-1)


def density(y: Tensor, x: Tensor, **matrix: Tensor) -> Tensor:
    return -MultivariateNormal(y, **{key: value.to(y) for key, value in matrix.items()}).log_prob(x)


def form(y: Tensor, x: Tensor, inverse: Tensor) -> Tensor:
    return 0.5 * (((y - x) @ inverse.to(y)) * (y - x)).sum()


def beside(of: Callable[..., Tensor], weight: float = 1.0) -> Audit:
    return audit(lambda y, x, mu, logvar: of(y, x) + weight * kl(mu, logvar), (D,), 3)


def several(cases: dict[str, Any], usual: int = 2) -> list[Any]:
    return [pytest.param(name, marks=[pytest.mark.hostile] * (i >= usual)) for i, name in enumerate(cases)]


# a known matrix: the mean variance at beta = 1, and beta
KNOWN: dict[str, tuple[Callable[..., Tensor], float, float]] = {
    "a form": (lambda y, x: form(y, x, MATRIX.inverse()), VARIANCE, VARIANCE),
    "a density": (lambda y, x: density(y, x, covariance_matrix=MATRIX).sum(), VARIANCE, 1),
    "by its root": (lambda y, x: density(y, x, scale_tril=ROOT).sum(), VARIANCE, 1),
    "by its inverse": (lambda y, x: density(y, x, precision_matrix=MATRIX.inverse()).sum(), VARIANCE, 1),
    "twice a form": (lambda y, x: 2 * form(y, x, MATRIX.inverse()), VARIANCE / 2, VARIANCE / 2),
    "solved": (lambda y, x: 0.5 * solved(ROOT, y - x).square().sum(), VARIANCE, VARIANCE),
    "half a density": (lambda y, x: 0.5 * density(y, x, scale_tril=ROOT).sum(), 2 * VARIANCE, 2 * VARIANCE),
}


@pytest.mark.parametrize("name", several(KNOWN))
def test_a_known_covariance_is_a_likelihood(name: str) -> None:
    of, variance, beta = KNOWN[name]
    (row,) = (found := beside(of)).rows
    assert (found.verdict, found.defects, row.family) == ("elbo", (), "multivariate-gaussian")
    assert (row.tradeoff, row.beta) == (pytest.approx(variance, rel=1e-6), pytest.approx(beta, rel=1e-6))
    assert (row.tradeoff_batch, row.tradeoff_latent) == (0, 0)


def test_the_weight_of_the_kl_and_means_are_read_as_of_any_gaussian() -> None:
    found = beside(lambda y, x: density(y, x, covariance_matrix=MATRIX).mean())
    assert (found.verdict, found.defects) == ("shape-dependent", ("kl-sum-batch",))
    assert found.rows[0].beta == pytest.approx(4)
    assert beside(lambda y, x: form(y, x, MATRIX.inverse()), 3).rows[0].tradeoff == pytest.approx(3 * VARIANCE)
    alone = audit(lambda y, x: form(y, x, MATRIX.inverse()), (D,))
    assert (alone.verdict, alone.rows[0].family) == ("reconstruction-only", "multivariate-gaussian")


def test_of_many_elements_in_few_calls() -> None:
    def smooth(y: Tensor, x: Tensor) -> Tensor:
        return 0.5 * (y - x).square().sum() + 2 * (y - x).diff(dim=-1).square().sum()

    found = audit(lambda y, x, mu, logvar: smooth(y, x) + kl(mu, logvar), (1, 12, 12), 3)
    assert (found.verdict, found.rows[0].family) == ("elbo", "multivariate-gaussian")


# a matrix that is no covariance's inverse
OTHERS: dict[str, Callable[..., Tensor]] = {
    "differences": lambda y, x: (y - x).diff(dim=1).square().sum(),
    "indefinite": lambda y, x: form(y, x, MATRIX.inverse() - 0.5 * torch.eye(D)),
    "projected": lambda y, x: 0.5 * ((y - x) @ ROOT[:, :3].to(y)).square().sum(),
    "means": lambda y, x: (y - x).mean(1).square().sum(),
    "less its mean": lambda y, x: ((y - x) - (y - x).mean(1, keepdim=True)).square().sum(),
}


@pytest.mark.parametrize("name", several(OTHERS))
def test_a_matrix_that_is_not_positive_definite_is_no_density(name: str) -> None:
    found = beside(OTHERS[name])
    assert (found.verdict, found.holds) == ("defective", False)
    assert "no-density" in found.defects or "target-unused" in found.defects


# what is one nearby alone, or of another target, or of several samples together
UNLIKE: dict[str, Callable[..., Tensor]] = {
    "beyond a width": lambda y, x: F.huber_loss(y.diff(dim=1), x.diff(dim=1), reduction="sum") + 0.5 * (y - x).square().sum(),
    "of a sigmoid": lambda y, x: form(y.sigmoid(), x, MATRIX.inverse()),
    "of twice the data": lambda y, x: form(y, 2 * x, MATRIX.inverse()),
    "of a batch": lambda y, x: 0.5 * (y - x).sum(0).square().sum(),
    "flipped": lambda y, x: form(y, x.flip(1), MATRIX.inverse()),
}


@pytest.mark.parametrize("name", several(UNLIKE))
def test_what_is_no_form_of_a_sample_s_residuals_is_no_gaussian(name: str) -> None:
    found = beside(UNLIKE[name])
    assert not found.holds
    assert found.rows[0].family is None
    assert "importance-weighted" not in found.sentence


def test_a_form_of_some_elements_is_a_gaussian_of_those() -> None:
    found = beside(lambda y, x: form(y[:, :3], x[:, :3], MATRIX[:3, :3].inverse()))
    assert (found.verdict, found.rows[0].tradeoff) == ("elbo", pytest.approx(float(MATRIX[:3, :3].diagonal().mean())))


def test_the_variances_of_a_form_have_no_power_of_its_size() -> None:
    found = beside(lambda y, x: 0.5 * (y - x).square().sum() + (y - x).mean(1).square().sum())
    assert (found.verdict, found.defects, found.rows[0].tradeoff_dim) == ("elbo", (), None)


class Trained(nn.Module):
    """A covariance that is trained; ``log_det`` is how often it is in the loss, of each sample or of a batch."""

    def __init__(self, times: float, each: bool = True, begun: float = 0.0) -> None:
        super().__init__()
        self.raw = nn.Parameter(begun * ROOT.tril(-1) + torch.diag(torch.linspace(-0.3, 0.4, D)))
        self.times, self.each = times, each

    def forward(self, y: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        """Return the loss."""
        root = self.raw.tril(-1) + torch.diag(self.raw.diagonal().exp())
        log_det = self.times * self.raw.diagonal().sum() * (len(x) if self.each else 1)
        return 0.5 * solved(root, y - x).square().sum() + log_det + kl(mu, logvar)


@pytest.mark.parametrize("begun", [0.0, pytest.param(1.0, marks=pytest.mark.hostile)])
def test_a_trained_covariance_needs_its_log_det_of_every_sample(begun: float) -> None:
    right = audit(Trained(1, True, begun), (D,), 3)
    assert (right.verdict, right.defects, right.rows[0].family) == ("elbo", (), "multivariate-gaussian")
    for wrong in (Trained(0, True, begun), Trained(1, False, begun), Trained(-1, True, begun)):
        found = audit(wrong, (D,), 3)
        assert (found.verdict, found.defects) == ("defective", ("log-scale-missing",))
        assert "log det of its covariance" in found.findings[0].evidence


# a covariance that a decoder gives: the weight of log det, and the verdict
GIVEN: dict[str, tuple[Callable[..., Tensor], str, float | None]] = {
    "root": (lambda recon, scale_tril, x: density(recon, x, scale_tril=scale_tril).sum(), "elbo", 1),
    "no log det": (lambda recon, chol, x: 0.5 * solved(chol, recon - x).square().sum(), "defective", None),
    "covariance": (lambda recon, cov, x: density(recon, x, covariance_matrix=cov).sum(), "elbo", 1),
    "inverse": (lambda recon, precision_matrix, x: density(recon, x, precision_matrix=precision_matrix).sum(), "elbo", 1),
    "half of log det": (
        lambda recon, chol, x: 0.5 * solved(chol, recon - x).square().sum() + 0.5 * chol.diagonal(0, 1, 2).log().sum(),
        "unrecognised", None,
    ),
    "half": (lambda recon, cov, x: 0.5 * density(recon, x, covariance_matrix=cov).sum(), "beta-elbo", 2),
}  # fmt: skip


@pytest.mark.parametrize("name", several(GIVEN))
def test_a_covariance_of_the_decoders(name: str) -> None:
    of, verdict, beta = GIVEN[name]
    scope, key = {"of": of, "kl": kl}, of.__code__.co_varnames[1]
    found = audit(eval(f"lambda recon, {key}, x, mu, logvar: of(recon, {key}, x) + kl(mu, logvar)", scope), (D,), 3)
    assert found.verdict == verdict
    assert found.rows[0].beta == (None if beta is None else pytest.approx(beta, rel=1e-5))


@pytest.mark.parametrize(("kind", "verdict"), [
    ("known", "elbo"), ("given", "elbo"), pytest.param("without", "defective", marks=pytest.mark.hostile),
])  # fmt: skip
def test_the_same_in_a_live_step(kind: str, verdict: str) -> None:
    torch.manual_seed(0)
    with recon_cli.watch() as step:
        encoder, decoder, x = nn.Linear(D, 6), nn.Linear(3, D + D * D), torch.rand(7, D)
        mu, logvar = encoder(x).chunk(2, 1)
        out = decoder(mu + torch.randn_like(mu) * (logvar / 2).exp())
        mean, raw = out[:, :D], out[:, D:].view(-1, D, D)
        root = raw.tril(-1) + torch.diag_embed(F.softplus(raw.diagonal(0, 1, 2)) + 1e-3)
        if kind == "without":
            loss = 0.5 * solved(root, mean - x).square().sum()
        else:
            loss = density(mean, x, scale_tril=root if kind == "given" else ROOT).sum()
        (loss + kl(mu, logvar)).backward()
    found = step.audit()
    assert (found.verdict, found.rows[0].family) == (verdict, "multivariate-gaussian")
