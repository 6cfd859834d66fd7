"""What is asked of an array can be asked of one that lies in a file."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest

from recon_cli.comparison import compare_sources
from recon_cli.runtime import lazy_arrays
from recon_cli.runtime.lazy_arrays import FortranOrdered, Lazy, blocks
from recon_cli.sources import _values, parse


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_least_and_the_most_of_a_file_are_those_of_its_array(
    order: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = numpy.random.default_rng(0).standard_normal((50, 3))
    numpy.save(tmp_path / "x.npy", numpy.asarray(x, order=order))
    monkeypatch.setattr(lazy_arrays, "BAND", 100)  # several blocks
    values = parse(str(tmp_path / "x.npy")).read()
    assert isinstance(values, FortranOrdered if order == "F" else Lazy)
    assert (values.min(), values.max()) == (x.min(), x.max())
    assert numpy.array_equal(numpy.concatenate([*blocks(values, 20)]), numpy.concatenate([*blocks(x, 20)]))


def test_means_in_a_large_file_beside_data_in_memory_say_why_no_bernoulli_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_values, "WHOLE", 1000)
    numpy.save("x.npy", numpy.eye(20, dtype=numpy.uint8))
    numpy.save("mu.npy", 3 * numpy.eye(20) - 1)
    found = compare_sources("x.npy", "mu.npy", device="cpu")
    assert found.notes[-1].startswith("bernoulli is left out: the reconstructions run from -1 to 2")
