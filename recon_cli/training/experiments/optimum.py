"""The optimum that a linear Gaussian model must reach, in closed form; and how to reach it to the last digit."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.utils import parametrize

from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import IDENTITY
from recon_cli.likelihoods.gaussian import Gaussian
from recon_cli.models._base import ACTIVE, Model
from recon_cli.models._vae import divergence
from recon_cli.models.linear import Linear
from recon_cli.numerics.spectrum import Blocks, Eigenvalues, eigenvalues, point, ppca
from recon_cli.report import Table, column
from recon_cli.training.figures import Epoch, look
from recon_cli.training.noises import Fixed

if TYPE_CHECKING:
    from torch import Tensor

    from recon_cli.training.loop import State

EACH = 100  # steps of L-BFGS in a round
FLOOR = 1e-6  # of the largest eigenvalue: directions that vary less are not made to look as if they did
STILL = 1e-9  # nats: what a round must gain


@dataclass(frozen=True, kw_only=True)
class LinearGaussian:
    """A linear Gaussian model of some rows. Nats per sample; squared errors summed over a sample.

    elbo
        of the mean of -nll - KL over the rows, its expectation over z in closed form; the log-likelihood at the optimum.
    active
        latents with a mean KL above 0.01 nats.
    kl, distortion
        KL(q || p), and E_q of the squared error: at the optimum the rate and distortion of reverse water-filling.
    """

    sigma: float
    elbo: float
    active: int
    kl: float
    distortion: float


BEST = "ELBO of the training rows, nats per sample, beside that of PPCA"
LIVE, RATE = "active latents", "KL, beside the rate of reverse water-filling"
ERROR, NOISE = "squared error expected of a sample, beside the distortion", "sigma, beside the best"


@dataclass(frozen=True, kw_only=True)
class OptimumRow:
    """A run's optimum and what it found, side by side: as :class:`LinearGaussian`."""

    sigma: float = column("sigma", "*")
    elbo_predicted: float = column("predicted", BEST, brief=True)
    elbo_found: float = column("found", BEST, brief=True)
    gap: float = column("gap", BEST, brief=True)
    active_predicted: int = column("predicted", LIVE, brief=True)
    active_found: int = column("found", LIVE, brief=True)
    kl_predicted: float = column("predicted", RATE)
    kl_found: float = column("found", RATE)
    distortion_predicted: float = column("predicted", ERROR)
    distortion_found: float = column("found", ERROR)
    sigma_predicted: float = column("predicted", NOISE)
    sigma_found: float = column("found", NOISE)


@dataclass(frozen=True)
class Optimum:
    """What PPCA predicts of the training rows, and what training found.

    Tipping and Bishop (1999); for linear VAEs Lucas and others (2019); the rate is Shannon's, of a Gaussian.
    """

    predicted: LinearGaussian
    found: LinearGaussian

    @property
    def gap(self) -> float:
        """How far below the optimum the ELBO is, in nats per sample."""
        return self.predicted.elbo - self.found.elbo

    @property
    def row(self) -> OptimumRow:
        """Both, side by side."""
        pair = {"predicted": self.predicted, "found": self.found}
        sides = {f"{name}_{side}": value for side, point in pair.items() for name, value in vars(point).items()}
        return OptimumRow(**sides, sigma=self.found.sigma, gap=self.gap)

    def reached(self, within: float) -> bool:
        """Whether the ELBO is ``within`` so many nats of the optimum, the rate within 0.05, and as many latents are active."""
        rate = abs(self.predicted.kl - self.found.kl) <= 0.05
        return self.gap <= within and rate and self.predicted.active == self.found.active


def optimum(model: Model, likelihood: Likelihood, rows: Tensor, whose: str, beta: float) -> Optimum | None:
    """Return the point that is predicted, and the one that was found; None where nothing is predicted.

    That is for no linear Gaussian model, a weight on the KL, a noise for each element, rows that are all alike, or as many
    latents as dimensions that vary (sigma would go to 0).
    """
    if not isinstance(model, Linear) or likelihood.name != "gaussian" or beta != 1 or whose == "per-element":
        return None
    if not rows.var(dim=0).any():
        return None
    sigma = float(likelihood.parameters["sigma"])
    predicted = predict(spectrum(rows), model.latents, sigma if whose == "fixed" else None)
    return None if predicted is None else Optimum(predicted, measure(model, sigma, rows))


def pca(model: Model, rows: Tensor) -> tuple[float, float] | None:
    """Return the least squared error, a mean over ``rows``, that a linear code of K numbers leaves; and the model's own.

    What PCA leaves: the eigenvalues of the covariance after the first K. Baldi and Hornik (1989). None for other models.
    """
    if not isinstance(model, Linear) or not model.deterministic or model.link != IDENTITY or model.several:
        return None
    with torch.no_grad():
        return spectrum(rows).tail(model.latents), moments(copy.deepcopy(model).double(), rows.double())[0].item()


def spectrum(rows: Tensor) -> Eigenvalues:
    """Return the eigenvalues of the covariance of ``rows`` (N, D). Raises ReconError for rows that are all alike."""
    return eigenvalues(Blocks(rows.detach().cpu().numpy()))


def predict(eigenvalues: Eigenvalues, latents: int, sigma: float | None) -> LinearGaussian | None:
    """Return the optimum for the eigenvalues of a covariance, at a noise, or at the best one where that is None.

    None where that would be no noise at all.
    """
    latents = min(latents, eigenvalues.dimensions)
    level = ppca(eigenvalues, latents).sigma2 if sigma is None else sigma * sigma
    if level is None or level <= eigenvalues.values[0] * 1e-12:
        return None
    best = point(eigenvalues, level, latents)
    active = int((eigenvalues.values[:latents] > level * math.exp(2 * ACTIVE)).sum())
    elbo, kl, distortion = best.log_likelihood, best.rate, best.distortion
    if elbo is None or kl is None or distortion is None:  # of eigenvalues that are not all known
        return None
    return LinearGaussian(sigma=math.sqrt(level), elbo=elbo, active=active, kl=kl, distortion=distortion)


def measure(model: Linear, sigma: float, rows: Tensor) -> LinearGaussian:
    """Return what the model is, its expectations over z in closed form, in float64."""
    with torch.no_grad():
        distortion, rates = moments(copy.deepcopy(model).double(), rows.double())
    error, kl = distortion.item(), rates.sum().item()
    nll = rows.shape[1] / 2 * math.log(2 * math.pi * sigma * sigma) + error / (2 * sigma * sigma)
    return LinearGaussian(sigma=sigma, elbo=-nll - kl, active=int((rates > ACTIVE).sum()), kl=kl, distortion=error)


def moments(vae: Linear, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return E_q ||x - mu(z)||^2, mean over ``rows``, and the mean KL of each latent: for a decoder linear in z.

    E ||x - W z - b||^2 = ||x - W m - b||^2 + sum_k s_k^2 ||W_k||^2. Deterministic, s = 0 and there is no KL: PCA's objective.
    """
    mean, log_variance = vae.encode(rows)
    if log_variance is None:
        return (rows - vae.decode(mean)).square().sum(dim=1).mean(), mean.new_zeros(mean.shape[1])
    unit = torch.eye(mean.shape[1], dtype=rows.dtype, device=rows.device)
    basis = vae.decode(unit) - vae.decode(torch.zeros_like(unit))
    spread = log_variance.exp().mean(dim=0) @ basis.square().sum(dim=1)
    error = (rows - vae.decode(mean)).square().sum(dim=1).mean()
    return error + spread, divergence(mean, log_variance).mean(dim=0)


def condensed(rows: Tensor) -> Tensor:
    """Return fewer rows with the same mean and covariance (1/N), which is all that a linear Gaussian model sees; in float64."""
    rows = rows.double()
    count, elements = rows.shape
    if count <= 2 * elements:
        return rows
    mean = rows.mean(dim=0)
    root = torch.linalg.qr(rows - mean, mode="r").R * math.sqrt(elements / count)
    return torch.cat([mean + root, mean - root])


class Whitened(nn.Module):
    """A weight W on x as A with W = A C^(-1/2), C the covariance of x: as steep in every direction for A as for any other."""

    root: Tensor
    inverse: Tensor

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        values, directions = torch.linalg.eigh(torch.cov(rows.T, correction=0))
        sizes = (values / values[-1].clamp(min=1e-300)).clamp(min=0.0).add(FLOOR).sqrt()
        self.register_buffer("root", (directions * sizes) @ directions.T)
        self.register_buffer("inverse", (directions / sizes) @ directions.T)

    def forward(self, whitened: Tensor) -> Tensor:
        """Return W of A."""
        return whitened @ self.inverse

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return A of W."""
        return weight @ self.root


def turn(mean: nn.Linear, basis: Tensor) -> None:
    """Turn the latents so that the decoder's directions are at right angles: what the likelihood sees is as it was.

    A posterior of independent latents is exact only there, and steepest descent turns slowly where eigenvalues are close.
    """
    with torch.no_grad():
        _, angles = torch.linalg.eigh(basis.T @ basis)
        basis.copy_(basis @ angles)
        mean.weight = angles.T @ mean.weight
        mean.bias.copy_(angles.T @ mean.bias)


def solve(state: State) -> Iterator[tuple[Epoch, Likelihood]]:
    """Train as ``walk`` does, an epoch being a round of L-BFGS on all rows, the expectation over z in closed form, in float64.

    The encoder's weights are searched for on whitened data, and before each round the latents are turned: neither changes
    what the model is, and without them directions of little variance, and close eigenvalues, take many times the rounds.

    A noise that is not fixed is the best one throughout. Ends where a round gains nothing more. Raises ReconError where
    the noise runs to 0.
    """
    vae, noise, rows, settings = state.model.double(), state.noise, condensed(state.rows), state.settings
    assert isinstance(vae, Linear)
    elements = rows.shape[1]
    if not isinstance(noise, Fixed) and not settings.sigma_floor and predict(spectrum(rows), settings.latent, None) is None:
        raise ReconError(
            f"The {settings.latent} latents are as many as the dimensions in which these samples vary, so no error is left and "
            f"sigma runs to 0.",
            "Give fewer --latent, or keep sigma above a floor, as in --sigma-floor 1e-3.",
        )

    def level(error: Tensor) -> Tensor:
        if isinstance(noise, Fixed):
            return error.new_tensor(float(noise.likelihood.parameters["sigma"]) ** 2)
        return (error / elements).clamp(min=settings.sigma_floor**2)

    def objective() -> tuple[Tensor, Tensor]:
        error, rates = moments(vae, rows)
        variance = level(error)
        nll = elements / 2 * (2 * math.pi * variance).log() + error / (2 * variance)
        return nll + settings.beta * rates.sum(), variance

    def cost() -> float:
        search.zero_grad()
        value, _ = objective()
        value.backward()
        return value.item()

    mean = vae.mean_layer
    parametrize.register_parametrization(mean, "weight", Whitened(rows))
    before = math.inf
    for epoch in range(1, settings.epochs + 1):
        turn(mean, vae.basis)
        search = torch.optim.LBFGS(
            vae.parameters(), max_iter=EACH, max_eval=2 * EACH, tolerance_grad=1e-12, tolerance_change=0.0, history_size=50,
            line_search_fn="strong_wolfe",
        )  # fmt: skip
        search.step(cost)
        with torch.no_grad():
            value, variance = (part.item() for part in objective())
        if not math.isfinite(value):
            raise ReconError(
                f"L-BFGS broke off in round {epoch}: the objective is {value:g}, at sigma = {math.sqrt(variance):g}.",
                "Rescale the data, or give another --seed.",
            )
        likelihood = Gaussian(sigma=math.sqrt(variance))
        done, before = before - value < STILL, value
        state.epoch = epoch
        yield Epoch(epoch=epoch, **vars(look(copy.deepcopy(vae).float(), Fixed(likelihood), state.rows, settings)[0])), likelihood
        if done:
            break
    parametrize.remove_parametrizations(mean, "weight")
    vae.float()


def largest_eigenvalue(rows: Tensor) -> float:
    """Return the largest eigenvalue of the covariance (1/N) of ``rows``, (N, D), in squared units; 0 of rows that are alike."""
    return float(spectrum(rows).values[0]) if (rows != rows[0]).any() else 0.0


def table(rows: Sequence[Optimum]) -> Table:
    """Return predicted and found, a row for each run."""
    return Table.of("optimum", OptimumRow, [each.row for each in rows])
