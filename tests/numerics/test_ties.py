"""An eigenvalue at the noise is not above it: rounding makes no latent live."""

from __future__ import annotations

import numpy
import pytest

from recon_cli.numerics.spectrum import Eigenvalues, point


def known(values: list[float]) -> Eigenvalues:
    return Eigenvalues(numpy.array(values), len(values), 100, sum(values))


@pytest.mark.parametrize("two", [2.0, 2.0 * (1 + 2**-52), 2.0 * (1 + 2**-51), 2.0 * (1 - 2**-52)])
def test_a_tie_is_not_active(two: float) -> None:
    found = known([4.0, two, 1.0, 0.25])
    here = point(found, 2.0)
    assert here.active == 1
    assert here.rate == pytest.approx(numpy.log(2) / 2, abs=1e-14)
    assert point(found, 2.0, latent=1).active == 1
    assert point(found, 4.0).active == 0
    assert point(found, 5.0).active == 0
    assert point(found, 0.99 * two).active == 2
    assert point(found, 0.1).active == 4


def test_of_a_covariance_that_is_computed() -> None:
    """Turned at random, diag(4, 2, 1, 1/4) has 2 as an eigenvalue but for rounding, above or below."""
    generator = numpy.random.default_rng(0)
    for _ in range(50):
        turn = numpy.linalg.qr(generator.standard_normal((4, 4)))[0]
        values = numpy.linalg.eigvalsh(turn @ numpy.diag([4, 2, 1, 0.25]) @ turn.T)[::-1]
        assert [point(known([*values]), level).active for level in (4, 2, 1, 0.25, 0.1)] == [0, 1, 2, 3, 4]
