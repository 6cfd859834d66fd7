"""A run from its plan to its result: begun, gone on with, and measured."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon_cli import likelihoods
from recon_cli.errors import ReconError, Remark
from recon_cli.identity.likelihood import Likelihood
from recon_cli.likelihoods._grey_levels import bits_per_dimension, spacing
from recon_cli.models import _references as references
from recon_cli.models._base import Model
from recon_cli.models._options import is_own, spelled
from recon_cli.runtime import processes
from recon_cli.runtime.torch_state import in_default_state
from recon_cli.sources import ReadOptions
from recon_cli.sources.run import settings_of
from recon_cli.training.checkpoints import CHECKPOINT, Keeper, unpack
from recon_cli.training.evaluation import boards, pictures, predictions
from recon_cli.training.evaluation.bounds import estimates
from recon_cli.training.evaluation.mean_alone import alone
from recon_cli.training.evaluation.residuals import calibration
from recon_cli.training.experiments.optimum import largest_eigenvalue, optimum, pca, solve
from recon_cli.training.figures import Epoch, in_common, look, rates
from recon_cli.training.loop import State, threads, walk
from recon_cli.training.noises import Fixed, Optimal
from recon_cli.training.plan import Data, Plan
from recon_cli.training.result import Result, Training
from recon_cli.training.runs import RunFolder, begun
from recon_cli.training.schedules import Schedule
from recon_cli.training.settings import Everything, Settings, split_options, with_options

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Unpack

    from recon_cli.models._options import Asked

Progress = Callable[[int, str], None]


@with_options()
@in_default_state
def train(
    data: Data = "digits",
    *,
    likelihood: str | Likelihood = "gaussian",
    sigma: float | str | None = None,
    device: str = "auto",
    binarize: str | None = None,
    scale: float | None = None,
    out: str | Path | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[Epoch], object] | None = None,
    **settings: Unpack[Everything],
) -> Training:
    """Train a small VAE (or autoencoder) and measure, each epoch, both sides of the identity.

    data
        a source as on the command line, or an array, a table, a data set, a loader or generator of batches of shape (N, ...),
        N counting samples; of a regression also a pair of them, (x, y), or a data set of such pairs.
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
    on_epoch
        called after each epoch with its :class:`~recon_cli.training.figures.Epoch`, once that is in the run folder: numbers,
        also as ``vars(epoch)``, for a logger of your own. What it raises ends the run, which can be resumed.
    settings
        the numbers of the run, by their names in :class:`~recon_cli.models._options.Options`, which has their defaults; and how
        the data are read, by their names in :class:`~recon_cli.sources.ReadOptions`: ``missing="nan"``, a ``mask``, ``weights``.

    In float32, and the same for the same seed on the same machine; the caller's random state stays as
    it is. Ctrl-C, SIGTERM and SIGHUP finish the step and write it down (:class:`Interrupted`). Raises ReconError for a
    setting that no run can have, data outside the support, a folder that cannot be written or is not empty, and for a run
    that leaves the numbers.

    >>> train(sigma=0.5, epochs=1, device="cpu").result.predicted
    2.0
    """
    reading, numbers = split_options(settings)
    plan = Plan.of(data, likelihood, sigma, device, binarize, scale, reading, **numbers)
    for remark in plan.remarks if processes.rank() == 0 else ():
        warnings.warn(remark, Remark, stacklevel=2)
    if plan.settings.tensorboard:
        boards.available(out)
    with RunFolder(out, begun(out, plan.config), plan.config) as run:
        run.put_config(plan.config)
        return carry_out(plan, run, progress, on_epoch)


@in_default_state
def resume(
    folder: str | Path, *, data: Data | None = None, progress: Progress | None = None,
    on_epoch: Callable[[Epoch], object] | None = None, trust: bool = False, **asked: Unpack[Asked],
) -> Training:  # fmt: skip
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
    config = settings_of(str(folder))
    was: dict[str, Any] = {name: config[name] for name in ("data", "likelihood", "sigma", "device", "binarize", "scale")}
    read = {name: config.get(name) for name in ReadOptions.names()}
    settings: dict[str, Any] = {field.name: config[field.name] for field in dataclasses.fields(Settings)}
    model = asked.get("model", settings["model"])
    wanted: dict[str, object] = {**({"data": str(data)} if isinstance(data, (str, Path)) else {}), **asked}
    for name, value in wanted.items():
        value = references.spelled(value) if name == "model" else value
        mine = {**was, **read, **settings, "out": str(folder)}[name]
        endless = Schedule.parse(settings["schedule"]).endless and not settings["average"]
        if name == "epochs" and isinstance(value, int) and value > mine and endless:
            settings["epochs"] = value
        elif not alike(mine, value) and (name, value) != ("device", "auto"):
            raise ReconError(
                f"The run in {folder} has {spelled(name)} {mine}, and {value} was asked for: it could not go on as the same run.",
                f"Leave {spelled(name)} out (only --epochs may grow), or start another run.",
            )
    if isinstance(model, str) and is_own(model):
        references.check_trust(model, config.get("model_sha256"), trust or "model" in asked, str(folder))
    if likelihoods.is_own(was["likelihood"]):
        own = likelihoods.parts(was["likelihood"])[0]
        references.check_trust(own, config.get("likelihood_sha256"), trust or "likelihood" in asked, str(folder), "likelihood")
    source = was.pop("data")
    keywords: dict[str, Any] = {**was, **settings, "model": model}
    plan = Plan.of(source if data is None or isinstance(data, (str, Path)) else data, reading=reading_of(config), **keywords)
    references.check_unchanged(settings["model"], config.get("model_sha256"), plan.config.get("model_sha256"))
    if plan.config["rows"] != config["rows"]:
        raise ReconError(
            f"The run in {folder} was trained on other values of {config['data']}: they have changed since.",
            "Give back the data that it had, or start another run.",
        )
    if plan.settings.tensorboard:
        boards.available(folder)
    with RunFolder(folder, again=True, config=config) as run:
        if settings["epochs"] != config["epochs"]:
            run.put_config({**config, "epochs": settings["epochs"]})
        return carry_out(plan, run, progress, on_epoch)


def reading_of(config: dict[str, Any]) -> ReadOptions:
    """Return how a run's data were read. Raises ReconError where that took an array, which no file holds."""
    for name in ("mask", "weights"):
        if config.get(name) == "an array":
            raise ReconError(
                f"The run has {name} that were an array, and no file holds them.", "Give them as a file, and train again."
            )
    return ReadOptions.asked({**config, **({"size": tuple(config["size"])} if "size" in config else {})})


def epochs_of(folder: str, asked: int | None) -> int:
    """Return how many epochs a run will have when it has been gone on with, of which ``asked`` were asked for."""
    return asked or int(settings_of(folder)["epochs"])


def alike(mine: object, asked: object) -> bool:
    """Return whether two values of an option are the same one: numbers as numbers, words as words."""
    try:
        return str(mine) == str(asked) or float(str(mine)) == float(str(asked))
    except ValueError:
        return str(mine) == str(asked)


def carry_out(
    plan: Plan, run: RunFolder, progress: Progress | None, on_epoch: Callable[[Epoch], object] | None
) -> Training:  # fmt: skip
    """Train from where ``run`` is, and measure the result."""
    with threads(plan.train_rows, plan.settings):
        return measure(plan, run, *descend(plan, run, progress, on_epoch))


def descend(
    plan: Plan, run: RunFolder, progress: Progress | None, on_epoch: Callable[[Epoch], object] | None
) -> tuple[State, Likelihood, list[Epoch], float, boards.Board]:  # fmt: skip
    """Train from where ``run`` is to the last epoch, and go back to the best, or to the average, where that is asked for.

    Return the state, the likelihood with its noise as it is then, the figures of all epochs, the seconds that they took, and
    the board that they were shown on.
    """
    settings = plan.settings
    state, before, digest = plan.state(), 0.0, ""
    if run.path is not None and (run.path / CHECKPOINT).exists():
        before, digest = unpack(run.path / CHECKPOINT, state, run.identity)
    if state.epoch > settings.epochs:
        raise ReconError(f"The run in {run.path} has {state.epoch} epochs behind it.", "Give at least as many --epochs.")
    history = [Epoch(**line) for line in run.recall(state.epoch, digest)] if run.again else []
    keeper = Keeper(run, state, settings.checkpoint_every, before)
    likelihood: Likelihood | None = None
    ended, rate = state.epoch >= settings.epochs or state.watch.is_over, state.scheduler.rate
    board = boards.Board(run.path if settings.tensorboard and processes.rank() == 0 else None, history, ended, rate)
    with keeper.patience():
        for epoch, likelihood in solve(state) if settings.exact else walk(state, keeper):  # noqa: B007
            history.append(epoch)
            run.record({"epoch": epoch.epoch, **vars(epoch)})
            board.epoch(epoch, state.scheduler.rate)
            if progress is not None:
                progress(epoch.epoch, epoch.words)
            if on_epoch is not None:
                on_epoch(epoch)
    seconds = keeper.seconds
    if not settings.exact:
        keeper.save()
    if state.watch.restore() or state.average.restore() or likelihood is None:
        likelihood = look(state.model, state.noise, state.some, settings)[1]
    return state, likelihood, history, seconds, board


def measure(
    plan: Plan, run: RunFolder, state: State, likelihood: Likelihood, history: list[Epoch], seconds: float, board: boards.Board
) -> Training:
    """Return what a run has come to, measured on the rows held out, or on the training rows without any; and write it."""
    settings, train_rows, model = plan.settings, plan.train_rows, state.model
    rows, which = (plan.held_out, "held-out") if len(plan.held_out) else (train_rows, "training")
    chosen = state.watch.epoch if state.watch.best else None
    answers = predictions.answers(model, likelihood, train_rows, rows, plan.columns)
    rmse, r2 = predictions.overall(answers)
    events, whole = model.target(train_rows), train_rows.shape[1] == model.elements
    width = None if plan.grey or likelihood.event or not model.has_kl else spacing(events.cpu())
    figures = look(model, Fixed(likelihood), rows, settings)[0]
    bits = None
    if width and figures.negative_elbo is not None:
        bits = bits_per_dimension(figures.negative_elbo / events[0].numel(), width, likelihood.discrete)
    beside = alone(model, plan.likelihood, plan.whose, likelihood, train_rows, rows, settings)
    validation = state.watch.value if chosen else history[-1].validation
    if state.average.mean:
        validation = state.watch.look(len(history), likelihood)
    result = Result(
        **vars(figures),
        data=f"{plan.word}, {which}",
        bits_per_dimension=bits,
        mean_alone=beside.nll,
        validation=validation,
        epoch=len(history),
        rows_trained=len(train_rows),
        rows_validation=len(plan.validation_rows),
        rows_held_out=len(plan.held_out),
        seconds=seconds,
        samples_per_second=len(train_rows) * len(history) / seconds,
        rmse=rmse,
        r2=r2,
    )
    sizes, means, errors = estimates(model, likelihood, rows, settings.iwae, settings.seed + 2)
    collapsed = in_common(likelihood) is likelihood and model.has_kl and likelihood.name == "gaussian" and not result.active
    training = Training(
        settings, likelihood, plan.whose, plan.described, tuple(history), result, model,
        width=width,
        chosen=chosen,
        calibration=calibration(model, likelihood, rows, settings, f"{plan.word}, {which}"),
        latents=rates(model, rows, settings),
        best=best(model, likelihood, train_rows, settings),
        bounds=tuple(zip(sizes, means, strict=True)),
        bound_errors=errors,
        optimum=optimum(model, likelihood, train_rows, plan.whose, settings.beta) if whole else None,
        pca=pca(model, train_rows) if whole else None,
        grey=plan.grey,
        eigenvalue=largest_eigenvalue(train_rows) if collapsed and whole else None,
        folder=run.path,
        alone=beside,
        still=state.still,
        network=plan.config["sigma"] == "network",
        pictures=pictures.pictures(model, rows, plan.shape, which, settings.seed),
        answers=answers,
        line=predictions.line(model, likelihood, plan.whose, train_rows) if whole else None,
        remarks=plan.remarks,
    )  # fmt: skip
    run.finish(training)
    board.finish(figures, which, training.pictures, len(history))
    return training


def best(model: Model, likelihood: Likelihood, rows: Tensor, settings: Settings) -> float | None:
    """Return the noise that ``rows`` would choose for their reconstructions; None where there is none to choose."""
    if not likelihood.noise or in_common(likelihood) is not likelihood:
        return None
    try:
        return look(model, Optimal(likelihood), rows, settings)[0].sigma
    except ReconError:
        return None
