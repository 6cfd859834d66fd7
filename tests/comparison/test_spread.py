"""Reconstructions with a spread of their own: mu and a sigma or a scale for each element, under any family that has one."""

from __future__ import annotations

import numpy
import pytest
import scipy.stats
import torch

import recon_cli
from recon_cli import likelihoods
from recon_cli.likelihoods._by_decoder import by_network, levels_by_network

SPREAD = [name for name in likelihoods.names() if levels_by_network(likelihoods.find(name)())]


def data(count: int = 40) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    draws = numpy.random.default_rng(3)
    mu, size = draws.uniform(0.2, 0.8, (count, 3)), draws.uniform(0.1, 0.9, (count, 3))
    return numpy.round(draws.uniform(0.1, 0.9, mu.shape) * 255) / 255, mu, size


@pytest.mark.parametrize("name", SPREAD)
def test_each_element_has_the_levels_that_the_decoder_gives(name: str) -> None:
    x, mu, size = data()
    kind = likelihoods.find(name)
    names = levels_by_network(kind())
    x = numpy.round(4 * x) if kind().support.whole else x
    mean = numpy.stack([mu, *(size / (1 + i) for i in range(len(names)))], axis=-1)
    (row,) = recon_cli.compare(x, mean, name, device="cpu").rows
    every = [
        kind(**{**kind().parameters, **dict(zip(names, map(float, levels), strict=True))}).nll(float(a), float(m)).item()
        for a, (m, *levels) in zip(x.flat, mean.reshape(-1, 1 + len(names)), strict=True)
    ]
    assert row.nll == pytest.approx(numpy.mean(every), rel=1e-12)
    assert row.holds
    likelihood = by_network(kind())
    outputs = torch.from_numpy(mean)
    assert likelihood.sample(outputs).shape == x.shape
    moments = likelihood.moments(outputs)
    assert moments is None or all(part.shape == x.shape for part in moments)
    raw = likelihood.link.forward(outputs)
    torch.testing.assert_close(likelihood.link.inverse(raw), outputs, rtol=1e-12, atol=0)
    usual = likelihood.usual_outputs(outputs[..., 0], 0.2 + 0 * outputs[..., 0])
    assert likelihood.domain.contains(usual).all()


def test_it_is_scipys() -> None:
    x, mu, size = data()
    (row,) = recon_cli.compare(x, numpy.stack([mu, size], axis=-1), "log-normal", device="cpu").rows
    assert row.nll == pytest.approx(-scipy.stats.lognorm.logpdf(x, size, scale=mu).mean(), rel=1e-12)


def test_it_is_said_which_is_which() -> None:
    x, mu, size = data()
    found = recon_cli.compare(x, numpy.stack([mu, size], axis=-1), "laplace", "gaussian", device="cpu")
    assert "The last axis of the reconstructions is mu and scale." in found.notes
    assert "The last axis of the reconstructions is mu and sigma." in found.notes
