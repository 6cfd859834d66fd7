"""``recon train``: what does it change?"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import click

from recon_cli import registry
from recon_cli.commands import _options as options
from recon_cli.commands import _output as output
from recon_cli.models._options import Options, is_own, spelled
from recon_cli.runtime import processes, progress

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
KINDS = {"int": click.INT, "float": click.FLOAT, "str": click.STRING}
TYPES: dict[str, options.Word[Any]] = {
    "loss": options.LossWord(keep=True),
    "optimizer": options.Completed(options.optimizers),
    "model": options.Completed(lambda: registry.names("models")),
}


def setting(*names: str) -> Callable[[Decorated], Decorated]:
    """Return a decorator that gives a command the options of those names, as :class:`Options` declares them."""
    fields = {field.name: field for field in dataclasses.fields(Options)}

    def decorate(command: Decorated) -> Decorated:
        for name in reversed(names):
            field, about = fields[name], fields[name].metadata
            kind, usual = str(field.type).partition(" ")[0], about["usual"]
            flag: dict[str, Any] = {"is_flag": True} if kind == "bool" else {"type": TYPES.get(name, KINDS[kind])}
            flag |= {"show_default": usual or (field.default is not None and kind != "bool")}
            flags = about["flags"] or (spelled(name),)
            default = None if usual else field.default
            command = click.option(
                *flags, name, default=default, metavar=about["metavar"], help=about["help"], **flag
            )(command)  # fmt: skip
        return command

    return decorate


@click.command("train", cls=options.Command)
@click.option(
    "--likelihood", type=options.LikelihoodWord(keep=True), default="gaussian", show_default=True, metavar="NAME[:PARAM=VALUE]",
    help="Likelihood of the data; a parameter given here is fixed.",
)  # fmt: skip
@click.option(
    "--sigma", metavar="NUMBER|learned|optimal|per-element|network", show_default="learned",
    help="Noise of the likelihood: a number, trained, the best for each batch, one per element, or an output of the decoder.",
)  # fmt: skip
@setting("loss")
@options.data
@options.scale
@options.reading
@options.binarize
@setting(
    "holdout", "validation", "patience", "epochs", "batch_size", "model", "target", "latent", "hidden", "lr", "schedule",
    "average", "exact", "optimizer", "momentum", "nesterov", "weight_decay", "eps", "beta", "kl_warmup", "free_bits",
    "sigma_floor", "checkpoint_every",
)  # fmt: skip
@click.option(
    "--against", type=options.LossWord(), metavar="LOSS",
    help="Train on this loss too, in lockstep, and measure whether both take the same steps.",
)  # fmt: skip
@setting("compile", "bf16", "iwae")
@click.option(
    "--sweep",
    metavar="NAME=VALUE,...",
    help="Train once for each value, as in sigma=0.05,0.1; a linear model is compared with PPCA.",
)
@click.option("--resume", metavar="RUN", help="Folder of an interrupted run to continue; only --epochs may change, to more.")
@options.evaluate
@options.trust
@setting("tensorboard")
@options.seed
@options.device
@click.option(
    "--out",
    metavar="DIR",
    show_default="runs/NAME",
    help="Folder to write the run into; a folder that holds a run is never overwritten.",
)
@output.plot
@output.format
@options.in_all_processes
@click.pass_context
def command(
    ctx: click.Context, /, against: Any, sweep: str | None, resume: str | None, evaluate: str | None, trust: bool, format: str,
    out: str | None, **settings: Any,
) -> None:  # fmt: skip
    """Train a small VAE, autoencoder or regression under a likelihood.

    Each epoch measures nll, matching loss, KL, negative ELBO, noise and active latents, and the ratio of the two
    losses' gradients at the decoder beside the predicted ratio. The exit code is 1 if the posterior collapses, if
    the mean of the training rows alone does better, or if --against finds different steps.
    Ctrl-C and SIGTERM finish the step and save; --resume RUN continues to the same bits.

    --model FILE.py:Class (or package.module:Class) names a torch module of your own. It needs two methods:
    encode(x) -> (mean, log_variance), each of shape (B, K), where x has the samples' own shape; and
    decode(z) -> the raw output (logits, not probabilities), with as many numbers as x. recon passes latent,
    hidden and shape to its __init__ if it accepts them.

    \b
      recon train
      recon train --sigma 1
      recon train --likelihood laplace --sigma optimal --data x.npy --holdout 0
      recon train --resume runs/laplace
      recon train --model vae.py:MyVae --likelihood bernoulli --binarize threshold
      recon train --sigma 0.5 --against mse --optimizer sgd
      recon train --model linear --exact --sweep sigma=0.05,0.1,0.2
      torchrun --nproc-per-node=2 -m recon_cli train --out runs/two
    """
    from recon_cli import training
    from recon_cli.sources import ReadOptions

    settings = {name: value for name, value in settings.items() if value is not None or name not in ReadOptions.names()}
    options.mutually_exclusive(ctx, "against", "resume", "out", "sigma_floor", "checkpoint_every", "patience", "tensorboard")
    options.mutually_exclusive(ctx, "sweep", "resume", "out", "against", "tensorboard")
    if sweep:
        output.without_plot("--sweep")
    if evaluate:
        numbers = options.explicitly_set(ctx, but=("evaluate", "format", "weights", "trust"))
        options.reject(
            ctx, "--evaluate trains nothing, and", "out", "resume", "sweep", "against", "epochs", "lr", "model", "exact"
        )
        evaluated = training.evaluate(model=evaluate, state=settings.get("weights"), **numbers)
        output.show(evaluated.report(), format)
    if against:
        steps = {**settings, "epochs": options.explicitly_set(ctx).get("epochs", 5)}
        with progress.bar("side by side", steps["epochs"]) as advance:
            compared = training.lockstep(against, progress=advance, **steps)
        output.show(compared.report(), format)
    if sweep:
        with progress.bar("sweeping", sweep.count(",") + 1) as advance:
            swept = training.sweep(sweep, progress=advance, **settings)
        output.show(swept.report(), format)
    folder = resume or out or training.fresh(settings["likelihood"].partition(":")[0])
    try:
        if resume:
            asked = options.explicitly_set(ctx, but=("resume", "trust", "format"))
            with progress.bar("training", training.epochs_of(resume, asked.get("epochs"))) as advance:
                trained = training.resume(resume, progress=advance, trust=trust, **asked)
        else:
            with progress.bar("training", settings["epochs"]) as advance:
                trained = training.train(out=folder, progress=advance, **settings)
    except training.Interrupted as where:
        how = "recon" if processes.count() == 1 else "torchrun ... -m recon_cli"
        more = " --trust" if trust else f" --model {settings['model']}" if is_own(settings["model"]) else ""
        with contextlib.suppress(OSError):  # the terminal may be what has gone
            if processes.rank() == 0:
                click.echo(f"\nStopped after {where}, and saved. Go on with: {how} train --resume {folder}{more}", err=True)
        ctx.exit(where.code)
    output.show(trained.report(), format)
