"""The proofs: right results, and refutations of what is wrong."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import re
import sys
import types

import mpmath
import points
import pytest
import sympy
import witness
from click.testing import CliRunner

import recon_cli
from recon_cli import likelihoods
from recon_cli.cli import main
from recon_cli.derivation import Derived, derive, movable, proof, records, table
from recon_cli.derivation.notation import formula, terminal
from recon_cli.formats import latex
from recon_cli.identity import losses
from recon_cli.identity.likelihood import Likelihood
from recon_cli.report import installed

KINDS = [likelihoods.find(name) for name in likelihoods.names()]
ANEW = "python -m pytest tests/derivation/test_derivation.py -k table -n 0 --update-readme"


@functools.cache
def derived(kind: type[Likelihood]) -> Derived:
    """One likelihood of the registry, as it is, derived once for all tests."""
    return derive(kind).results[0]


def kept(kind: type[Likelihood]) -> records.Record:
    """What the table has of it, which test_the_table_has_what_is_proved compares with a proof; the proof's, without one."""
    return table.stored(kind) or derived(kind).record


# What takes longest to prove: the default run takes the word of the table, while that is of this very code and these libraries.
DEAR = (
    "tweedie", "low-rank-gaussian", "discretized-logistic-mixture", "beta", "hyperbolic", "logit-laplace", "cholesky-gaussian",
    "multivariate-gaussian", "discretized-gaussian", "gaussian-mixture", "von-mises-fisher", "discretized-logistic", "huber",
    "student-t", "laplace-mixture", "multinomial", "zero-inflated-negative-binomial",
)  # fmt: skip
SAME = table.table()["with"] == {name: installed(name) for name in table.WITH}
EACH = [
    pytest.param(kind, id=kind.name, marks=pytest.mark.slow if kind.name in DEAR and SAME and table.stored(kind) else ())
    for kind in KINDS
]


@pytest.fixture(scope="module", params=EACH)
def kind(request: pytest.FixtureRequest) -> type[Likelihood]:
    """Each likelihood in turn, all its tests one after the other, so that few processes of several derive it."""
    return request.param


def test_slope_offset_and_gap_are_proved_for_every_likelihood(kind) -> None:
    found = derived(kind).proof
    assert found.holds
    assert (found.way == "pieces") is (kind.name in ("hurdle-poisson", "tweedie"))
    names = {field: sympy.Symbol(field, real=True) for field in ("x", "mu")}
    for text in (found.slope, found.offset, found.gap):
        assert not text.has(sympy.nan, sympy.oo, sympy.I)
    assert names["mu"] not in found.offset.free_symbols
    assert found.x not in found.gap.free_symbols


def test_the_proof_and_the_code_claim_the_same(kind) -> None:
    found = derived(kind).proof
    lows = {field.name: (field.metadata["domain"].bounds or (0.0, 1.0))[0] for field in dataclasses.fields(kind)}
    side = kind(**{name: 5.0 if symbol.name in kind().design else lows[name] + 0.3 for name, symbol in found.words.noise.items()})
    side = dataclasses.replace(side, **{kind.sized_by: float(found.words.size)}) if kind.sized_by else side
    exact = {found.words.noise[name]: witness.exactly(value) for name, value in side.factors.items()}
    assert float(found.slope.subs(exact)) == pytest.approx(float(side.slope), rel=1e-15)
    x, mu = points.ordinary(side)
    if kind.event and kind.sized_by:
        x, mu = x[:, : len(found.words.xs)], mu[:, : len(found.words.xs)]
    offset, gap, nll = (part.tolist() for part in (side.offset(x), side.gap(mu), side.nll(x, mu)))
    for i, (data, mean) in enumerate(zip(x.tolist(), mu.tolist(), strict=True)):
        numbers = [*map(witness.exactly, map(float, witness.flat(data, mean)))]
        at = exact | dict(zip((*found.words.xs, *found.words.mus), numbers, strict=True))
        values = [float(witness.function(part, [*at])(*at.values())) for part in (found.offset, found.gap, found.nll)]
        assert values[:2] == pytest.approx([offset[i], gap[i]], rel=1e-14, abs=1e-15)
        assert values[2] == pytest.approx(nll[i], rel=1e-14)


def test_what_is_proved() -> None:
    rows = {kind.name: kept(kind).identity for kind in KINDS}
    slopes = {name: row.slope.text for name, row in rows.items()}
    assert slopes["gaussian"] == "1/(2*sigma**2)"
    assert slopes["laplace"] == "1/scale"
    assert slopes["bernoulli"] == slopes["hyperbolic-secant"] == slopes["poisson"] == "1"
    assert slopes["logistic"] == "2"
    assert [name for name, row in rows.items() if not row.exact] == ["beta", "continuous-bernoulli"]
    gap = sympy.sympify(rows["continuous-bernoulli"].gap.text)
    assert float(gap.subs("mu", 0.3)) == pytest.approx(math.log((1 - 0.6) / (2 * math.atanh(1 - 0.6))))


def test_without_arguments_gaussian_then_bernoulli() -> None:
    assert [each.kind.name for each in derive().results] == ["gaussian", "bernoulli"]


def test_the_misprint_is_refuted_because_its_integral_diverges() -> None:
    gaussian = derived(likelihoods.find("gaussian"))
    wrong = [step for step in gaussian.steps if step.checked is False]
    assert len(wrong) == 1
    assert "diverges" in wrong[0].because
    assert wrong[0].statement.text.endswith("oo")
    assert gaussian.holds


def test_the_right_density_called_a_misprint_makes_the_derivation_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = likelihoods.find("gaussian")
    monkeypatch.setattr(kind, "misprints", (kind.density,))
    assert not derive(kind).holds


def test_the_gap_of_bernoulli_on_grey_levels_is_its_missing_normaliser() -> None:
    bernoulli = derived(likelihoods.find("bernoulli"))
    grey = bernoulli.steps[-1]
    assert grey.checked
    assert "(2*mu - 1)/log(mu/(1 - mu))" in grey.statement.text
    mu = mpmath.mpf("0.3")
    missing = mpmath.quad(lambda x: mu**x * (1 - mu) ** (1 - x), [0, 1])
    assert abs(missing - (2 * mu - 1) / mpmath.log(mu / (1 - mu))) < 1e-40


BROKEN = {
    "a lost half": "exp(-((x - mu)/sigma)**2)/(sigma*sqrt(2*pi))",
    "a lost sigma": "exp(-((x - mu)/sigma)**2/2)/sqrt(2*pi)",
    "half of log 2 pi lost": "exp(-((x - mu)/sigma)**2/2)/(sigma*2*pi)",
    "the misprint": "exp(-(x - mu)/sigma**2/2)/(sigma*sqrt(2*pi))",
}


@pytest.mark.parametrize("density", BROKEN.values(), ids=BROKEN)
def test_a_broken_density_is_refuted(density: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = likelihoods.find("gaussian")
    monkeypatch.setattr(kind, "density", density)
    found = derive(kind)
    assert not found.holds
    assert found.report().verdict.startswith("refuted")
    result = CliRunner().invoke(main, ["derive", "gaussian"])
    assert result.exit_code == 1
    assert "refuted" in result.output


@pytest.mark.parametrize("name", ["gaussian", "laplace"])
def test_a_claimed_slope_that_is_not_the_derived_one_is_refuted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = likelihoods.find(name)
    monkeypatch.setattr(kind, "slope", property(lambda self: 1))
    (found,) = derive(kind).results
    assert [step.statement.text for step in found.steps if step.checked is False and "slope a = " in step.statement.text]


def test_a_loss_that_is_not_the_likelihoods_has_no_constant_slope() -> None:
    assert not proof.prove(likelihoods.find("gaussian"), losses.AbsoluteError()).holds


def test_every_step_checks_and_says_why(kind) -> None:
    found = derived(kind)
    assert found.holds
    assert len(found.steps) >= 11
    for step in found.steps:
        assert step.because.endswith(".")
        assert step.checked is True or step.by == "choice" or step.misprint


def test_numbers_are_put_in() -> None:
    side = likelihoods.parse("laplace:scale=0.2")
    report = derive(side, shape=(1, 28, 28)).report()
    assert report.tables[1].rows[0]["slope_value"] == 5.0
    text = " ".join(row["statement"].text for row in report.tables[0].rows)
    assert "5*SUM(loss)" in text
    assert "3920*B*MEAN(loss)" in text
    assert "scale = 0.2" in text


def test_the_reductions_of_a_gaussian() -> None:
    (found,) = derive(likelihoods.parse("gaussian:sigma=0.5"), shape=(3, 64, 64)).results
    text = next(step.statement.text for step in found.steps if "SUM(loss)" in step.statement.text)
    assert "2*SUM(loss)" in text
    assert f"{2 * 3 * 64 * 64}*B*MEAN(loss)" in text
    assert "2*B*BATCHMEAN(loss)" in text


def test_beta_is_sigma_squared_with_the_half() -> None:
    (found,) = derive(likelihoods.parse("gaussian:sigma=0.5")).results
    text = next(step.statement.text for step in found.steps if "beta*KL" in step.statement.text)
    assert "(x - mu)**2/2" in text
    assert text.endswith("beta = sigma**2 = 0.25")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("(x - mu)**2/(2*sigma**2)", "(x − μ)²/(2·σ²)"),
        ("Abs(x - mu)/scale", "|x − μ|/scale"),
        ("sqrt(2*pi)*x**-12", "√(2·π)·x**-12"),
        ("mu**x*(1 - mu)**(1 - x)", "μ^x·(1 − μ)^(1 − x)"),
        ("x**(-2)", "x⁻²"),
        ("log(factorial(x)) + gamma(df/2)", "log(x!) + Γ(df/2)"),
        ("besseli(K/2 - 1, kappa)", "I_(K/2 − 1)(κ)"),
        ("2*Piecewise((x, x <= 1), (f(x, 2), True))/3", "2·{x if x ≤ 1; f(x, 2) otherwise}/3"),
    ],
)
def test_formulas_as_people_read_them(text: str, shown: str) -> None:
    assert terminal(text) == shown.replace("**-", "^−")


def test_a_program_can_read_the_formulas_back(kind) -> None:
    found = derived(kind).proof
    names = {symbol.name: symbol for symbol in found.nll.free_symbols}
    assert sympy.simplify(sympy.sympify(formula(found.nll).text, locals=names) - found.nll) == 0


def test_json_keeps_the_contract() -> None:
    result = CliRunner().invoke(main, ["derive", "--sigma", "0.5", "laplace", "--format", "json"])
    assert result.exit_code == 0
    found = json.loads(result.output)
    assert [*found["tables"]] == ["steps", "identity"]
    assert {*found["tables"]["steps"][0]} >= {"likelihood", "step", "statement", "because", "checked"}
    laplace, gaussian = found["tables"]["identity"]
    assert [*laplace] == ["likelihood", "loss", "nll", "slope", "offset", "gap", "exact", "slope_value", "parameters"]
    assert laplace["slope_value"] is None
    assert gaussian["slope_value"] == 2.0
    assert gaussian["exact"] is True


def test_latex_of_every_step_can_be_set(kind) -> None:
    """Every brace and every left has its other, all is ASCII, and no -1 stands in parentheses as a factor."""
    found = derived(kind)
    told = [(step.statement.latex, step.because) for step in found.steps]
    shown = [formula(part).latex for part in (found.proof.printed.nll, found.proof.slope, found.proof.gap)]
    for text in (*shown, *(statement for statement, _ in told), *(latex.words(because) for _, because in told)):
        plain = re.sub(r"\\\\|\\[{}$]", "", text)
        depths = [*itertools.accumulate((letter == "{") - (letter == "}") for letter in plain)]
        assert depths[-1] == 0 <= min(depths)
        assert text.isascii()
        assert text.count(r"\left") == text.count(r"\right")
        assert plain.count("$") % 2 == 0
        assert re.findall(r"\\begin\{(\w+)\}", text) == re.findall(r"\\end\{(\w+)\}", text)
        assert not re.search(r"\(-1\)|\\left\(-1\\right\)", text)


def test_latex_balances() -> None:
    result = CliRunner().invoke(main, ["derive", "--format", "latex"])
    assert result.output.count(r"\begin{enumerate}") == result.output.count(r"\end{enumerate}") == 2
    assert result.output.replace(r"\{", "").replace(r"\}", "").count("{") == result.output.replace(r"\{", "").replace(
        r"\}", ""
    ).count("}")
    assert result.output.replace(r"\$", "").count("$") % 2 == 0
    assert r"\frac{1}{2 \sigma^{2}}" in result.output
    assert result.output.isascii()


def test_from_python_by_its_short_name() -> None:
    assert recon_cli.derive(likelihoods.find("laplace")).holds


def test_two_noises_are_told_apart() -> None:
    report = derive("gaussian:sigma=0.1", "gaussian:sigma=0.5", "gaussian:sigma=0.5").report()
    assert [row["parameters"] for row in report.tables[1].rows] == [{"sigma": 0.1}, {"sigma": 0.5}]
    result = CliRunner().invoke(main, ["derive", "--sigma", "0.1,0.5"])
    assert "gaussian:sigma=0.1\n" in result.output
    assert "gaussian:sigma=0.5\n" in result.output


def test_a_wrong_divisor_of_a_reduction_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["recon_cli.derivation.practice"]
    spoiled = {"mean": "B**3/D"}
    wrong = tuple(dataclasses.replace(each, divisor=spoiled.get(each.name, each.divisor)) for each in losses.REDUCTIONS)
    monkeypatch.setattr(module, "REDUCTIONS", wrong)
    assert not derive("gaussian").holds


def test_the_list_is_made_of_the_derivations(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = {kind: types.SimpleNamespace(record=kept(kind)) for kind in KINDS}
    monkeypatch.setattr(sys.modules["recon_cli.derivation.proving"], "derived", lambda kinds: map(ready.__getitem__, kinds))
    result = CliRunner().invoke(main, ["derive", "--list", "--prove", "--format", "json"])
    assert result.exit_code == 0
    rows = json.loads(result.stdout)["tables"]["likelihoods"]
    assert [row["likelihood"] for row in rows] == likelihoods.names()
    assert all(row["proved"] for row in rows)
    assert {row["likelihood"]: row["slope"] for row in rows}["huber"] == "1/scale**2"


def test_the_table_of_proofs_is_of_this_very_code(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--update-readme"):
        table.PLACE.write_text(table.written([derived(kind).record for kind in KINDS]), encoding="utf-8")
        table.table.cache_clear()
    missing = [kind.name for kind in KINDS if table.stored(kind) is None]
    assert not missing, f"proved of other code, so that recon derive proves them each time; write the table anew: {ANEW}"


def test_the_table_has_what_is_proved(kind: type[Likelihood]) -> None:
    """Its verdicts, and its formulas by their values: sympy spells them otherwise from run to run."""
    before, now = table.stored(kind), derived(kind)
    if before is None:  # said by the test above
        return
    assert records.verdicts(before) == records.verdicts(now.record)
    names = {symbol.name: symbol for symbol in now.proof.nll.free_symbols | now.proof.printed.nll.free_symbols}
    for part, proved in ((before.identity.slope, now.proof.slope), (before.identity.gap, now.proof.gap)):
        assert sympy.simplify(sympy.sympify(part.text, locals=names) - proved) == 0
    assert (before.movable is None) == (now.movable is None)
    if before.movable is not None:
        here = {each.name: each.value for each in (before.movable.x, before.movable.mu, *before.movable.noise)}
        assert movable.value(before.movable.nll, here) == pytest.approx(movable.value(now.movable.nll, here), rel=1e-9)


def test_only_the_right_nll_undoes_the_density(kind) -> None:
    found = derived(kind).proof
    assert found.undoes(found.nll)
    assert not found.undoes(found.nll + 1)
    assert not found.undoes(found.nll + found.loss)
