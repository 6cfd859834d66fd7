"""Files that are a sample each: images, or arrays of one shape; in a folder, a zip or a tar."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy

from recon_cli.errors import ReconError, listed
from recon_cli.runtime.files import cause, read_file, unreadable
from recon_cli.runtime.images import fitted, pixels, spelled
from recon_cli.runtime.limits import afford
from recon_cli.sources._base import Array, Source
from recon_cli.sources.npy import header

ENDINGS = (
    ".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pbm", ".pnm", ".avif",
)  # fmt: skip
OTHERS = (".heic", ".heif", ".svg", ".psd", ".jp2")  # not read
ARRAYS = (".npy",)
PACKED = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev"}
MOST = 1 << 28  # bytes of one packed file


class Images(Source):
    """``images:FOLDER`` (``images``, if not given), or the folder alone; or a zip or tar: every image of it, sorted by name.

    A folder without images of its own is read with all that are in it (a folder for each class, say): their names are no
    pixels, and are said. Where there are no images, .npy files of one shape are a sample each. Grey levels have shape
    (N, height, width), colours (N, height, width, 3). All must be of one size, and all grey or all colour, unless
    ``--size`` and ``--colour`` make them so; palettes become colours, transparency is dropped, and colours of 16 bits are
    read in 8.
    """

    takes = "a folder, a zip or a tar"
    heeds = frozenset({"size", "colour", "skip_bad"})
    levels = True
    about = ""

    @classmethod
    def reads(cls, path: str) -> bool:
        packed = path.lower().endswith(PACKED) and os.path.isfile(path)
        images = packed or files(path) or any(True for _ in each_within(path, ENDINGS))
        return bool(images) or len([*islice(each_within(path, ARRAYS), 2)]) > 1  # one is no sample among others

    def read(self) -> Array:
        self.changed: Counter[str] = Counter()
        self.bad: list[str] = []
        where = self.argument or "images"
        if os.path.isfile(where) and where.lower().endswith(ENDINGS):
            raise ReconError(f"{where} is one image, and a source is many samples.", "Give the folder that it is in.")
        if os.path.isfile(where) and (where.lower().endswith(PACKED) or zipfile.is_zipfile(where)):
            return read_file(where, lambda: self._packed(where))
        if not os.path.isdir(where):
            what = "is a file" if os.path.exists(where) else "does not exist"
            raise ReconError(f"images takes a folder, a zip or a tar, and {where!r} {what}.", f"recon looked in {Path.cwd()}.")
        paths = files(where) or within(where) or within(where, ARRAYS)
        if not paths:
            raise ReconError(f"{where} holds no image.", f"recon reads files that end in {', '.join(ENDINGS)}.")
        size = sum(os.path.getsize(path) for path in paths if os.path.exists(path))
        values = self._read_all(where, (Member(path, path) for path in paths), len(paths), size)
        self.remarks += left_out(where)
        self._describe(where, values, [os.path.relpath(path, where) for path in paths])
        return values

    def _packed(self, path: str) -> Array:
        """Return the images, or arrays, of a zip or tar."""
        packed = packed_files(path)
        endings = next((each for each in (ENDINGS, ARRAYS) if any(name.lower().endswith(each) for name in packed)), ())
        names = [name for name in packed if name.lower().endswith(endings)] if endings else []
        if not names:
            kinds = listed(sorted({Path(name).suffix or name for name in packed})) or "nothing"
            raise ReconError(
                f"{path} holds {kinds}, and recon reads images or .npy files in it.", "Unpack it, and give what is in it."
            )
        members = (Member(f"{name} in {path}", content) for name, content in contents(path, names))
        values = self._read_all(path, members, len(names), sum(packed[name] for name in names))
        others = Counter(Path(name).suffix or name for name in packed if name not in names)
        if others:
            each = listed([f"{count:,} {kind}" for kind, count in sorted(others.items())])
            self.remarks += (f"{path}: {each} beside the {len(names):,} files that are read are left out.",)
        self._describe(path, values, names)
        return values

    def _read_all(self, where: str, members: Iterable[Member], count: int, packed: int) -> Array:
        """Return what every member holds, in one array; what cannot be read is left out where that is asked for."""
        values, first, done = numpy.empty((0,)), "", 0
        for member in members:
            if (sample := self._sample(member)) is None:
                continue
            if not first:
                afford(where, count * sample.nbytes, packed, "Give smaller ones, --size 64x64 say, or fewer.")
                values, first = numpy.empty((count, *sample.shape), sample.dtype), member.name
            if sample.shape != values.shape[1:] or sample.dtype != values.dtype:
                here, there = (spelled(each) if self.levels else f"{each.dtype} of {each.shape}" for each in (sample, values[0]))
                hint = (
                    "All must be of one size, and all grey or all colour: --size HEIGHTxWIDTH and --colour grey|rgb make them so."
                )
                raise ReconError(f"{member.name} is {here}, and {first} is {there}.", hint if self.levels else "Cut or pad them.")
            values[done] = sample
            done += 1
        if not done:
            raise ReconError(f"None of the {count:,} files of {where} can be read: {listed(self.bad)}.", "Give others.")
        if self.bad:
            self.remarks += (
                f"{where}: {len(self.bad):,} of {count:,} files cannot be read, and are left out: {listed(self.bad)}.",
            )
        return values[:done]

    def _sample(self, member: Member) -> Array | None:
        """Return one image or array; what reading it changed is counted. None where it is left out because it is bad."""
        try:
            if member.name.partition(" in ")[0].lower().endswith(ARRAYS):
                self.levels = False
                return self._array(member)
            image, changes = self._opened(member)
            image, more = fitted(image, self.reading.size, self.reading.colour)
        except (ReconError, OSError) as error:
            if not self.reading.skip_bad:
                raise with_way_out(error) from error
            self.bad.append(os.path.basename(member.name.partition(" in ")[0]))
            return None
        self.changed.update((*changes, *more))
        return image

    def _opened(self, member: Member) -> tuple[Array, tuple[str, ...]]:
        """Return an image as it is, and what reading it changed."""
        content = member.content
        if isinstance(content, str):
            return read_file(content, lambda: pixels(content))
        try:
            return pixels(io.BytesIO(content))
        except (MemoryError, ReconError):
            raise
        except Exception as error:
            raise unreadable(member.name, error) from error

    def _array(self, member: Member) -> Array:
        """Return the array of a .npy file, which is one sample."""

        def read() -> Array:
            content = io.BytesIO(Path(member.content).read_bytes() if isinstance(member.content, str) else member.content)
            dtype, shape, fortran = header(member.name, content)
            return numpy.ndarray(shape, dtype, content.read(), order="F" if fortran else "C")

        try:
            return read_file(member.content, read) if isinstance(member.content, str) else read()
        except (TypeError, ValueError) as error:
            raise ReconError(f"{member.name} cannot be read: {cause(error)}.") from error

    def _describe(self, where: str, values: Array, names: list[str]) -> None:
        """Put into words what was read, and from which folders."""
        what = f"images of {spelled(values[0])}" if self.levels else f"arrays of {'x'.join(map(str, values.shape[1:]))}"
        folders = Counter(Path(name).parent.as_posix() for name in names)
        inner = ""
        if len(folders) > 1 or "." not in folders:
            inner = (
                f" in {len(folders):,} folder{'s' * (len(folders) > 1)} ({listed(sorted(folders))}), whose names are no values"
            )
        changes = [f"{count:,} {how}" for how, count in self.changed.items()]
        self.about = ", ".join([f"{where}: {len(values):,} {what}{inner}", *changes])
        apart = sorted(
            {Path(name).parts[0] for name in names if len(Path(name).parts) > 1 and Path(name).parts[0].lower() in SPLITS}
        )
        if len(apart) > 1:
            self.remarks += (
                f"{where}: its folders {listed(apart)} are read together; {os.path.join(where, apart[0])} is one alone.",
            )

    def describe(self) -> str:
        return self.about


class Member(NamedTuple):
    """One file: what it is called in an error, and its path or its bytes."""

    name: str
    content: str | bytes


def with_way_out(error: ReconError | OSError) -> ReconError | OSError:
    """Return the error for a file that cannot be read, among others that can."""
    return (
        ReconError(error.message, f"{error.hint} --skip-bad leaves it out.".strip()) if isinstance(error, ReconError) else error
    )


def packed_files(path: str) -> dict[str, int]:
    """Return the files of a zip or tar, sorted by name, and the bytes that each unpacks to."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}
    else:
        with tarfile.open(path) as archive:
            sizes = {info.name: info.size for info in archive if info.isfile()}
    return {
        name: sizes[name] for name in sorted(sizes) if not any(part.startswith((".", "__MACOSX")) for part in Path(name).parts)
    }


def contents(path: str, names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield what those files of a zip or tar hold; of a tar in the order that they lie in, for it may be packed as a whole."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in names:
                afford(f"{name} in {path}", archive.getinfo(name).file_size, archive.getinfo(name).compress_size)
                with archive.open(name) as file:
                    yield name, file.read(MOST)
        return
    wanted = {*names}
    with tarfile.open(path) as tar:
        for info in tar:
            content = tar.extractfile(info) if info.name in wanted else None
            if content is not None:
                afford(f"{info.name} in {path}", info.size)
                yield info.name, content.read(MOST)


def left_out(folder: str) -> tuple[str, ...]:
    """Return what is to be said of images in a folder that are of other formats, or in folders of their own."""
    others = Counter(Path(path).suffix[1:].lower() for path in files(folder, OTHERS))
    own = bool(files(folder))
    inner = [name for name in os.listdir(folder) if own and not name.startswith(".") and files(os.path.join(folder, name))]
    sentences = []
    if others:
        kinds = listed([f"{count:,} .{kind}" for kind, count in sorted(others.items())])
        sentences.append(f"{folder}: {kinds} in it are left out; recon reads files that end in {', '.join(ENDINGS)}.")
    if inner:
        folders = listed(sorted(inner))
        sentences.append(f"{folder}: images in folders inside it ({folders}) are left out; give each folder of its own.")
    return tuple(sentences)


def files(folder: str, endings: tuple[str, ...] = ENDINGS) -> list[str]:
    """Return the paths of the images in a folder, sorted by name; none if it is no folder."""
    if not os.path.isdir(folder):
        return []
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except OSError as error:
        raise unreadable(folder, error) from error
    return [os.path.join(folder, name) for name in names if name.lower().endswith(endings) and not name.startswith(".")]


def within(folder: str, endings: tuple[str, ...] = ENDINGS) -> list[str]:
    """Return the paths of the images anywhere inside a folder, sorted by name; none if it is no folder."""
    return sorted(each_within(folder, endings))


def each_within(folder: str, endings: tuple[str, ...]) -> Iterator[str]:
    """Yield the same as they come."""
    for where, inner, names in os.walk(folder) if os.path.isdir(folder) else ():
        inner[:] = sorted(name for name in inner if not name.startswith((".", "__MACOSX")))
        yield from (os.path.join(where, name) for name in names if name.lower().endswith(endings) and not name.startswith("."))
