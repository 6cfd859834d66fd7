"""Tensors as torch saves them."""

from __future__ import annotations

import io
import os
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_STORED, ZipFile, is_zipfile

import numpy

from recon_cli.errors import ReconError
from recon_cli.runtime.files import read_file
from recon_cli.runtime.lazy_arrays import File, Lazy, Stored, widened
from recon_cli.runtime.limits import afford, fits
from recon_cli.sources._base import Array, Source
from recon_cli.sources._files import choose, divided
from recon_cli.sources._values import WHOLE

if TYPE_CHECKING:
    from torch import Tensor


class Pt(Source):
    """``x.pt`` or ``x.pth``: a tensor, or of a dict of tensors ``x.pt:name``. Never unpickles anything else.

    A large one is read piece by piece, where its numbers lie in the file one after another as they are. bfloat16 becomes
    float32.
    """

    takes = "a path"

    @classmethod
    def reads(cls, path: str) -> bool:
        return Path(path).suffix.lower() in {".pt", ".pth"}

    def read(self) -> Array | Lazy:
        path, wanted = divided(self.argument)
        return read_file(path, lambda: self._read(path, wanted))

    def _read(self, path: str, wanted: str) -> Array | Lazy:
        size = unpacked = os.path.getsize(path)
        if is_zipfile(path):
            stored = lying(File(path), wanted) if size > WHOLE else None
            if stored is not None:
                return stored
            with ZipFile(path) as archive:
                unpacked = sum(info.file_size for info in archive.infolist())
        afford(path, unpacked, size)
        found = plain(path, chosen(path, wanted, self._load(path))).detach()
        try:
            return found.numpy()
        except TypeError:
            return found.float().numpy()

    def _load(self, path: str) -> object:
        """What torch finds where it builds nothing but tensors and plain containers."""
        import torch

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.load(path, map_location="cpu", weights_only=True, mmap=False)
        except (OSError, MemoryError):
            raise
        except Exception as error:
            if any(word in str(error) for word in ("GLOBAL", "class", "TorchScript")):
                raise ReconError(
                    f"{path} holds pickled objects other than tensors, and unpickling a file can run any code.",
                    "Save the tensor alone: torch.save(tensor, path), or a dict of tensors such as model.state_dict().",
                ) from error
            raise ValueError("it is not as torch.save writes tensors") from error


def chosen(path: str, wanted: str, found: object) -> object:
    """The tensor ``wanted`` of a dict of them, or what else was found."""
    import torch

    if isinstance(found, dict):
        tensors = {name: value for name, value in within(found) if isinstance(value, torch.Tensor)}
        return tensors[choose(path, wanted, list(tensors), "tensor")]
    if wanted:
        raise ReconError(f"{path} holds one thing, and it has no name: {wanted!r} is not in it.", f"Write {path}.")
    return found


def within(found: dict[Any, object]) -> Iterator[tuple[str, object]]:
    """What a dict holds, and the dicts in it: ``model.weight``."""
    for name, value in found.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", each) for inner, each in within(value))
        else:
            yield str(name), value


def plain(path: str, found: object) -> Tensor:
    """What was found, if it is a tensor of plain numbers that are all in the file."""
    import torch

    if not isinstance(found, torch.Tensor):
        raise ReconError(f"{path} holds a {type(found).__name__}, not a tensor.", "Save a tensor, or a dict of tensors.")
    if found.layout != torch.strided or found.is_quantized or found.device.type not in {"cpu", "meta"}:
        raise ReconError(f"{path} holds a tensor that is not plain numbers.", "Save it as a dense tensor of floats.")
    if found.numel() * found.element_size() > found.untyped_storage().nbytes():
        raise ReconError(f"{path} holds a tensor of more numbers than are in the file.", "Save tensor.contiguous() instead.")
    fits(path, found.shape)
    return found.resolve_conj().resolve_neg()


def lying(file: File, wanted: str) -> Lazy | None:
    """A tensor whose numbers lie in a zip of torch's as they are; None where torch must read it, or say why it cannot."""
    import torch

    with ZipFile(file.path) as archive:
        members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        if "data.pkl" not in members or len(members) < len(archive.infolist()):
            return None
        afford(file.path, members["data.pkl"].file_size)
        order = archive.read(members["byteorder"]) if "byteorder" in members else b"little"
        try:
            every, keys = described(archive.read(members["data.pkl"]))
        except Exception:  # torch says what is wrong with it
            return None
    found = chosen(file.path, wanted, every)
    if not isinstance(found, torch.Tensor) or found.device.type != "meta" or found.layout != torch.strided or found.is_quantized:
        return None
    storage = found.untyped_storage()
    info, size = members.get(f"data/{keys.get(storage._cdata)}"), storage.nbytes()
    if not info or info.compress_type != ZIP_STORED or not info.file_size == info.compress_size == size:
        return None
    if not found.is_contiguous() or not found.numel() or not found.dim() or found.is_conj() or found.is_neg():
        return None
    mark, name, extra = struct.unpack("<4s22xHH", file.bytes(info.header_offset, 30))
    if mark != b"PK\x03\x04":
        return None
    begin = info.header_offset + 30 + name + extra + found.storage_offset() * found.element_size()
    end = "<" if order == b"little" else ">"
    try:
        known = torch.empty(0, dtype=found.dtype).numpy().dtype.str[1:]
        return Stored(file, numpy.dtype(end + known), found.shape, begin)
    except TypeError:
        bits = numpy.dtype(f"{end}u{found.element_size()}")
        return widened(Stored(file, bits, found.shape, begin), str(found.dtype).rpartition(".")[2])


def described(text: bytes) -> tuple[Any, dict[int, str]]:
    """What torch finds in the description of tensors, on no device and without their numbers; and each storage's name.

    As torch does where it builds nothing but tensors and plain containers.
    """
    import torch
    from torch import _weights_only_unpickler as restricted

    known: dict[str, Any] = {}

    def storage(told: tuple[Any, ...]) -> Any:
        """A storage from what is written of it: that it is one, its type, its name, its device, how many numbers it has."""
        _, kind, name, _, count = told
        dtype = torch.uint8 if kind is torch.UntypedStorage else kind.dtype
        if name not in known:
            known[name] = torch.UntypedStorage(count * torch.empty(0, dtype=dtype).element_size(), device="meta")
        return torch.storage.TypedStorage(wrap_storage=known[name], dtype=dtype, _internal=True)

    reader = restricted.Unpickler(io.BytesIO(text), encoding="utf-8")
    reader.persistent_load = storage
    found = reader.load()
    return found, {each._cdata: name for name, each in known.items()}
