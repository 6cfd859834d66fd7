"""Outside the support a likelihood gives no chance at all; beyond the domain it is an error; never a finite number."""

from __future__ import annotations

import math

import numpy
import pytest
import torch

from recon_cli import compare, likelihoods
from recon_cli.benchmark.compare import LENGTH, sample
from recon_cli.errors import ReconError
from recon_cli.likelihoods.bernoulli import Bernoulli
from recon_cli.likelihoods.gaussian import Gaussian
from recon_cli.likelihoods.poisson import Poisson
from recon_cli.training import train

NAN = math.nan
# A likelihood, data outside its support, and a mean.
OUTSIDE = [
    ("poisson", -3.0, 3.0), ("poisson", 2.2, 3.0), ("poisson", -0.0001, 3.0), ("poisson", math.inf, 3.0),
    ("binomial:count=10", 11.0, 3.0), ("binomial:count=10", -1.0, 3.0), ("binomial:count=10", 2.5, 3.0),
    ("bernoulli", 0.3, 0.5), ("bernoulli", 2.0, 0.5), ("bernoulli", -1.0, 0.5),
    ("negative-binomial", 1.5, 2.0), ("negative-binomial", -2.0, 2.0),
    ("continuous-bernoulli", 1.2, 0.5), ("continuous-bernoulli", -0.1, 0.5),
    ("categorical", [0.5, 0.5, 0.0], [0.2, 0.3, 0.5]), ("categorical", [1.0, 1.0, 0.0], [0.2, 0.3, 0.5]),
    ("categorical", [0.0, 0.0, 0.0], [0.2, 0.3, 0.5]), ("categorical", [2.0, 0.0, 0.0], [0.2, 0.3, 0.5]),
    ("discretized-logistic", 0.3, 0.4), ("discretized-logistic:levels=3", 0.25, 0.4), ("discretized-logistic", 1.5, 0.4),
    ("discretized-gaussian", 0.3, 0.4), ("discretized-gaussian:levels=2", 0.5, 0.4), ("discretized-gaussian", -0.2, 0.4),
    ("von-mises-fisher", [1.0, 1.0], [1.0, 0.0]), ("von-mises-fisher", [0.0, 0.0], [1.0, 0.0]),
]  # fmt: skip
INSIDE = [
    ("poisson", 3.0, 3.0), ("binomial:count=10", 10.0, 3.0), ("bernoulli", 1.0, 0.5), ("negative-binomial", 0.0, 2.0),
    ("continuous-bernoulli", 0.3, 0.5), ("categorical", [0.0, 1.0, 0.0], [0.2, 0.3, 0.5]), ("discretized-logistic", 0.2, 0.4),
    ("discretized-gaussian", 0.0, 0.4), ("von-mises-fisher", [0.6, 0.8], [1.0, 0.0]), ("von-mises", 12.0, 1.0),
]  # fmt: skip
BEYOND = [
    ("poisson", 1.0, -1.0), ("bernoulli", 1.0, 1.5), ("bernoulli", 0.0, -0.5), ("binomial:count=10", 3.0, 11.0),
    ("negative-binomial", 1.0, -2.0), ("continuous-bernoulli", 0.5, 1.2), ("categorical", [0.0, 1.0], [0.5, 0.7]),
    ("categorical", [0.0, 1.0], [-0.5, 1.5]), ("heteroscedastic-gaussian", [1.0], [[1.0, -1.0]]), ("von-mises", 1.0, math.inf),
]  # fmt: skip


@pytest.mark.parametrize(("word", "x", "mu"), OUTSIDE)
def test_outside_the_support_there_is_no_chance(word: str, x: float, mu: float) -> None:
    side = likelihoods.parse(word)
    for of in (torch.float32, torch.float64):
        data, mean = torch.tensor(x, dtype=of), torch.tensor(mu, dtype=of)
        raw = side.link.forward(mean)
        for found in (side.nll(data, mean), side.nll_raw(data, raw), side.total(data, raw)):
            assert (found == math.inf).all()
        assert side.nll(data, mean).dtype == of


@pytest.mark.parametrize(("word", "x", "mu"), INSIDE)
def test_inside_nothing_changes(word: str, x: float, mu: float) -> None:
    """Data that were float32 before they are float64 are inside too."""
    side = likelihoods.parse(word)
    for data in (torch.tensor(x), torch.tensor(x, dtype=torch.float64), torch.tensor(x).double()):
        mean = torch.tensor(mu, dtype=data.dtype)
        found = side.nll(data, mean)
        assert found.isfinite()
        assert found == side.admitted().nll(data, mean)


@pytest.mark.parametrize(("word", "x", "mu"), BEYOND)
def test_a_mean_beyond_the_domain_is_an_error(word: str, x: float, mu: float) -> None:
    with pytest.raises(ReconError, match="outside what .* mean lies in"):
        likelihoods.parse(word).nll(x, mu)


def test_a_mean_at_an_end_is_none() -> None:
    assert Poisson().nll(0.0, 0.0) == 0
    assert Poisson().nll(1.0, 0.0) == math.inf
    assert Bernoulli().nll(1.0, 1.0) == 0
    assert Bernoulli().nll(0.0, 1.0) == math.inf
    assert Poisson().nll(1.0, NAN).isnan()
    assert Poisson().nll(NAN, 1.0).isnan()


@pytest.mark.parametrize("name", likelihoods.names())
def test_a_mean_that_is_no_number_has_no_likelihood(name: str) -> None:
    """Not where its logarithm is multiplied by a count of 0 either; nor any of the numbers of a vector, or of an element."""
    side = likelihoods.parse(name).of_vectors(LENGTH)
    x, mu = sample(side, 400)
    for at in range(mu.shape[-1]) if mu.ndim > 1 else [slice(None)]:
        lost = mu.clone()
        lost[..., at] = NAN
        try:
            assert side.nll(x, lost).isnan().all()
        except ReconError as error:
            assert "outside what" in str(error)  # noqa: PT017


def test_of_several_only_those_outside() -> None:
    x, mu = torch.tensor([[3.0, -3.0], [2.2, 0.0]]), torch.full((2, 2), 3.0)
    assert Poisson().nll(x, mu).isinf().tolist() == [[False, True], [True, False]]
    point = torch.full((2, 2), 3.0, requires_grad=True)
    Poisson().nll(x, point).sum().backward()
    assert point.grad is not None
    assert point.grad[0, 0] == 0
    assert point.grad[1, 1] == 1


def test_where_no_value_can_be_asked_for_what_is_beyond_is_no_number() -> None:
    x, mu = torch.tensor([1.0, -1.0, 2.0]), torch.tensor([1.0, 2.0, -3.0])
    found = torch.vmap(Poisson().nll)(x, mu)
    assert found[0] == 1
    assert found[1] == math.inf
    assert found[2].isnan()


@pytest.mark.inductor
def test_nor_where_it_is_compiled() -> None:
    x, mu = torch.tensor([1.0, -1.0, 2.0]), torch.tensor([1.0, 2.0, -3.0])
    found = torch.compile(Poisson().nll, backend="eager", fullgraph=True)(x, mu)
    assert found[0] == 1
    assert found[1] == math.inf
    assert found[2].isnan()


@pytest.mark.parametrize(("word", "x", "mu"), [case for case in INSIDE if likelihoods.parse(case[0]).discrete])
def test_counts_have_no_gradient(word: str, x: float, mu: float) -> None:
    side = likelihoods.parse(word)
    mean, data = torch.tensor(mu, requires_grad=True), torch.tensor(x, requires_grad=True)
    for nll, point in ((side.nll, mean), (side.nll_raw, side.link.forward(mean))):
        with pytest.raises(ReconError, match="no gradient"):
            nll(data, point)
        with pytest.raises(ReconError, match="no gradient"):
            torch.func.grad(lambda x, nll=nll, point=point: nll(x, point).sum())(data.detach())
        with pytest.raises(ReconError, match="no gradient"):
            torch.func.jvp(lambda x, nll=nll, point=point: nll(x, point.detach()), (data.detach(),), (torch.ones_like(data),))
        with torch.no_grad():
            assert nll(data, point).isfinite()
    side.nll(data.detach(), mean).backward()
    assert mean.grad is not None


def test_real_data_have_one() -> None:
    x = torch.tensor(2.0, requires_grad=True)
    Gaussian().nll(x, torch.tensor(0.5)).backward()
    assert x.grad == 1.5


def test_the_engines_know_what_grey_levels_are() -> None:
    """Trained on and measured as the bare expression, and said so; the public nll is infinite there."""
    x = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))
    mu = torch.full_like(x, 0.4)
    assert (Bernoulli().nll(x, mu) == math.inf).all()
    assert math.isfinite(Bernoulli().admitted().nll(x, mu).sum())
    assert Bernoulli().admitted() == Bernoulli()
    assert not Bernoulli().admits
    found = compare(x, mu, "bernoulli", device="cpu")
    assert not found.holds
    assert "no likelihood of these data" in found.notes[-1]
    trained = train(data=x.numpy().astype(numpy.float32), likelihood="bernoulli", epochs=1, hidden=4, latent=2)
    assert math.isfinite(trained.result.nll)
