"""What a training shows beside its numbers: its curves, the KL of each latent, and trajectories side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from recon_cli.models._base import ACTIVE
from recon_cli.report import Chart, Series, evenly

if TYPE_CHECKING:
    from recon_cli.training.figures import Epoch

MOST = 500  # steps that are drawn, evenly spread


def curves(epochs: Sequence[Epoch], noise: str) -> Iterator[Chart]:
    """Yield the figures of each epoch: the terms of the objective; then the noise, called ``noise``, and the latents in use."""
    at = [each.epoch for each in epochs]
    terms = {"nll": "nll", "kl": "KL", "negative_elbo": "−ELBO", "validation": "−ELBO, validation"}
    every = [
        Series(title, [getattr(each, name) for each in epochs], "dashes" if name == "validation" else "line")
        for name, title in terms.items()
    ]
    series = [one for one in every if any(value is not None for value in one.values)]
    note = "Of the training rows. nll + KL is −ELBO: what falls in one may rise in the other."
    yield Chart("Training", at, series, "epoch", "nats per sample", note=note if len(series) > 1 else "")
    sigma, active = ([getattr(each, name) for each in epochs] for name in ("sigma", "active"))
    both = [Series(noise, sigma)] if any(value is not None for value in sigma) else []
    if any(value is not None for value in active):
        both.append(Series("active latents", active, side=bool(both)))
    if both:
        titles = noise if both[0].name == noise else "active latents", "active latents" if len(both) > 1 else ""
        yield Chart("The noise, and the latents in use" if len(both) > 1 else both[0].name, at, both, "epoch", *titles)


def latents(kl: Sequence[float]) -> Chart:
    """Return the KL of each latent, the largest first."""
    values = sorted(kl, reverse=True)
    note = "A latent below the line is off: its code says nothing of x."
    bars = [Series("KL", values, "bars")]
    at = range(1, len(values) + 1)
    return Chart(
        "The KL of each latent", at, bars, "latent, by KL", "nats per sample", level=ACTIVE, named="active above", note=note
    )


def trajectories(sides: Mapping[str, Sequence[float]], rounding: Sequence[float], objective: Sequence[float]) -> Iterator[Chart]:
    """Yield how far each side is from the likelihood's after every step, beside one rounding; and the likelihood's objective."""
    steps = evenly(range(len(objective)), MOST)
    at = [step + 1 for step in steps]
    apart = [Series(name, [values[step] or None for step in steps]) for name, values in sides.items()]
    apart.append(Series("one rounding", [rounding[step] or None for step in steps], "dashes"))
    same = [name for name, values in sides.items() if not any(values)]
    note = f"{', '.join(same)}: the same to the last bit, which has no place on this scale." if same else ""
    yield Chart(
        "Relative distance of the two networks", at, apart, "step", "relative distance", scales=("linear", "log"), note=note,
    )  # fmt: skip
    yield Chart(
        "The likelihood's objective", at, [Series("objective", [objective[step] for step in steps])], "step", "nats per sample"
    )
