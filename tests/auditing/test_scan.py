"""Losses found in files by reading them; those that can be called alone are audited, the others are named."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from recon_cli import formats
from recon_cli.auditing.reach.scan import Site, losses_in, scanned
from recon_cli.auditing.reach.survey import audited, refused, survey, survey_of
from recon_cli.auditing.worker import surveyed
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.report import Report
from recon_cli.runtime import supervisor

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
    ("def reconstruction_error(a, b):\n    return F.mse_loss(a, b)\n", {"reconstruction_error": True}),
    ("def act(state):\n    m = Categorical(state)\n    action = m.sample()\n    return action, m.log_prob(action)\n", {}),
    ("def nearest(x, emb):\n    dist = torch.norm(x - emb, 2, 1)\n    _, index = dist.min(-1)\n    return index\n", {}),
    ("def nearest(x, emb):\n    return ((x[:, None] - emb) ** 2).sum(2).argmin(1)\n", {}),
    ("def best(outs, x):\n    return torch.min(torch.stack([F.mse_loss(o, x) for o in outs]))\n", {"best": True}),
    ("class A(nn.Module):\n    def kl(self, q, p):\n        return kl_divergence(q, p)\n    def forward(self, x):\n"
     "        return self.decoder(x), self.kl(x, x)\n    def generate(self, x):\n        return self.forward(x)[0]\n", {}),
    ("def show(a, b):\n    print(F.mse_loss(a, b))\n", {}),
    ("def mean_flat(t):\n    return t.flatten(1).mean(1)\ndef f(a, b):\n    return mean_flat((a - b) ** 2)\n", {"f": True}),
    ("def kl(a, b, s, t):\n    return -0.5 + t - s + 0.5 * (s.exp() ** 2 + (a - b) ** 2) / t.exp() ** 2\n", {"kl": True}),
    ("def mixture_nll(x, p):\n    return -torch.logsumexp(p - F.softplus(x), dim=-1).mean()\n", {"mixture_nll": True}),
    ("def running_loss(values):\n    return values[-1]\n", {}),
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
    for row in report.tables[0].rows:
        below = "\n".join(row["details"])
        assert bool(below) == (row["name"] in ("good", "wrong"))  # all that is to be said is below it
        assert ("L = Σ(x̂−x)²" in below) == (row["name"] == "good")
        assert ("recon-mean (vae.py:7): the reconstruction is averaged" in below) == (row["name"] == "wrong")
    brief, whole = io.StringIO(), io.StringIO()
    formats.write(report.summary(), "table", brief)
    formats.write(report, "table", whole)
    assert brief.getvalue().split() == [word for line in (f"✗ {report.verdict}", *lines) for word in line.split()]
    assert "recon-mean (vae.py:7): the reconstruction is averaged" in whole.getvalue()
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
        (["empty.py", "--loss", "mse"], 2, "to audit"),
    ],
)
def test_the_command(words: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.py").write_text("import torch\n")
    result = CliRunner().invoke(main, ["audit", *words])
    assert (result.exit_code, said in " ".join(result.output.split())) == (code, True), result.output


def test_a_loss_that_ends_the_process_is_tried_again_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on in a new one; what has been found stays."""
    sites, asked = [Site("f.py", i, name, f"f.py:{name}") for i, name in enumerate("abcd")], []

    def child(work: str, request: Any, timeout: float) -> Iterator[Report]:
        asked.append("".join(name for _, name, _ in request["sites"]))
        for at, name, _ in request["sites"]:
            if name == "c":
                raise ReconError("The function ended its process by SIGSEGV before there was a verdict.", "Leave it alone.")
            yield survey_of([refused(at, name, "It is so.")], [])

    monkeypatch.setattr(supervisor, "run_in_parts", child)
    lines = [row["line"] for report in audited(sites, {}, 1) for row in report.tables[0].rows]
    assert asked == ["abcd", "cd", "d"]
    assert [line.split(": ")[2][:16] for line in lines] == ["It is so.", "It is so.", "The function end", "It is so."]


def test_a_bug_of_recon_s_is_no_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def child(work: str, request: Any, timeout: float) -> Iterator[Report]:
        yield survey_of([refused(*request["sites"][0][:2], "It is so.")], [])
        raise supervisor.ChildError("Traceback: its own")

    (tmp_path / "vae.py").write_text(TORCH + "".join(f"def {n}(recon, x):\n    return F.mse_loss(recon, x)\n" for n in "ab"))
    monkeypatch.setattr(supervisor, "run_in_parts", child)
    result = CliRunner().invoke(main, ["audit", str(tmp_path / "vae.py")])
    assert result.exit_code == 70
    assert all(word in result.output for word in ("vae.py:6 b", "Traceback: its own", "bug of recon's"))


def test_a_file_that_changes_what_all_call_changes_no_other_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f.py").write_text(
        TORCH + "def a(recon, x):\n    return F.mse_loss(recon, x)\n"
        "def b(recon, x):\n    F.mse_loss = F.l1_loss\n    return F.mse_loss(recon, x)\n"
    )
    settings = {"shape": (6,), "latent": 2, "batch": None, "data": None, "scale": None, "accept": (), "expect": None}
    reports = [*surveyed([(f"f.py:{i}", name, f"f.py:{name}") for i, name in enumerate("aba")], timeout=60, **settings)]
    assert [report.tables[0].rows[0]["family"] for report in reports] == ["gaussian", "laplace", "gaussian"]


NOTEBOOK = [
    "%pip install torch\nimport torch\nimport torch.nn.functional as F",
    "!nvidia-smi\ndef loss_function(recon, x, mu, logvar):\n"
    f"    return F.mse_loss(recon, x, reduction='sum') + {KL}\nmodel.summary()",
    "for x in loader:\n    optimizer.zero_grad()\n    F.l1_loss(model(x), x).backward()\n    optimizer.step()",
]


def test_a_notebook_is_scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cells = [{"cell_type": "code", "source": source, "outputs": []} for source in NOTEBOOK]
    Path("vae.ipynb").write_text(json.dumps({"cells": [{"cell_type": "markdown", "source": "# VAE"}, *cells], "nbformat": 4}))
    settings = {"shape": (6,), "latent": 2, "batch": None, "data": None, "scale": None}
    report = survey(["."], ["half-missing"], None, 60, settings)
    assert [row["line"] for row in report.tables[0].rows] == [
        "vae.ipynb:5 loss_function: elbo (half-missing noted)",
        "vae.ipynb:10 <module>: not audited: is computed inline: put recon_cli.watch() around its step",
    ]


def test_the_hook_takes_the_files_that_changed_and_no_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = (Path(__file__).parents[2] / ".pre-commit-hooks.yaml").read_text()
    lines = dict(line.strip("- ").split(": ", 1) for line in hook.splitlines() if ": " in line and line[0] != "#")
    assert (lines["types_or"], "args" in lines) == ("[python, jupyter]", False)
    program, *words = lines["entry"].split()
    assert program == "recon"
    monkeypatch.chdir(tmp_path)
    Path("setup.py").write_text("print('no loss')\n")
    for term, code in (("F.mse_loss(recon, x, reduction='sum')", 0), ("F.mse_loss(recon, x)", 1)):
        Path("vae.py").write_text(f"{TORCH}def f(recon, x, mu, logvar):\n    return {term} + {KL}\n")
        assert CliRunner().invoke(main, [*words, "setup.py", "vae.py"]).exit_code == code


@pytest.mark.slow
def test_losses_that_end_a_process_hang_or_change_it(tmp_path: Path) -> None:
    """In processes of their own."""
    loss = "    return F.mse_loss(recon, x)\n"
    ends = {
        "good": "", "exits": "    import os\n    os._exit(3)\n", "crashes": "    import ctypes\n    ctypes.string_at(0)\n",
        "hangs": "    import signal\n    signal.signal(signal.SIGALRM, signal.SIG_IGN)\n    while True: pass\n",
        "slow": "    while True: pass\n", "changes": "    nn.functional.celu = None\n", "last": "",
    }  # fmt: skip
    (tmp_path / "f.py").write_text(TORCH + "".join(f"def {name}(recon, x):\n{body}{loss}" for name, body in ends.items()))
    command = [sys.executable, "-m", "recon_cli", "audit", "f.py", "--timeout", "2", "--format", "json"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    rows = {row["name"]: row["verdict"] or row["why"] for row in json.loads(run.stdout)["tables"]["losses"]}
    assert [*rows] == [*ends]
    for name, words in {
        "good": "reconstruction-only", "exits": "with code 3", "crashes": "SIGSEGV", "hangs": "nor did it let itself be stopped",
        "slow": "within 2 seconds.", "changes": "reconstruction-only", "last": "reconstruction-only",
    }.items():  # fmt: skip
        assert words in rows[name]
