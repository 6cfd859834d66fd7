"""How right the last bit is: ours, torch's and scipy's values and gradients beside mpmath at sixty digits.

``python -m pytest tests/test_accuracy.py --update-readme`` writes the table that the guide shows.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mpmath
import points
import pytest
import torch
import witness
from test_contract import DTYPES, KINDS, flatten, terms

from recon_cli.comparison import library_calls
from recon_cli.identity.likelihood import Likelihood

PAGE = Path(__file__).parents[1] / "recon_cli" / "guide" / "accuracy.md"
BOUNDS = {torch.float32: (0.51, 0.6), torch.float64: (4.0, 6.0)}  # value and gradient, in eps
FLOOR = mpmath.mpf(2) ** -1000
OPEN, CLOSE = "<!-- accuracy -->", "<!-- /accuracy -->"


@dataclass
class Worst:
    """The largest errors of one column so far, in eps, and where; nonsense counts NaN, and infinities that are none."""

    error: float = 0.0
    where: str = ""
    nonsense: int = 0
    points: int = 0

    def see(self, got: float, true: Any, size: Any, eps: float, where: str) -> None:
        self.points += 1
        if abs(got) < 1e-100 and abs(true) < 1e-100:
            return  # beyond the witness's digits
        if not math.isfinite(got):
            self.nonsense += 1
        elif (error := off(got, true, size, eps)) > self.error:
            self.error, self.where = error, where

    def __str__(self) -> str:
        lost = f", {self.nonsense} inf or NaN" * bool(self.nonsense)
        error = f"{self.error:.2g}" if self.error < 1e20 else "over 1e20"
        return f"{error}{lost}" if self.points else "–"


def off(got: float, true: Any, size: Any, eps: float) -> float:
    """The error in eps of ``size``; a zero is right where the witness sees nothing."""
    true = mpmath.mpf(0) if got == 0 and abs(true) < witness.NOTHING else true
    return float(abs(mpmath.mpf(got) - true) / (eps * max(size, FLOOR)))


def truth(exact: Any, dtype: torch.dtype) -> bool:
    """Whether a number of the dtype can be expected: a normal one, or zero."""
    return exact == 0 or torch.finfo(dtype).tiny <= abs(exact) <= torch.finfo(dtype).max / 4


def columns(kind: type[Likelihood], dtype: torch.dtype, others: bool = False) -> dict[tuple[str, str], Worst]:
    """(who, what) to the worst of it, over every hard point that the dtype holds, mu and raw output; of libraries if asked."""
    found: dict[tuple[str, str], Worst] = {}
    eps, small = torch.finfo(dtype).eps, 1.0 if dtype == torch.float64 else 1e-7
    for side in points.noises(kind):
        for raw, places in ((False, points.pairs(side)), (True, points.raw_pairs(side) if side.link.name != "identity" else [])):
            x, at = events(side, places, raw, dtype) if places else ([], [])
            if not len(x):
                continue
            rows = [*zip(x.tolist(), at.tolist(), strict=True)]
            with mpmath.workdps(160):
                exact = [one(witness.nll(side, raw), row) for row in rows]
                moved = [one(witness.gradient(side, raw), row) for row in rows]
            mean = side.link.inverse(at.double()) if raw else at.double()
            largest = terms(side, x.double(), mean)
            more: dict[Any, Any] = {}  # what a true formula that cancels or magnifies needs, and then everybody gets
            everyone = {"ours": side.nll_raw if raw else side.nll, **(calls(side, raw) if others else {})}
            for who, nll in everyone.items():
                value, slope = evaluated(nll, x, at)
                of_value = found.setdefault((who, "value"), Worst())
                of_slope = found.setdefault((who, "gradient"), Worst())
                for i, row in enumerate(rows):
                    place = f"{str(side).partition(':')[2]} x = {spelled(row[0])}, {'r' if raw else 'mu'} = {spelled(row[1])}"
                    if exact[i] is not None and truth(exact[i], dtype):
                        size = max(abs(exact[i]), largest[i] * small if math.isfinite(largest[i]) else 0, more.get((i, 0), 0))
                        if who == "ours" and off(value[i], exact[i], size, eps) > BOUNDS[dtype][0]:
                            more[i, 0] = size = max(size, small * leeway(side, raw, row)[0])
                        of_value.see(value[i], exact[i], size, eps, place)
                    if slope is None or moved[i] is None or bent(side, row, raw):
                        continue
                    # where the nll is beyond every number, so may be what its gradient is made of
                    beyond = exact[i] is not None and abs(exact[i]) > torch.finfo(torch.float64).max
                    for k, (got, true) in enumerate(zip(flatten([slope[i]]), moved[i], strict=True)):
                        if truth(true, dtype) and (math.isfinite(got) or not beyond):
                            own = max(small * max(abs(part) for part in moved[i]), small * unit(side, row, raw))
                            size = max(abs(true), own, more.get((i, 1, k), 0))
                            if who == "ours" and off(got, true, size, eps) > BOUNDS[dtype][1]:
                                more[i, 1, k] = size = max(size, small * leeway(side, raw, row)[1][k])
                            of_slope.see(got, true, size, eps, place)
    return found


def leeway(side: Likelihood, raw: bool, row: Any) -> Any:
    """The witness's, at the digits that its truths have here."""
    with mpmath.workdps(160):
        return witness.leeway(side, raw, *row)


def unit(side: Likelihood, row: Any, raw: bool) -> Any:
    """The largest term of a gradient that is a difference: of shares and counts against their means."""
    x, mu = (max(abs(part) for part in witness.flat(value)) for value in row)
    if raw:
        return max(x, mpmath.mpf(1)) if side.support.whole else mpmath.mpf(1)
    if side.head and side.event:
        rows = range(len(row[1]))
        return max(1, *(1 / mpmath.mpf(row[1][k][i]) for k in rows for i, (_, at) in enumerate(side.domain.of(k)) if at.low == 0))
    if side.sized_by:
        return max(1 / mpmath.mpf(part) for part in row[1][len(row[1]) // 3 :])
    if side.head:
        return 1 / mpmath.mpf(row[1][1])
    return x / mu if side.support.whole and mu and side.domain.low == 0 else mpmath.mpf(0)


def events(side: Likelihood, places: list[Any], raw: bool, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """The points that the dtype holds, inside support and domain."""
    x, at = (torch.tensor(part, dtype=torch.float64).to(dtype) for part in zip(*places, strict=True))
    good = side.support.contains(x) & (torch.ones(len(x), dtype=torch.bool) if raw else side.domain.contains(at))
    if not raw:
        good &= points.possible(side, x, at)
        if not side.event and not side.head and side.domain.low == 0:
            good &= (at > 0) & (at < side.domain.high)
    return x[good], at[good]


def one(exact: Any, row: Any) -> Any:
    """A truth, or None where the density itself is beyond the witness's digits."""
    try:
        with mpmath.workdps(700 if 0 < min(map(abs, witness.flat(row[1]))) < 1e-100 else mpmath.mp.dps):
            found = exact(*row)
        return None if found == 0 and 0 < min(map(abs, witness.flat(row[1]))) < 1e-100 else found
    except (ZeroDivisionError, ValueError, OverflowError):
        return None


def bent(side: Likelihood, row: Any, raw: bool) -> bool:
    return not side.event and not side.head and points.bent(side) and row[0] == row[1]


def calls(side: Likelihood, raw: bool) -> dict[str, Any]:
    """The first call of each library that is of the mean (or of the raw output) and drops no constant."""
    found = {}
    for library in library_calls.LIBRARIES:
        for call in library_calls.calls(side, library):
            dropping = "_nll_loss" in call and "full=True" not in call
            if library_calls.takes_raw(call) == raw and not dropping and "huber" not in call and "cosine" not in call:
                found.setdefault(library, lambda x, at, call=call: library_calls.evaluate(side, call, x, at, raw))
    return found


def evaluated(nll: Any, x: torch.Tensor, at: torch.Tensor) -> tuple[list[float], Any]:
    """Values and gradients as numbers; a call that refuses the lot is asked point by point."""
    at = at.clone().requires_grad_()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = nll(x, at)
    except (ValueError, RuntimeError):
        return [math.nan] * len(x), None
    slope = torch.autograd.grad(value.sum(), at)[0].tolist() if value.requires_grad else None
    return value.tolist(), slope


def spelled(value: Any, digits: int = 6) -> str:
    return f"({', '.join(spelled(part, 4) for part in value)})" if isinstance(value, list) else f"{value:.{digits}g}"


@pytest.fixture(scope="module")
def table() -> dict[Any, dict[tuple[str, str], Worst]]:
    return {}


# float32 is computed in float64 and rounded, whatever the likelihood: some of them show it, and the laws do on every grid.
ROUNDED = ("gaussian", "bernoulli", "student-t", "poisson", "categorical", "discretized-logistic", "heteroscedastic-gaussian")
EVERY = [
    pytest.param(kind, dtype, marks=() if dtype == torch.float64 or kind.name in ROUNDED else pytest.mark.slow)
    for kind in KINDS
    for dtype in DTYPES
]


@pytest.mark.parametrize(("kind", "dtype"), EVERY, ids=[f"{kind.name}-{str(dtype)[6:]}" for kind in KINDS for dtype in DTYPES])
def test_the_last_bit_on_adversarial_points(kind: type[Likelihood], dtype: torch.dtype, request: pytest.FixtureRequest) -> None:
    found = columns(kind, dtype)
    value, slope = found["ours", "value"], found["ours", "gradient"]
    of_value, of_slope = BOUNDS[dtype]
    assert value.points >= 30
    assert value.nonsense == slope.nonsense == 0
    assert value.error <= of_value, value.where
    assert slope.error <= of_slope, slope.where


def shown() -> str:
    """The table as the guide has it."""
    lines = [
        "| likelihood | | value: recon | torch | scipy | gradient: recon | torch | recon's worst value |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for kind in KINDS:
        for dtype in DTYPES:
            found = columns(kind, dtype, others=True)
            cells = [str(found.get(key, Worst())) for key in (
                ("ours", "value"), ("torch", "value"), ("scipy", "value"), ("ours", "gradient"), ("torch", "gradient"),
            )]  # fmt: skip
            lines.append(f"| {' | '.join([kind.name, str(dtype)[6:], *cells, found['ours', 'value'].where])} |")
    return "\n".join(lines)


def test_the_guide_shows_a_row_for_every_likelihood(request: pytest.FixtureRequest) -> None:
    text = PAGE.read_text()
    if request.config.getoption("--update-readme"):
        before, rest = text.split(OPEN)
        text = f"{before}{OPEN}\n\n{shown()}\n\n{CLOSE}{rest.split(CLOSE)[1]}"
        PAGE.write_text(text)
    rows = text.split(OPEN)[1].split(CLOSE)[0].strip().splitlines()[2:]
    names = [tuple(cell.strip() for cell in row.split("|")[1:3]) for row in rows]
    assert names == [(kind.name, dtype) for kind in KINDS for dtype in ("float32", "float64")], (
        "The guide's table of the last bit has other rows than there are likelihoods: "
        "python -m pytest tests/test_accuracy.py -n 0 --update-readme"
    )
    for row in rows:
        cells = [cell.strip() for cell in row.split("|")[1:-1]]
        bounds = BOUNDS[getattr(torch, cells[1])]
        assert float(cells[2]) <= bounds[0]
        assert float(cells[5]) <= bounds[1]
