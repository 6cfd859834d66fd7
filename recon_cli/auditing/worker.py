"""The report of an audit from plain words, for a process of its own: importing this imports all that an audit takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

from recon_cli import likelihoods
from recon_cli.auditing import audit, defects
from recon_cli.auditing.families import candidates
from recon_cli.auditing.reach import script
from recon_cli.auditing.reach.survey import defects_of, loss_of, refused, survey_of
from recon_cli.auditing.reach.watch import audited
from recon_cli.auditing.result import audit_of
from recon_cli.errors import ReconError, unknown
from recon_cli.identity.losses import REDUCTIONS, Loss, as_reduction
from recon_cli.report import Report

__all__ = ["audit_of", "reported", "surveyed"]
KNOWN = (
    [candidates(event) for event in (0, 1)],
    defects.load_all(),
)  # read before anybody's code runs, which could take the files away


def reported(
    run: Sequence[str] | None, steps: int, function: str | None, loss: str | None, reduction: str, kl_weight: float,
    kl_reduction: str | None, accept: Sequence[str], expect: str | None, **settings: Any,
) -> Report:  # fmt: skip
    """Return what ``recon audit`` says of ``function``, of the script in ``run``, or of ``loss`` with no code at all."""
    if run is not None:
        return audited(script.run(run, steps, settings.get("timeout"))).accepting(*accept).expecting(expect).report()
    target = function or written(likelihoods.loss(loss or ""), reduction, kl_weight, kl_reduction)
    return audit(target, **settings).accepting(*accept).expecting(expect).report()


def surveyed(
    sites: Sequence[Sequence[str]], accept: Sequence[str], expect: str | None, **settings: Any
) -> Iterator[Report]:  # fmt: skip
    """Yield the row of each loss of (FILE:LINE, name, FILE.py:FUNCTION): what it is, or why it could not be audited alone."""
    for site, name, word in sites:
        try:
            result = audit(word, **settings).accepting(*accept).expecting(expect)
        except ReconError as error:
            yield survey_of([refused(site, name, str(error))], [])
        else:
            yield survey_of([loss_of(site, name, result)], defects_of(site, name, result))


def written(
    loss: Loss, reduction: str = "mean", kl_weight: float = 1.0, kl_reduction: str | None = None
) -> Callable[..., Tensor]:
    """Return ``reduction`` of ``loss`` plus ``kl_weight`` times a KL, summed over latents, averaged over the batch unless told.

    With the reconstruction summed over the batch, the KL is too. ``kl_reduction`` "mean" averages over the latents as
    well. Without a weight there is no KL. Raises ReconError for a loss of vectors and a reduction that is none.
    """
    if loss.event or loss.head:
        raise ReconError(f"{loss.name} is of vectors or of several numbers an element.", "Write it as a function and audit that.")
    reductions = {each.name: each for each in REDUCTIONS}
    reduction = as_reduction(reduction)
    kl_reduction = as_reduction(kl_reduction or ("sum" if reduction == "sum" else "batch-mean"))
    for word in (reduction, kl_reduction):
        if word not in reductions:
            raise unknown("reduction", word, reductions)
    of_loss, of_kl = reductions[reduction], reductions[kl_reduction]

    def reconstruction(recon: Tensor, x: Tensor) -> Tensor:
        return of_loss(loss.values(x, recon))

    def objective(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        kl = 0.5 * (mu.square() + logvar.exp() - logvar - 1)
        return reconstruction(recon, x) + kl_weight * of_kl(kl)

    function: Callable[..., Tensor] = objective if kl_weight else reconstruction
    function.__qualname__ = f"{loss.name} ({reduction})" + (f" + {kl_weight:g} KL ({of_kl.name})" if kl_weight else "")
    return function
