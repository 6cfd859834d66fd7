"""A page shows the loss as a diagram and each defect at its line, where the file can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

import recon_cli
from recon_cli.auditing.excerpts import excerpts
from recon_cli.report import Diagram, Excerpt

LOSS = """import torch.nn.functional as F


def loss(recon, x, mu, logvar):
    rec = F.mse_loss(recon, x)
    kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1).mean()
    return rec + 0.1 * kl
"""


def test_a_defect_is_at_its_line_and_the_loss_a_diagram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vae.py").write_text(LOSS)
    report = recon_cli.audit("vae.py:loss", shape=(6,), latent=3).report()
    diagram, excerpt = report.exhibits
    assert isinstance(diagram, Diagram)
    assert isinstance(excerpt, Excerpt)
    first, second = diagram.blocks
    assert (first.name, first.arguments, first.weight) == ("Σ(x̂−x)²", "recon, x", "1/(B·D)")
    assert first.over == "averaged over the batch and a sample's elements"
    assert (second.name, second.arguments, second.weight) == ("KL", "mu, logvar", "0.1/B")
    assert second.over == "averaged over the batch, summed over the rest"
    assert diagram.total[0] == "gaussian"
    assert excerpt.file == "vae.py"
    assert (5, "    rec = F.mse_loss(recon, x)") in excerpt.lines
    assert ("recon-mean" in {code for line, code, _ in excerpt.remarks if line == 5}) == ("recon-mean" in report.verdict)


def test_what_cannot_be_read_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "long.py").write_text("x" * 5000 + "\n\xff")
    (tmp_path / "huge.py").write_text("#" * (1 << 21))
    (tmp_path / "page.txt").write_text("no code")
    sites = ["nowhere.py:3", f"{tmp_path}/huge.py:1", f"{tmp_path}/page.txt:1", f"{tmp_path}:1", None, "", "x.py:0"]
    sites.append("a\0b.py:1")
    assert [*excerpts((site, "gap", "so") for site in sites)] == []
    (shown,) = excerpts([(f"{tmp_path}/long.py:1", "gap", "so"), (f"{tmp_path}/long.py:999", "gap", "so")])
    assert [number for number, _ in shown.lines] == [1, 2]
    assert all(len(line) <= 204 for _, line in shown.lines)
