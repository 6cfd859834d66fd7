"""Annotations for GitHub Actions: what is wrong, at its line of the pull request."""

from __future__ import annotations

from typing import TextIO

from recon_cli.formats import annotations_of
from recon_cli.report import Report

SUFFIX = ".log"  # of files in this format

LEVELS = {"error": "error", "warning": "warning", "note": "notice"}


def write(report: Report, file: TextIO) -> None:
    """Write a workflow command a line, ``::error file=vae.py,line=3,title=recon-mean::...``, and the verdict as plain text.

    A report that holds and has nothing to annotation is its verdict alone.
    """
    for annotation in annotations_of(report):
        place = {"file": annotation.file, "line": annotation.line, "title": f"recon {annotation.code}"}
        properties = ",".join(f"{key}={escaped(str(value), ':', ',')}" for key, value in place.items() if value)
        file.write(f"::{LEVELS[annotation.level]} {properties}::{escaped(annotation.text)}\n")
    file.write(f"{'FAILED' if report.holds is False else 'ok'}: {report.verdict or report.command}\n")


def escaped(text: str, *more: str) -> str:
    """Return text as a workflow command takes it: percent signs, line ends and ``more`` as their numbers."""
    for sign in ("%", "\r", "\n", *more):
        text = text.replace(sign, f"%{ord(sign):02X}")
    return text
