"""What a start costs is decided by what is imported; the seconds are printed, never asserted."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import numpy
import pytest

from recon_cli.derivation import table
from recon_cli.likelihoods.laplace import Laplace


def loaded_after(*statements: str) -> list[set[str]]:
    """The modules in a fresh interpreter after each of some statements: what one has not loaded, those before it have not."""
    seen = "print('LOADED', *sys.modules, file=sys.__stderr__)"
    code = "\n".join(["import sys", *(line for statement in statements for line in (statement, seen))])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return [{*line.split()} for line in done.stderr.splitlines() if line.startswith("LOADED ")]


def run(*words: str) -> str:
    """A statement that runs recon with these words."""
    return f"from recon_cli.cli import main\ntry: main({list(words)!r})\nexcept SystemExit: pass"


HEAVY = {"torch", "numpy", "sympy", "rich", "safetensors", "PIL"}
HELP = [("--help",), ("--version",), ("compare", "--help"), ("derive", "-h"), ("train", "--help")]
STORED = [("derive",), ("derive", "--list")]
REFUSED = [
    ("compare", "--likelihood", "gausian"), ("compare", "--sigma", "-1"), ("audit", "MISSING.py"),
    ("compare", "--data", "MISSING.npy"),
]  # fmt: skip
KINDS = ["float64", "bool"]
PROOF = ("derive", "laplace:scale=0.2")


@pytest.fixture(scope="module")
def after(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], set[str]]:
    """What one interpreter has loaded after each command that does without torch, in an order in which what they load grows."""
    folder = tmp_path_factory.mktemp("data")
    for kind in KINDS:
        numpy.save(folder / f"{kind}.npy", (numpy.arange(96).reshape(8, 12) % 7).astype(kind))
    stored = STORED if table.stored(Laplace) is not None else []
    described = [("data", str(folder / f"{kind}.npy")) for kind in KINDS]
    commands = [*HELP, *stored, *REFUSED, *described, PROOF]
    names = [(), *HELP, *stored, *REFUSED, *(("data", kind) for kind in KINDS), PROOF]
    return dict(zip(names, loaded_after("import recon_cli", *(run(*words) for words in commands)), strict=True))


Loaded = dict[tuple[str, ...], set[str]]


def test_importing_the_package_imports_nothing_heavy(after: Loaded) -> None:
    assert not after[()] & HEAVY


@pytest.mark.parametrize("words", HELP)
def test_help_imports_nothing_heavy(words: tuple[str, ...], after: Loaded) -> None:
    assert not after[words] & HEAVY


def test_what_is_in_the_table_of_proofs_is_shown_without_torch_and_sympy(after: Loaded) -> None:
    if table.stored(Laplace) is None:
        pytest.skip("the table is of other code, as test_derivation.py says")
    for words in STORED:
        assert not after[words] & {"torch", "sympy", "mpmath", "scipy"}


def test_a_proof_imports_no_torch(after: Loaded) -> None:
    assert "torch" not in after[PROOF]
    assert "sympy" in after[PROOF]


@pytest.mark.parametrize("kind", KINDS)
def test_data_are_described_without_torch(kind: str, after: Loaded) -> None:
    assert not after["data", kind] & {"torch", "sympy", "scipy"}
    assert "numpy" in after["data", kind]


def test_what_is_not_there_is_refused_without_torch(after: Loaded) -> None:
    for words in REFUSED[2:]:
        assert not after[words] & {"torch", "sympy", "scipy"}, words


def test_a_bad_word_is_refused_before_torch_is_loaded(after: Loaded) -> None:
    for words in REFUSED[:2]:
        assert "torch" not in after[words]


@pytest.fixture(scope="module")
def with_torch(tmp_path_factory: pytest.TempPathFactory) -> list[set[str]]:
    """What another has loaded after a calibration, then a comparison, then a fit, an audit, a script and a training."""
    folder = tmp_path_factory.mktemp("run")
    calibration = "import recon_cli, torch\nrecon_cli.VonMises.fit(torch.linspace(-1.0, 1, 9), torch.zeros(9))"
    calibration += "\nrecon_cli.calibrate('digits')"
    fit = "recon_cli.Logistic.fit(torch.arange(9.0), torch.zeros(9))"
    audit = "recon_cli.audit(torch.nn.MSELoss())"
    (folder / "script.py").write_text(SCRIPT)
    script = f"from recon_cli.auditing.reach import script\nassert len(script.run([{str(folder / 'script.py')!r}])) == 1"
    kept = "methods = torch.optim.SGD.step, torch.optim.Adam.zero_grad"  # SGD is not made, so nothing of torch's is put around it
    back = "assert methods == (torch.optim.SGD.step, torch.optim.Adam.zero_grad)"
    how = f"epochs=1, device='cpu', schedule='exponential:gamma=0.9', out={str(folder / 'run')!r}"
    lines = [fit, audit, kept, script, back, f"recon_cli.train(torch.rand(64, 4).numpy(), {how})"]
    return loaded_after(calibration, run("compare", "--device", "cpu"), "\n".join(lines))


def test_a_calibration_imports_none_of_scipy_s_optimizers(with_torch: list[set[str]]) -> None:
    """A third of a second, for the one Newton's iteration that a concentration takes."""
    assert not with_torch[0] & {"scipy", "sympy"}


def test_compare_imports_no_sympy_of_its_own(with_torch: list[set[str]]) -> None:
    assert "recon_cli.comparison" in with_torch[1]
    assert "safetensors" not in with_torch[1]
    assert "recon_cli.derivation" not in with_torch[1]


def test_a_fit_an_audit_a_script_and_a_training_do_without_the_compiler(with_torch: list[set[str]]) -> None:
    """Which every optimiser of torch's imports, and sympy with it: as it is made, at its steps, and as it is written down."""
    assert not with_torch[2] & {"sympy", "mpmath"}


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
