"""A library's silent change is blamed where it acts, and nowhere else."""

from __future__ import annotations

import pytest
import torch

from recon_cli import compare


def spread(least: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Data, and means beside variances from ``least`` up."""
    generator = torch.Generator().manual_seed(21)
    mean, noise = torch.randn(2, 2000, 1, generator=generator, dtype=torch.float64)
    variance = least + 2 * torch.rand(2000, 1, generator=generator, dtype=torch.float64)
    return mean + variance.sqrt() * noise, torch.stack([mean, variance], dim=-1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_no_clamp_is_blamed_where_none_acts(dtype: str) -> None:
    found = compare(*spread(0.01), "heteroscedastic-gaussian", against="torch", dtype=dtype, device="cpu")
    names = {reason.name for call in found.calls for reason in call.reasons}
    assert names <= {"rounding", "constant dropped"}
    assert any(call.holds and "full=True" in call.call for call in found.calls)


def test_the_clamp_is_blamed_where_it_acts() -> None:
    x, points = spread(0.0)
    points[::4, :, 1] = 1e-8
    found = compare(x, points, "heteroscedastic-gaussian", against="torch", dtype="float64", device="cpu")
    (call,) = [call for call in found.calls if "full=True" in call.call]
    (reason,) = [reason for reason in call.reasons if reason.name == "variance clamp"]
    assert not call.holds
    assert 490 <= reason.elements <= 502


def test_means_that_no_probability_clamp_moves() -> None:
    generator = torch.Generator().manual_seed(2)
    mu = torch.rand(3000, 1, generator=generator, dtype=torch.float64) * 0.998 + 0.001
    x = torch.bernoulli(mu, generator=generator)
    found = compare(x, mu, "bernoulli", against="torch", dtype="float64", device="cpu")
    assert not {reason.name for call in found.calls for reason in call.reasons} & {"probability clamp", "log clamp at -100"}
