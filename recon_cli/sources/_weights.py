"""The weights of a module that was trained elsewhere: a file of tensors by name, put into it or refused in a sentence."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon_cli.errors import ReconError, listed
from recon_cli.identity.shapes import spell
from recon_cli.runtime.files import read_file
from recon_cli.runtime.limits import afford

if TYPE_CHECKING:
    from torch import Tensor, nn

INSIDE = ("state_dict", "model_state_dict", "model", "net", "module")  # where checkpoints keep the tensors
FRONTS = ("module.", "model.", "_orig_mod.", "vae.", "net.")  # what wrappers put before every name


def state_of(path: str) -> dict[str, Tensor]:
    """Return the tensors of a file by name: .safetensors, or what torch saved. Never unpickles anything else."""
    import torch

    def read() -> Any:
        if path.lower().endswith(".safetensors"):
            from safetensors.torch import load_file

            return load_file(path)
        afford(path, os.path.getsize(path))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ReconError(
                f"{path} holds pickled objects other than tensors, and unpickling a file can run any code.",
                "Save the tensors alone: torch.save(model.state_dict(), path), or safetensors.torch.save_model(model, path).",
            ) from error

    content = read_file(path, read)
    while isinstance(content, dict) and (name := next((name for name in INSIDE if isinstance(content.get(name), dict)), "")):
        content = content[name]
    tensors = (
        {name: value for name, value in content.items() if isinstance(value, torch.Tensor)} if isinstance(content, dict) else {}
    )
    if not tensors:
        raise ReconError(f"{path} holds no tensors by name.", "Save model.state_dict().")
    return tensors


def put(module: nn.Module, path: str, who: str) -> None:
    """Put the tensors of a file into a module. Raises ReconError for the first that is missing, or of another shape."""
    tensors, own = state_of(path), module.state_dict()
    for front in FRONTS:
        if not {*own} <= {*tensors} and all(name.startswith(front) for name in tensors):
            tensors = {name.removeprefix(front): value for name, value in tensors.items()}
    if missing := [name for name in own if name not in tensors]:
        others = [name for name in tensors if name not in own]
        raise ReconError(
            f"{path} has no {listed(missing[:3])}, which {who} has; it has {listed(others[:6]) or 'nothing else'}.",
            "Give the weights of this very class.",
        )
    for name, value in own.items():
        if tensors[name].shape != value.shape:
            raise ReconError(
                f"{name} in {Path(path).name} is {spell(tensors[name].shape)}, and {who} has {spell(value.shape)}.",
                "Make it as it was trained: --latent and --hidden, or defaults in its __init__.",
            )
    module.load_state_dict({name: tensors[name] for name in own})
