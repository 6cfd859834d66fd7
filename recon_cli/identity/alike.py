"""What numpy's arrays and torch's tensors spell otherwise, under one name; torch is not imported for an array's sake.

Of either, ``+``, ``<``, ``~``, ``abs``, ``.round()``, ``.clip(min=0)``, ``.sum(-1)``, ``.all(-1)``, ``.any()``, ``.flatten()``
and the like are the same already.
"""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

Numbers: TypeAlias = Any  # a tensor, or an array of numpy's: no type checker knows what both of them do


def is_array(values: Numbers) -> bool:
    """Return whether they are an array of numpy's, not a tensor."""
    return hasattr(values, "astype")


def is_floating(values: Numbers) -> bool:
    """Return whether they are floats, of any precision."""
    return bool(values.dtype.kind == "f" if is_array(values) else values.is_floating_point())


def epsilon(values: Numbers) -> float:
    """Return the distance from 1 to the next float of their type; 0 of whole numbers."""
    return float(_library(values).finfo(values.dtype).eps) if is_floating(values) else 0.0


def double(values: Numbers) -> Numbers:
    """Return the values in float64."""
    return values.astype("float64") if is_array(values) else values.double()


def absent(values: Numbers) -> Numbers:
    """Return where values are not there: NaN."""
    return values != values


def distinct(values: Numbers) -> Numbers:
    """Return the different values in order."""
    return _library(values).unique(values)


def least(vectors: Numbers) -> Numbers:
    """Return the least number of each vector along the last axis; NaN where one is."""
    return vectors.min(-1) if is_array(vectors) else vectors.amin(-1)


def most(vectors: Numbers) -> Numbers:
    """Return the largest number of each vector along the last axis; NaN where one is."""
    return vectors.max(-1) if is_array(vectors) else vectors.amax(-1)


def choose(mask: Numbers, values: Numbers, others: Numbers) -> Numbers:
    """Return the ``values`` where the mask is true, the ``others`` elsewhere."""
    return _library(values).where(mask, values, others)


def as_type_of(values: Numbers, example: Numbers) -> Numbers:
    """Return the values in the type that another has, if that is one of floats."""
    if not is_floating(example):
        return values
    return values.astype(example.dtype) if is_array(values) else values.to(example.dtype)


def _library(values: Numbers) -> Any:
    return sys.modules["numpy" if is_array(values) else "torch"]
