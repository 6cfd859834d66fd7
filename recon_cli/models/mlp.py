"""The usual small variational autoencoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recon_cli.models._autoencoder import Autoencoder

if TYPE_CHECKING:
    from torch import Tensor


class Mlp(Autoencoder):
    """One SiLU layer of ``hidden`` on each side."""

    @classmethod
    def widths(cls, tensors: dict[str, Tensor], config: Mapping[str, Any]) -> tuple[int, int]:
        """Return the widths of its weights, whatever the config says."""
        del config
        hidden, _ = tensors["encoder.0.weight"].shape
        return tensors["decoder.0.weight"].shape[1], hidden
