"""``recon audit``: whose loss is this?"""

from __future__ import annotations

import math

import click

from recon_cli.commands import _options as options
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
    "--run", is_flag=True, metavar="SCRIPT.py [ARGUMENTS...]", help="A training script, to its first step; last of the options."
)
@click.option("--steps", type=click.IntRange(1), default=1, show_default=True, help="With --run: which step to look at.")
@click.option("--loss", type=options.LossWord(keep=True), metavar="NAME", help="No code: mse, l1, bce, huber:delta=0.5, ...")
@click.option("--reduction", default="mean", show_default=True, metavar="mean|sum|batch-mean", help="Of that loss.")
@click.option("--kl-weight", type=float, default=1.0, show_default=True, help="Of a KL beside it; 0 for none.")
@click.option("--kl-reduction", metavar="sum|batch-mean|mean", help="Of the KL.  [default: sum beside a sum, else batch-mean]")
@click.option(
    "--shape",
    "shapes",
    type=options.NamedShape(),
    multiple=True,
    metavar="[NAME=]1x28x28",
    help="Of one sample; of one argument.  [default: the data's, else 1x28x28]",
)
@click.option(
    "--latent", type=options.Shape(), default="20", show_default=True, metavar="NUMBER", help="Latents; 20x10 of 10 classes."
)
@click.option(
    "--batch", type=click.IntRange(2), metavar="NUMBER", help="Samples.  [default: the batch size that the code names, or 4]"
)
@click.option(
    "--args", "order", metavar="ROLE,...", help="Roles in the order of the arguments: recon,target,mu,logvar (see above)."
)
@click.option("--total", metavar="EXPRESSION", help="How parts r are added: \"r[0] + 0.1*r['kl']\".")
@click.option(
    "--self", "attributes", type=options.NamedValue(), multiple=True, metavar="NAME=VALUE", help="An attribute of self."
)
@click.option(
    "--bind", type=options.NamedValue(), multiple=True, metavar="NAME=VALUE",
    help='An argument, or a name that the code reads: beta=4, "mask=torch.ones_like(x).bool()".',
)  # fmt: skip
@click.option("--make", metavar="EXPRESSION", help="The object of a method: \"Elbo(nn.BCELoss(reduction='sum'))\".")
@click.option("--data", type=options.SourceWord(), metavar="SOURCE", help="Check the targets, predict how many latents survive.")
@options.scale
@click.option("--accept", multiple=True, metavar="CODE", help="A defect that is no reason to fail.")
@click.option("--expect", metavar='"beta=1, sigma=0.2"', help="Fail unless that is what it measures.")
@click.option(
    "--timeout", type=options.Seconds(), default=60.0, show_default=True, help="Seconds for the function, then its end."
)
@options.format
def command(
    words: tuple[str, ...], run: bool, steps: int, loss: str | None, reduction: str, kl_weight: float, kl_reduction: str | None,
    shapes: tuple[tuple[str, tuple[int, ...]], ...], latent: tuple[int, ...], batch: int | None, order: str | None,
    total: str | None, attributes: tuple[tuple[str, object], ...], bind: tuple[tuple[str, object], ...], make: str | None,
    data: str | None, scale: float | None, accept: tuple[str, ...], expect: str | None, timeout: float, format: str,
) -> None:  # fmt: skip
    """Run somebody's loss and say what it assumes: which likelihood, which sigma, which beta.

    It runs the code that it audits, in a process of its own: FILE.py:FUNCTION, FILE.py:CLASS.METHOD, a notebook,
    PACKAGE.MODULE:NAME; a file that does more than define things is not run, the function is taken out of it. Exits
    with 1 for what is no ELBO, and with 2 where it could not be audited. Of files and folders every loss is found and
    has a line; one that only its training shows is named, for --run, and fails nothing.

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
      probs      categorical latents                 compared   codes, scores: compared, and no data
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
        raise ReconError(f"Audit what? {function} has a loss of its own, beside --loss.", "Give one of them.")
    if function is not None and of_loss:
        go, them = ("goes", "it") if len(of_loss) == 1 else ("go", "them")
        raise ReconError(
            f"{' and '.join(of_loss)} {go} with --loss; code has reductions and weights of its own.",
            f"Leave {them} out, or set what the function reads with --bind NAME=VALUE.",
        )
    if not run and (len(words) > 1 or any(is_place(word) for word in words)):
        options.reject(ctx, "audit of files", "order", "total", "attributes", "bind", "make", "steps")
        if any(name for name, _ in shapes):
            raise ReconError("Losses of files have no argument in common to shape.", "Write --shape 1x28x28, of one sample.")
        settings = {"shape": dict(shapes) or None, "latent": latent, "batch": batch, "data": data, "scale": scale}
        options.show(survey(words, accept, expect, timeout, settings), format)
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
        raise ReconError("Audit what?", "Give FILE.py:FUNCTION, files, --run SCRIPT.py, or --loss mse for no code.")
    arguments = {
        "run": script, "steps": steps, "function": function, "loss": loss,
        "reduction": reduction, "kl_weight": kl_weight, "kl_reduction": kl_reduction,
        "shape": dict(shapes) or None, "latent": latent, "batch": batch, "args": order, "total": total,
        "attributes": dict(attributes), "bind": dict(bind), "make": make, "data": data, "scale": scale, "accept": accept,
        "expect": expect, "timeout": timeout,
    }  # fmt: skip
    subject = "The function" if not script else " ".join(script[: 2 if script[0] == "-m" else 1])
    options.show(supervisor.run_supervised("recon_cli.auditing.worker:reported", arguments, timeout, subject), format)
