"""Tensors as safetensors writes them."""

from __future__ import annotations

from recon_cli.sources import Array, Source, choose, divided, guarded


class Safetensors(Source):
    """``x.safetensors``, or ``x.safetensors:name`` where it holds several tensors.

    Memory-mapped. What numpy has no type for (bfloat16, float8) becomes float32.
    """

    takes = "a path"

    def read(self) -> Array:
        path, wanted = divided(self.argument)
        return guarded(path, lambda: self._read(path, wanted))

    def _read(self, path: str, wanted: str) -> Array:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            values = file.get_tensor(choose(path, wanted, sorted(file.keys()), "tensor"))
        try:
            return values.numpy()
        except TypeError:
            return values.float().numpy()
