"""Data sets of the Hugging Face library, from its hub or from a folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from recon_cli.errors import ReconError
from recon_cli.runtime.files import cause
from recon_cli.runtime.lazy_arrays import File, Lazy, file_size
from recon_cli.sources._base import Source
from recon_cli.sources._files import choose, library, path_and_choice
from recon_cli.sources.parquet import Rows, columns_of

if TYPE_CHECKING:
    from datasets import Dataset
    from pyarrow import Table

SPLIT_AND_COLUMN = re.compile(r"([^:\[]*(?:\[[^\]]*\])?):?(.*)", re.DOTALL)  # train[:1000]:image
NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*){0,2}")
ENTRIES = 3_000_000  # files of a folder
MAPPED = 1 << 28  # bytes: a smaller saved folder is read whole; of a mapped file that is cut meanwhile no process can tell


class Hf(Source):
    """``hf:USER/NAME:SPLIT:COLUMN``, ``hf:USER/NAME/CONFIG:...``, or ``hf:FOLDER:...``; a split is left out where there is one.

    A folder is one that ``save_to_disk`` made, or one of images, Parquet, CSV or JSON files (``imagefolder`` and the like);
    ``train[:1000]`` is a part of a split. Columns as for Parquet. The library keeps what it downloads or converts as Arrow
    files in its own cache (HF_HOME; offline with HF_HUB_OFFLINE=1), mapped to memory: rows are read as they are asked for.
    No code of a data set is ever run.
    """

    takes = "a data set of the hub, or a folder"
    by_ending = False
    rows: Rows | None = None

    def read(self) -> Lazy:
        name, rest = path_and_choice(self.argument)
        whole, column = SPLIT_AND_COLUMN.findall(rest)[0]
        if not name:
            raise ReconError("hf reads a data set, and none is named.", "Name it: hf:USER/NAME:SPLIT:COLUMN, or hf:FOLDER.")
        data = loaded(name)
        split, bracket, slice_ = whole.partition("[")
        part = bracket + slice_
        if hasattr(data, "keys"):
            split = choose(f"hf:{name}", split, [*data], "split")
            data = portion(data[split], split, part) if part else data[split]
        else:
            split, part, column = "", "", column or whole
        where = ":".join(filter(None, ("hf", name, split + part)))
        columns = columns_of(self, where, column, data.features.arrow_schema)
        table, count = data.select_columns(columns).with_format("arrow"), len(data)

        def stream(row: int, step: int) -> tuple[int, Iterator[Table]]:
            return row, (table[i : i + step] for i in range(row, count, step))

        files = [File(each["filename"]) for each in data.cache_files[:64]]  # mapped to memory by the library
        self.rows = Rows(where, count, stream, columns, True, files)
        self.levels = self.rows.pictures
        self.columns = columns if len(columns) > 1 else ()
        return self.rows

    def describe(self) -> str:
        return self.rows.described() if self.rows else ""


def loaded(name: str) -> Any:
    """Return what the library finds under a name: a data set, or several by split. Raises ReconError where it finds none."""
    if os.path.isfile(name):
        raise ReconError(f"hf:{name} is a file, and hf reads a folder or a data set of the hub.", f"Give the file alone: {name}.")
    if not os.path.exists(name) and not NAME.fullmatch(name):
        raise ReconError(
            f"hf:{name} cannot be loaded: there is no such folder, and no data set of the hub has that name.",
            f"Give a folder, or USER/NAME or USER/NAME/CONFIG; recon looked in {os.getcwd()}.",
        )
    path, config = (name, None) if os.path.exists(name) or name.count("/") < 2 else name.rsplit("/", 1)
    check_files(path)
    datasets = library("datasets")
    from datasets.utils.logging import set_verbosity_error

    set_verbosity_error()
    datasets.disable_progress_bars()
    library("huggingface_hub.utils").disable_progress_bars()
    saved = any(os.path.isfile(os.path.join(name, file)) for file in ("state.json", "dataset_dict.json"))
    try:
        if saved:
            return datasets.load_from_disk(name, keep_in_memory=size_of_files(name) <= MAPPED)
        return datasets.load_dataset(path, config)
    except MemoryError:
        raise
    except Exception as error:
        if type(error).__name__.startswith("DatasetGeneration") and isinstance(error.__cause__, Exception):
            error = error.__cause__  # what went wrong on the way
        raise ReconError(
            f"hf:{name} cannot be loaded: {cause(error)}.",
            "Give a folder, or a data set of the hub, USER/NAME or USER/NAME/CONFIG; offline, only what its cache holds.",
        ) from error


def size_of_files(folder: str) -> int:
    """Return the bytes of the Arrow files in a folder that ``save_to_disk`` made."""
    return sum(os.path.getsize(os.path.join(where, name)) for where, _, names in os.walk(folder) for name in names)


def check_files(folder: str) -> None:
    """Raise ReconError for a folder that holds what is no file, or too many to be looked through."""
    count = 0
    for where, _, names in os.walk(folder):
        count += len(names)
        if count > ENTRIES:
            raise ReconError(f"{folder} holds more than {ENTRIES:,} files.", "Give a folder that holds the data alone.")
        for name in names:
            with suppress(FileNotFoundError):  # a link to nothing is no data
                file_size(os.path.join(where, name))


def portion(data: Dataset, split: str, part: str) -> Dataset:
    """Return a part of a split, ``[:1000]`` or ``[10%:20%]``."""
    from datasets import ReadInstruction

    try:
        (piece,) = ReadInstruction.from_spec(f"{split}{part}").to_absolute({split: len(data)})
    except (ValueError, AssertionError) as error:
        raise ReconError(f"{part} is no part of a split.", f"Write {split}[:1000], or {split}[10%:20%].") from error
    return data.select(range(piece.from_ or 0, len(data) if piece.to is None else piece.to))
