"""What ``import recon_cli`` offers by name, and what it loads for that."""

from __future__ import annotations

import pytest
from test_startup import loaded_after

import recon_cli
from recon_cli import likelihoods


@pytest.mark.parametrize("name", likelihoods.names())
def test_every_likelihood_is_at_the_top(name: str) -> None:
    family = likelihoods.find(name)
    assert getattr(recon_cli, family.__name__) is family
    assert family.__name__ in dir(recon_cli)


def test_a_likelihood_by_its_name_loads_no_torch() -> None:
    (loaded,) = loaded_after("from recon_cli import Gaussian, StudentT\nGaussian(sigma=0.5).slope")
    assert not loaded & {"torch", "sympy", "rich"}


def test_a_name_that_is_none_is_refused() -> None:
    for name in ("Gausian", "gaussian_", "SquaredError", "student-t"):
        assert not hasattr(recon_cli, name)
        assert name not in dir(recon_cli)


def test_dir_names_the_engines_and_what_is_imported_already() -> None:
    assert {"derive", "compare", "calibrate", "audit", "train", "__version__", "likelihoods"} <= {*dir(recon_cli)}
