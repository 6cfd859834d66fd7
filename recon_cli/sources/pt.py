"""Tensors as torch saves them."""

from __future__ import annotations

import warnings
from pathlib import Path
from zipfile import is_zipfile

from recon_cli.errors import ReconError
from recon_cli.sources import Array, Source, choose, divided, guarded


class Pt(Source):
    """``x.pt`` or ``x.pth``: a tensor, or of a dict of tensors ``x.pt:name``. Never unpickles anything else.

    Memory-mapped, where torch can. bfloat16 becomes float32.
    """

    takes = "a path"

    @classmethod
    def reads(cls, path: str) -> bool:
        return Path(path).suffix.lower() in {".pt", ".pth"}

    def read(self) -> Array:
        path, wanted = divided(self.argument)
        return guarded(path, lambda: self._read(path, wanted))

    def _read(self, path: str, wanted: str) -> Array:
        import torch

        found = self._load(path)
        if isinstance(found, dict):
            tensors = {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}
            found = tensors[choose(path, wanted, list(tensors), "tensor")]
        elif wanted:
            raise ReconError(f"{path} holds one thing, and it has no name: {wanted!r} is not in it.", f"Write {path}.")
        if not isinstance(found, torch.Tensor):
            raise ReconError(f"{path} holds a {type(found).__name__}, not a tensor.", "Save a tensor, or a dict of tensors.")
        if found.layout != torch.strided or found.is_quantized or found.device.type != "cpu":
            raise ReconError(f"{path} holds a tensor that is not plain numbers.", "Save it as a dense tensor of floats.")
        if found.numel() * found.element_size() > found.untyped_storage().nbytes():
            raise ReconError(f"{path} holds a tensor of more numbers than are in the file.", "Save tensor.contiguous() instead.")
        found = found.detach()
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
                return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
        except (OSError, MemoryError):
            raise
        except Exception as error:
            if any(word in str(error) for word in ("GLOBAL", "class", "TorchScript")):
                raise ReconError(
                    f"{path} holds pickled objects other than tensors, and unpickling a file can run any code.",
                    "Save the tensor alone: torch.save(tensor, path), or a dict of tensors such as model.state_dict().",
                ) from error
            raise ValueError("it is not as torch.save writes tensors") from error
