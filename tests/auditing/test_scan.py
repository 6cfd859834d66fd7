"""Losses found in files by reading them; those that can be called alone are audited, the others are named."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from recon_cli import formats
from recon_cli.auditing.reach.scan import losses_in, scanned
from recon_cli.auditing.reach.survey import survey
from recon_cli.cli import main
from recon_cli.errors import ReconError

TORCH = "import torch\nfrom torch import nn\nimport torch.nn.functional as F\n"
KL = "-0.5 * torch.sum(1 + logvar - mu**2 - logvar.exp())"
# a file's text after the imports, and its losses: name, and whether it can be audited alone
TEXTS: list[tuple[str, dict[str, bool]]] = [
    ("def f(recon, x):\n    return F.mse_loss(recon, x)\n", {"f": True}),
    ("def f(recon, x):\n    return ((recon - x) ** 2).mean()\n", {"f": True}),
    ("def f(recon, x):\n    error = recon - x\n    per = error.abs()\n    return per.flatten(1).sum(1).mean()\n", {"f": True}),
    ("f = lambda recon, x: torch.square(recon - x).sum()\n", {"f": True}),
    (f"def rec(a, b):\n    return F.l1_loss(a, b)\ndef f(recon, x, mu, logvar):\n    return rec(recon, x) + {KL}\n", {"f": True}),
    (f"def kld(mu, logvar):\n    return {KL}\ndef rec(a, b):\n    return F.l1_loss(a, b)\n"
     "def f(recon, x, mu, logvar):\n    return rec(recon, x) + kld(mu, logvar)\n", {"f": True}),
    ("class Loss(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.bce = nn.BCELoss()\n"
     "    def forward(self, recon, x):\n        return self.bce(recon, x)\n", {"Loss.forward": True}),
    ("class A:\n    def loss(self, recon, x):\n        return F.mse_loss(recon, x)\nclass B(A):\n"
     "    def loss(self, recon, x):\n        return 2 * super().loss(recon, x)\n", {"A.loss": True, "B.loss": True}),
    ("def make(beta):\n    def f(recon, x):\n        return beta * F.mse_loss(recon, x)\n    return f\n", {"make.f": True}),
    ("class VAE(nn.Module):\n    def __init__(self):\n        self.encoder = nn.Linear(2, 2)\n    def forward(self, x):\n"
     "        return F.mse_loss(self.encoder(x), x)\n", {"VAE.forward": False}),
    ("class Lit:\n    def training_step(self, batch, i):\n        return F.mse_loss(self(batch), batch)\n",
     {"Lit.training_step": False}),
    ("net = nn.Linear(2, 2)\nbce, l1 = nn.BCELoss(), nn.L1Loss()\nfor x in []:\n    opt.zero_grad()\n    loss = l1(net(x), x)\n"
     "    loss.backward()\n", {"<module>": False}),
    ("def train(model, loader, opt, criterion):\n    for x, y in loader:\n        opt.zero_grad()\n"
     "        criterion(model(x), y).backward()\n        opt.step()\n", {"train": False}),
    ("def grad_penalty(norm):\n    return ((norm - 1) ** 2).mean()\n", {}),
    ("def spread(x):\n    return ((x - x.mean()) ** 2).mean()\n", {}),
    ("def window(n):\n    line = torch.exp(-((torch.arange(n) - n // 2) ** 2))\n    return line / line.sum()\n", {}),
    ("def psnr(a, b):\n    return -10 * torch.log10(F.mse_loss(a, b))\n", {}),
    ("def test(model, x):\n    return F.mse_loss(model(x), x)\n", {}),
    ("bce = nn.BCELoss()\ndef d(real):\n    return bce(real, torch.ones_like(real))\n", {}),
    ("def feature_distance(a, b):\n    return torch.norm(a - b)\n", {}),
    ("def sample_loss(recon, x):\n    return F.mse_loss(recon, x)\n", {"sample_loss": True}),
    ("def show(a, b):\n    print(F.mse_loss(a, b))\n", {}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "losses"), TEXTS)
def test_what_counts_as_a_loss(text: str, losses: dict[str, bool], tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text(TORCH + text)
    assert {site.name: bool(site.word) for site in losses_in(tmp_path / "file.py")} == losses


def test_arrays_of_numpy_are_no_losses(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("import numpy as np\ndef mse(a, b):\n    return np.mean((a - b) ** 2)\n")
    assert losses_in(tmp_path / "file.py") == []


def test_folders_are_walked_without_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in ("a.py", "sub/b.py", ".hidden/c.py", "env/lib/d.py", "__pycache__/e.py", "sub/bad.py"):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        Path(place).write_text(TORCH + "def f(recon, x):\n    return F.mse_loss(recon, x)\n")
    Path("env/pyvenv.cfg").touch()
    Path("sub/bad.py").write_text("x = 1\ndef f(:\n")
    cell = {"cell_type": "code", "source": "%matplotlib inline\ndef f(recon, x):\n    return (recon - x).pow(2).sum()"}
    Path("n.ipynb").write_text(json.dumps({"cells": [cell]}))
    sites, read = scanned(["."])
    assert [site.at for site in sites] == ["a.py:4", "n.ipynb:2", "sub/b.py:4", "sub/bad.py:2"]
    assert read == 3
    assert "does not parse" in sites[-1].why
    with pytest.raises(ReconError, match="does not parse"):
        scanned(["sub/bad.py"])
    Path(".hidden/none").mkdir()
    with pytest.raises(ReconError, match=r"no Python file in \.hidden/none"):
        scanned([".hidden/none"])


def test_each_loss_has_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("vae.py").write_text(
        f"{TORCH}def good(recon, x):\n    return F.mse_loss(recon, x, reduction='sum')\n"
        f"def wrong(recon, x, mu, logvar):\n    return F.mse_loss(recon, x) + {KL}\n"
        "def warm(recon, x, mu, logvar, epoch):\n    return F.mse_loss(recon, x, reduction='sum') + epoch[0] * mu.pow(2).sum()\n"
        f"def train(model, x):\n    recon, mu, logvar = model(x)\n    (F.mse_loss(recon, x) + {KL}).backward()\n"
    )
    settings = {"shape": (6,), "latent": 2, "batch": None, "data": None, "scale": None}
    report = survey(["vae.py"], (), None, 60, settings)
    lines = [row["line"] for row in report.tables[0].rows]
    assert lines[0] == "vae.py:4 good: reconstruction-only"
    assert lines[1] == "vae.py:6 wrong: shape-dependent: kl-sum-batch, recon-mean, half-missing"
    assert lines[2].startswith("vae.py:8 warm: not audited: ")
    assert lines[3] == "vae.py:12 train: not audited: is computed inline: recon audit --run vae.py"
    assert report.verdict == "1 pass, 1 fail, 2 not audited in 1 file"
    assert not report.holds
    for format in ("github", "sarif", "json", "csv", "markdown", "latex", "table"):
        formats.write(report, format, file := io.StringIO())
        assert "vae.py" in file.getvalue()
        if format == "github":
            assert "::error file=vae.py,line=7,title=recon recon-mean::wrong: " in file.getvalue()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["empty.py"], 0, "no loss in 1 file"),
        (["empty.py", "nowhere.py"], 0, "There is no file 'nowhere.py'"),
        (["nowhere.py"], 2, "There is no file 'nowhere.py'"),
        (["empty.py", "--total", "r[0]"], 2, "audit of files takes no --total"),
        (["empty.py", "--shape", "x=3"], 2, "no argument in common"),
        (["empty.py", "--loss", "mse"], 2, "Audit what?"),
    ],
)
def test_the_command(words: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.py").write_text("import torch\n")
    result = CliRunner().invoke(main, ["audit", *words])
    assert (result.exit_code, said in " ".join(result.output.split())) == (code, True), result.output
