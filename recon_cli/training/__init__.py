"""What does it change? The same model trained under a likelihood of your choice.

A small variational autoencoder whose reconstruction term is ``likelihood.nll_raw``: each epoch it
reports both sides of -log p = slope * loss + offset + gap, and the ratio of their gradients at the
decoder's parameters, measured by autograd beside the slope that predicts it.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import torch

from recon_cli import __version__, devices, likelihoods, sources
from recon_cli.errors import ReconError
from recon_cli.likelihood import Likelihood
from recon_cli.losses import spell
from recon_cli.regions import check
from recon_cli.sources.run import settings_of
from recon_cli.training import pictures
from recon_cli.training.checkpoints import CHECKPOINT, Interrupted, Keeper, unpack
from recon_cli.training.figures import Epoch, Figures, look
from recon_cli.training.loop import State, threads, walk
from recon_cli.training.noises import Fixed, Optimal, start
from recon_cli.training.result import Result, Training, largest_eigenvalue
from recon_cli.training.runs import Run, fresh
from recon_cli.training.settings import Settings, exactly, noise, option
from recon_cli.vae import Vae

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Epoch", "Figures", "Interrupted", "Result", "Settings", "Training", "Vae", "fresh", "resume", "train"]

Progress = Callable[[int, str], None]


def train(
    data: Any = "digits",
    *,
    likelihood: str | Likelihood = "gaussian",
    sigma: float | str | None = None,
    device: str = "auto",
    binarize: str | None = None,
    scale: float | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    **settings: Any,
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
    out
        the run folder: ``config.json``, ``metrics.jsonl``, ``checkpoint.safetensors``, ``result.json``,
        ``model.safetensors``, ``reconstructions.png``. None writes nothing.
    progress
        called after each epoch with its number and what to say.
    settings
        the numbers of the run, by their names in :class:`Settings`, which has their defaults.

    In float32, and the same for the same seed on the same machine; the caller's random state stays as
    it is. Ctrl-C finishes the step and writes it down (:class:`Interrupted`). Raises ReconError for a setting that
    no run can have, data outside the support, a folder that cannot be written or is not empty, and for a run
    that leaves the numbers.

    >>> train(sigma=0.5, epochs=1, device="cpu").result.predicted
    2.0
    """
    plan = Plan.of(data, likelihood, sigma, device, binarize, scale, Settings(**settings))
    with Run(out) as run:
        run.put_json("config.json", plan.config)
        return carry_out(plan, run, progress)


def resume(folder: str | Path, *, data: Any = None, progress: Progress | None = None, **asked: Any) -> Training:
    """Go on with the run in ``folder`` from its last checkpoint, to the same bits as if it had never stopped (on a CPU).

    data
        the array that it was trained on, where that was no source with a name.
    asked
        options that must be the run's own; ``epochs`` alone may be more.

    Raises ReconError for a folder without a run, a run of another version, options that contradict it, and data that
    are not what they were.
    """
    if isinstance(data, (str, Path)):
        asked, data = {"data": str(data), **asked}, None
    config = settings_of(str(folder))
    was = {name: config[name] for name in ("data", "likelihood", "sigma", "device", "binarize", "scale")}
    settings = {field.name: config.get(field.name, field.default) for field in dataclasses.fields(Settings)}
    for name, value in asked.items():
        mine = {**was, **settings, "out": str(folder)}[name]
        if name == "epochs" and value > mine:
            settings["epochs"] = value
        elif not alike(mine, value) and (name, value) != ("device", "auto"):
            raise ReconError(
                f"The run in {folder} has {option(name)} {mine}, and {value} was asked for: it could not go on as the same run.",
                f"Leave {option(name)} out (only --epochs may grow), or start another run.",
            )
    plan = Plan.of(**{**was, "data": was["data"] if data is None else data}, settings=Settings(**settings))
    if plan.config["rows"] != config["rows"]:
        raise ReconError(
            f"The run in {folder} was trained on other values of {config['data']}: they have changed since.",
            "Give back the data that it had, or start another run.",
        )
    with Run(folder, again=True) as run:
        if settings["epochs"] != config["epochs"]:
            run.put_json("config.json", plan.config)
        return carry_out(plan, run, progress)


def epochs_of(folder: str, asked: dict[str, Any]) -> int:
    """How many epochs a run will have when it has been gone on with."""
    return asked.get("epochs") or settings_of(folder)["epochs"]


def alike(mine: Any, asked: Any) -> bool:
    """Whether two values of an option are the same one: numbers as numbers, words as words."""
    try:
        return float(mine) == float(asked)
    except (TypeError, ValueError):
        return str(mine) == str(asked)


@dataclass(frozen=True)
class Plan:
    """A run before its first step: what was asked for, checked, and the data.

    whose
        whose the noise is: ``fixed``, ``learned`` or ``optimal``.
    kept, back
        the training rows and those held out, (N, D) each.
    config
        what ``config.json`` says.
    """

    settings: Settings
    claim: Likelihood
    whose: str
    word: str
    described: str
    shape: tuple[int, ...]
    kept: Tensor
    back: Tensor
    grey: float
    config: dict[str, Any]

    @classmethod
    def of(
        cls, data: Any, likelihood: str | Likelihood, sigma: float | str | None, device: str, binarize: str | None,
        scale: float | None, settings: Settings,
    ) -> Plan:  # fmt: skip
        """Everything read and checked, nothing made."""
        claim, whose = noise(likelihood, sigma)
        where = devices.device(device)
        word, described, values = samples(data, binarize, scale, settings.seed)
        grey = beyond(claim, torch.from_numpy(values), word)
        parts = sources.split(values.reshape(len(values), -1), settings.holdout, word)
        kept, back = (torch.from_numpy(part).to(where) for part in parts)
        shape = values.shape[1:] or (1,)
        fingerprint = f"{len(values)}:{zlib.crc32(numpy.ascontiguousarray(values)):08x}"
        config = {
            "version": __version__, "data": word, "shape": shape, "rows": fingerprint,
            "binarize": binarize, "scale": scale,
            "likelihood": likelihood if isinstance(likelihood, str) else exactly(claim), "sigma": sigma, "noise": whose,
            **vars(settings), "device": str(where),
        }  # fmt: skip
        return cls(settings, claim, whose, word, described, shape, kept, back, grey, config)

    def state(self) -> State:
        """The model before its first step."""
        generator = torch.Generator().manual_seed(self.settings.seed)
        vae = Vae(self.kept, self.claim, self.settings.latent, self.settings.hidden, generator, self.shape[-1])
        source = start(self.claim, self.whose, vae.shaped(self.kept), self.settings.sigma_floor)
        return State(vae.to(self.kept.device), source.to(self.kept.device), self.kept, self.settings)


def carry_out(plan: Plan, run: Run, progress: Progress | None) -> Training:
    """Train from where ``run`` is, and measure the result."""
    settings, kept = plan.settings, plan.kept
    with threads(kept, settings):
        state, before = plan.state(), 0.0
        if run.path is not None and (run.path / CHECKPOINT).exists():
            before = unpack(run.path / CHECKPOINT, state)
        if state.epoch > settings.epochs:
            raise ReconError(f"The run in {run.path} has {state.epoch} epochs behind it.", "Give at least as many --epochs.")
        history = [Epoch(**line) for line in run.recall(state.epoch)] if run.again else []
        keeper, claim = Keeper(run, state, settings.checkpoint_every, before), None
        with keeper.patience():
            for epoch, claim in walk(state, keeper):  # noqa: B007
                history.append(epoch)
                run.record({"epoch": epoch.epoch, **vars(epoch)})
                (progress or (lambda done, words: None))(
                    epoch.epoch, f"ELBO {-epoch.negative_elbo:.2f}, {epoch.active} latents active"
                )
        seconds = keeper.seconds
        keeper.save()
        vae = state.vae
        claim = claim or look(vae, state.noise, kept, settings)[1]
        shown, which = (plan.back, "held-out") if len(plan.back) else (kept, "training")
        result = Result(
            **vars(look(vae, Fixed(claim), shown, settings)[0]),
            epoch=settings.epochs,
            data=f"{plan.word}, {which}",
            rows_trained=len(kept),
            rows_held_out=len(plan.back),
            seconds=seconds,
            samples_per_second=len(kept) * settings.epochs / seconds,
        )
        found = Training(
            settings, claim, plan.whose, plan.described, tuple(history), result, vae,
            best=best(vae, claim, kept, settings),
            grey=plan.grey,
            eigenvalue=largest_eigenvalue(kept) if claim.name == "gaussian" and not result.active else None,
            folder=run.path,
            picture=pictures.picture(vae, shown, plan.shape, which),
        )  # fmt: skip
        run.finish(found)
    return found


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
