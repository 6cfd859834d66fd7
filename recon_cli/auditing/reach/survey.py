"""The losses of several files, one line each: what each is, which cannot be audited alone, what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recon_cli.auditing.excerpts import excerpts
from recon_cli.auditing.reach.scan import Site, scanned
from recon_cli.errors import ReconError
from recon_cli.report import Column, Report, Table

if TYPE_CHECKING:
    from recon_cli.auditing.result import Audit

KEYS = ("details", "site", "name", "verdict", "family", "sigma", "beta", "defects", "why", "holds")
LOSSES = (Column("line", "losses"), *(Column(key, key, None) for key in KEYS))
DEFECTS = tuple(Column(key, key, None) for key in ("code", "evidence", "fix", "site", "level"))
WORK = "recon_cli.auditing.worker:surveyed"


def survey(
    words: Sequence[str], accept: Sequence[str], expect: str | None, timeout: float, settings: Mapping[str, Any]
) -> Report:
    """Return what the losses in files and folders are, a line each, and in its details all that is to be said of it.

    Raises ReconError where nothing could be read.
    """
    sites, read = scanned(words)
    losses: list[Mapping[str, Any]] = [refused(site.at, site.name, site.why) for site in sites if not site.word]
    findings: list[Mapping[str, Any]] = []
    request = {**settings, "accept": list(accept), "expect": expect, "timeout": timeout}
    for part in audited([site for site in sites if site.word], request, timeout):
        losses += part.tables[0].rows
        findings += [row for table in part.tables[1:] for row in table.rows]
    order = {(site.at, site.name): number for number, site in enumerate(sites)}
    losses.sort(key=lambda row: order[row["site"], row["name"]])
    report = survey_of(losses, findings)
    files = f"{read} file{'s' * (read != 1)}"
    remarks = [(row["site"], str(row["code"]), f"{row['evidence']}.") for row in findings]
    return replace(report, verdict=f"{in_words(losses)} in {files}", exhibits=[*excerpts(remarks)])


def audited(sites: Sequence[Site], settings: Mapping[str, Any], timeout: float) -> Iterator[Report]:
    """Yield the report of each loss, all of one process, which imports torch once; of the next one where that has ended.

    A loss that ends its process is tried again with one of its own. Raises ChildError for a bug of recon's, with the loss.
    """
    from recon_cli.runtime import supervisor

    left = [*sites]
    while left:
        request, alone = {**settings, "sites": [(site.at, site.name, site.word) for site in left]}, True
        try:
            for report in supervisor.run_in_parts(WORK, request, timeout):
                del left[0]
                alone = False
                yield report
        except ReconError as error:
            if alone:
                site = left.pop(0)
                yield survey_of([refused(site.at, site.name, str(error))], [])
        except supervisor.ChildError as error:
            raise supervisor.ChildError(f"{left[0].at} {left[0].name}\n\n{error.args[0]}") from None


def survey_of(losses: Sequence[Mapping[str, Any]], findings: Sequence[Mapping[str, Any]]) -> Report:
    """Return the report of some rows."""
    tables = [Table("losses", LOSSES, losses, layout="lines")] + ([Table("defects", DEFECTS, findings)] if findings else [])
    judged = [row["holds"] for row in losses if row["holds"] is not None]
    return Report("audit", tables, verdict=in_words(losses), holds=all(judged) if judged or not losses else None)


def in_words(losses: Sequence[Mapping[str, Any]]) -> str:
    """Return how many losses pass, fail, and were not audited."""
    number = {word: sum(row["holds"] is holds for row in losses) for word, holds in (("pass", True), ("fail", False))}
    number["not audited"] = len(losses) - sum(number.values())
    said = [f"{count} {word}" for word, count in number.items() if count]
    return ", ".join(said) or "no loss"


def refused(site: str, name: str, why: str) -> dict[str, Any]:
    """Return the row of a loss that was not audited: in the first line of why, the reason."""
    first, *rest = why.splitlines()
    line = f"{site} {name}: not audited: {first}" if name else f"{site} {first}"
    row: dict[str, Any] = dict.fromkeys(column.key for column in LOSSES)
    return {**row, "line": line, "site": site, "name": name, "defects": [], "why": why, "details": rest}


def loss_of(site: str, name: str, audit: Audit) -> dict[str, Any]:
    """Return the row of a loss that was audited."""
    families = [row.family for row in audit.rows if row.family]
    row = audit.rows[0]
    details = [*audit.sentence.splitlines(), *audit.formula.splitlines(), *audit.sizes.splitlines()]
    details += [f"{argument}: {role} ({how})" for argument, role, how in audit.roles]
    details += [f"{each.code}{f' ({each.site})' if each.site else ''}: {each.evidence}. {each.fix}" for each in audit.findings]
    details += [line for note in audit.notes for line in note.splitlines()]
    return {
        "line": f"{site} {name}: {'; '.join([audit.words, *audit.unmet])}", "site": site, "name": name,
        "verdict": audit.verdict, "family": ", ".join(dict.fromkeys(families)) or None, "sigma": row.sigma, "beta": row.beta,
        "defects": list(audit.defects), "why": audit.sentence, "holds": audit.holds, "details": details,
    }  # fmt: skip


def defects_of(site: str, name: str, audit: Audit) -> list[dict[str, Any]]:
    """Return a row for each defect of a loss, at its line; where it fails without any, one of what it is."""
    from recon_cli.auditing.result import level

    rows = [
        {"code": each.code, "evidence": f"{name}: {each.evidence}", "fix": each.fix, "site": each.site or site,
         "level": level(audit, each.code)}
        for each in audit.findings
    ]  # fmt: skip
    if not audit.holds and not any(row["level"] == "error" for row in rows):
        said = "; ".join(audit.unmet) or audit.sentence.rstrip(".")
        rows.append(
            {"code": "audit", "evidence": f"{name} is {audit.verdict}: {said}", "fix": "", "site": site, "level": "error"}
        )
    return rows
