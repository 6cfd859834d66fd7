"""Shapes: how they are written, and whether data and reconstructions fit one another."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from recon_cli.errors import ReconError
from recon_cli.identity.regions import listed

if TYPE_CHECKING:
    from recon_cli.identity.likelihood import Likelihood
    from recon_cli.identity.losses import Loss


def fitting_shapes(of: Loss | Likelihood, x: tuple[int, ...], mu: tuple[int, ...]) -> None:
    """Raise ReconError unless ``mu`` has one entry for every entry of ``x``, or one for each of the ``head`` of ``of``."""
    if tuple(mu) == (*x, len(of.head)) if of.head else tuple(mu) == tuple(x):
        if len(x) < of.event:
            raise ReconError(f"{of.name} takes vectors; found a single number.", "Give arrays whose last axis is the vector.")
        return
    if of.head:
        raise ReconError(
            f"x has shape {spell(x)} and what the decoder gives {spell(mu)}; {of.name} takes {len(of.head)} numbers "
            f"for each element, {listed(of.head)}.",
            f"Stack them along a last axis: {spell((*x, len(of.head)))}.",
        )
    raise shapes_differ(x, mu)


def shapes_differ(x: tuple[int, ...], mu: tuple[int, ...]) -> ReconError:
    """Return the error for shapes that differ: recon never broadcasts."""
    return ReconError(
        f"x has shape {spell(x)} and its reconstruction {spell(mu)}; they must be equal{_broadcast(x, mu)}.",
        "recon never broadcasts: give one reconstruction for every element of the data.",
    )


def _broadcast(x: tuple[int, ...], mu: tuple[int, ...]) -> str:
    """Return what torch would make of two shapes, silently; empty where it refuses them too."""
    width = max(len(x), len(mu))
    pairs = [*zip((1,) * (width - len(x)) + tuple(x), (1,) * (width - len(mu)) + tuple(mu), strict=True)]
    if any(a != b and 1 not in (a, b) for a, b in pairs):
        return ""
    return f" (torch would broadcast them to {spell(tuple(max(pair) for pair in pairs))} and say nothing)"


def spell(shape: tuple[int, ...]) -> str:
    """Return a shape as people write it on the command line: ``359x8x8``."""
    return "x".join(str(size) for size in shape) or "scalar"


def unflattened(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the sides of a square whose pixels lie in one row; any other shape as it is."""
    square = len(shape) == 1 and math.isqrt(shape[0]) ** 2 == shape[0]
    return (math.isqrt(shape[0]),) * 2 if square else shape
