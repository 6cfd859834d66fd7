"""A run from its plan to its result: begun, gone on with, and measured."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon_cli.errors import ReconError, Remark
from recon_cli.identity.likelihood import Likelihood
from recon_cli.likelihoods._grey_levels import bits_per_dimension, spacing
from recon_cli.models import user
from recon_cli.models.vae import Vae
from recon_cli.runtime import processes
from recon_cli.runtime.torch_state import in_default_state
from recon_cli.sources.run import settings_of
from recon_cli.training import regressing
from recon_cli.training.checkpoints import CHECKPOINT, Keeper, unpack
from recon_cli.training.evaluation import boards, pictures
from recon_cli.training.evaluation.bounds import estimates
from recon_cli.training.evaluation.mean_alone import alone
from recon_cli.training.evaluation.residuals import calibration
from recon_cli.training.experiments.optimum import largest_eigenvalue, optimum, pca, solve
from recon_cli.training.figures import Epoch, in_common, look, rates
from recon_cli.training.loop import threads, walk
from recon_cli.training.noises import Fixed, Optimal
from recon_cli.training.plan import Plan
from recon_cli.training.result import Result, Training
from recon_cli.training.runs import Run, begun
from recon_cli.training.schedules import Schedule
from recon_cli.training.settings import Settings, option, own_model

if TYPE_CHECKING:
    from torch import Tensor


Progress = Callable[[int, str], None]


@in_default_state
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
    """Train a small VAE (or autoencoder) and measure, each epoch, both sides of the identity.

    data
        a source as on the command line, or an array or tensor of shape (N, ...), N counting samples; of a regression
        also a pair of them, (x, y).
    likelihood, sigma
        ``gaussian``, ``laplace:scale=0.2`` or a Likelihood object, and its noise: a number, ``learned``
        (its logarithm, with the network), ``optimal`` (the best for each batch), ``per-element`` (learned, one for each
        element of the data) or ``network`` (a second output of the decoder; of a Gaussian, heteroscedastic-gaussian).
        Spelled out in neither, one noise parameter is learned.
    scale
        what the data are divided by; None is the source's own (255 for images), 1 leaves them as they are.
    out
        the run folder: ``config.json``, ``metrics.jsonl``, ``checkpoint.safetensors``, ``result.json``,
        ``model.safetensors``, ``reconstructions.png``, and with ``tensorboard`` its event files. None writes nothing.
    progress
        called after each epoch with its number and what to say.
    settings
        the numbers of the run, by their names in :class:`Settings`, which has their defaults.

    In float32, and the same for the same seed on the same machine; the caller's random state stays as
    it is. Ctrl-C, SIGTERM and SIGHUP finish the step and write it down (:class:`Interrupted`). Raises ReconError for a
    setting that no run can have, data outside the support, a folder that cannot be written or is not empty, and for a run
    that leaves the numbers.

    >>> train(sigma=0.5, epochs=1, device="cpu").result.predicted
    2.0
    """
    plan = Plan.of(data, likelihood, sigma, device, binarize, scale, **settings)
    for remark in plan.remarks if processes.rank() == 0 else ():
        warnings.warn(remark, Remark, stacklevel=2)
    if plan.settings.tensorboard:
        boards.available(out)
    with Run(out, begun(out, plan.config), plan.config) as run:
        run.put_config(plan.config)
        return carry_out(plan, run, progress)


@in_default_state
def resume(
    folder: str | Path, *, data: Any = None, progress: Progress | None = None, trust: bool = False, **asked: Any
) -> Training:
    """Go on with the run in ``folder`` from its last checkpoint, to the same bits as if it had never stopped (on a CPU).

    data
        the array that it was trained on, where that was no source with a name.
    asked
        options that must be the run's own; ``epochs`` alone may be more.
    trust
        whether a model's file may be run that the folder alone names; one that is ``asked`` for again is named by you.

    Raises ReconError for a folder without a run, a run of another version, options that contradict it, and data that
    are not what they were.
    """
    if isinstance(data, (str, Path)):
        asked, data = {"data": str(data), **asked}, None
    config = settings_of(str(folder))
    was = {name: config[name] for name in ("data", "likelihood", "sigma", "device", "binarize", "scale")}
    settings = {field.name: config[field.name] for field in dataclasses.fields(Settings)}
    model = asked.get("model", settings["model"])
    for name, value in asked.items():
        value = user.spelled(value) if name == "model" else value
        mine = {**was, **settings, "out": str(folder)}[name]
        if name == "epochs" and value > mine and Schedule.parse(settings["schedule"]).endless:
            settings["epochs"] = value
        elif not alike(mine, value) and (name, value) != ("device", "auto"):
            raise ReconError(
                f"The run in {folder} has {option(name)} {mine}, and {value} was asked for: it could not go on as the same run.",
                f"Leave {option(name)} out (only --epochs may grow), or start another run.",
            )
    if isinstance(model, str) and (own_model(model) or "model_sha256" in config):
        user.allowed(model, config.get("model_sha256"), trust or "model" in asked, str(folder))
    plan = Plan.of(**{**was, "data": was["data"] if data is None else data}, **{**settings, "model": model})
    user.unchanged(settings["model"], config.get("model_sha256"), plan.config.get("model_sha256"))
    if plan.config["rows"] != config["rows"]:
        raise ReconError(
            f"The run in {folder} was trained on other values of {config['data']}: they have changed since.",
            "Give back the data that it had, or start another run.",
        )
    if plan.settings.tensorboard:
        boards.available(folder)
    with Run(folder, again=True, config=config) as run:
        if settings["epochs"] != config["epochs"]:
            run.put_config({**config, "epochs": settings["epochs"]})
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


def carry_out(plan: Plan, run: Run, progress: Progress | None) -> Training:
    """Train from where ``run`` is, and measure the result."""
    settings, kept = plan.settings, plan.kept
    with threads(kept, settings):
        state, before, seen = plan.state(), 0.0, ""
        if run.path is not None and (run.path / CHECKPOINT).exists():
            before, seen = unpack(run.path / CHECKPOINT, state, run.identity)
        if state.epoch > settings.epochs:
            raise ReconError(f"The run in {run.path} has {state.epoch} epochs behind it.", "Give at least as many --epochs.")
        history = [Epoch(**line) for line in run.recall(state.epoch, seen)] if run.again else []
        keeper, claim = Keeper(run, state, settings.checkpoint_every, before), None
        ended, rate = state.epoch >= settings.epochs or state.watch.over, state.scheduler.rate
        board = boards.Board(run.path if settings.tensorboard and processes.rank() == 0 else None, history, ended, rate)
        with keeper.patience():
            for epoch, claim in solve(state) if settings.exact else walk(state, keeper):  # noqa: B007
                history.append(epoch)
                run.record({"epoch": epoch.epoch, **vars(epoch)})
                board.epoch(epoch, state.scheduler.rate)
                (progress or (lambda done, words: None))(epoch.epoch, epoch.words)
        seconds = keeper.seconds
        if not settings.exact:
            keeper.save()
        vae, chosen = state.model, state.watch.restore(state)
        epochs = len(history)
        claim = claim if claim and not chosen else look(vae, state.noise, state.shown, settings)[1]
        shown, which = (plan.back, "held-out") if len(plan.back) else (kept, "training")
        answers = regressing.answers(vae, claim, kept, shown, plan.names)
        events = state.model.target(kept)
        width = None if plan.grey or claim.event or not settings.bounded else spacing(events.cpu())
        seen = look(vae, Fixed(claim), shown, settings)[0]
        beside = alone(vae, plan.claim, plan.whose, claim, kept, shown, settings)
        result = Result(
            **vars(seen),
            mean_alone=beside.nll,
            bits_per_dimension=width and bits_per_dimension(seen.negative_elbo / events[0].numel(), width, claim.discrete),
            epoch=epochs,
            validation=state.watch.value if chosen else history[-1].validation,
            data=f"{plan.word}, {which}",
            rows_trained=len(kept),
            rows_validation=len(plan.checked),
            rows_held_out=len(plan.back),
            seconds=seconds,
            samples_per_second=len(kept) * epochs / seconds,
            **regressing.overall(answers),
        )
        near = estimates(vae, claim, shown, settings.iwae, settings.seed + 2) if settings.iwae else ((), ())
        plain = in_common(claim) is claim and settings.bounded
        found = Training(
            settings, claim, plan.whose, plan.described, tuple(history), result, vae,
            width=width,
            chosen=chosen,
            calibration=calibration(vae, claim, shown, settings, f"{plan.word}, {which}"),
            latents=rates(vae, shown, settings),
            best=best(vae, claim, kept, settings),
            bounds=near[0],
            bound_errors=near[1],
            optimum=optimum(vae, claim, kept, settings.latent, plan.whose, settings.beta),
            pca=pca(vae, kept, settings),
            grey=plan.grey,
            eigenvalue=largest_eigenvalue(kept) if plain and claim.name == "gaussian" and not result.active else None,
            folder=run.path,
            alone=beside,
            still=state.still,
            network=plan.config["sigma"] == "network",
            picture=pictures.picture(vae, shown, plan.shape, which) if settings.latent else None,
            answers=answers,
            line=regressing.line(vae, claim, plan.whose, kept),
            remarks=plan.remarks,
        )  # fmt: skip
        generated = pictures.generated(vae, shown, plan.shape, settings.seed) if run.path and settings.latent else {}
        run.finish(found, generated)
        board.finish(result, which, {"reconstructions.png": found.picture, **generated}, epochs)
    return found


def best(vae: Vae, claim: Likelihood, rows: Tensor, settings: Settings) -> float | None:
    """The noise that ``rows`` would choose for their reconstructions; None where there is none to choose."""
    try:
        return look(vae, Optimal(claim), rows, settings)[0].sigma if claim.noise and in_common(claim) is claim else None
    except ReconError:
        return None
