"""``recon audit`` from outside: what it leaves alone, what it refuses in a sentence, exit codes, CI."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from click.testing import CliRunner
from torch import nn
from torch.nn import functional as F

import recon_cli
from recon_cli.auditing import defects
from recon_cli.auditing.judgement import GRAVEST
from recon_cli.cli import main
from recon_cli.errors import ReconError

LOSSES = Path(__file__).parents[1] / "losses"
ROW = ["family", "tradeoff", "tradeoff_batch", "tradeoff_dim", "tradeoff_latent", "sigma", "beta", "latent_scale", "direction",
       "verdict", "defects"]  # fmt: skip


def loss(recon_x, x, mu, logvar):
    return F.mse_loss(recon_x, x, reduction="sum") / 2 + 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()


def mean_loss(recon_x, x, mu, logvar):
    return F.mse_loss(recon_x, x) + 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(1).mean()


def run(*words: str) -> Any:
    """In this process."""
    result = CliRunner().invoke(main, ["audit", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def file(folder: Path, text: str) -> str:
    """A file of that source, named for the command line up to the colon."""
    path = folder / "theirs.py"
    path.write_text("import torch\nfrom torch.nn import functional as F\n\n" + textwrap.dedent(text))
    return str(path)


def test_what_started_it_all() -> None:
    for asked in (nn.MSELoss(), lambda y, t: torch.square(y - t).mean()):
        row = recon_cli.audit(asked).rows[0]
        assert (row.family, row.verdict, row.tradeoff, row.defects) == ("gaussian", "reconstruction-only", None, ())


@pytest.mark.parametrize(
    ("module", "family"),
    [
        (nn.L1Loss(), "laplace"),
        (nn.BCELoss(), "bernoulli"),
        (nn.BCEWithLogitsLoss(reduction="none"), "bernoulli"),
        (nn.HuberLoss(delta=0.4), "huber"),
        (nn.SmoothL1Loss(), "huber"),
        (nn.PoissonNLLLoss(), "poisson"),
        (nn.CrossEntropyLoss(), "categorical"),
        (nn.GaussianNLLLoss(), "heteroscedastic-gaussian"),
    ],
)
def test_torch_losses(module: nn.Module, family: str) -> None:
    how = {"shape": (7, 5, 5)} if family == "categorical" else {}
    row = recon_cli.audit(module, **how).rows[0]
    assert (row.family, row.verdict) == (family, "reconstruction-only")


def test_nothing_is_left_changed() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.calls = 0
            self.shift = nn.Parameter(torch.zeros(()))

        def forward(self, recon, x):
            self.calls += 1
            torch.set_default_dtype(torch.float16)
            return (recon + self.shift - x + 1e-3 * torch.randn_like(x)).square().sum()

    module = Noisy()
    torch.manual_seed(3), random.seed(3), numpy.random.seed(3)
    before = torch.rand(1), random.random(), numpy.random.rand()
    torch.manual_seed(3), random.seed(3), numpy.random.seed(3)
    assert recon_cli.audit(module).rows[0].family == "gaussian"
    assert (torch.rand(1), random.random(), numpy.random.rand()) == before
    assert torch.get_default_dtype() == torch.float32
    assert (module.calls, module.shift.dtype) == (0, torch.float32)


@pytest.mark.parametrize("how", [{}, {"shape": (7,), "latent": 3}], ids=["images", "rows"])
@pytest.mark.parametrize("parameters", ["recon, x, mu, logvar", "a, b, c, d"], ids=["named", "nameless"])
@pytest.mark.parametrize("of", [
    "({0} - {1}).square().sum()",
    "({4}.log() + (({0} - {1}) / {4}).square() / 2).sum()",
], ids=["squares", "a network's noise"])  # fmt: skip
def test_a_loss_is_called_forty_times_at_most(of: str, parameters: str, how: dict[str, Any]) -> None:
    names = [*parameters.split(", "), "std" if "recon" in parameters else "e"]
    kl = "0.5 * ({2}**2 + {3}.exp() - {3} - 1).sum()".format(*names)
    calls: list[int] = []
    code = (
        f"def loss({', '.join(names if '{4}' in of else names[:4])}):\n    calls.append(1)\n    return {of.format(*names)} + {kl}"
    )
    exec(code, scope := {"calls": calls})
    assert recon_cli.audit(scope["loss"], **how).verdict == "elbo"
    assert len(calls) <= 40


def test_bound_names_do_not_leak(tmp_path: Path) -> None:
    with pytest.raises(ReconError, match="reads SCALE"):
        recon_cli.audit(needs_a_name)
    assert recon_cli.audit(needs_a_name, bind={"SCALE": 8.0}).rows[0].tradeoff == pytest.approx(8 / 2)
    assert "SCALE" not in globals()


def needs_a_name(recon, x, mu, logvar):
    return (recon - x).square().sum() / SCALE + 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()  # noqa: F821


def test_the_row_is_the_contract() -> None:
    result = run(f"{LOSSES}/case01.py:loss_function", "--format", "json")
    assert result.exit_code == 0
    (row,) = json.loads(result.stdout)["tables"]["objective"]
    assert [*row][: len(ROW)] == ROW
    assert row["beta"] == pytest.approx(1)
    assert row["sigma"] is None
    assert row["verdict"] in GRAVEST
    assert set(row["defects"]) <= set(defects.codes())


def test_a_sentence_comes_first() -> None:
    result = run("--loss", "mse", "--reduction", "mean", "--kl-weight", "1", "--shape", "3x32x32")
    assert result.exit_code == 1
    flat = " ".join(result.stdout.split())
    assert flat.startswith(
        "✗ shape-dependent: recon-mean, half-missing This is a Gaussian with sigma = 39.1918 at D = 3,072 if beta is 1; with "
        "sigma = 1, beta is 1,536 at D = 3,072. "
        "Both grow with the image size."
    )
    assert "L = (1/(B·D))·Σ(x̂−x)² + (1/B)·KL" in flat
    assert "0.5 * (recon - x).square().sum() + 1536 * 0.5 * (mu**2" in flat


@pytest.mark.parametrize(
    ("words", "tradeoff", "code"),
    [
        (["--loss", "mse", "--reduction", "sum"], 0.5, 0),
        (["--loss", "l1", "--reduction", "batch-mean", "--kl-weight", "0.5"], 0.5, 0),
        (["--loss", "bce", "--reduction", "sum", "--kl-weight", "4"], 4, 0),
        (["--loss", "mse", "--reduction", "mean", "--kl-reduction", "mean", "--latent", "10"], 784 / 20, 1),
        (["--loss", "mse", "--reduction", "mean", "--kl-reduction", "sum"], 4 * 784 / 2, 1),
        (["--loss", "mse", "--kl-weight", "0"], None, 0),
    ],
)
def test_no_code_at_all(words: list[str], tradeoff: float | None, code: int) -> None:
    result = run(*words, "--format", "json")
    assert result.exit_code == code
    row = json.loads(result.stdout)["tables"]["objective"][0]
    assert row["tradeoff"] == (None if tradeoff is None else pytest.approx(tradeoff))


def test_accepted_codes_and_expectations() -> None:
    target = f"{LOSSES}/case19.py:VanillaVAE.loss_function"
    given = ["--bind", "M_N=0.00025", "--shape", "3x64x64", "--latent", "128"]
    assert run(target, *given).exit_code == 1
    assert run(target, *given, "--accept", "half-missing").exit_code == 1
    assert run(target, *given, "--accept", "recon-mean").exit_code == 0
    assert run(target, *given, "--accept", "recon-mean", "--expect", "beta=1.536").exit_code == 0
    assert run(target, *given, "--accept", "recon-mean", "--expect", "beta=6, sigma=0.50596442562694").exit_code == 0
    result = run(target, *given, "--accept", "recon-mean", "--expect", "beta=1, sigma=0.2")
    assert result.exit_code == 1
    assert "expected a trade-off of 0.04 (beta = 1, sigma = 0.2), found 1.536" in " ".join(result.stdout.split())
    assert run(target, *given, "--accept", "recon-men").exit_code == 2
    assert run(target, *given, "--expect", "betta=1").exit_code == 2
    assert run(f"{LOSSES}/case07.py:loss_function", "--expect", "sigma=0.70710678, family=gaussian, verdict=elbo").exit_code == 0


def test_the_helper_for_tests() -> None:
    found = recon_cli.audit(loss)
    found.assert_elbo()
    found.assert_elbo(expect="beta=1, sigma=1")
    with pytest.raises(AssertionError, match="recon-mean"):
        recon_cli.audit(mean_loss).assert_elbo()
    recon_cli.audit(mean_loss).assert_elbo("recon-mean")
    with pytest.raises(AssertionError, match="expected beta = 3"):
        found.assert_elbo(expect="beta=3")


def odd(a, b, c, d):
    """A loss whose arguments say nothing."""
    return (b - d).abs().sum() + 0.5 * (a**2 + (2 * c).exp() - 2 * c - 1).sum()


@pytest.mark.trained
def test_four_roles_by_trying() -> None:
    assert recon_cli.audit(odd).rows[0].tradeoff == pytest.approx(1)


def test_roles_that_are_told() -> None:
    found = recon_cli.audit(odd, args="mu,recon,logvar,target")
    assert [role for _, role, _ in found.roles[:4]] == ["mu", "recon", "scale", "target"]
    assert (found.rows[0].family, found.rows[0].latent_scale) == ("laplace", "log_std")
    assert recon_cli.audit(lambda a, b: (b - a).abs().sum()).rows[0].family == "laplace"  # by trying
    with pytest.raises(ReconError, match="'reckon' is no role"):
        recon_cli.audit(odd, args="mu,reckon,logvar,target")


def test_beside_data() -> None:
    target = f"{LOSSES}/case27.py:VAE.loss_function"
    result = run(target, "--self", "model_config.reconstruction_loss=bce", "--data", "digits", "--format", "json")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["tables"]["objective"][0]["defects"] == ["bce-on-nonbinary"]
    result = run("--loss", "mse", "--reduction", "sum", "--kl-weight", "0.2", "--data", "digits", "--format", "json")
    assert "With sigma^2 = 0.1, 12 of 20 latents would survive" in " ".join(json.loads(result.stdout)["notes"])  # PPCA: 12


BAD = {
    "f(recon, x):\n    return None": ["returns nothing"],
    "f(recon, x):\n    return float((recon - x).square().sum())": ["float", "gradient"],
    "f(recon, x):\n    return {'loss': (recon - x).square().sum().item()}": ["'loss'", "float without a gradient"],
    "f(recon, x):\n    return (recon - x).square().sum().detach()": ["has no gradient"],
    "f(recon, x):\n    raise RuntimeError('boom')": ["raises RuntimeError: boom", "recon 4x1x28x28, x 4x1x28x28"],
    "f(recon, x):\n    return recon.view(-1, 3, 5).sum() + x.sum()": ["invalid for input of size", "--shape"],
    "f(recon, x):\n    return ((recon - x) * nowhere).sum()": ["reads nowhere", "--bind nowhere"],
    "f(recon, x, beta):\n    return beta * (recon - x).square().sum()": ["beta"],
    "f(foo, bar, baz, qux, quux):\n    return foo + bar * baz - qux / quux": ["foo, bar, baz, qux, quux", "--args"],
    "f(recon, x):\n    return 'no number'": ["no number is"],
}


@pytest.mark.parametrize("body", BAD)
def test_what_cannot_be_audited_is_a_sentence(body: str, tmp_path: Path) -> None:
    result = run(f"{file(tmp_path, f'def {body}')}:f")
    assert result.exit_code == 2
    assert result.stdout == ""
    flat = " ".join(result.stderr.split())
    assert flat.startswith("error: ")
    assert "Traceback" not in flat
    for word in BAD[body]:
        assert word in flat


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.py:f"], "no file 'nowhere.py'"),
        (["f"], "names no function"),
        (["package_of_nobody.losses:f"], "cannot be imported"),
        ([], "to audit"),
        (["--loss", "mse", "x.py:f"], "to audit"),
        (["--loss", "mze"], "no loss named"),
        (["--loss", "mse", "--reduction", "none"], "no reduction named"),
        (["--loss", "mse", "--shape", "3y3"], "no shape"),
        (["--loss", "mse", "--bind", "beta"], "sets nothing"),
        (["--loss", "mse", "--total", "r[0]"], "--total 'r[0]' fails"),
    ],
)
def test_words_that_are_wrong(words: list[str], said: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


def test_a_file_that_does_not_parse(tmp_path: Path) -> None:
    result = run(f"{file(tmp_path, 'def f(recon, x:')}:f")
    assert result.exit_code == 2
    assert "does not parse" in result.stderr
    assert "line 4" in result.stderr


@pytest.mark.slow
def test_a_function_that_never_returns(tmp_path: Path) -> None:
    body = """
    def f(recon, x):
        while True:
            try:
                sum(range(1000))
            except Exception:
                pass
    """
    words = [sys.executable, "-m", "recon_cli", "audit", f"{file(tmp_path, body)}:f", "--timeout", "0.5"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "did not return within 0.5 seconds" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_it_prints_stays_out_of_the_report(tmp_path: Path) -> None:
    where = file(tmp_path, "def f(recon, x):\n    print('loudly')\n    return (recon - x).square().sum()\n")
    result = run(f"{where}:f", "--format", "json")
    assert "loudly" not in result.stdout
    assert json.loads(result.stdout)["command"] == "audit"


def test_a_module_by_its_dotted_name() -> None:
    result = run("torch.nn.functional:mse_loss", "--format", "json")
    assert json.loads(result.stdout)["tables"]["objective"][0]["family"] == "gaussian"


@pytest.mark.parametrize("format", ["markdown", "latex", "csv"])
def test_every_format_writes_it(format: str) -> None:
    result = run("--loss", "mse", "--format", format)
    assert result.exit_code == 1
    assert "gaussian" in result.stdout


def test_a_script_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    where = file(tmp_path, f"open({str(mark)!r}, 'w').close()\n\ndef f(recon, x):\n    return (recon - x).square().sum()\n")
    result = run(f"{where}:f")
    assert result.exit_code == 0
    assert "without running it (line 4 does more than define)" in " ".join(result.stdout.split())
    assert not mark.exists()


def test_accidental_broadcasting() -> None:
    def regression(pred, y):
        return (pred.squeeze(-1) - y).square().mean()

    found = recon_cli.audit(regression, shape=(1,))
    assert (found.verdict, found.defects) == ("defective", ("broadcast",))
    assert "shapes 4 and 4x1" in found.findings[0].evidence


OWNED = """
from torch import nn

scale = 2.0


class Model(nn.Module):
    def __init__(self, beta):
        super().__init__()
        self.beta = beta
        self.width = 3

    def weight(self):
        return self.gamma

    def loss(self, recon, x, **kwargs):
        return self.beta * self.weight() * kwargs["kept"] * helper(recon, x)


def helper(recon, x):
    return (recon - x).square().sum() / scale


def f(recon, x, beta=1.0):
    return beta * helper(recon, x)
"""


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("f", ["--bind", "nothere=3"], ["f reads no nothere", "It reads beta"]),
        ("f", ["--bind", "betta=3"], ["reads no betta", "Did you mean beta?"]),
        ("f", ["--self", "betta=1"], ["f has no self", "Did you mean --bind beta?"]),
        ("Model.loss", ["--self", "bet=1"], ["reads no self.bet,", "Did you mean beta?"]),
        ("Model.loss", ["--self", "width=4"], ["reads no self.width"]),
        ("Model.loss", ["--bind", "gamma=4"], ["reads no gamma", "Did you mean --self gamma?"]),
    ],
)
def test_what_is_never_read_is_refused(name: str, words: list[str], said: list[str], tmp_path: Path) -> None:
    result = run(f"{file(tmp_path, OWNED)}:{name}", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    flat = " ".join(result.stderr.split())
    for word in said:
        assert word in flat


def test_what_is_read_further_in_is_not_refused(tmp_path: Path) -> None:
    where = file(tmp_path, OWNED)
    assert run(f"{where}:f", "--bind", "beta=4").exit_code == 0
    assert recon_cli.audit(f"{where}:f", bind={"scale": 8.0}).rows[0].weight == pytest.approx(1 / 8)
    assert run(f"{where}:Model.loss", "--self", "beta=2", "--self", "gamma=3", "--bind", "kept=2").exit_code == 0


@pytest.mark.parametrize(
    "words", [["--kl-weight", "1"], ["--reduction", "mean"], ["--kl-reduction", "sum", "--reduction", "sum"]]
)
def test_options_of_no_code_beside_code(words: list[str]) -> None:
    result = run(f"{LOSSES}/case01.py:loss_function", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words[0] in result.stderr
    assert "has reductions and weights of its own" in " ".join(result.stderr.split())


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("torch.nn:MSELos", "MSELoss"),
        ("torch.nn:mseloss", "MSELoss"),
        ("torch.nn.functional:mse_los", "mse_loss"),
        ("torch.nn:MSELoss.forwrd", "forward"),
        (f"{LOSSES}/case01.py:loss_funktion", "loss_function"),
        (f"{LOSSES}/case19.py:VanillaVAE.loss_functoin", "loss_function"),
    ],
)
def test_the_nearest_name(word: str, meant: str) -> None:
    result = run(word)
    flat = " ".join(result.stderr.split())
    assert result.exit_code == 2
    assert f"Did you mean {meant!r}? It has " in flat
    assert not any(part.startswith("_") for part in flat.rpartition("It has ")[2].split())


def test_what_the_function_raises_itself(tmp_path: Path) -> None:
    for text, hint in {"boom": False, "sizes must match": True}.items():
        result = run(f"{file(tmp_path, f'def f(recon, x):{chr(10)}    raise RuntimeError({text!r})')}:f")
        assert result.exit_code == 2
        assert ("--shape" in result.stderr) is hint
        assert ("no matter of sizes" in " ".join(result.stderr.split())) is not hint


def test_a_kl_without_a_gradient_is_not_said_to_be_absent() -> None:
    def frozen(recon, x, mu, logvar):
        with torch.no_grad():
            kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()
        return 0.5 * (recon - x).square().sum() + kl

    found = recon_cli.audit(frozen)
    assert "what it adds of mu and logvar has no gradient, so no KL is trained" in found.sentence
    assert "no KL here" not in found.sentence
    assert "value-gradient-mismatch" in found.defects


def test_a_decoder_of_its_own_has_one_article() -> None:
    def given(decoder_dist, x, mu, logvar):
        return -decoder_dist.log_prob(x).sum() + 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()

    assert recon_cli.audit(given, args="decoder,target,mu,logvar").sentence.startswith("This is the decoder's own with beta = 1")
