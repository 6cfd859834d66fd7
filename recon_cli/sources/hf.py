"""Data sets of the Hugging Face library, from its hub or from a folder."""

from __future__ import annotations

import os
import re
import socket
import struct
from bisect import bisect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache, partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from recon_cli.errors import ReconError
from recon_cli.runtime.files import cause, read_file
from recon_cli.runtime.lazy_arrays import File, Lazy, file_size
from recon_cli.runtime.limits import afford
from recon_cli.sources._base import Source
from recon_cli.sources._files import choose, library, path_and_choice
from recon_cli.sources.parquet import SMALLER, Rows, columns_of

if TYPE_CHECKING:
    from pyarrow import RecordBatch, Schema

SPLIT_AND_COLUMN = re.compile(r"([^:\[]*(?:\[[^\]]*\])?):?(.*)", re.DOTALL)  # train[:1000]:image
BUILDERS = {"json": "json", "jsonl": "json", "ndjson": "json", "arrow": "arrow", "feather": "arrow", "ipc": "arrow"}  # by ending
FILE = re.compile(rf"\.({'|'.join(BUILDERS)})(\.(gz|bz2|xz|zst))?$")
SAVED = ("dataset_dict.json", "dataset_info.json")
NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*){0,2}")
ENTRIES = 3_000_000  # files of a folder
PATIENCE = 4  # seconds for the hub to answer
RECORDS = 3  # an Arrow message of this kind holds rows
CONTINUED = b"\xff" * 4  # begins every message


class Hf(Source):
    """``hf:USER/NAME:SPLIT:COLUMN``, ``hf:USER/NAME/CONFIG:...``, or ``hf:FOLDER:...``; a split is left out where there is one.

    A file of JSON (a list, or a line a sample), Arrow or Feather needs no ``hf:`` in front: ``x.jsonl:COLUMN``.

    A folder is one that ``save_to_disk`` made, or one of images, Parquet, CSV or JSON files (``imagefolder`` and the like);
    ``train[:1000]`` is a part of a split. Columns as for Parquet. The library keeps what it downloads or converts as Arrow
    files in its own cache (HF_HOME; offline with HF_HUB_OFFLINE=1): it says which they are, and rows are read from them by
    position as they are asked for. No code of a data set is ever run.
    """

    takes = "a data set of the hub, a folder, or a file"
    by_ending = False
    heeds = frozenset({"columns", "drop", "size", "colour"})
    rows: Rows | None = None

    @classmethod
    def reads(cls, path: str) -> bool:
        """Whether it is a file of a kind that the library knows, or a folder that holds such files or that it saved."""
        if os.path.isdir(path):
            names = os.listdir(path)
            return any(FILE.search(name.lower()) or name in SAVED for name in names)
        return FILE.search(path.lower()) is not None

    def read(self) -> Lazy:
        name, rest = path_and_choice(self.argument)
        whole, column = SPLIT_AND_COLUMN.findall(rest)[0]
        if not name:
            raise ReconError("hf reads a data set, and none is named.", "Name it: hf:USER/NAME:SPLIT:COLUMN, or hf:FOLDER.")
        self.named = f"hf:{name}" if not os.path.isfile(name) else name
        data = loaded(name)
        split, bracket, slice_ = whole.partition("[")
        part = bracket + slice_
        if hasattr(data, "keys"):
            split = choose(self.named, split, [*data], "split")
            data = data[split]
        else:
            split, part, column = "", "", column or whole
        where = ":".join(filter(None, (self.named, split + part)))
        columns = columns_of(self, where, column, data.features.arrow_schema)
        begin, end = portion(len(data), split, part) if part else (0, len(data))
        files = [read_file(each["filename"], partial(ArrowFile, each["filename"])) for each in data.cache_files]
        starts = [0, *accumulate(file.starts[-1] for file in files)]
        if starts[-1] != len(data):
            raise ReconError(f"{where} is more or less than its {len(files)} files.", "Save it anew with save_to_disk.")

        def pieces(row: int, step: int) -> Iterator[RecordBatch]:
            while row < end:
                file = bisect(starts, row) - 1
                piece = files[file].rows(row - starts[file], min(step, end - row), columns)
                row += len(piece)
                yield piece

        def stream(row: int, step: int) -> tuple[int, Iterator[RecordBatch]]:
            return row, pieces(begin + row, step)

        self.rows = Rows(where, end - begin, stream, columns, True, [each.file for each in files[:64]], self.reading)
        self.levels = self.rows.pictures
        self.columns = columns if len(columns) > 1 else ()
        return self.rows

    def describe(self) -> str:
        return self.rows.described() if self.rows else ""


class ArrowFile:
    """A file of Arrow's streaming format, whose batches of rows are read by position. ``starts`` are the rows they begin with.

    Raises ValueError for what is none. Mapped to memory, a file that is cut meanwhile would end the process by a signal.
    """

    def __init__(self, path: str) -> None:
        from pyarrow import BufferReader
        from pyarrow.ipc import read_schema

        self.file = File(path)
        self.places, self.starts, at = list[tuple[int, int]](), [0], 0
        self.schema: Schema | None = None
        while at + 8 <= self.file.size and (size := self._metadata_size(at)):
            kind, rows, body = about_message(self.file.bytes(at + 8, size))
            if self.schema is None:
                self.schema = read_schema(BufferReader(self.file.bytes(at, 8 + size)))
            elif kind != RECORDS:
                raise ValueError("it holds a dictionary of values, and recon reads the values themselves")
            else:
                afford(path, body, hint=SMALLER)
                self.places.append((at, 8 + size + body))
                self.starts.append(self.starts[-1] + rows)
            at += 8 + size + body
        if at > self.file.size:
            raise ValueError("it is cut short")
        self._batch = lru_cache(maxsize=1)(self._read)

    def rows(self, row: int, most: int, columns: Sequence[str]) -> RecordBatch:
        """Return some columns of the rows from ``row`` on, so many at most, and no more than its batch has."""
        number = bisect(self.starts, row) - 1
        return self._batch(number, tuple(columns)).slice(row - self.starts[number], most)

    def _metadata_size(self, at: int) -> int:
        """Return the bytes that describe the message which begins ``at``: 0 behind the last."""
        begins, size = struct.unpack("<4si", self.file.bytes(at, 8))
        if begins != CONTINUED or not 0 <= size <= self.file.size - at - 8:
            raise ValueError("it is no stream of Arrow's")
        return int(size)

    def _read(self, number: int, columns: tuple[str, ...]) -> RecordBatch:
        """Return the columns of a batch, each looked at: an offset that points elsewhere would be read there."""
        from pyarrow import allocate_buffer
        from pyarrow.ipc import read_record_batch

        begin, size = self.places[number]
        content = allocate_buffer(size)
        self.file.fill(memoryview(content), begin)
        self.file.unchanged()
        batch = read_record_batch(content, self.schema).select(list(columns))
        batch.validate(full=True)
        if len(batch) != self.starts[number + 1] - self.starts[number]:
            raise ValueError("its batches hold other numbers of rows than they say")
        return batch


def about_message(metadata: bytes) -> tuple[int, int, int]:
    """Return what an Arrow message is of, how many rows it has, and how many bytes follow: fields of a flat buffer."""

    def number(kind: str, at: int) -> int:
        return int(struct.unpack_from("<" + kind, metadata, at)[0]) if at else 0

    def field(table: int, which: int) -> int:
        """Return where a field of a table lies: 0 where it is left out."""
        fields = table - number("i", table)
        offset = number("H", fields + 4 + 2 * which) if 4 + 2 * which < number("H", fields) else 0
        return offset and table + offset

    try:
        message = struct.unpack_from("<I", metadata)[0]
        kind, at = number("B", field(message, 1)), field(message, 2)
        rows = number("q", field(at + number("I", at), 0)) if kind == RECORDS else 0
        body = number("q", field(message, 3))
    except struct.error as error:
        raise ValueError("it is damaged") from error
    if min(rows, body) < 0:
        raise ValueError("it is damaged")
    return kind, rows, body


def loaded(name: str) -> Any:
    """Return what the library finds under a name: a data set, or several by split. Raises ReconError where it finds none."""
    if FILE.search(name.lower()) and not os.path.exists(name):
        raise ReconError(f"There is no file {name!r}.", f"recon looked in {os.getcwd()}.")
    if not os.path.exists(name) and not NAME.fullmatch(name):
        raise ReconError(
            f"hf:{name} cannot be loaded: there is no such folder, and no data set of the hub has that name.",
            f"Give a folder, or USER/NAME or USER/NAME/CONFIG; recon looked in {os.getcwd()}.",
        )
    path, config = (name, None) if os.path.exists(name) or name.count("/") < 2 else name.rsplit("/", 1)
    check_files(path)
    if os.path.isfile(name):
        if not (ending := FILE.search(name.lower())):
            raise ReconError(f"hf:{name} is a file that hf does not read.", f"Give the file alone: {name}.")
        path, options = BUILDERS[ending[1]], {"data_files": name, "split": "train"}
    else:
        options = {}
    datasets = library("datasets")
    from datasets.utils.logging import set_verbosity_error

    set_verbosity_error()
    datasets.disable_progress_bars()
    library("huggingface_hub.utils").disable_progress_bars()
    library("huggingface_hub.utils.logging").set_verbosity_error()
    offline = not (os.path.exists(name) or reachable(library("huggingface_hub.constants").ENDPOINT))
    saved = any(os.path.isfile(os.path.join(name, file)) for file in ("state.json", "dataset_dict.json"))
    try:
        if saved:
            return datasets.load_from_disk(name, keep_in_memory=False)
        with without_hub() if offline else nullcontext():
            return datasets.load_dataset(path, config, keep_in_memory=False, **options)
    except MemoryError:
        raise
    except Exception as error:
        if type(error).__name__.startswith("DatasetGeneration") and isinstance(error.__cause__, Exception):
            error = error.__cause__  # what went wrong on the way
        if options:
            raise ReconError(
                f"{name} cannot be read: {cause(error)}.", "It may be damaged; rows must have the same fields."
            ) from error
        if offline:
            raise ReconError(
                f"hf:{name} cannot be loaded: the hub cannot be reached, and the cache holds no such data set.",
                "Look at the network; or give a folder or a file, FOLDER/x.parquet, which need none.",
            ) from error
        raise ReconError(
            f"hf:{name} cannot be loaded: {cause(error)}.",
            "Give a folder, or a data set of the hub, USER/NAME or USER/NAME/CONFIG; offline, only what its cache holds.",
        ) from error


def reachable(address: str) -> bool:
    """Whether somebody answers at an address; where a proxy stands between, that is left to those who know it."""
    parts = urlsplit(address)
    if getproxies() or not parts.hostname:
        return True
    try:
        socket.create_connection((parts.hostname, parts.port or (80 if parts.scheme == "http" else 443)), PATIENCE).close()
    except OSError:
        return False
    return True


@contextmanager
def without_hub() -> Iterator[None]:
    """Have the library look into its cache alone: it asks a hub that does not answer for half a minute."""
    settings = [(library("datasets.config"), "HF_HUB_OFFLINE"), (library("huggingface_hub.constants"), "HF_HUB_OFFLINE")]
    before = [getattr(module, name) for module, name in settings]
    for module, name in settings:
        setattr(module, name, True)
    try:
        yield
    finally:
        for (module, name), value in zip(settings, before, strict=True):
            setattr(module, name, value)


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


def portion(count: int, split: str, part: str) -> tuple[int, int]:
    """Return where a part of a split of so many rows begins and ends: ``[:1000]``, ``[10%:20%]``."""
    from datasets import ReadInstruction

    try:
        (piece,) = ReadInstruction.from_spec(f"{split}{part}").to_absolute({split: count})
    except (ValueError, AssertionError) as error:
        raise ReconError(f"{part} is no part of a split.", f"Write {split}[:1000], or {split}[10%:20%].") from error
    return piece.from_ or 0, count if piece.to is None else piece.to
