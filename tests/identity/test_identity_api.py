"""What every family shares: how it is fitted, which noise a weight assumes, and where numbers may lie."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle

import pytest
import torch

from recon_cli import likelihoods
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import SquaredError
from recon_cli.identity.regions import CIRCLE, ONE_HOT, SIMPLEX, SPHERE, Interval, Lattice, Outputs, Region
from recon_cli.likelihoods.discretized_gaussian import DiscretizedGaussian
from recon_cli.likelihoods.gaussian import Gaussian
from recon_cli.likelihoods.huber import Huber, HuberLoss, SmoothL1
from recon_cli.numerics.compensated import Total

FAMILIES = [likelihoods.find(name) for name in likelihoods.names()]
each_family = pytest.mark.parametrize("family", FAMILIES, ids=likelihoods.names())


@each_family
def test_fit_and_with_slope_have_one_signature(family: type[Likelihood]) -> None:
    assert [*inspect.signature(family.fit).parameters] == ["x", "mu"]
    assert [*inspect.signature(family.with_slope).parameters] == ["slope", "loss"]


@pytest.mark.parametrize("missing", ["density", "loss", "nll", "sample"])
def test_a_family_without_one_of_its_three_statements_says_which(missing: str) -> None:
    statements = {
        "loss": SquaredError(),
        "density": "exp(-(x - mu)**2) / sqrt(pi)",
        "nll": Gaussian.nll,
        "sample": Gaussian.sample,
    }
    del statements[missing]
    own = dataclasses.dataclass(frozen=True)(type("Own", (Likelihood,), statements))
    assert own.__abstractmethods__ == {missing}
    with pytest.raises(TypeError, match=f"abstract method '?{missing}'?"):
        own()
    with pytest.raises(ReconError, match=f"Own has no {missing}"):
        likelihoods.as_family_or_likelihood(own)


def test_a_class_is_fitted_as_its_usual_instance() -> None:
    x, mu = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.5, 0.5, 0.5])
    assert Gaussian.fit(x, mu) == Gaussian(sigma=3.0).fit(x, mu)
    assert Gaussian.fit.__doc__ == Gaussian().fit.__doc__


def test_the_design_stays_as_it_is() -> None:
    draws = torch.Generator().manual_seed(0)
    mu = torch.rand(400, generator=draws)
    x = DiscretizedGaussian(scale=0.2, levels=16.0).sample(mu, draws)
    best = DiscretizedGaussian(scale=3.0, levels=16.0).fit(x, mu)
    assert best.levels == 16
    assert 0.1 < best.scale < 0.3


def test_a_weight_on_smooth_l1_is_one_on_huber_s_loss_over_beta() -> None:
    assert Huber.with_slope(2.0, SmoothL1(beta=0.5)) == Huber.with_slope(4.0, HuberLoss(delta=0.5))


@pytest.mark.parametrize("name", ["huber", "student-t", "binomial", "asymmetric-laplace", "generalized-gaussian", "logistic"])
def test_a_loss_without_the_numbers_of_the_family_s_own_is_refused(name: str) -> None:
    with pytest.raises(ReconError, match=r"squared-error has no \w+"):
        likelihoods.find(name).with_slope(2.0, SquaredError())


@pytest.mark.parametrize("region", [CIRCLE, SPHERE, SIMPLEX, ONE_HOT, Lattice(), Outputs()], ids=str)
def test_a_region_that_is_no_interval_is_none(region: Region) -> None:
    assert not isinstance(region, Interval)


def test_a_region_says_what_it_contains() -> None:
    with pytest.raises(TypeError, match="contains"):
        Region()  # type: ignore[abstract]


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda total: pickle.loads(pickle.dumps(total))])
def test_a_copied_total_still_knows_what_rounding_lost(copied) -> None:
    assert copied(Total(1e16) + 1.0) + -1e16 == 1.0
