"""Marks for missing values, one-hot labels behind features, and dicts in dicts: said, or asked about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from recon_cli import sources
from recon_cli.errors import ReconError
from recon_cli.sources import _remarks

X = numpy.random.default_rng(0).normal(size=(60, 4))
CLASSES = numpy.eye(3)[numpy.arange(60) % 3]


def said(values: Any, **how: Any) -> str:
    """What is remarked of an array."""
    return " ".join(_remarks.remarks(values, "x.npy", **how))


@pytest.mark.parametrize("mark", [-99, -999.0, -9999, 9999, 1e20, -1e30, 3.4028235e38, -32768])
def test_a_mark_for_missing_values_is_said(mark: float) -> None:
    assert "taken as they are" in said(numpy.where(X > 1.5, mark, X))


@pytest.mark.parametrize(
    "values", [X, X * 1000, numpy.where(X > 1.5, 3.5, X), numpy.round(X * 40), numpy.where(X > 1.5, 99, X * 30)]
)
def test_large_values_are_no_marks(values: numpy.ndarray) -> None:
    assert "missing" not in said(values)


@pytest.mark.parametrize("values", [numpy.hstack([X, CLASSES]), numpy.hstack([CLASSES, X])])
def test_one_hot_labels_among_features_are_said(values: numpy.ndarray) -> None:
    assert "one-hot" in said(values)


@pytest.mark.parametrize("values", [CLASSES, numpy.hstack([X, CLASSES[:, :2]]), numpy.hstack([X, CLASSES[::-1] * 2]), X > 0])
def test_other_columns_are_not_one_hot(values: numpy.ndarray) -> None:
    assert "one-hot" not in said(values)


def test_dicts_in_dicts_have_names(tmp_path: Path) -> None:
    x = torch.from_numpy(X)
    torch.save({"a": x, "b": {"c": 2 * x, "d": 3}}, path := str(tmp_path / "x.pt"))
    with pytest.raises(ReconError, match=r"2 tensors: a, b\.c"):
        sources.read(path)
    assert numpy.array_equal(sources.read(f"{path}:b.c"), 2 * X)


def test_a_lazily_negated_tensor_is_read(tmp_path: Path) -> None:
    torch.save(torch._neg_view(torch.from_numpy(X)), path := str(tmp_path / "x.pt"))
    assert numpy.array_equal(sources.read(path), -X)
