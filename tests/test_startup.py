"""What a start costs is decided by what is imported; the seconds are printed, never asserted."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy
import pytest

from recon_cli.derivation import table
from recon_cli.likelihoods.laplace import Laplace


def loaded_after(statement: str) -> set[str]:
    """The top-level modules in a fresh interpreter after a statement."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def run(*words: str) -> str:
    """A statement that runs recon with these words."""
    return f"from recon_cli.cli import main\ntry: main({list(words)!r})\nexcept SystemExit: pass"


HEAVY = {"torch", "numpy", "sympy", "rich", "safetensors", "PIL"}


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert not loaded_after("import recon_cli") & HEAVY


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("compare", "--help"), ("derive", "-h"), ("train", "--help")])
def test_help_imports_nothing_heavy(words: tuple[str, ...]) -> None:
    assert not loaded_after(run(*words)) & HEAVY


def test_what_is_in_the_table_of_proofs_is_shown_without_torch_and_sympy() -> None:
    if table.stored(Laplace) is None:
        pytest.skip("the table is of other code, as test_derivation.py says")
    for words in (("derive",), ("derive", "--list")):
        assert not loaded_after(run(*words)) & {"torch", "sympy", "mpmath", "scipy"}


def test_a_proof_imports_no_torch() -> None:
    loaded = loaded_after(run("derive", "laplace:scale=0.2"))
    assert "torch" not in loaded
    assert "sympy" in loaded


@pytest.mark.parametrize("kind", ["float64", "bool"])
def test_data_are_described_without_torch(kind: str, tmp_path: Path) -> None:
    numpy.save(tmp_path / "x.npy", (numpy.arange(96).reshape(8, 12) % 7).astype(kind))
    assert not loaded_after(run("data", str(tmp_path / "x.npy"))) & {"torch", "sympy", "scipy"}


def test_what_is_not_there_is_refused_without_torch(tmp_path: Path) -> None:
    for words in (("audit", "MISSING.py"), ("compare", "--data", "MISSING.npy")):
        assert not loaded_after(run(*words)) & {"torch", "sympy", "scipy"}, words


def test_compare_imports_no_sympy_of_its_own() -> None:
    loaded = loaded_after(run("compare", "--device", "cpu"))
    assert "safetensors" not in loaded
    assert "recon_cli.derivation" not in loaded


def test_a_fit_an_audit_a_script_and_a_training_do_without_the_compiler(tmp_path: Path) -> None:
    """Which every optimiser of torch's imports, and sympy with it: as it is made, at its steps, and as it is written down."""
    fit = "import recon_cli, torch\nrecon_cli.Logistic.fit(torch.arange(9.0), torch.zeros(9))"
    audit = "recon_cli.audit(torch.nn.MSELoss())"
    (tmp_path / "script.py").write_text(SCRIPT)
    run = f"from recon_cli.auditing.reach import script\nassert len(script.run([{str(tmp_path / 'script.py')!r}])) == 1"
    kept = "methods = torch.optim.SGD.step, torch.optim.Adam.zero_grad"  # SGD is not made, so nothing of torch's is put around it
    back = "assert methods == (torch.optim.SGD.step, torch.optim.Adam.zero_grad)"
    how = f"epochs=1, device='cpu', schedule='exponential:gamma=0.9', out={str(tmp_path / 'run')!r}"
    lines = [fit, audit, kept, run, back, f"recon_cli.train(torch.rand(64, 4).numpy(), {how})"]
    assert not loaded_after("\n".join(lines)) & {"sympy", "mpmath"}


SCRIPT = """import torch
net = torch.nn.Linear(4, 4)
for kind in (torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop):
    optimizer = kind(net.parameters(), lr=0.1)
    before = net.weight.detach().clone()
    net.weight.grad = torch.ones(4, 4)
    optimizer.step()
    assert not torch.equal(before, net.weight), kind
    assert torch.is_grad_enabled()
    assert optimizer.state_dict()["state"]
for _ in range(3):
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(net(torch.ones(8, 4)), torch.rand(8, 4)).backward()
    optimizer.step()
"""


def test_a_calibration_imports_none_of_scipy_s_optimizers() -> None:
    """A third of a second, for the one Newton's iteration that a concentration takes."""
    fit = "import recon_cli, torch\nrecon_cli.VonMises.fit(torch.linspace(-1.0, 1, 9), torch.zeros(9))"
    assert not loaded_after(f"{fit}\nrecon_cli.calibrate('digits')") & {"scipy", "sympy"}


def test_a_bad_word_is_refused_before_torch_is_loaded() -> None:
    assert "torch" not in loaded_after(run("compare", "--likelihood", "gausian"))
    assert "torch" not in loaded_after(run("compare", "--sigma", "-1"))


def test_seconds_to_start(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints, in one run, recon --help against import click, and compare against import torch (a lone pair)."""

    def seconds(*words: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, *words], capture_output=True, check=False)
        return time.perf_counter() - start

    pairs = [(seconds("-c", "import click"), seconds("-m", "recon_cli", "--help")) for _ in range(3)]
    ratio = statistics.median(recon / click for click, recon in pairs)
    with capsys.disabled():
        print(f"\n[recon --help takes {ratio:.2f} x 'import click']", end=" ")
    assert ratio > 0
