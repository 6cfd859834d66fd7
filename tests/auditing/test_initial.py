"""What is known of an object without making it: its __init__, its configuration, the files beside its own, its call."""

from __future__ import annotations

from pathlib import Path

import pytest

from recon_cli import audit
from recon_cli.errors import ReconError

KL = "-0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()"
HEAD = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"
CONFIG = "from dataclasses import dataclass\n@dataclass\nclass Config:\n    kind: str = 'mse'\n    beta: float = 4.0\n"
LOSS = f"""
    def loss(self, recon, x, mu, logvar):
        if self.config.kind == "mse":
            return 0.5 * (recon - x).square().sum() + self.beta * {KL}
        return F.l1_loss(recon, x, reduction="sum") + self.beta * {KL}
"""
BASE = """
class Base(nn.Module):
    def __init__(self, config: Config):
        super().__init__()
        self.config = config
"""
DERIVED = """
class Vae(Base):
    def __init__(self, config: "Config", width):
        super().__init__(config=config)
        self.net = nn.Linear(width, 2)
        self.beta = config.beta
"""


def written(folder: Path, text: str, name: str = "vae.py") -> str:
    (folder / name).write_text(text)
    return f"{folder / name}"


def test_a_configuration_is_made_of_its_defaults_and_goes_to_the_base(tmp_path: Path) -> None:
    result = audit(written(tmp_path, HEAD + CONFIG + BASE + DERIVED + LOSS) + ":Vae.loss")
    assert (result.rows[0].family, result.rows[0].beta) == ("gaussian", pytest.approx(4))
    assert "self.config.kind = 'mse', as Config has it" in str(result)
    assert "self.beta = 4.0, as Vae sets it" in str(result)


def test_what_is_given_of_a_configuration_is_what_is_set_of_it(tmp_path: Path) -> None:
    word = written(tmp_path, HEAD + CONFIG + BASE + DERIVED + LOSS) + ":Vae.loss"
    result = audit(word, attributes={"config.kind": "l1", "config.beta": 2.0})
    assert (result.rows[0].family, result.rows[0].beta) == ("laplace", pytest.approx(2))
    assert "config.kind" not in str(result)


MADE = {
    "a loss": ('self.f = nn.MSELoss(reduction="sum")', "self.f(recon, x)", 1.0),
    "a loss by a word": ('self.f = nn.MSELoss(reduction="sum" if kind == "sum" else "mean")', "self.f(recon, x)", 1.0),
    "arithmetic": ("w = 2 * scale\n        self.w = w / 4", "self.w * (recon - x).square().sum()", 1.5),
    "a condition": (
        "if kind == 'sum':\n            self.w = 3\n        else:\n            self.w = 5",
        "self.w * (recon - x).square().sum()",
        3.0,
    ),
    "a dictionary": ("self.w = {'sum': 2.0, 'mean': 1.0}[kind]", "self.w * (recon - x).square().sum()", 2.0),
    "hyperparameters": ("self.save_hyperparameters()", "self.hparams.scale * (recon - x).square().sum()", 3.0),
}


@pytest.mark.parametrize("how", MADE)
def test_what_init_sets_of_what_is_known_is_set(how: str, tmp_path: Path) -> None:
    line, used, weight = MADE[how]
    text = f"""
class Vae(nn.Module):
    def __init__(self, latent, kind="sum", scale=3):
        super().__init__()
        self.encoder = nn.Linear(784, latent)
        {line}

    def loss(self, recon, x, mu, logvar):
        return {used} + {KL}
"""
    result = audit(written(tmp_path, HEAD + text) + ":Vae.loss")
    assert result.rows[0].tradeoff == pytest.approx(1 / (2 * weight))


UNKNOWN = {
    "an argument": "self.w = w",
    "a changed one": "self.w = 1\n        self.w *= w",
    "a loop": "self.w = 1\n        for _ in range(w):\n            self.w = 2",
    "a condition": "self.w = 1\n        if w > 3:\n            self.w = 2",
    "a call of its own": "self.w = self.weight()",
}


@pytest.mark.parametrize("how", UNKNOWN)
def test_what_init_sets_of_what_is_not_known_is_asked_for(how: str, tmp_path: Path) -> None:
    text = f"""
class Vae(nn.Module):
    def __init__(self, w):
        super().__init__()
        {UNKNOWN[how]}

    def loss(self, recon, x, mu, logvar):
        return self.w * (recon - x).square().sum() + {KL}
"""
    with pytest.raises(ReconError, match=r"needs self\.w, which has no default"):
        audit(written(tmp_path, HEAD + text) + ":Vae.loss")


def test_a_package_whose_own_needs_are_absent_is_read_file_by_file(tmp_path: Path) -> None:
    (package := tmp_path / "vaes" / "beta").mkdir(parents=True)
    written(tmp_path / "vaes", "import nowhere_to_be_had\nfrom .beta import Vae\n", "__init__.py")
    base = "from nowhere_to_be_had import thing\n" + HEAD + "from .settings import Config\n" + BASE
    written(tmp_path / "vaes", base, "base.py")
    written(tmp_path / "vaes", CONFIG.replace("from dataclasses", "from nowhere_to_be_had.dataclasses"), "settings.py")
    written(package, "from .vae import Vae\n", "__init__.py")
    path = written(package, HEAD + "from ..base import Base\nfrom ..settings import Config\n" + DERIVED + LOSS)
    result = audit(f"{path}:Vae.loss")
    assert (result.rows[0].family, result.rows[0].beta) == ("gaussian", pytest.approx(4))
    assert "with what it imports from 2 files beside it" in " ".join(str(result).split())


ADDED = {
    "at once": ("rec, kl = losses(recon, x, mu, logvar)\n    (rec + 0.5 * kl).backward()", 1.0),
    "by a name": ("rec, kl = losses(recon, x, mu, logvar)\n    loss = rec + WEIGHT * kl\n    loss.backward()", 4.0),
    "bit by bit": ("loss, kl = losses(recon, x, mu, logvar)\n    loss = 2 * loss\n    loss += kl\n    loss.backward()", 0.5),
    "returned": ("rec, kl = losses(recon, x, mu, logvar)\n    return rec + kl", 1.0),
    "in a loop": (
        "for x in [x]:\n        with torch.enable_grad():\n            rec, kl = losses(recon, x, mu, logvar)\n"
        "            (rec + kl).backward()",
        1.0,
    ),
}


@pytest.mark.parametrize("how", ADDED)
def test_parts_are_added_as_the_file_adds_them(how: str, tmp_path: Path) -> None:
    lines, weight = ADDED[how]
    weight *= {"at once": 0.5}.get(how, 1.0)
    text = f"""
WEIGHT = 4.0

def losses(recon, x, mu, logvar):
    return 0.5 * (recon - x).square().sum(), {KL}

def step(model, x):
    recon, mu, logvar = model(x)
    {lines}
"""
    result = audit(written(tmp_path, HEAD + text) + ":losses")
    assert result.rows[0].tradeoff == pytest.approx(weight)


UNSURE = {
    "a weight that is not known": "kl = anneal(x) * kl\n    (rec + kl).backward()",
    "in place": "kl *= anneal(x)\n    (rec + kl).backward()",
    "one way or the other": "if x.any():\n        loss = rec + kl\n    else:\n        loss = rec + 2 * kl\n    loss.backward()",
    "at times": "if x.sum() > 0:\n        kl = 0 * kl\n    (rec + kl).backward()",
    "a weight of its own": "WEIGHT = anneal(x)\n    (rec + WEIGHT * kl).backward()",
}


@pytest.mark.parametrize("how", UNSURE)
def test_a_sum_that_is_not_known_is_asked_for(how: str, tmp_path: Path) -> None:
    text = f"""
WEIGHT = 4.0

def losses(recon, x, mu, logvar):
    return 0.5 * (recon - x).square().sum(), {KL}

def step(model, anneal, x):
    rec, kl = losses(*model(x))
    {UNSURE[how]}
"""
    with pytest.raises(ReconError, match="none of them is a total"):
        audit(written(tmp_path, HEAD + text) + ":losses")


def test_parts_that_a_file_adds_in_two_ways_are_asked_about(tmp_path: Path) -> None:
    text = f"""
def losses(recon, x, mu, logvar):
    return 0.5 * (recon - x).square().sum(), {KL}

def one(model, x):
    rec, kl = losses(*model(x))
    (rec + kl).backward()

def other(model, x):
    rec, kl = losses(*model(x))
    (rec + 2 * kl).backward()
"""
    with pytest.raises(ReconError, match="none of them is a total"):
        audit(written(tmp_path, HEAD + text) + ":losses")


def test_a_total_with_a_codebook_s_loss_is_known_for_one(tmp_path: Path) -> None:
    text = "def loss(recon, x, vq_loss):\n    r = F.mse_loss(recon, x)\n    return r, vq_loss, 3 * r + vq_loss\n"
    result = audit(written(tmp_path, HEAD + text) + ":loss")
    assert "L = (3/(B·D))·Σ(x̂−x)²" in str(result)


def test_a_word_that_is_asked_for_is_one_that_the_code_knows(tmp_path: Path) -> None:
    text = f"""
class Loss:
    def __init__(self, opt):
        self.opt = opt

    def loss(self, recon, x, mu, logvar):
        if self.opt.kind == "l2":
            r = (recon - x).pow(2).sum()
        elif self.opt.kind in ("l1", "mae"):
            r = (recon - x).abs().sum()
        return r + {KL}
"""
    with pytest.raises(ReconError) as error:
        audit(written(tmp_path, HEAD + text) + ":Loss.loss")
    assert error.value.hint == "Pass it: --self opt.kind=l2, say; self.opt.kind may be l2, l1 or mae."


def test_an_argument_that_only_seems_to_be_optional_is_given(tmp_path: Path) -> None:
    text = """
def loss(recon, x, mu, logvar, z=None, weights=None):
    batch, width = z.shape
    log_q = -0.5 * (logvar + (z - mu) ** 2 / logvar.exp()).sum()
    log_p = -0.5 * (z**2).sum()
    error = (recon - x).square() if weights is None else weights * (recon - x).square()
    return 0.5 * error.sum() + log_q - log_p
"""
    result = audit(written(tmp_path, HEAD + text) + ":loss")
    assert result.rows[0].verdict == "elbo"
    assert "weights" not in str(result)


def test_what_is_compiled_runs_as_it_is_written(tmp_path: Path) -> None:
    text = "@torch.jit.script\ndef loss(recon, x):\n    return ((recon - x) ** 2).sum()\n"
    result = audit(written(tmp_path, HEAD + text) + ":loss")
    assert result.rows[0].family == "gaussian"
    assert "compiled: it ran as it is written" in str(result)


@pytest.mark.slow
def test_the_compiler_says_nothing_of_a_helper(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    text = """
@torch.compile
def square(recon, x):
    return ((recon - x) ** 2).sum()

def loss(recon, x):
    return 3 * square(recon, x)
"""
    assert audit(written(tmp_path, HEAD + text) + ":loss").rows[0].family == "gaussian"
    assert not capfd.readouterr().err
