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
from recon_cli.runtime.lazy_arrays import File, Lazy, Stored, Values, widened
from recon_cli.runtime.limits import afford, fits
from recon_cli.sources import _remarks
from recon_cli.sources._base import Source
from recon_cli.sources._files import choose, path_and_choice
from recon_cli.sources._values import WHOLE

if TYPE_CHECKING:
    from torch import Tensor


class Pt(Source):
    """``x.pt`` or ``x.pth``: a tensor, or one inside dicts, lists and tuples, ``x.pt:latents.train``, ``x.pt:0``.

    Never unpickles anything else.

    A large one is read piece by piece, where its numbers lie in the file one after another as they are. bfloat16 becomes
    float32.
    """

    takes = "a path"

    @classmethod
    def reads(cls, path: str) -> bool:
        return Path(path).suffix.lower() in {".pt", ".pth", ".ckpt"}

    def read(self) -> Values:
        path, wanted = path_and_choice(self.argument)
        return read_file(path, lambda: self._read(path, wanted))

    def _read(self, path: str, wanted: str) -> Values:
        size = unpacked = os.path.getsize(path)
        if is_zipfile(path):
            stored = stored_tensor(self, File(path), wanted) if size > WHOLE else None
            if stored is not None:
                return stored
            with ZipFile(path) as archive:
                unpacked = sum(info.file_size for info in archive.infolist())
        afford(path, unpacked, size)
        tensor = checked(path, chosen(self, path, wanted, self._load(path))).detach()
        try:
            return tensor.numpy()
        except TypeError:
            return tensor.float().numpy()

    def _load(self, path: str) -> object:
        """Return what torch reads where it builds nothing but tensors and plain containers."""
        import torch

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                content: object = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
                return content
        except (OSError, MemoryError):
            raise
        except Exception as error:
            if any(word in str(error) for word in ("GLOBAL", "class", "TorchScript")):
                raise ReconError(
                    f"{path} holds pickled objects other than tensors, and unpickling a file can run any code.",
                    "Save the tensor alone: torch.save(tensor, path), or a dict of tensors such as model.state_dict().",
                ) from error
            raise ValueError("it is not as torch.save writes tensors") from error


def chosen(source: Pt, path: str, wanted: str, content: object) -> object:
    """Return the tensor ``wanted`` of a dict of them, with the source's remarks on it; what else a file holds as it is."""
    import torch

    if isinstance(content, (dict, list, tuple)):
        tensors = {name: value for name, value in leaves(content) if isinstance(value, torch.Tensor)}
        name = choose(path, wanted, list(tensors), "tensor")
        source.remarks = _remarks.beside(path, name, tensors, lambda other: tensors[other].shape)
        return tensors[name]
    if wanted:
        raise ReconError(f"{path} holds one thing, and it has no name: {wanted!r} is not in it.", f"Write {path}.")
    return content


def leaves(content: dict[object, object] | list[object] | tuple[object, ...]) -> Iterator[tuple[str, object]]:
    """Yield what a dict, list or tuple holds, and those in it: ``model.weight``, ``0.latents``."""
    for name, value in content.items() if isinstance(content, dict) else enumerate(content):
        if isinstance(value, (dict, list, tuple)):
            yield from ((f"{name}.{inner}", each) for inner, each in leaves(value))
        else:
            yield str(name), value


def checked(path: str, content: object) -> Tensor:
    """Return ``content``. Raises ReconError unless it is a tensor of plain numbers that are all in the file."""
    import torch

    if not isinstance(content, torch.Tensor):
        raise ReconError(f"{path} holds a {type(content).__name__}, not a tensor.", "Save a tensor, or a dict of tensors.")
    if content.layout != torch.strided or content.is_quantized or content.device.type not in {"cpu", "meta"}:
        raise ReconError(f"{path} holds a tensor that is not plain numbers.", "Save it as a dense tensor of floats.")
    if content.numel() * content.element_size() > content.untyped_storage().nbytes():
        raise ReconError(f"{path} holds a tensor of more numbers than are in the file.", "Save tensor.contiguous() instead.")
    fits(path, content.shape)
    return content.resolve_conj().resolve_neg()


def stored_tensor(source: Pt, file: File, wanted: str) -> Lazy | None:
    """Return a tensor whose numbers lie in a zip of torch's as they are; None where torch must read it, or refuse it."""
    import torch

    with ZipFile(file.path) as archive:
        members = {info.filename.partition("/")[2]: info for info in archive.infolist()}
        if "data.pkl" not in members or len(members) < len(archive.infolist()):
            return None
        afford(file.path, members["data.pkl"].file_size)
        order = archive.read(members["byteorder"]) if "byteorder" in members else b"little"
        try:
            content, keys = without_numbers(archive.read(members["data.pkl"]))
        except Exception:  # torch says what is wrong with it
            return None
    tensor = chosen(source, file.path, wanted, content)
    if not isinstance(tensor, torch.Tensor) or tensor.device.type != "meta":
        return None
    if tensor.layout != torch.strided or tensor.is_quantized:
        return None
    storage = tensor.untyped_storage()
    info, size = members.get(f"data/{keys.get(storage._cdata)}"), storage.nbytes()
    if not info or info.compress_type != ZIP_STORED or not info.file_size == info.compress_size == size:
        return None
    if not tensor.is_contiguous() or not tensor.numel() or not tensor.dim() or tensor.is_conj() or tensor.is_neg():
        return None
    mark, name, extra = struct.unpack("<4s22xHH", file.bytes(info.header_offset, 30))
    if mark != b"PK\x03\x04":
        return None
    begin = info.header_offset + 30 + name + extra + int(tensor.storage_offset()) * tensor.element_size()
    end = "<" if order == b"little" else ">"
    try:
        plain = torch.empty(0, dtype=tensor.dtype).numpy().dtype.str[1:]
        return Stored(file, numpy.dtype(end + plain), tensor.shape, begin)
    except TypeError:
        bits = numpy.dtype(f"{end}u{tensor.element_size()}")
        return widened(Stored(file, bits, tensor.shape, begin), str(tensor.dtype).rpartition(".")[2])


def without_numbers(text: bytes) -> tuple[object, dict[int, str]]:
    """Return what torch reads of the description of tensors, on no device and without their numbers; and each storage's name.

    As torch does where it builds nothing but tensors and plain containers.
    """
    import torch
    from torch import _weights_only_unpickler as restricted

    storages: dict[str, torch.UntypedStorage] = {}

    def storage(description: tuple[Any, ...]) -> torch.storage.TypedStorage:
        """Return a storage from what is written of it: that it is one, its type, its name, its device, its count of numbers."""
        _, kind, name, _, count = description
        dtype = torch.uint8 if kind is torch.UntypedStorage else kind.dtype
        if name not in storages:
            storages[name] = torch.UntypedStorage(count * torch.empty(0, dtype=dtype).element_size(), device="meta")
        return torch.storage.TypedStorage(wrap_storage=storages[name], dtype=dtype, _internal=True)

    reader: Any = restricted.Unpickler(io.BytesIO(text), encoding="utf-8")
    reader.persistent_load = storage
    content: object = reader.load()
    return content, {each._cdata: name for name, each in storages.items()}
