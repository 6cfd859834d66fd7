"""Who follows the README's section on contributing comes through: a likelihood that nobody here has written passes the laws."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import test_accuracy
import test_contract as contract
import torch
import witness

from recon_cli import likelihoods
from recon_cli.identity.likelihood import Likelihood

PROJECT = Path(__file__).parents[1]
# Its nll is beyond every number a few hundred widths below the mean, and its gradient two terms that cancel near it.
GUMBEL = '''"""Noise with one heavy tail: the largest of many."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.identity.likelihood import Likelihood, elementwise, log
from recon_cli.identity.losses import Loss
from recon_cli.identity.parametric import Number, parameter

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class GumbelError(Loss):
    """z + exp(-z), z = (x - mu)/width."""

    width: float = parameter(1.0, "the width")

    name = "gumbel-error"
    formula = "(x - mu)/width + exp(-(x - mu)/width)"

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        z = (x - prediction) / self.width
        return z + (-z).exp()


@dataclass(frozen=True)
class Gumbel(Likelihood):
    """-log p(x | mu) = z + exp(-z) + log scale, z = (x - mu)/scale, for real x and mu; scale in units of x.

    >>> Gumbel(scale=0.5).nll(1.0, 1.0)
    tensor(0.3069, dtype=torch.float64)
    """

    scale: float = parameter(1.0, "the width")

    density = "exp(-(x - mu)/scale - exp(-(x - mu)/scale))/scale"

    @property
    def loss(self) -> GumbelError:  # type: ignore[override]
        return GumbelError(width=self.scale)

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        z = (x - mu) / self.scale
        return z + (-z).exp() + self.normaliser

    @property
    def normaliser(self) -> Number:
        return log(self.scale)

    @property
    def slope(self) -> Number:
        return 1.0

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        return mu - self.scale * mu.new_empty(mu.shape).exponential_(generator=generator).log()
'''
WRONG = {  # what a law must see, however much leeway it gives
    "a sign": ("z + (-z).exp() + self", "z - (-z).exp() + self"),
    "a normaliser": ("return log(self.scale)", "return log(2 * self.scale)"),
    "a millionth": ("z = (x - mu) / self.scale\n        return z + (-z).exp() + self", "z = (x - mu) / self.scale\n        return 1.000001 * z + (-z).exp() + self"),  # noqa: E501
}  # fmt: skip


def written(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> type[Likelihood]:
    """The likelihood that a file of ``recon_cli/likelihoods`` would be, for the length of a test."""
    (folder / "gumbel.py").write_text(text)
    monkeypatch.setattr(likelihoods, "__path__", [str(folder), *likelihoods.__path__])
    monkeypatch.delitem(sys.modules, "recon_cli.likelihoods.gumbel", raising=False)
    __import__("recon_cli.likelihoods.gumbel")
    return vars(sys.modules.pop("recon_cli.likelihoods.gumbel"))["Gumbel"]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave no trace of the file."""
    yield
    vars(likelihoods).pop("gumbel", None)


def test_a_likelihood_written_from_the_readme_passes_the_laws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = written(GUMBEL, tmp_path, monkeypatch)
    for side in contract.instances(kind):
        for dtype in contract.DTYPES:
            contract.test_nll_is_the_density(side, dtype, "cpu")
            contract.test_gradient_is_the_derivative_of_the_density(side, dtype, "cpu")
            contract.test_the_identity_in_code_is_off_by_less_than_four_roundings(side, dtype, "cpu")
        contract.test_the_claim_is_the_density(side, "cpu")
        contract.test_with_slope_finds_the_noise_of_a_weight(side)
    contract.test_the_density_adds_up_to_one(contract.instances(kind)[0], 0.15)
    assert abs(witness.nll(kind(scale=0.5))(-1e6, 1e6)) > 1e300
    found = test_accuracy.columns(kind, torch.float64)
    assert found["ours", "value"].error <= 4
    assert found["ours", "gradient"].nonsense == 0


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_and_a_wrong_one_does_not(change: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert change[0] in GUMBEL
    side = contract.instances(written(GUMBEL.replace(*change), tmp_path, monkeypatch))[0]
    with pytest.raises(AssertionError):
        contract.test_nll_is_the_density(side, torch.float64, "cpu")


@pytest.mark.slow
def test_the_whole_contract_of_one_file_more(tmp_path: Path) -> None:
    """In a copy of the project with that one file in its place, the command of the README's section."""
    for folder in ("recon_cli", "tests"):
        shutil.copytree(PROJECT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(PROJECT / file, tmp_path)
    (tmp_path / "recon_cli" / "likelihoods" / "gumbel.py").write_text(GUMBEL)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-k", "gumbel", "-n", "0", "-p", "no:cacheprovider", "tests/test_contract.py",
         "tests/test_accuracy.py", "recon_cli/likelihoods/gumbel.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout
