"""``recon audit``: whose loss is this?"""

from __future__ import annotations

import math

import click

from recon_cli.commands import _options as options
from recon_cli.commands import _output as output
from recon_cli.errors import ReconError


class AuditCommand(options.Command):
    """A command whose ``--run`` takes everything after it: a script and its own arguments."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--run" in args:
            at = args.index("--run")
            ctx.meta["run"] = args[at + 1 :]
            args = args[: at + 1]
        return super().parse_args(ctx, args)


@click.command("audit", cls=AuditCommand)
@click.argument("words", nargs=-1, metavar="[FILE.py:FUNCTION | FILE.py | FOLDER]...")
@click.option(
    "--run",
    is_flag=True,
    metavar="SCRIPT.py [ARGUMENTS...]",
    help="Run a training script up to its first step. Everything after SCRIPT.py is passed to the script.",
)
@click.option("--steps", type=click.IntRange(1), default=1, show_default=True, help="Training step to audit, with --run.")
@click.option(
    "--loss",
    type=options.LossWord(keep=True),
    metavar="NAME",
    help="Loss to audit instead of code: mse, l1, bce, huber:delta=0.5, ...",
)
@click.option("--reduction", default="mean", show_default=True, metavar="mean|sum|batch-mean", help="Reduction of that loss.")
@click.option("--kl-weight", type=float, default=1.0, show_default=True, help="Weight of the KL beside that loss; 0 for no KL.")
@click.option(
    "--kl-reduction", metavar="sum|batch-mean|mean", help="Reduction of that KL.  [default: sum beside a sum, else batch-mean]"
)
@click.option(
    "--shape",
    "shapes",
    type=options.NamedShape(),
    multiple=True,
    metavar="[NAME=]1x28x28",
    help="Shape of one sample, or of one argument.  [default: the data's, else 1x28x28]",
)
@click.option(
    "--latent",
    type=options.Shape(),
    default="20",
    show_default=True,
    metavar="NUMBER",
    help="Number of latents, K; 20x10 is 20 latents of 10 classes.",
)
@click.option(
    "--batch-size",
    "--batch",
    "batch",
    type=click.IntRange(2),
    metavar="NUMBER",
    help="Number of samples, B.  [default: the batch size that the code names, or 4]",
)
@click.option(
    "--args", "order", metavar="ROLE,...", help="Roles of the function's arguments, in order: recon,target,mu,logvar (see above)."
)
@click.option("--total", metavar="EXPRESSION", help="How to add up what the function returns, r: \"r[0] + 0.1*r['kl']\".")
@click.option(
    "--self",
    "attributes",
    type=options.NamedValue(),
    multiple=True,
    metavar="NAME=VALUE",
    help="Value of an attribute of self; repeat the option for several.",
)
@click.option(
    "--bind", type=options.NamedValue(), multiple=True, metavar="NAME=VALUE",
    help='Value of an argument, or of a name that the code reads: beta=4, "mask=torch.ones_like(x).bool()".',
)  # fmt: skip
@click.option(
    "--make", metavar="EXPRESSION", help="Expression that makes the object of a method: \"Elbo(nn.BCELoss(reduction='sum'))\"."
)
@click.option(
    "--data",
    type=options.SourceWord(),
    metavar="SOURCE",
    help="Data to check the targets with and to predict how many latents stay active.",
)
@options.scale
@click.option(
    "--accept", multiple=True, metavar="CODE", help="Defect that does not fail the audit; repeat the option for several."
)
@click.option("--expect", metavar='"beta=1, sigma=0.2"', help="Fail unless the audit measures these values.")
@click.option(
    "--timeout", type=options.Seconds(), default=60.0, show_default=True, help="Seconds after which recon stops the code."
)
@output.format
def command(
    words: tuple[str, ...], run: bool, steps: int, loss: str | None, reduction: str, kl_weight: float, kl_reduction: str | None,
    shapes: tuple[tuple[str, tuple[int, ...]], ...], latent: tuple[int, ...], batch: int | None, order: str | None,
    total: str | None, attributes: tuple[tuple[str, object], ...], bind: tuple[tuple[str, object], ...], make: str | None,
    data: str | None, scale: float | None, accept: tuple[str, ...], expect: str | None, timeout: float, format: str,
) -> None:  # fmt: skip
    """Run your loss and read off its likelihood, its sigma and its beta.

    Give a training script with --run, or a function: FILE.py:FUNCTION, FILE.py:CLASS.METHOD, PACKAGE.MODULE:NAME, or
    one of a notebook. The code runs in a separate process. If a file does more than define things, recon takes the
    function out of it and does not run the rest.

    Give files or folders, and recon finds every loss in them and prints a line for each. It names the losses that
    only --run can audit; they do not fail the audit.

    The exit code is 1 if the loss is no ELBO, and 2 if recon could not audit it.

    \b
      recon audit --run train.py --epochs 1
      recon audit vae.py:loss_function
      recon audit models/ train.py
      recon audit models.py:VAE.loss_function --self beta=4 --shape 3x64x64 --latent 128
      recon audit --loss mse --reduction mean --kl-weight 1 --shape 3x32x32
      recon audit vae.py:loss_function --expect "beta=1, sigma=0.2" --accept half-missing

    \b
    Roles for --args:
      recon      the reconstruction, or logits       posterior  (mean, log variance), or a distribution
      target     the data                            decoder    the distribution that a decoder returns
      spread     a decoder's noise per element       kl         a KL that is computed outside
      mu         the latents' mean                   mask       which elements count
      scale      their logvar, log_std, std or var   length     how long each sample is
      probs      categorical latents                 compared   codes or scores: compared, but no data
      z          a sample of the latents             extra      another term;  skip: nothing
      prior      the prior's mean or scale
    """
    from recon_cli.auditing.reach.scan import is_place
    from recon_cli.auditing.reach.survey import survey
    from recon_cli.runtime import supervisor

    if not math.isfinite(kl_weight):
        raise ReconError(f"--kl-weight must be a finite number; found {kl_weight}.", "Write --kl-weight 1, say.")
    ctx = click.get_current_context()
    function = words[0] if words else None
    of_loss_words = {"reduction": "--reduction", "kl_weight": "--kl-weight", "kl_reduction": "--kl-reduction"}
    source = ctx.get_parameter_source
    of_loss = [word for key, word in of_loss_words.items() if source(key) is not click.core.ParameterSource.DEFAULT]
    if function is not None and loss is not None:
        raise ReconError(f"There are two losses to audit: {function}, and --loss.", "Give one of them.")
    if function is not None and of_loss:
        go, them = ("goes", "it") if len(of_loss) == 1 else ("go", "them")
        raise ReconError(
            f"{' and '.join(of_loss)} {go} with --loss; code has reductions and weights of its own.",
            f"Leave {them} out, or set what the function reads with --bind NAME=VALUE.",
        )
    if not run and ctx.get_parameter_source("steps") is click.core.ParameterSource.COMMANDLINE:
        raise ReconError(
            "--steps says which step of a training script is audited, and goes with --run.",
            f"Write recon audit --steps {steps} --run {words[0] if words else 'SCRIPT.py'}: the script runs up to that step.",
        )
    if not run and (len(words) > 1 or any(is_place(word) for word in words)):
        options.reject(ctx, "audit of files", "order", "total", "attributes", "bind", "make")
        if any(name for name, _ in shapes):
            raise ReconError("Losses of files have no argument in common to shape.", "Write --shape 1x28x28, of one sample.")
        settings = {"shape": dict(shapes) or None, "latent": latent, "batch": batch, "data": data, "scale": scale}
        output.show(survey(words, accept, expect, timeout, settings), format)
    if function is None and not run:
        options.reject(ctx, "audit --loss", "bind", "make")
        if any(name for name, _ in shapes):
            raise ReconError("audit --loss has no arguments to give shapes.", "Write --shape 1x28x28, of one sample.")
    script: list[str] | None = ctx.meta.get("run") if run else None
    if script is not None:
        if function is not None or loss is not None:
            raise ReconError("--run watches a script, which has a loss of its own.", "Give the script alone, after --run.")
        kept = {"run", "steps", "accept", "expect", "timeout", "format"}
        options.reject(ctx, "audit --run", *(param.name or "" for param in command.params if param.name not in kept))
    if function is None and loss is None and script is None:
        raise ReconError("There is nothing to audit.", "Give FILE.py:FUNCTION, files, --run SCRIPT.py, or --loss mse.")
    arguments = {
        "run": script, "steps": steps, "function": function, "loss": loss,
        "reduction": reduction, "kl_weight": kl_weight, "kl_reduction": kl_reduction,
        "shape": dict(shapes) or None, "latent": latent, "batch": batch, "args": order, "total": total,
        "attributes": dict(attributes), "bind": dict(bind), "make": make, "data": data, "scale": scale, "accept": accept,
        "expect": expect, "timeout": timeout,
    }  # fmt: skip
    subject = "The function" if not script else " ".join(script[: 2 if script[0] == "-m" else 1])
    output.show(supervisor.run_supervised("recon_cli.auditing.worker:reported", arguments, timeout, subject), format)
