"""What does it change? The same model trained under a likelihood of your choice.

A small variational autoencoder whose reconstruction term is ``likelihood.nll_raw``: each epoch it
reports both sides of -log p = slope * loss + offset + gap, and the ratio of their gradients at the
decoder's parameters, measured by autograd beside the slope that predicts it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import torch

from recon_cli import __version__, devices, likelihoods, sources
from recon_cli.errors import ReconError
from recon_cli.likelihood import Likelihood
from recon_cli.losses import spell
from recon_cli.regions import check
from recon_cli.training import pictures
from recon_cli.training.loop import Epoch, Figures, look, stepper, threads, walk
from recon_cli.training.noises import Fixed, Optimal, start
from recon_cli.training.result import Result, Training, largest_eigenvalue
from recon_cli.training.runs import Run, fresh
from recon_cli.training.settings import Settings, exactly, noise
from recon_cli.vae import Vae

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Epoch", "Figures", "Result", "Settings", "Training", "Vae", "fresh", "train"]


def train(
    data: Any = "digits",
    *,
    likelihood: str | Likelihood = "gaussian",
    sigma: float | str | None = None,
    holdout: float = 0.2,
    epochs: int = 100,
    batch_size: int = 128,
    latent: int = 24,
    hidden: int = 256,
    lr: float = 0.002,
    optimizer: str = "adam",
    beta: float = 1.0,
    seed: int = 0,
    device: str = "auto",
    binarize: str | None = None,
    scale: float | None = None,
    out: str | Path | None = None,
    progress: Callable[[int, str], None] | None = None,
) -> Training:
    """Train a small VAE and measure, each epoch, both sides of the identity.

    data
        a source as on the command line, or an array or tensor of shape (N, ...), N counting samples.
    likelihood, sigma
        ``gaussian``, ``laplace:scale=0.2`` or a Likelihood object, and its noise: a number, ``learned``
        (its logarithm, with the network) or ``optimal`` (the best for each batch). Spelled out in
        neither, one noise parameter is learned.
    scale
        what the data are divided by; None is the source's own (255 for images), 1 leaves them as they are.
    holdout
        the fraction of samples kept back for the result; with 0 it is on the training rows.
    out
        the run folder: ``config.json``, ``metrics.jsonl``, ``result.json``, ``model.safetensors``,
        ``reconstructions.png``. None writes nothing.
    progress
        called after each epoch with its number and what to say.

    In float32, and the same for the same seed on the same machine; the caller's random state stays as
    it is. Raises ReconError for a setting that no run can have, data outside the support, a folder that
    cannot be written or is not empty, and for a run that leaves the numbers.

    >>> train(sigma=0.5, epochs=1, device="cpu").result.predicted
    2.0
    """
    settings = Settings(holdout, epochs, batch_size, latent, hidden, lr, optimizer, beta, seed)
    claim, whose = noise(likelihood, sigma)
    where = devices.device(device)
    word, described, values = samples(data, binarize, scale, seed)
    grey = beyond(claim, torch.from_numpy(values), word)
    parts = sources.split(values.reshape(len(values), -1), holdout, word)
    kept, back = (torch.from_numpy(part).to(where) for part in parts)
    vae = Vae(kept, claim, latent, hidden, torch.Generator().manual_seed(seed), values.shape[-1]).to(where)
    source = start(claim, whose, vae.shaped(kept)).to(where)
    shape = values.shape[1:] or (1,)
    with Run(out) as run, threads(kept, settings):
        run.put_json("config.json", {
            "version": __version__, "data": word, "shape": shape, "binarize": binarize, "scale": scale,
            "likelihood": likelihood if isinstance(likelihood, str) else exactly(claim), "sigma": sigma, "noise": whose,
            **vars(settings), "device": str(where),
        })  # fmt: skip
        steps = walk(vae, source, stepper(vae, source, settings), kept, settings)
        began = time.perf_counter()
        history, claim = follow(steps, run, progress or (lambda done, words: None))
        seconds = time.perf_counter() - began
        shown, which = (back, "held-out") if len(back) else (kept, "training")
        result = Result(
            **vars(look(vae, Fixed(claim), shown, settings)[0]),
            epoch=epochs,
            data=f"{word}, {which}",
            rows_trained=len(kept),
            rows_held_out=len(back),
            seconds=seconds,
            samples_per_second=len(kept) * epochs / seconds,
        )
        found = Training(
            settings, claim, whose, described, history, result, vae,
            best=best(vae, claim, kept, settings),
            grey=grey,
            eigenvalue=largest_eigenvalue(kept) if claim.name == "gaussian" and not result.active else None,
            folder=run.path,
            picture=pictures.picture(vae, shown, shape, which),
        )  # fmt: skip
        run.finish(found)
    return found


def follow(
    steps: Iterator[tuple[Epoch, Likelihood]], run: Run, progress: Callable[[int, str], None]
) -> tuple[tuple[Epoch, ...], Likelihood]:
    """Every epoch, recorded as it ends, and the likelihood after the last."""
    history = []
    for step in steps:
        epoch, claim = step
        history.append(epoch)
        run.record({"epoch": epoch.epoch, **vars(epoch)})
        progress(epoch.epoch, f"ELBO {-epoch.negative_elbo:.2f}, {epoch.active} latents active")
    return tuple(history), claim


def samples(data: Any, binarize: str | None, scale: float | None, seed: int) -> tuple[str, str, sources.Array]:
    """What to call the data, what they are, and their values in float32, shape (N, ...)."""
    if isinstance(data, (str, Path)):
        word = str(data)
        values, about = sources.samples(sources.parse(word, seed), word, scale)
    else:
        word = "data"
        array = data.detach().float().cpu().numpy() if isinstance(data, torch.Tensor) else numpy.asarray(data)
        values, done = sources.scaled(array, word, scale)
        about = f"{word}: {len(values):,} samples of shape {spell(values.shape[1:])}{done and ', '}{done}"
    values = sources.binarized(numpy.asarray(values), binarize, seed, word)
    how = {None: "", "threshold": ", made 0 or 1 at one half", "sample": ", made 0 or 1 by chance"}[binarize]
    with numpy.errstate(over="ignore"):
        single = values.astype(numpy.float32, copy=not values.flags.writeable)
    if not numpy.isfinite(single).all():
        most = max(values.max(), -values.min())
        raise ReconError(f"{word} has values up to {most:g}, beyond the range of float32.", "Rescale the data.")
    return word, about + how, single


def beyond(claim: Likelihood, x: Tensor, word: str) -> float:
    """The share of ``x`` where ``claim`` is no density but its relaxation is; 0 where it is one of everything.

    Raises ReconError for values outside both.
    """
    outside = ~claim.support.contains(x)
    side = likelihoods.parse(claim.relaxation) if claim.relaxation and outside.any() else claim
    check(x, side.support, f"the data ({word})", f"{claim.name} allows")
    return outside.double().mean().item()


def best(vae: Vae, claim: Likelihood, rows: Tensor, settings: Settings) -> float | None:
    """The noise that ``rows`` would choose for their reconstructions; None where there is none to choose."""
    try:
        return look(vae, Optimal(claim), rows, settings)[0].sigma if claim.noise else None
    except ReconError:
        return None
