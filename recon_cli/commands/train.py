"""``recon train``: what does it change?"""

from __future__ import annotations

import contextlib
from typing import Any

import click

from recon_cli.commands import _options as options
from recon_cli.runtime import processes, progress


@click.command("train", cls=options.Command)
@click.option(
    "--likelihood", type=options.LikelihoodWord(keep=True), default="gaussian", show_default=True,
    metavar="NAME[:PARAM=VALUE]",
    help="The noise model; a parameter given here is fixed.",
)  # fmt: skip
@click.option(
    "--sigma", metavar="NUMBER|learned|optimal|per-element|network", show_default="learned",
    help="Its noise: fixed, trained with the network, the best for each batch, an element's own, or the decoder's.",
)  # fmt: skip
@click.option(
    "--loss", type=options.LossWord(keep=True), metavar="LOSS", show_default="the likelihood's nll",
    help="Train on this instead, as in beta-nll:beta=0.5.",
)  # fmt: skip
@options.data
@options.scale
@options.binarize
@click.option("--holdout", type=float, default=0.2, show_default=True, metavar="FRACTION", help="Of the samples, kept back.")
@click.option(
    "--validation", type=float, default=0.0, show_default=True, metavar="FRACTION", help="Of the rest, looked at, not trained on."
)
@click.option(
    "--patience", type=int, default=0, show_default=True, metavar="EPOCHS", help="Stop where those were no better for so many."
)
@click.option("--epochs", type=int, default=100, show_default=True, help="Passes over the training samples.")
@click.option("--batch-size", type=int, show_default="128; of a regression 16", help="Samples in a step.")
@click.option(
    "--model", default="mlp", show_default=True, metavar="mlp|linear|conv|ae|regression|FILE.py:Class",
    help="The networks on both sides; or x to y.",
)  # fmt: skip
@click.option("--target", metavar="COLUMN[,...]", show_default="the last", help="What a regression predicts: names, or from 0.")
@click.option("--latent", type=int, show_default="24; a regression has none", help="Latents.")
@click.option(
    "--hidden", type=int, show_default="256; of a regression 64", help="Width of the hidden layers; 0 is linear regression."
)
@click.option("--lr", type=float, show_default="0.002; of a regression 0.005", help="Learning rate.")
@click.option(
    "--schedule", default="constant", show_default=True, metavar="constant|linear|cosine|NAME[:PARAM=VALUE,...]",
    help="Of the learning rate; or one of torch's, as in exponential:gamma=0.97.",
)  # fmt: skip
@click.option("--exact", is_flag=True, default=False, help="Linear, Gaussian: no sampling, L-BFGS to the last digit.")
@click.option("--optimizer", default="adam", show_default=True, metavar="NAME", help="One of torch's: adam, adamw, sgd, ...")
@click.option("--momentum", type=float, help="The optimizer's own, where it has one; so are the next three.")
@click.option("--nesterov", is_flag=True, default=False, help="Nesterov's momentum.")
@click.option("--weight-decay", type=float, help="On the network, never on the noise.")
@click.option("--eps", type=float, help="Added to the root of Adam's second moment.")
@click.option(
    "--beta", "--kl-weight", "beta", type=float, show_default="1", help="Weight on the KL; 0 is a deterministic autoencoder."
)  # fmt: skip
@click.option(
    "--kl-warmup", type=int, default=0, show_default=True, metavar="EPOCHS", help="Over which that weight rises from 0."
)
@click.option("--free-bits", type=float, default=0.0, show_default=True, metavar="NATS", help="Of KL a latent, for nothing.")
@click.option("--sigma-floor", type=float, default=0.0, show_default=True, help="A noise that is not given stays above it.")
@click.option(
    "--checkpoint-every", type=float, default=30.0, show_default=True, metavar="SECONDS",
    help="Between two checkpoints; 0 is after every step.",
)  # fmt: skip
@click.option(
    "--against", type=options.LossWord(), metavar="LOSS",
    help="Train on this loss too, side by side: the same steps? Exits with 1 if not.",
)  # fmt: skip
@click.option("--compile", is_flag=True, default=False, help="The step through torch's compiler; takes a while to begin with.")
@click.option("--bf16", is_flag=True, default=False, help="Matrix products in bfloat16, the likelihood as ever.")
@click.option("--iwae", type=int, default=0, show_default=True, metavar="K", help="Bounds on log p(x) with up to K samples of z.")
@click.option("--sweep", metavar="NAME=VALUE,...", help="A run for each value, as in sigma=0.05,0.1; linear models are judged.")
@click.option("--resume", metavar="RUN", help="Go on with a run that was interrupted: its folder. Only --epochs may be more.")
@options.trust
@click.option("--tensorboard", is_flag=True, default=False, help="Event files in the run folder, too.")
@options.seed
@options.device
@click.option("--out", metavar="DIR", show_default="runs/NAME", help="The run folder; never overwritten.")
@options.format
@options.in_all_processes
@click.pass_context
def command(
    ctx: click.Context, /, against: Any, sweep: str | None, resume: str | None, trust: bool, format: str, out: str | None,
    **settings: Any,
) -> None:  # fmt: skip
    """Train a small VAE under a likelihood and watch both sides.

    Each epoch: nll, matching loss, KL, negative ELBO, noise, active latents, and the ratio of the two
    losses' gradients at the decoder, measured beside predicted. Exits with 1 if the posterior collapses, or
    the mean of the training rows alone does better.
    Ctrl-C (and SIGTERM) finishes the step and saves; --resume RUN goes on to the same bits.

    --model FILE.py:Class (or package.module:Class) is a torch module of your own. It has encode(x) -> (mean, log_variance),
    (B, K) each, of x in the samples' own shape, and decode(z) -> the raw output (logits, not probabilities), of any shape with
    as many numbers as x has; its __init__ is told those of latent, hidden and shape that it takes.

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
    from recon_cli.training.settings import own_model

    options.mutually_exclusive(ctx, "against", "resume", "out", "sigma_floor", "checkpoint_every", "patience", "tensorboard")
    options.mutually_exclusive(ctx, "sweep", "resume", "out", "against", "tensorboard")
    if against:
        steps = {**settings, "epochs": options.explicitly_set(ctx).get("epochs", 5)}
        with progress.bar("side by side", steps["epochs"]) as advance:
            found = training.lockstep(against, progress=advance, **steps)
        options.show(found.report(), format)
    if sweep:
        with progress.bar("sweeping", sweep.count(",") + 1) as advance:
            swept = training.sweep(sweep, progress=advance, **settings)
        options.show(swept.report(), format)
    folder = resume or out or training.fresh(settings["likelihood"].partition(":")[0])
    try:
        if resume:
            asked = options.explicitly_set(ctx, but=("resume", "trust", "format"))
            with progress.bar("training", training.epochs_of(resume, asked)) as advance:
                found = training.resume(resume, progress=advance, trust=trust, **asked)
        else:
            with progress.bar("training", settings["epochs"]) as advance:
                found = training.train(out=folder, progress=advance, **settings)
    except training.Interrupted as where:
        how = "recon" if processes.count() == 1 else "torchrun ... -m recon_cli"
        more = " --trust" if trust else f" --model {settings['model']}" if own_model(settings["model"]) else ""
        with contextlib.suppress(OSError):  # the terminal may be what has gone
            if processes.rank() == 0:
                click.echo(f"\nStopped after {where}, and saved. Go on with: {how} train --resume {folder}{more}", err=True)
        ctx.exit(where.code)
    options.show(found.report(), format)
