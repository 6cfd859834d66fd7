"""What breaking the code on purpose has shown to go unnoticed."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from recon_cli import likelihoods
from recon_cli.models.mlp import Mlp
from recon_cli.runtime import user_classes

REWRITES = """
from pathlib import Path

class Small:
    made = 1

Path(__file__).write_text("class Small:\\n    made = 2\\n")
"""


def test_a_model_is_known_by_the_file_that_was_there_before_it_ran(tmp_path: Path) -> None:
    path = tmp_path / "rewrites.py"
    path.write_text(REWRITES)
    found, checksum = user_classes.find(f"{path}:Small")
    assert found.made == 1
    assert checksum == hashlib.sha256(REWRITES.encode()).hexdigest()


def test_an_encoder_sees_an_outlier_from_near() -> None:
    one = torch.Generator().manual_seed(0)
    rows = torch.randn(50, 6, generator=one)
    vae = Mlp(rows, likelihoods.parse("gaussian"), 2, 8, one)
    with torch.no_grad():
        usual, far = (vae.encode(vae.mean + by * vae.scale * rows[:1])[0] for by in (1.0, 1e6))
    assert far.norm() < 1e3 * usual.norm()
