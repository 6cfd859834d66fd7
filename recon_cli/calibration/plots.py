"""A calibration as a picture: the spectrum under water, R(D) with the model's point, and the nll against sigma."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy

from recon_cli.errors import ReconError
from recon_cli.numerics.spectrum import Eigenvalues, point, rate
from recon_cli.runtime.plotting import GREY, INK, drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from recon_cli.calibration.result import Calibration

WATER, MARK = "#4c86b5", "#c8442d"
USUAL = 16  # latents, where none are named
SMALL = 1e-6  # of the largest eigenvalue: what is below is not drawn


def save(calibration: Calibration, path: Path) -> None:
    """Draw what there is to ``path``; its ending says how. Raises ReconError where there are no data, or it cannot be written."""
    eigenvalues = calibration.eigenvalues
    if eigenvalues is None:
        raise ReconError("--plot draws what data say, and there are none.", "Give --data.")
    with drawing(path, 3) as (left, middle, right):
        spectrum(left, calibration, eigenvalues)
        trade_off(middle, calibration, eigenvalues)
        likelihood(right, calibration, eigenvalues)


def spectrum(axes: Axes, calibration: Calibration, eigenvalues: Eigenvalues) -> None:
    """Draw the eigenvalues in order, and the water that drowns those below sigma^2."""
    values = eigenvalues.values[eigenvalues.values > SMALL * eigenvalues.values[0]]
    edges = numpy.arange(len(values) + 1) + 0.5
    low = values[-1] / 2
    here = calibration.predicted
    if here is not None:
        level = here.sigma2
        low = min(low, level / 2)
        axes.stairs(numpy.minimum(values, level), edges, baseline=low, fill=True, color=WATER, alpha=0.28, linewidth=0)
        axes.axhline(level, color=WATER, linewidth=1.1)
        alive = here.active if here.active is not None else f"{len(values)} or more"
        inside = (values > level).mean() > 0.45  # room for words in the water, or above it
        axes.annotate(
            f"$\\sigma^2$ = {level:.3g}, {alive} active", (0.03 if inside else 0.99, level), xycoords=("axes fraction", "data"),
            xytext=(0, -5 if inside else 4), textcoords="offset points", va="top" if inside else "bottom",
            ha="left" if inside else "right", color=WATER, fontsize=8, zorder=4,
            bbox={"facecolor": "#cddceb" if inside else "none", "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip
    axes.stairs(values, edges, baseline=None, color=INK, linewidth=1.3)
    if calibration.latent is not None and calibration.latent < len(values):
        axes.axvline(calibration.latent + 0.5, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        axes.annotate(
            f"{calibration.latent} latents", (calibration.latent + 0.5, 0.02), xycoords=("data", "axes fraction"),
            xytext=(3, 0), textcoords="offset points", color=GREY, fontsize=8,
        )  # fmt: skip
    axes.set(yscale="log", xlim=(0.5, len(values) + 0.5), ylim=(low, values[0] * 2))
    axes.set(title="Which latents survive", xlabel="latent, by eigenvalue", ylabel="eigenvalue (squared units of x)")


def trade_off(axes: Axes, calibration: Calibration, eigenvalues: Eigenvalues) -> None:
    """Draw Shannon's Gaussian R(D), the chosen noise on it, and the model beside it."""
    least = max(1e-3 * eigenvalues.trace, eigenvalues.tail(len(eigenvalues.values)))
    grid = numpy.geomspace(least, eigenvalues.trace, 300)
    rates = [rate(eigenvalues, float(value)) for value in grid]
    d, r = numpy.array([(d, r) for d, r in zip(grid, rates, strict=True) if r is not None and math.isfinite(r)]).T
    axes.plot(d, r, color=INK)
    axes.fill_between(d, 0, r, color=INK, alpha=0.05, linewidth=0)
    axes.annotate("Gaussian R(D)", (d[len(d) // 3], r[len(d) // 3]), xytext=(6, 6), textcoords="offset points", fontsize=8)
    here = calibration.predicted
    if here is not None and here.rate is not None and here.distortion is not None:
        axes.plot(here.distortion, here.rate, "o", color=WATER, markersize=6, clip_on=False, zorder=3)
        bound = rate(eigenvalues, here.distortion)
        right = bound is not None and here.rate > bound + 0.03 * r[0]  # fewer latents than it takes: the curve is on the left
        axes.annotate(
            f"$\\sigma$ = {calibration.sigma:.3g}", (here.distortion, here.rate), textcoords="offset points", color=WATER,
            xytext=(9 if right else -9 if here.rate else -18, 0 if here.rate else 2), ha="left" if right else "right",
            va="center" if here.rate else "bottom", fontsize=8,
        )  # fmt: skip
    model = calibration.model
    if model is not None and model.rate is not None:
        axes.plot(model.distortion, model.rate, "D", color=MARK, markersize=5.5, clip_on=False, zorder=3)
        words = "model" if model.distance is None else f"model, {model.distance:+.3g} nats".replace("-", "−")
        axes.annotate(words, (model.distortion, model.rate), xytext=(7, 5), textcoords="offset points", color=MARK, fontsize=8)
        if model.bound is not None and math.isfinite(model.bound):
            axes.plot([model.distortion] * 2, [model.bound, model.rate], color=MARK, linewidth=0.8, linestyle=(0, (2, 2)))
    elif model is not None and model.distortion < eigenvalues.trace:
        axes.axvline(model.distortion, color=MARK, linewidth=0.9, linestyle=(0, (4, 3)))
        axes.annotate(
            "reconstruction", (model.distortion, 0.97), xycoords=("data", "axes fraction"), xytext=(4, 0), va="top",
            textcoords="offset points", color=MARK, fontsize=8,
        )  # fmt: skip
    wide = eigenvalues.trace > 5 * d[0]
    axes.set(xscale="log" if wide else "linear", xlim=(d[0], d[0] + 1.15 * (eigenvalues.trace - d[0])), ylim=(0, None))
    axes.set(title="Rate against distortion", xlabel="distortion D (squared error per sample)", ylabel="rate R (nats per sample)")


def likelihood(axes: Axes, calibration: Calibration, eigenvalues: Eigenvalues) -> None:
    """Draw the nll against sigma, with its minimum: of the reconstruction where there is one, else of a linear model."""
    from matplotlib.ticker import LogLocator, NullLocator

    fitted = next((row for row in calibration.noise if row.likelihood == "gaussian"), None)
    if fitted is not None:
        best, size = fitted.parameters["sigma"], eigenvalues.dimensions

        def nll(sigma: float) -> float:
            return size * (math.log(2 * math.pi * sigma**2) + (best / sigma) ** 2) / 2

        label = "−log p(x | x̂) (nats per sample)"
    else:
        ready = min(calibration.ppca, key=lambda row: abs(row.latent - USUAL), default=None)
        if ready is None or ready.sigma2 is None:
            axes.set_axis_off()
            return
        best, latent = math.sqrt(ready.sigma2), ready.latent

        def nll(sigma: float) -> float:
            value = point(eigenvalues, sigma**2, latent).log_likelihood
            return math.nan if value is None else -value

        label = f"−log p(x), {latent} latents (nats per sample)"
    grid = numpy.geomspace(best / 4, best * 8, 200)
    curve = numpy.array([(sigma, value) for sigma in grid if not math.isnan(value := nll(float(sigma)))])
    lowest = nll(best)
    axes.plot(curve[:, 0], curve[:, 1], color=INK)
    axes.plot(best, lowest, "o", color=MARK, markersize=6, zorder=3)
    axes.annotate(
        f"best $\\sigma$ = {best:.3g}", (best, lowest), xytext=(0, -7), textcoords="offset points", ha="center", va="top",
        color=MARK, fontsize=8,
    )  # fmt: skip
    sigma = calibration.sigma
    if sigma is not None and not math.isclose(sigma, best, rel_tol=1e-6) and grid[0] <= sigma <= grid[-1]:
        axes.plot(sigma, nll(sigma), "o", color=WATER, markersize=6, zorder=3)
        beyond = sigma > best
        axes.annotate(
            f"$\\sigma$ = {sigma:.3g}", (sigma, nll(sigma)), xytext=(9 if beyond else -9, -2), textcoords="offset points",
            ha="left" if beyond else "right", va="center", color=WATER, fontsize=8,
        )  # fmt: skip
    top = nll(best * 8)
    axes.set(xscale="log", xlim=(grid[0], grid[-1]))
    if not math.isnan(lowest) and not math.isnan(top):
        axes.set_ylim(lowest - 0.18 * (top - lowest), lowest + 1.15 * (top - lowest))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set(title="Which noise fits best", xlabel="sigma (units of x)", ylabel=label)
