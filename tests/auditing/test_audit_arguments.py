"""Arguments that an audit cannot fill: its words for what the function raised, whatever layouts it tried before."""

from __future__ import annotations

import pytest

from recon_cli.auditing import audit
from recon_cli.errors import ReconError


def refuses_sizes(recon, x, kl):
    raise ValueError("nothing of that size")


def pops_by_position(recon, x, mu, logvar, batch):
    return (recon - x).square().sum() + batch.pop(0)


def gets_by_number(recon, x, mu, logvar, **rest):
    return (recon - x).square().sum() + 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum() * rest.get(0, 1.0)


def test_a_kl_that_is_passed_as_a_list_is_no_fault_of_the_audit():
    with pytest.raises(ReconError, match="refuses_sizes raises ValueError: nothing of that size .passed: recon 4x1x28x28"):
        audit(refuses_sizes)


def test_a_position_is_no_key():
    with pytest.raises(ReconError, match="pops_by_position raises AttributeError: .*pop"):
        audit(pops_by_position)


def test_a_number_for_a_key_is_left_out():
    assert audit(gets_by_number).verdict == "elbo"
