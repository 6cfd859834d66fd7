"""A run's files changed, their checksums made to fit: as only somebody would who means it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load, save

from recon_cli.models import _saved as saved
from recon_cli.runtime import checksums


def settings(folder: str, **how: Any) -> None:
    """Other settings in the run's config.json, and its model and checkpoint bound to them."""
    path = Path(folder, "config.json")
    config = {**json.loads(path.read_text()), **how}
    path.write_bytes(checksums.json_file({name: value for name, value in config.items() if name != checksums.KEY}))
    for name in ("model.safetensors", "checkpoint.safetensors"):
        if Path(folder, name).exists():
            tensors(folder, name, about={"run": saved.identity(config)})


def tensors(
    folder: str, name: str, change: Callable[[dict[str, Any]], Any] = lambda found: None, about: Mapping[str, str] | None = None
) -> None:
    """Other tensors in a file of the run, as ``change`` leaves them; other metadata, too."""
    path = Path(folder, name)
    content = path.read_bytes()
    found = load(content)
    change(found)
    said = {key: value for key, value in checksums.metadata(content).items() if key != checksums.KEY}
    path.write_bytes(checksums.tensor_file(save(found), {**said, **(about or {})}))
