"""Likelihoods of one's own: true ones are proved, from a file on the command line; what is no likelihood is said to be none."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import own_likelihoods
import pytest
import sympy
from click.testing import CliRunner

from recon_cli.cli import main
from recon_cli.derivation import deadlines, derive, normalisation, positivity
from recon_cli.derivation.words import Odds, words
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.parametric import parameter

MINE = Path(own_likelihoods.__file__)
KINDS = {
    name: kind
    for name, kind in vars(own_likelihoods).items()
    if isinstance(kind, type) and issubclass(kind, Likelihood) and isinstance(vars(kind).get("density"), str)
}
FEW = ["Gamma", "Geometric", "Triangular"]


def test_there_are_fifteen() -> None:
    assert len(KINDS) == 15


@pytest.mark.parametrize("name", [name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in KINDS])
def test_a_true_likelihood_of_ones_own_is_proved(name: str) -> None:
    (found,) = derive(KINDS[name]).results
    assert [step.because for step in found.steps if not step.good] == []
    assert found.proved
    assert any("draws, to their own chance" in step.because for step in found.steps)


@pytest.mark.parametrize("name", KINDS)
def test_its_density_is_proved_to_integrate_to_one(name: str) -> None:
    known = words(KINDS[name])
    odds = Odds(known.mus[0], known.likelihood.domain)
    density = known.read(KINDS[name].density)
    assert normalisation.total(density, known, odds) == 1
    assert normalisation.total(density * 3, known, odds) == 3
    assert positivity.positive(density, known, odds)


def test_a_question_too_long_is_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def search(*_: Any, **__: Any) -> None:
        while True:
            time.process_time()

    monkeypatch.setattr(normalisation, "summed", search)
    monkeypatch.setattr(deadlines, "ONCE", 0.2)
    monkeypatch.setattr(deadlines.attempt, "__defaults__", (0.2,))
    (found,) = derive(KINDS["Geometric"]).results
    (density,) = [step for step in found.steps if "add up to one" in step.because]
    assert (density.checked, density.by, found.proved, found.holds) == (None, "points", None, True)
    assert "not proved" in density.because


def test_a_file_of_ones_own_on_the_command_line(tmp_path: Path) -> None:
    run = CliRunner().invoke(main, ["derive", f"{MINE}:Rayleigh", "--format", "json"])
    assert (run.exit_code, '"rayleigh"' in run.output) == (0, True)
    for word, what in [
        (f"{MINE}:Gamma:shape=-3", "cannot have shape = -3.0"),
        (f"{MINE}:Gammma", "There is no 'Gammma'"),
        (f"{MINE}:Scaled", "Scaled has no density, loss, sample"),
        (f"{MINE}:uniform", "is no likelihood"),
        (f"{MINE}", "names no class"),
        (f"{MINE}:", "names no class"),
        (f"{tmp_path}/none.py:Gamma", "of which recon takes Gamma, cannot be read"),
    ]:
        run = CliRunner().invoke(main, ["derive", word])
        assert isinstance(run.exception, (ReconError, SystemExit)), run.exception
        assert what in f"{run.output} {run.exception}"


class Bare(KINDS["Gamma"]):  # type: ignore[misc]
    """Its field is none: the decorator is left out."""

    tail: float = parameter(1.0, "a number")


@dataclass(frozen=True)
class Unsaid(KINDS["Gamma"]):  # type: ignore[misc]
    """A field that does not say where it lies."""

    tail: float = 1.0


class Nameless(KINDS["Rayleigh"]):  # type: ignore[misc]
    """Its loss is no loss."""

    loss = "mse"


@pytest.mark.parametrize(
    ("kind", "what"),
    [(Bare, "Bare's tail is no field"), (Unsaid, "Unsaid's tail does not say"), (Nameless, "loss is no Loss, but a str")],
)
def test_what_a_class_lacks_is_said(kind: type[Likelihood], what: str) -> None:
    with pytest.raises(ReconError, match=what):
        derive(kind)


t, k = sympy.symbols("t k", positive=True)


@pytest.mark.parametrize(
    ("density", "low", "high"),
    [
        (3 * t**2 * sympy.exp(-k * t**3), 0, sympy.oo),
        (t ** (k - 1) * sympy.exp(-t), 0, sympy.oo),
        (sympy.exp(-k * t), 1, 2),
        (sympy.exp(k * t), 0, 1),
        (sympy.exp(k * t), 0, sympy.oo),
        (t ** (-k - 2) * sympy.exp(-1 / t), 0, sympy.oo),
        (t * (2 + k * t**2) ** (-k - 2), 0, sympy.oo),
        (t**k, 0, 1),
    ],
)
def test_the_table_of_integrals(density: sympy.Expr, low: Any, high: Any) -> None:
    """Against a sum by number, at k = 3/2."""
    found = normalisation.mellin(density, t, sympy.sympify(low), sympy.sympify(high))
    assert found is not None
    if found == sympy.oo:
        return
    number = sympy.Integral(density.subs(k, 1.5), (t, low, high)).evalf(12)
    assert abs(found.subs(k, 1.5).evalf(12) - number) < 1e-9 * abs(number)


@pytest.mark.parametrize("density", [sympy.exp(-t) * (1 - t), sympy.sin(t), (1 - t) ** -2, sympy.exp(-t - 1 / t), -sympy.exp(t)])
def test_what_is_in_no_table_is_left_to_sympy(density: sympy.Expr) -> None:
    assert normalisation.mellin(density, t, sympy.Integer(0), sympy.oo) is None


class LogitSquare(own_likelihoods.LogSquare):
    """(logit(x) - mu)^2."""

    name = "logit-square"
    formula = "(log(x/(1 - x)) - mu)**2"
    support = own_likelihoods.UNIT

    def values(self, x: Any, mu: Any) -> Any:
        """As its formula says."""
        return (x.logit() - mu).square()


class LogitNormal(own_likelihoods.LogNormal):
    """Its density has a pole that is none at both ends, and logarithms that sympy puts together in another way."""

    support = own_likelihoods.UNIT
    loss = LogitSquare()
    density = "exp(-(log(x/(1 - x)) - mu)**2/(2*s**2))/(x*(1 - x)*s*sqrt(2*pi))"

    def rest(self, x: Any) -> Any:
        """The same as of a log-normal, and log(1 - x)."""
        return super().rest(x) + (-x).log1p()

    def sample(self, mu: Any, generator: Any = None) -> Any:
        """Of the logit."""
        return super().sample(mu, generator).log().sigmoid()


@pytest.mark.slow
def test_what_sympy_leaves_of_nothing_is_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalisation, "between", lambda *_: None)  # which takes long, and finds nothing
    (found,) = derive(LogitNormal).results
    assert [step.because for step in found.steps if not step.good] == []
    assert (found.proof.gap, found.proved) == (0, None)
