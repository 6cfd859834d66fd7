"""What is looked up is what would be computed; what is approximated has all its digits."""

from __future__ import annotations

import math
from collections.abc import Callable

import mpmath
import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from recon_cli import likelihoods
from recon_cli.identity.losses import BinaryCrossEntropy
from recon_cli.identity.parametric import Number
from recon_cli.identity.tensors import none_below
from recon_cli.likelihoods.poisson import PoissonLoss
from recon_cli.numerics import tables
from recon_cli.numerics.stable import bend
from recon_cli.numerics.tables import FEW, looked_up


@pytest.fixture
def computed() -> list[int]:
    """Of how many values each table was made."""
    return []


def slow(sizes: list[int]) -> Callable[[Tensor], Tensor]:
    def function(x: Tensor, *numbers: Number) -> Tensor:
        sizes.append(x.numel())
        return (x + 1).lgamma() + sum(numbers)

    return function


def test_each_count_is_computed_once(computed: list[int]) -> None:
    x = torch.tensor([[0.0, 3.0, 3.0], [1.0, 0.0, 3.0]]).repeat(10, 1)
    assert looked_up(slow(computed), x).tolist() == (x + 1).lgamma().tolist()
    assert computed == [4]


def test_a_table_is_kept_until_there_is_a_larger_count_or_another_number(computed: list[int]) -> None:
    function, x = slow(computed), torch.tensor([0.0, 3.0]).repeat(10)
    for data, number, tables_made in ((x, 1.0, [4]), (x.flip(0), 1.0, [4]), (x, 2.0, [4, 4]), (2 * x, 1.0, [4, 4, 8])):
        assert looked_up(function, data, number).tolist() == ((data + 1).lgamma() + number).tolist()
        assert computed == tables_made


@pytest.mark.parametrize(
    "x",
    [
        [0.0, 1.0, 0.5, 1.0] * 3, [0.0, 1.0, -1.0, 1.0] * 3, [0.0, 1.0, math.nan, 1.0] * 3, [0.0, 1.0, math.inf, 1.0] * 3,
        [0.0, 1.0, 2.0**40, 1.0] * 3, [5.0], [], [9.0] * 4,
    ],
)  # fmt: skip
def test_what_are_no_small_counts_is_computed(x: list[float], computed: list[int]) -> None:
    values = torch.tensor(x)
    torch.testing.assert_close(looked_up(slow(computed), values), (values + 1).lgamma(), equal_nan=True, rtol=0, atol=0)
    assert computed == [len(x)]


def test_nor_is_a_table_made_under_vmap_or_for_a_number_of_each_element(computed: list[int]) -> None:
    x = torch.arange(3.0).repeat(4, 10)
    assert torch.equal(torch.func.vmap(lambda row: looked_up(slow(computed), row))(x), (x + 1).lgamma())
    looked_up(slow(computed), x, torch.ones(4, 30))
    assert computed[-1] == 120


@pytest.mark.parametrize("name", ["negative-binomial", "zero-inflated-negative-binomial"])
def test_a_dispersion_is_learned_through_the_table(name: str) -> None:
    x = torch.arange(4.0, dtype=torch.float64).repeat(50)
    mu = torch.full_like(x, 1.7)
    dispersion = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    side = likelihoods.find(name)
    (found,) = torch.autograd.grad(side(dispersion=dispersion).nll(x, mu).sum(), dispersion)
    parts = [torch.autograd.grad(side(dispersion=dispersion).nll(x[i : i + 1], mu[:1]).sum(), dispersion)[0] for i in range(4)]
    torch.testing.assert_close(found, 50 * sum(parts), rtol=1e-12, atol=0)


def test_the_tables_of_a_kernel_are_whole_and_given_in_the_order_they_were_made() -> None:
    x = torch.tensor([0.0, 3.0, 200.0])
    with tables.tables() as known:
        due = [looked_up(lambda x: x + 1, x), looked_up(lambda x: 2 * x, x)]
    assert [len(table) for table in known.made] == [FEW, FEW]
    with tables.tables(known.made):
        found = [looked_up(lambda x: x * math.nan, x) for _ in range(2)]
    assert torch.equal(torch.stack(found), torch.stack(due))
    assert found[0].tolist() == [1.0, 4.0, 201.0]


def test_the_bend_has_all_its_digits() -> None:
    squares = torch.linspace(0, 0.31, 400, dtype=torch.float64)
    with mpmath.workdps(40):
        roots = [mpmath.sqrt(mpmath.mpf(square)) for square in squares.tolist()[1:]]
        due = [0.0, *(float(mpmath.atanh(root) / root - 1) for root in roots)]
    torch.testing.assert_close(bend(squares), torch.tensor(due, dtype=torch.float64), rtol=4 * 2.0**-52, atol=0)


def test_a_logarithm_that_counts_for_nothing_is_none_and_any_other_keeps_its_meaning() -> None:
    x, mu = torch.tensor([0.0, 1.0, 0.5, 1.0, 0.0]), torch.tensor([0.0, 1.0, 0.5, 0.0, 1.0], requires_grad=True)
    assert BinaryCrossEntropy().values(x, mu).tolist() == pytest.approx([0, 0, math.log(2), math.inf, math.inf])
    (slope,) = torch.autograd.grad(BinaryCrossEntropy().values(x, mu).sum(), mu)
    assert slope.tolist() == [1.0, -1.0, 0.0, -math.inf, math.inf]
    outside = torch.tensor([-0.5, 1.5, -3.0, 3.0])
    assert BinaryCrossEntropy().values(torch.full((4,), 0.5), outside).isnan().all()
    assert PoissonLoss().values(torch.ones(2), torch.tensor([-0.5, -3.0])).isnan().all()
    assert PoissonLoss().values(torch.zeros(2), torch.tensor([0.0, 3.0])).tolist() == [0.0, 3.0]


def test_of_what_is_traced_nothing_is_known() -> None:
    known = list[bool]()

    def function(x: Tensor) -> Tensor:
        known.extend((none_below(x, 0.5), none_below(x, 0.5, 2.0)))
        return x + 1

    make_fx(function, tracing_mode="symbolic")(torch.ones(4))
    assert known == [False, False]
    function(torch.ones(4))
    assert known[2:] == [True, True]


def test_what_is_asked_of_the_same_counts_is_computed_once_until_they_change(computed: list[int]) -> None:
    def total(x: Tensor) -> Tensor:
        computed.append(x.numel())
        return x.sum()

    x = torch.tensor([0.0, 3.0]).repeat(10)
    assert [tables.once(total, x).item(), tables.once(total, x).item(), tables.once(total, x.clone()).item()] == [30, 30, 30]
    assert computed == [20, 20]
    assert tables.once(total, x.add_(1)).item() == 50
