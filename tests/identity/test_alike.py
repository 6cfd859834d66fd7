"""An array of numpy's is judged as the same numbers in a tensor: where values may lie, and which grid they are on."""

from __future__ import annotations

import math

import numpy
import pytest
import torch

from recon_cli import likelihoods
from recon_cli.identity import regions
from recon_cli.identity.alike import absent, distinct
from recon_cli.likelihoods import _grey_levels as grey

pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # as recon has them ignored
KINDS = ["float16", "float32", "float64", "uint8", "int32", "int64"]
ARRAYS = {
    "steps of 255": numpy.arange(256) / 255,
    "steps of 16, and one beside": numpy.append(numpy.arange(17) / 16, 0.3),
    "bytes": numpy.arange(256.0),
    "symmetric": numpy.linspace(-1, 1, 256),
    "odd": numpy.array([0.0, -0.0, 1.0, 0.5, 2.0, -3.0, math.inf, -math.inf, math.nan, 1 + 1e-7]),
    "counts": numpy.array([0.0, 1, 2, 3, 12]),
    "one-hot": numpy.eye(4),
    "shares": numpy.full((3, 8), 0.125),
    "directions": numpy.stack([numpy.cos(numpy.arange(9.0)), numpy.sin(numpy.arange(9.0))], axis=1),
}
REGIONS = {
    **{each.name: each().support for each in map(likelihoods.find, likelihoods.names())},
    "shares": regions.SIMPLEX, "half": regions.Interval(0, closed=False), "17 levels": regions.Lattice(levels=17),
}  # fmt: skip


def cast(values: numpy.ndarray, kind: str) -> numpy.ndarray:
    """The numbers in a type, whole and finite where that has no others."""
    if kind.startswith("float"):
        return values.astype(kind)
    return numpy.nan_to_num(values.clip(0, 255), nan=7).astype(kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_judged_as_a_tensor_is(name: str, kind: str) -> None:
    array = cast(ARRAYS[name], kind)
    tensor = torch.from_numpy(array.copy())
    for title, region in REGIONS.items():
        if region.unit == "vectors" and array.ndim < 2:
            continue
        assert region.contains(array).tolist() == region.contains(tensor).tolist(), title
    assert distinct(array[~absent(array)]).tolist() == distinct(tensor[~absent(tensor)]).tolist()
    there, there_too = array[~absent(array)], tensor[~absent(tensor)]
    assert grey.levels(there) == grey.levels(there_too)
    on = grey.grid(array)
    assert on == grey.grid(tensor)
    if on is not None:
        assert on.to_unit(array).dtype == on.to_unit(tensor).numpy().dtype
        assert on.to_unit(array).tolist() == on.to_unit(tensor).tolist()
    for family in map(likelihoods.find, ("discretized-logistic", "gaussian")):
        assert grey.elsewhere(family(), array) == grey.elsewhere(family(), tensor)
    if array.ndim == 1 and there.size and there.max() < math.inf:
        for family in map(likelihoods.find, ("discretized-gaussian", "binomial")):
            assert family.designed(there) == family.designed(there_too)


def test_the_fewest_levels_are_found_where_few_values_would_do_with_fewer() -> None:
    values = numpy.arange(256) / 255
    assert grey.levels(values[::2]) == 256
    assert grey.levels(numpy.append(values[::51], values[1])) == 256
    assert grey.levels(values[::51]) == 6
    assert grey.levels(numpy.append(numpy.arange(3000) / 4095, 0.3)) is None
