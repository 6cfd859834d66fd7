"""The faces of compare and calibrate: explicit arguments, reasons that errors have of their own, columns on the rows' classes."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest

import recon_cli
from recon_cli.calibration import Choices, calibrate_sources
from recon_cli.comparison import Claim, compare_sources, measure
from recon_cli.comparison.identity import Identity
from recon_cli.errors import ReconError
from recon_cli.likelihoods.gaussian import Gaussian
from recon_cli.report import columns_of


@pytest.mark.parametrize("face", [recon_cli.compare, recon_cli.calibrate, compare_sources, calibrate_sources])
def test_every_argument_has_a_name(face: Callable[..., object]) -> None:
    assert all(each.kind is not each.VAR_KEYWORD for each in inspect.signature(face).parameters.values())


def test_calibrate_takes_every_choice() -> None:
    assert {*inspect.signature(Choices).parameters} <= {*inspect.signature(recon_cli.calibrate).parameters}


@pytest.mark.parametrize(
    ("message", "reason"),
    [("The data leave [0, 1]: 3 of 9 are outside.", "The data leave [0, 1]"), ("There is no noise.", "There is no noise")],
)
def test_an_error_has_its_reason(message: str, reason: str) -> None:
    assert ReconError(message, "Do this: that.").reason == reason
    assert ReconError(message, reason="no").reason == "no"


def test_every_column_of_a_row_is_a_field_of_it() -> None:
    row = recon_cli.compare([[0.0, 1.0]], [[0.5, 0.5]], "gaussian:sigma=0.5", device="cpu").rows[0]
    assert all(hasattr(row, column.key) for column in columns_of(Identity))
    (table,) = recon_cli.compare([[0.0, 1.0]], [[0.5, 0.5]], device="cpu").report().tables
    assert [*table.rows[0]] == [column.key for column in columns_of(Identity)]


def test_a_claim_about_another_loss_has_no_slope() -> None:
    import torch

    likelihood, x, mu = Gaussian(0.5), torch.tensor([[0.0, 1.0]]), torch.tensor([[0.25, 0.5]])
    other = measure(Claim.of(likelihood, recon_cli.likelihoods.loss("l1")), x, mu)
    assert (other.offset, other.worst) == (0.0, 0.0)
    assert measure(likelihood, x, mu).offset == measure(Claim.of(likelihood), x, mu).offset != 0.0
    assert float(other.loss) == 0.75
