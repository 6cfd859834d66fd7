"""Data sets of the Hugging Face library, from its hub or from a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from recon_cli.errors import ReconError
from recon_cli.runtime.lazy_arrays import File, Lazy, file_size
from recon_cli.sources._base import Source
from recon_cli.sources._files import choose, divided
from recon_cli.sources.parquet import Rows, chosen, library

NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*){0,2}")
ENTRIES = 3_000_000  # files of a folder


class Hf(Source):
    """``hf:USER/NAME:SPLIT:COLUMN``, ``hf:USER/NAME/CONFIG:...``, or ``hf:FOLDER:...``; a split is left out where there is one.

    A folder is one that ``save_to_disk`` made, or one of images, Parquet, CSV or JSON files (``imagefolder`` and the like);
    ``train[:1000]`` is a part of a split. Columns as for Parquet. The library keeps what it downloads or converts as Arrow
    files in its own cache (HF_HOME; offline with HF_HUB_OFFLINE=1), mapped to memory: rows are read as they are asked for.
    No code of a data set is ever run.
    """

    takes = "a data set of the hub, or a folder"
    rows: Rows | None = None

    @classmethod
    def reads(cls, path: str) -> bool:
        return False

    def read(self) -> Lazy:
        name, rest = divided(self.argument)
        split, column = re.fullmatch(r"([^:\[]*(?:\[[^\]]*\])?):?(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
        if not name:
            raise ReconError("hf reads a data set, and none is named.", "Name it: hf:USER/NAME:SPLIT:COLUMN, or hf:FOLDER.")
        found = loaded(name)
        split, part = re.fullmatch(r"([^\[]*)(.*)", split, re.DOTALL).groups()  # type: ignore[union-attr]
        if hasattr(found, "keys"):
            split = choose(f"hf:{name}", split, [*found], "split")
            found = found[split]
            found = portion(found, split, part) if part else found
        else:
            split, part, column = "", "", column or split + part
        where = ":".join(filter(None, ("hf", name, split + part)))
        columns = chosen(self, where, column, found.features.arrow_schema)
        table, count = found.select_columns(columns).with_format("arrow"), len(found)

        def stream(row: int, step: int) -> tuple[int, Iterator[Any]]:
            return row, (table[i : i + step] for i in range(row, count, step))

        files = [File(each["filename"]) for each in found.cache_files[:64]]  # mapped to memory by the library
        self.rows = Rows(where, count, stream, columns, True, files)
        self.levels = self.rows.pictures
        self.columns = columns if len(columns) > 1 else ()
        return self.rows

    def describe(self) -> str:
        return self.rows.described() if self.rows else ""


def loaded(name: str) -> Any:
    """What the library finds under a name: a data set, or several by split. Raises ReconError where it finds none."""
    if os.path.isfile(name):
        raise ReconError(f"hf:{name} is a file, and hf reads a folder or a data set of the hub.", f"Give the file alone: {name}.")
    if not os.path.exists(name) and not NAME.fullmatch(name):
        raise ReconError(
            f"hf:{name} cannot be loaded: there is no such folder, and no data set of the hub has that name.",
            f"Give a folder, or USER/NAME or USER/NAME/CONFIG; recon looked in {os.getcwd()}.",
        )
    path, config = (name, None) if os.path.exists(name) or name.count("/") < 2 else name.rsplit("/", 1)
    ordinary(path)
    datasets = library("datasets")
    from datasets.utils.logging import set_verbosity_error
    from huggingface_hub.utils import disable_progress_bars

    set_verbosity_error()
    datasets.disable_progress_bars()
    disable_progress_bars()
    saved = any(os.path.isfile(os.path.join(name, file)) for file in ("state.json", "dataset_dict.json"))
    try:
        return datasets.load_from_disk(name) if saved else datasets.load_dataset(path, config)
    except MemoryError:
        raise
    except Exception as error:
        if type(error).__name__.startswith("DatasetGeneration") and isinstance(error.__cause__, Exception):
            error = error.__cause__  # what went wrong on the way
        said = (getattr(error, "strerror", None) or str(error)).partition("\n")[0].strip(" .:") or type(error).__name__
        raise ReconError(
            f"hf:{name} cannot be loaded: {said}.",
            "Give a folder, or a data set of the hub, USER/NAME or USER/NAME/CONFIG; offline, only what its cache holds.",
        ) from error


def ordinary(folder: str) -> None:
    """Raise ReconError for a folder that holds what is no file, or too many to be looked through."""
    seen = 0
    for where, _, names in os.walk(folder):
        seen += len(names)
        if seen > ENTRIES:
            raise ReconError(f"{folder} holds more than {ENTRIES:,} files.", "Give a folder that holds the data alone.")
        for name in names:
            with suppress(FileNotFoundError):  # a link to nothing is no data
                file_size(os.path.join(where, name))


def portion(found: Any, split: str, part: str) -> Any:
    """``[:1000]`` or ``[10%:20%]`` of a split."""
    from datasets import ReadInstruction

    try:
        (piece,) = ReadInstruction.from_spec(f"{split}{part}").to_absolute({split: len(found)})
    except (ValueError, AssertionError) as error:
        raise ReconError(f"{part} is no part of a split.", f"Write {split}[:1000], or {split}[10%:20%].") from error
    return found.select(range(piece.from_ or 0, len(found) if piece.to is None else piece.to))
