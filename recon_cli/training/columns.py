"""The columns of what a training run found."""

from __future__ import annotations

from collections.abc import Sequence

from recon_cli.report import Column, Table
from recon_cli.training.experiments.optimum import Optimum
from recon_cli.training.figures import ACTIVE


def optima(found: Sequence[Optimum]) -> Table:
    """Predicted and found, a row each."""
    return Table("optimum", [Column(*one) for one in OPTIMUM], [one.row for one in found])


def latents(found: Sequence[float]) -> Table:
    """The KL of each, the largest first; those that are off in their order."""
    order = sorted(range(len(found)), key=lambda latent: -found[latent] if found[latent] > ACTIVE else 0.0)
    rows = [{"latent": latent, "kl": found[latent], "active": found[latent] > ACTIVE} for latent in order]
    return Table("latents", [Column(*one) for one in LATENTS], rows, "KL of each latent, nats per sample", most=12)


LATENTS = (("latent", "latent", "*"), ("kl", "KL", ""), ("active", "active", ""))
VALIDATION = "−ELBO of the validation rows, nats per sample"
ERRORS = (
    ("rmse", "RMSE", "error of the prediction, in the units of y"),
    ("r2", "R²", "error of the prediction, in the units of y"),
)
CODED = ("kl", "negative_elbo", "active")  # figures that only latents have
TRAINING = "on the training rows, nats per sample"
RESULT = "nats per sample"
GRADIENTS = "d nll / d loss at the decoder's parameters (autograd)"
COST = "cost"


def figures(values: str) -> tuple[tuple[str, str, str], ...]:
    """The columns of figures: key, title, panel."""
    return (
        ("nll", "nll", values),
        ("loss", "loss", values),
        ("kl", "KL", values),
        ("negative_elbo", "−ELBO", values),
        ("sigma", "sigma", values),
        ("active", "active", values),
        ("ratio", "measured", GRADIENTS),
        ("predicted", "predicted", GRADIENTS),
        ("cosine", "cosine", GRADIENTS),
    )


EPOCHS = (("epoch", "epoch", "*"), *figures(TRAINING), ("validation", "validation", VALIDATION))
RESULTS: tuple[tuple[str, str, str | None], ...] = (
    ("data", "data", "*"),
    *figures(RESULT),
    ("bits_per_dimension", "bits/dim", RESULT),
    ("mean_alone", "mean alone", None),
    ("validation", "−ELBO", VALIDATION),
    ("epoch", "epochs", COST),
    ("rows_trained", "rows trained", COST),
    ("rows_validation", "rows for validation", COST),
    ("rows_held_out", "rows held out", COST),
    ("seconds", "seconds", COST),
    ("samples_per_second", "samples per second", COST),
)


def beside(key: str, panel: str) -> tuple[tuple[str, str, str], ...]:
    """A predicted figure and the one that was found."""
    return (f"{key}_predicted", "predicted", panel), (f"{key}_found", "found", panel)


BEST = "ELBO of the training rows, nats per sample, beside that of PPCA"
OPTIMUM = (
    ("sigma", "sigma", "*"),
    *beside("elbo", BEST),
    ("gap", "gap", BEST),
    *beside("active", "active latents"),
    *beside("kl", "KL, beside the rate of reverse water-filling"),
    *beside("distortion", "squared error expected of a sample, beside the distortion"),
    *beside("sigma", "sigma, beside the best"),
)
