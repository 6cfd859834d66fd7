"""Reading what users wrote, without running it: Python files as Python reads them, notebooks without what only IPython knows."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recon_cli.errors import ReconError

INSIDE = ("time", "timeit", "capture", "prun", "debug", "memit", "mprun", "lprun")  # magics whose cell is Python all the same
SHELL = r"(?:pip|conda|cd|ls|ll|pwd|cat|mkdir|rm|cp|mv)(?:\s+[^=\s(]|$)"  # what IPython takes for a magic without its sign
MAGIC = re.compile(rf"\s*[%!?]|.*\?\s*$|\s*[\w.,\s\[\]'\"]+=\s*[%!]|\s*{SHELL}")
MANY = 50  # magics of a cell that are found one by one


def is_file(path: Path) -> bool:
    """Whether a place names a file, there or not, rather than a module."""
    try:
        return path.suffix in (".py", ".ipynb") or len(path.parts) > 1 or (path.exists() and not path.is_dir())
    except (OSError, ValueError):  # a name that no file can have
        return True


def tree_of(path: Path) -> tuple[ast.Module, str]:
    """Return a file's syntax tree, and its text by whose lines that counts. Raises ReconError for whatever cannot be read."""
    place = repr(str(path))
    try:
        if path.is_dir():
            raise ReconError(f"{place} is a folder.", "Give a file in it: FILE.py:FUNCTION.")
        if not path.exists():
            raise ReconError(f"There is no file {place}.", f"recon looked in {Path.cwd()}.")
        if path.suffix not in (".py", ".ipynb", ".pyw", "") or not path.is_file():
            raise ReconError(f"{place} is no Python file.", "Give a .py file, or a notebook.")
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ReconError(f"{place} cannot be read: {error}.", "Give a Python file or a notebook.") from error
    if path.suffix == ".ipynb":
        return notebook(raw, place)
    return parsed(raw, f"{path}"), text_of(raw)


def parsed(source: bytes | str, where: str) -> ast.Module:
    """Return the syntax tree of source. Raises ReconError where it is none, with the line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except SyntaxError as error:
        at = f", line {error.lineno}" if error.lineno else ""
        raise ReconError(f"{where} does not parse: {error.msg}{at}.", "Mend that line first.") from error
    except (RecursionError, MemoryError) as error:
        raise ReconError(f"{where} does not parse: it is nested too deeply for Python.", "Split its longest sums.") from error
    except ValueError as error:
        raise ReconError(f"{where} does not parse: {error}.", "Mend that first.") from error


def text_of(raw: bytes) -> str:
    """Return source as text, by its byte order mark or its ``coding:``, each line ended by one sign."""
    coding = "utf-8"
    with contextlib.suppress(SyntaxError):  # bytes in a comment that are none of its coding: ast.parse has found it good
        coding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
    return raw.decode(coding, "replace").replace("\r\n", "\n").replace("\r", "\n")


def notebook(raw: bytes, where: str) -> tuple[ast.Module, str]:
    """Return the tree and the text of a notebook's code; a cell that does not parse is left out, where another does."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ReconError(f"{where} is no notebook: {error}.", "Save it again as one, or give a .py file.") from error
    sources = [*cells(content)]
    if not sources:
        raise ReconError(f"{where} is no notebook with cells of code in it.", "Give one that has, or a .py file.")
    texts, faults = [], []
    for number, source in enumerate(sources, 1):
        try:
            texts.append(python_of(source, f"Cell {number} of {where}"))
        except ReconError as error:
            faults.append(error)
            texts.append("\n" * source.count("\n"))
    if len(faults) == len(sources):
        raise faults[0]
    text = "\n".join(texts)
    return parsed(text, where), text


def cells(content: Any) -> Iterator[str]:
    """Return the source of each cell of code in a notebook of any version, what is odd left out."""
    sheets = content.get("worksheets", [content]) if isinstance(content, dict) else ()
    for sheet in sheets if isinstance(sheets, list) else ():
        listed = sheet.get("cells") if isinstance(sheet, dict) else None
        for cell in listed if isinstance(listed, list) else ():
            if isinstance(cell, dict) and cell.get("cell_type") == "code":
                source = cell.get("source", cell.get("input"))
                if isinstance(source, list):
                    source = "".join(part for part in source if isinstance(part, str))
                if isinstance(source, str):
                    yield source.replace("\r\n", "\n").replace("\r", "\n")


def python_of(source: str, where: str) -> str:
    """Return a cell without its magics, line by line the same; those of a whole cell of another language are the whole cell."""
    lines = source.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    if lines[first].startswith("%%"):
        if lines[first][2:].partition(" ")[0].strip() not in INSIDE:
            return "\n" * (len(lines) - 1)
        lines[first] = ""
    fault: ReconError | None = None
    for turn in range(MANY):
        try:
            parsed("\n".join(lines), where)
        except ReconError as error:
            fault, at = fault or error, (getattr(error.__cause__, "lineno", None) or 0) - 1
            magics = [i for i, line in enumerate(lines) if MAGIC.match(line)]
            magic_lines = [at] if at in magics and turn < MANY - 2 else magics
            if not magic_lines:
                raise fault from None
            for i in magic_lines:
                blank(lines, i)
        else:
            break
    return "\n".join(lines)


def blank(lines: list[str], i: int) -> None:
    """Make a line, and those that a backslash ties to it, do nothing."""
    goes_on = lines[i].endswith("\\")
    lines[i] = lines[i][: len(lines[i]) - len(lines[i].lstrip())] + "pass"
    while goes_on and (i := i + 1) < len(lines):
        goes_on, lines[i] = lines[i].endswith("\\"), ""
