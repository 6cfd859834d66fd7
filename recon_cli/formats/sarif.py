"""SARIF 2.1.0, for code scanning and editors: what is wrong, at its line."""

from __future__ import annotations

import json
from typing import Any, TextIO

from recon_cli.formats import Remark, remarks
from recon_cli.report import Report, version

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def write(report: Report, file: TextIO) -> None:
    """Write one run of one tool: a rule for each code, a result for each remark; none where there is nothing to remark."""
    found = remarks(report)
    rules = [{"id": code} for code in dict.fromkeys(remark.code for remark in found)]
    driver = {"name": "recon", "semanticVersion": version(), "rules": rules}
    run = {"tool": {"driver": driver}, "results": [result(remark) for remark in found]}
    content = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    json.dump(content, file, indent=2, ensure_ascii=getattr(file, "encoding", None) == "ascii")
    file.write("\n")


def result(remark: Remark) -> dict[str, Any]:
    """Return a remark as SARIF's result."""
    entry: dict[str, Any] = {"ruleId": remark.code, "level": remark.level, "message": {"text": remark.text}}
    if remark.file:
        place: dict[str, Any] = {"artifactLocation": {"uri": remark.file}}
        if remark.line:
            place["region"] = {"startLine": remark.line}
        entry["locations"] = [{"physicalLocation": place}]
    return entry
