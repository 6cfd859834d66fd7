"""One JSON object, for programs: the contract other tools rely on."""

from __future__ import annotations

import json
from typing import TextIO

from recon_cli.formats._content import content
from recon_cli.report import Report

SUFFIX = ".json"  # of files in this format


def write(report: Report, file: TextIO) -> None:
    """``{"command", "version", "arguments", "environment", "tables": {name: [row, ...]}, "notes", "verdict", "holds"}``.

    Numbers unrounded. Not measured is null; NaN and infinities, which JSON lacks, are "nan", "inf" and "-inf". The arguments are
    those of the command line, empty where Python asked; the environment is what the numbers may depend on.
    """
    escaped = getattr(file, "encoding", None) == "ascii"
    json.dump(content(report), file, indent=2, ensure_ascii=escaped, allow_nan=False)
    file.write("\n")
