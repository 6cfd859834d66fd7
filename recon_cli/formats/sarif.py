"""SARIF 2.1.0, for code scanning and editors: what is wrong, at its line."""

from __future__ import annotations

import json
from typing import Any, TextIO

from recon_cli.formats import Annotation, annotations_of
from recon_cli.report import Report, version

SUFFIX = ".sarif"  # of files in this format

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def write(report: Report, file: TextIO) -> None:
    """Write one run of one tool: a rule for each code, a result for each annotation; none where there is none."""
    remarks = annotations_of(report)
    rules = [{"id": code} for code in dict.fromkeys(annotation.code for annotation in remarks)]
    driver = {"name": "recon", "semanticVersion": version(), "rules": rules}
    run = {"tool": {"driver": driver}, "results": [result(annotation) for annotation in remarks]}
    content = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    json.dump(content, file, indent=2, ensure_ascii=getattr(file, "encoding", None) == "ascii")
    file.write("\n")


def result(annotation: Annotation) -> dict[str, Any]:
    """Return a annotation as SARIF's result."""
    entry: dict[str, Any] = {"ruleId": annotation.code, "level": annotation.level, "message": {"text": annotation.text}}
    if annotation.file:
        place: dict[str, Any] = {"artifactLocation": {"uri": annotation.file}}
        if annotation.line:
            place["region"] = {"startLine": annotation.line}
        entry["locations"] = [{"physicalLocation": place}]
    return entry
