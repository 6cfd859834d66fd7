"""Curves are drawn whatever their numbers: one, constant, missing, not finite, tiny, huge."""

from __future__ import annotations

import io
import math

import pytest
from PIL import Image

from recon_cli.report import Chart, Series
from recon_cli.runtime.curves import sketch, ticks


@pytest.mark.parametrize(
    "values",
    [[1.0], [2.0, 2.0, 2.0], [0.0, 0.0], [None, 1.0, None], [math.inf, 1.0, math.nan], [None, None], [1e-300, 2e-300],
     [-1e18, 1e18], [5.0, 5.0 + 1e-12]],
    ids=str,
)  # fmt: skip
def test_whatever_the_numbers(values: list[float | None]) -> None:
    series = [Series("a", values), Series("b − ²", values, "dashes", side=True)]
    with Image.open(io.BytesIO(sketch([Chart("t", range(len(values)), series, "x")] * 2))) as image:
        assert image.size == (920, 320)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-3.7, 41.2), (1e-9, 2e-9), (1e6, 1.01e6), (-0.004, 0.0)])
def test_ticks_are_few_and_round(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 7
    assert all(low - 1e-9 * abs(low) <= each <= high + 1e-9 * abs(high) for each in found)
    assert all(len(f"{each:.12g}".replace("-", "").replace("e", "").strip("0.")) <= 5 for each in found)
