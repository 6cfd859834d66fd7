"""The losses of several files, one line each: what each is, which cannot be audited alone, what is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from recon_cli.auditing.reach.scan import Site, scanned
from recon_cli.errors import ReconError
from recon_cli.report import Column, Report, Table

if TYPE_CHECKING:
    from recon_cli.auditing.result import Audit

LOSSES = (
    Column("line", "losses"),
    *(Column(key, key, None) for key in ("site", "name", "verdict", "family", "sigma", "beta", "defects", "why", "holds")),
)
DEFECTS = tuple(Column(key, key, None) for key in ("code", "evidence", "fix", "site", "level"))
WORK = "recon_cli.auditing.worker:surveyed"


def survey(
    words: Sequence[str], accept: Sequence[str], expect: str | None, timeout: float, settings: Mapping[str, Any]
) -> Report:
    """Return what the losses in files and folders are, each file's audited in a process of its own.

    A loss that ends that process is tried again with one to itself, as are the others of its file. Raises ReconError where
    nothing could be read.
    """
    sites, read = scanned(words)
    losses: list[Mapping[str, Any]] = [refused(site.at, site.name, site.why) for site in sites if not site.word]
    findings: list[Mapping[str, Any]] = []
    for file in dict.fromkeys(site.file for site in sites if site.word):
        own = [site for site in sites if site.file == file and site.word]
        for part in audited(own, {**settings, "accept": list(accept), "expect": expect, "timeout": timeout}, timeout):
            losses += part.tables[0].rows
            findings += [row for table in part.tables[1:] for row in table.rows]
    order = {(site.at, site.name): number for number, site in enumerate(sites)}
    losses.sort(key=lambda row: order[row["site"], row["name"]])
    report = survey_of(losses, findings)
    files = f"{read} file{'s' * (read != 1)}"
    return replace(report, verdict=f"{in_words(losses)} in {files}")


def audited(sites: Sequence[Site], settings: Mapping[str, Any], timeout: float) -> list[Report]:
    """Return the reports of some losses: of one process for all, or of one each where that one came to no end."""
    from recon_cli.runtime import supervisor

    request = {**settings, "sites": [(site.at, site.name, site.word) for site in sites]}
    try:
        return [supervisor.run_supervised(WORK, request, timeout * len(sites), sites[0].name)]
    except (ReconError, supervisor.ChildError) as error:
        if len(sites) > 1:
            return [report for site in sites for report in audited([site], settings, timeout)]
        fault = isinstance(error, supervisor.ChildError)
        why = f"recon itself fails on it: {str(error).strip().splitlines()[-1]}." if fault else str(error)
        return [survey_of([refused(sites[0].at, sites[0].name, why)], [])]


def survey_of(losses: Sequence[Mapping[str, Any]], findings: Sequence[Mapping[str, Any]]) -> Report:
    """Return the report of some rows."""
    tables = [Table("losses", LOSSES, losses)] + ([Table("defects", DEFECTS, findings)] if findings else [])
    return Report("audit", tables, verdict=in_words(losses), holds=all(row["holds"] is not False for row in losses))


def in_words(losses: Sequence[Mapping[str, Any]]) -> str:
    """Return how many losses pass, fail, and were not audited."""
    number = {word: sum(row["holds"] is holds for row in losses) for word, holds in (("pass", True), ("fail", False))}
    number["not audited"] = len(losses) - sum(number.values())
    said = [f"{count} {word}" for word, count in number.items() if count]
    return ", ".join(said) or "no loss"


def refused(site: str, name: str, why: str) -> dict[str, Any]:
    """Return the row of a loss that was not audited: in the first line of why, the reason."""
    line = f"{site} {name}: not audited: {why.splitlines()[0]}" if name else f"{site} {why.splitlines()[0]}"
    row: dict[str, Any] = dict.fromkeys(column.key for column in LOSSES)
    return {**row, "line": line, "site": site, "name": name, "defects": [], "why": why}


def loss_of(site: str, name: str, audit: Audit) -> dict[str, Any]:
    """Return the row of a loss that was audited."""
    codes = ", ".join([*audit.defects, *audit.unmet])
    families = [row.family for row in audit.rows if row.family]
    row = audit.rows[0]
    return {
        "line": f"{site} {name}: {audit.verdict}{f': {codes}' if codes else ''}", "site": site, "name": name,
        "verdict": audit.verdict, "family": ", ".join(dict.fromkeys(families)) or None, "sigma": row.sigma, "beta": row.beta,
        "defects": list(audit.defects), "why": audit.sentence, "holds": audit.holds,
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
