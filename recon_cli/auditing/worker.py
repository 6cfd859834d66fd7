"""The report of an audit from plain words, for a process of its own: importing this imports all that an audit takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from recon_cli import likelihoods
from recon_cli.auditing import audit, defects
from recon_cli.auditing.conventions import written
from recon_cli.auditing.families import candidates
from recon_cli.auditing.reach import script
from recon_cli.auditing.reach.survey import defects_of, loss_of, refused, survey_of
from recon_cli.auditing.reach.watch import audited
from recon_cli.auditing.result import audit_of
from recon_cli.errors import ReconError
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
        result = audited(script.run(run, steps, settings.get("timeout"))).accepting(*accept)
        return (result if expect is None else result.expecting(expect)).report()
    target = function or written(likelihoods.loss(loss or ""), reduction, kl_weight, kl_reduction)
    result = audit(target, **settings).accepting(*accept)
    return (result if expect is None else result.expecting(expect)).report()


def surveyed(
    sites: Sequence[Sequence[str]], accept: Sequence[str], expect: str | None, **settings: Any
) -> Iterator[Report]:  # fmt: skip
    """Yield the row of each loss of (FILE:LINE, name, FILE.py:FUNCTION): what it is, or why it could not be audited alone."""
    for site, name, word in sites:
        try:
            result = audit(word, **settings).accepting(*accept)
            result = result if expect is None else result.expecting(expect)
        except ReconError as error:
            yield survey_of([refused(site, name, str(error))], [])
        else:
            yield survey_of([loss_of(site, name, result)], defects_of(site, name, result))
