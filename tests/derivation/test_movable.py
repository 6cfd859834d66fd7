"""What a page moves is what the code computes: each tree beside the likelihood in torch, and what has no tree is left out."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import pytest
import sympy
import torch

from recon_cli import likelihoods
from recon_cli.derivation.movable import Density, charts, value
from recon_cli.derivation.notation import formula
from recon_cli.derivation.proof import prove
from recon_cli.derivation.trees import Unwritable, movable, tree
from recon_cli.likelihoods.gaussian import Gaussian

X = sympy.Symbol("x", real=True)


def density_of(name: str) -> Density:
    kind = likelihoods.find(name)
    density = movable(kind, prove(kind), {}, [formula("integral p dx", " = ", sympy.oo)])
    assert density is not None
    return density


@pytest.mark.parametrize("name", ["gaussian", "poisson", "student-t"])
def test_its_curves_are_the_likelihood_s_own(name: str) -> None:
    density, likelihood = density_of(name), likelihoods.find(name)()
    over_x, over_mu = charts(density)
    x, mu = (torch.tensor([*each.x], dtype=torch.float64) for each in (over_x, over_mu))
    nll = likelihood.nll(x, torch.full_like(x, density.mu.value))
    assert [*over_x.series[0].values] == pytest.approx(nll.neg().exp().tolist(), rel=1e-12)
    here = torch.full_like(mu, density.x.value)
    assert [*over_mu.series[0].values] == pytest.approx(likelihood.nll(here, mu).tolist(), rel=1e-12)
    scaled = (likelihood.slope * likelihood.loss(here, mu)).tolist()
    assert [*over_mu.series[1].values] == pytest.approx(scaled, rel=1e-12, abs=1e-14)


def test_the_misprint_is_beside_the_density() -> None:
    density = density_of("gaussian")
    (misprint,) = density.misprints
    assert misprint.adds_up_to == "∞"
    at = {"x": 1.5, "mu": 0.5, "sigma": 2.0}
    assert value(misprint.density, at) == pytest.approx(math.exp(-1 / 4 / 2) / (2 * math.sqrt(2 * math.pi)), rel=1e-12)
    assert value(density.density, at) == pytest.approx(math.exp(-(0.5**2) / 2) / (2 * math.sqrt(2 * math.pi)), rel=1e-12)


@pytest.mark.parametrize("name", ["categorical", "von-mises", "heteroscedastic-gaussian"])
def test_vectors_and_functions_that_a_page_has_not_are_left_out(name: str) -> None:
    kind = likelihoods.find(name)
    assert movable(kind, prove(kind), {}, []) is None


def test_noise_without_a_usual_value_takes_one_to_be_moved() -> None:
    @dataclass(frozen=True)
    class Bare(Gaussian):
        """A Gaussian whose sigma nobody assumes."""

        sigma: float = dataclasses.field(default=dataclasses.MISSING, metadata=Gaussian.__dataclass_fields__["sigma"].metadata)

    proof = prove(Gaussian)
    assert movable(Bare, proof, {}, []) is None
    density = movable(Bare, proof, {"sigma": 0.5}, [])
    assert density is not None
    assert [(each.name, each.value) for each in density.noise] == [("sigma", 0.5)]


def test_a_tree_is_plain_numbers_and_names() -> None:
    piece = sympy.Piecewise((X**2 / 2, X < 1), (sympy.Abs(X), True))
    assert value(tree(piece), {"x": 3.0}) == 3.0
    assert value(tree(piece), {"x": 0.5}) == 0.125
    assert tree(sympy.pi) == pytest.approx(math.pi)
    assert math.isnan(value(tree(sympy.log(X)), {"x": -1.0}))
    for part in (sympy.besseli(0, X), sympy.I, sympy.oo, sympy.Function("stop")(X)):
        with pytest.raises(Unwritable):
            tree(part)
