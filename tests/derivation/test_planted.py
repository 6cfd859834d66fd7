"""Forty planted errors, of every kind, none of which passes derive; and what true likelihoods of one's own come to."""

from __future__ import annotations

import dataclasses
import math
import sys
from typing import Any

import pytest
import torch

from recon_cli import likelihoods
from recon_cli.comparison import compare
from recon_cli.derivation import catalogue, derive
from recon_cli.derivation.points import settings
from recon_cli.errors import ReconError
from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import LOG, Link, Loss, SquaredError
from recon_cli.identity.regions import COUNT, REAL, UNIT, Circle, Interval, Lattice


def planted(base: str, **wrong: Any) -> type[Likelihood]:
    """A likelihood with something wrong in it."""
    kind = likelihoods.find(base)
    return type(kind.__name__, (kind,), {"__module__": kind.__module__, **wrong})  # type: ignore[return-value]


def times(base: str, factor: str) -> type[Likelihood]:
    """A likelihood whose density is printed with a factor too much."""
    return planted(base, density=f"({likelihoods.find(base).density})*{factor}")


def method(base: str, name: str, change: Any) -> type[Likelihood]:
    """A likelihood one of whose methods or properties gives something else: ``change`` of itself and what it gave."""
    kind = likelihoods.find(base)
    own = getattr(kind, name)
    if isinstance(own, property):
        return planted(base, **{name: property(lambda self: change(self, own.fget(self)))})
    return planted(base, **{name: lambda self, *args, **more: change(self, own(self, *args, **more))})


class Half(SquaredError):
    """(x - mu)^2, its code with the half."""

    name = "half"

    def values(self, x: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
        """Half of it."""
        return (x - prediction).square() / 2


class Moved(SquaredError):
    """(x - mu)^2 + mu^2."""

    name = "moved"
    formula = "(x - mu)**2 + mu**2"

    def values(self, x: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
        """As its formula says."""
        return (x - prediction).square() + prediction.square()


WRONG_LOG = Link("log", "exp(r)", LOG.forward, lambda raw: raw.exp() + 1e-3)
SOFT = Link("log", "log(1 + exp(r))", LOG.forward, lambda raw: raw.exp())
DISCRETE = likelihoods.find("discretized-logistic").density.replace("1/(2*(levels - 1))", "1/4")
VMF = "exp(kappa*Sum(x[k]*mu[k], (k, 1, K)))"
PLANTED: dict[str, Any] = {
    "normaliser: half of log 2 pi lost": lambda: planted("gaussian", density="exp(-((x - mu)/sigma)**2/2)/(sigma*2*pi)"),
    "normaliser: laplace without its 2": lambda: times("laplace", "2"),
    "normaliser: off by 1e-6": lambda: times("logistic", "(1 + 1/1000000)"),
    "normaliser: of the mean": lambda: times("von-mises", "exp(mu**2)"),
    "normaliser: poisson without e^-mu": lambda: planted("poisson", density="mu**x/factorial(x)"),
    "normaliser: student-t without sqrt(df)": lambda: times("student-t", "sqrt(df)"),
    "normaliser: for three components only": lambda: planted("von-mises-fisher", density=f"kappa/(4*pi*sinh(kappa))*{VMF}"),
    "normaliser: huber's tails once": lambda: planted(
        "huber", density=likelihoods.find("huber").density.replace("+ 2*exp", "+ exp")
    ),
    "one value: three kappas": lambda: times("von-mises", "(1 + ((kappa - 1/2)*(kappa - 5/4)*(kappa - 2))**2)"),
    "one value: sigma = 1": lambda: planted("gaussian", density="exp(-(x - mu)**2/(2*sigma**3))/(sigma*sqrt(2*pi))"),
    "one value: three levels": lambda: planted("discretized-logistic", density=DISCRETE),
    "one value: count = 1": lambda: times("binomial", "count"),
    "one value: power = 2": lambda: planted("generalized-gaussian", density="exp(-(Abs(x - mu)/scale)**power)/(scale*sqrt(pi))"),
    "one value: dispersion = 1": lambda: times("negative-binomial", "dispersion"),
    "positivity: a cubic": lambda: times("gaussian", "(1 + (x - mu)**3/10)"),
    "positivity: a sine on a line": lambda: times("laplace", "(1 + 2*sin(x - mu))"),
    "support: counts from 1": lambda: planted("poisson", support=Interval(1, whole=True)),
    "support: half a line": lambda: planted("laplace", support=Interval(0)),
    "support: half a turn": lambda: planted("von-mises", support=Circle(low=0.0, high=math.pi)),
    "support: two flips": lambda: planted("bernoulli", support=Interval(0, 2, whole=True)),
    "support: one level more": lambda: planted(
        "discretized-gaussian", support=property(lambda self: Lattice(levels=self.levels + 1))
    ),
    "support: counts of grey": lambda: planted("continuous-bernoulli", support=Interval(0, 1, whole=True)),
    "domain: means of any sign": lambda: planted("poisson", domain=REAL),
    "domain: means past one": lambda: planted("bernoulli", domain=Interval(0, 2)),
    "link: its code": lambda: planted("poisson", link=WRONG_LOG),
    "link: its formula": lambda: planted("poisson", link=SOFT),
    "link: none where one is needed": lambda: planted("poisson", link=likelihoods.find("gaussian").link),
    "claim: the slope": lambda: planted("gaussian", slope=property(lambda self: 1 / self.sigma**2)),
    "claim: the slope, with a right misprint": lambda: planted(
        "gaussian", slope=property(lambda self: 1 / self.sigma**2), misprints=(likelihoods.find("gaussian").density,)
    ),
    "claim: the loss": lambda: planted("laplace", loss=SquaredError()),
    "claim: a loss with a part of mu": lambda: planted("gaussian", loss=Moved()),
    "claim: the offset": lambda: method("poisson", "offset", lambda self, value: value + 1),
    "claim: the gap": lambda: method("continuous-bernoulli", "gap", lambda self, value: value * 1.01),
    "claim: the normaliser": lambda: method("gaussian", "normaliser", lambda self, value: value + math.log(2 * math.pi) / 2),
    "code: the nll by 1e-9": lambda: method("gaussian", "nll", lambda self, value: value * (1 + 1e-9)),
    "code: the nll where it is large": lambda: method("laplace", "nll", lambda self, value: value.clamp(max=3)),
    "code: the loss": lambda: planted("gaussian", loss=Half()),
    "code: the nll of the raw output": lambda: method("bernoulli", "nll_raw", lambda self, value: value.clamp(max=1)),
    "code: the variance": lambda: method("logistic", "moments", lambda self, pair: (pair[0], pair[1] * 1.001)),
    "code: a sample too wide": lambda: method("gaussian", "sample", lambda self, value: value * 1.2),
    "second order: the gradient": lambda: planted("gaussian", nll=bent),
    "second order: a quadratic in the mean": lambda: times("gaussian", "(1 + mu**2/10**6)"),
}
FEW = ["normaliser: of the mean", "support: half a line", "support: counts from 1", "claim: the normaliser", "code: the variance"]


@elementwise
def bent(self: Any, x: torch.Tensor, mu: torch.Tensor) -> torch.Tensor:
    """The right values, and gradients that are a millionth too small."""
    return type(self).__mro__[1].nll(self, x, mu.detach() + (mu - mu.detach()) * (1 - 1e-6))


def caught(kind: type[Likelihood]) -> list[str]:
    """The statements that derive refutes."""
    (found,) = derive(kind).results
    assert not found.holds or found.proved is True
    return [step.statement.text[:24] for step in found.steps if not step.good]


@pytest.mark.parametrize("name", FEW)
def test_a_planted_error_is_refuted(name: str) -> None:
    assert caught(PLANTED[name]())


@pytest.mark.hostile
@pytest.mark.parametrize("name", PLANTED)
def test_no_planted_error_passes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``-s``, a row of a table: what derive, its list and compare make of it."""
    kind = PLANTED[name]()
    (found,) = derive(kind).results
    listed = sys.modules["recon_cli.derivation"]
    with monkeypatch.context() as patched:
        patched.setattr(listed, "derived", lambda kinds: [found])
        patched.setattr(likelihoods, "names", lambda: [kind.name])
        patched.setattr(likelihoods, "find", lambda name: kind)
        row = catalogue().tables[0].rows[0]
    judges = [not found.holds, row["proved"] is not True, *(compared(kind, dtype) for dtype in ("float32", "float64"))]
    print(f"{name:45} {' '.join(f'{says(each):8}' for each in judges)}")
    assert judges[:2] == [True, True]


def compared(kind: type[Likelihood], dtype: str) -> bool | None:
    """Whether compare catches it, at the points of one noise; None where it refuses the data."""
    results = []
    for setting in settings(kind, 3):
        x, mu = (torch.tensor(rows, dtype=torch.float64) for rows in (setting.xs, setting.mus))
        x, mu = (
            (x if setting.likelihood.event else x[:, 0]),
            (mu if setting.likelihood.event or setting.likelihood.head else mu[:, 0]),
        )
        try:
            results.append(compare(x, mu, setting.likelihood, device="cpu", dtype=dtype, engine="eager").holds)
        except ReconError:
            continue
    return not all(results) if results else None


def says(judgement: bool | None) -> str:
    """A judgement in a word."""
    return {True: "caught", False: "passed", None: "refused"}[judgement]


def test_the_list_never_says_proved_of_what_derive_refutes(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"laplace": times("laplace", "2"), "poisson": planted("poisson", support=Interval(1, whole=True))}
    monkeypatch.setattr(likelihoods, "names", lambda: [*kinds])
    monkeypatch.setattr(likelihoods, "find", kinds.get)
    report = catalogue()
    assert not report.holds
    assert report.verdict.startswith("refuted: laplace, poisson")
    assert [row["proved"] for row in report.tables[0].rows] == [False, False]


# True likelihoods that are in no registry.

POSITIVE = Interval(0, closed=False)


def own(density: str, loss: str, slope: str = "1", noise: dict[str, Any] | None = None, **more: Any) -> type[Likelihood]:
    """A likelihood from its texts, all its code read off them: true if they are."""
    import sympy

    from recon_cli.identity.parametric import parameter

    names = noise or {}
    torches = [{"Abs": torch.abs, "Max": lambda a, b: torch.maximum(torch.as_tensor(a, dtype=b.dtype), b), "loggamma": lambda v: torch.as_tensor(v, dtype=torch.float64).lgamma(),  # noqa: E501
                "log": lambda v: torch.as_tensor(v, dtype=torch.float64).log(), "exp": torch.exp, "cosh": torch.cosh,
                "Heaviside": lambda v: (v > 0).double()}]  # fmt: skip
    symbols = {name: sympy.Symbol(name, positive=True) for name in (*names, "x", "mu")}

    def function(text: str, *arguments: str) -> Any:
        compiled = sympy.lambdify([symbols[name] for name in (*names, *arguments)], sympy.sympify(text, locals=symbols), torches)
        return lambda self, *values: compiled(*self.parameters.values(), *values)

    cost = function(loss, "x", "mu")

    class OwnLoss(Loss):
        """The loss."""

        name = "own"
        formula = loss
        torch = "as written"

        def __init__(self, side: Any) -> None:
            vars(self)["side"] = side

        parameters = property(lambda self: self.side.parameters)
        __hash__, __eq__ = object.__hash__, object.__eq__

        def values(self, x: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
            return cost(self.side, x, prediction)

    OwnLoss.support, OwnLoss.domain = more.get("support", REAL), more.get("domain", REAL)
    factor, rest = function(slope), more.pop("rest", "0")
    offset = function(rest, "x")
    body: dict[str, Any] = {
        "__module__": "own", "__annotations__": dict.fromkeys(names, float), "density": density, **more,
        **{name: parameter(value, "a number") for name, value in names.items()},
        "loss": property(lambda self: OwnLoss(self)), "slope": property(lambda self: factor(self)),
        "nll": lambda self, x, mu: factor(self) * cost(self, x, mu) + offset(self, x),
        "offset": lambda self, x: offset(self, x) + torch.zeros_like(x),
        "sample": lambda self, mu, generator=None: mu.new_full(mu.shape, math.nan),
    }  # fmt: skip
    return dataclasses.dataclass(frozen=True)(type("Own", (Likelihood,), body))


ON = {"support": Interval(0), "domain": POSITIVE, "link": LOG}
TRUE: dict[str, Any] = {
    "exponential": lambda: own("exp(-x/mu)/mu", "x/mu + log(mu)", **ON),
    "gamma": lambda: own(
        "(shape/mu)**shape*x**(shape - 1)*exp(-shape*x/mu)/gamma(shape)",
        "x/mu + log(mu)",
        "shape",
        {"shape": 2.0},
        rest="loggamma(shape) - shape*log(shape) - (shape - 1)*log(x)",
        **ON,
    ),  # fmt: skip
    "rayleigh": lambda: own("x/mu**2*exp(-x**2/(2*mu**2))", "x**2/(2*mu**2) + 2*log(mu)", rest="-log(x)", **ON),
    "half-normal": lambda: own("sqrt(2/pi)/mu*exp(-x**2/(2*mu**2))", "x**2/(2*mu**2) + log(mu)", rest="log(pi/2)/2", **ON),
    "log-normal": lambda: own(
        "exp(-(log(x) - mu)**2/(2*s**2))/(x*s*sqrt(2*pi))",
        "(log(x) - mu)**2",
        "1/(2*s**2)",
        {"s": 1.0},
        rest="log(x) + log(s) + log(2*pi)/2",
        support=Interval(0),
    ),  # fmt: skip
    "lomax": lambda: own(
        "a/mu*(1 + x/mu)**(-a - 1)", "log(1 + x/mu) + log(mu)/(a + 1)", "a + 1", {"a": 2.0}, rest="-log(a)", **ON
    ),
    "weibull": lambda: own(
        "k/mu*(x/mu)**(k - 1)*exp(-(x/mu)**k)", "(x/mu)**k + k*log(mu)", "1", {"k": 2.0}, rest="-log(k) - (k - 1)*log(x)", **ON
    ),  # fmt: skip
    "triangular": lambda: own("Max(0, 1 - Abs(x - mu)/w)/w", "-log(Max(0, 1 - Abs(x - mu)/w))", "1", {"w": 1.0}, rest="log(w)"),
    "epsilon-insensitive": lambda: own(
        "exp(-Max(0, Abs(x - mu) - e)/s)/(2*(e + s))",
        "Max(0, Abs(x - mu) - e)",
        "1/s",
        {"e": 0.5, "s": 1.0},
        rest="log(2*(e + s))",
    ),  # fmt: skip
    "geometric": lambda: own(
        "(mu/(1 + mu))**x/(1 + mu)", "(x + 1)*log(1 + mu) - x*log(mu)", support=COUNT, domain=POSITIVE, link=LOG
    ),  # fmt: skip
    "gumbel": lambda: own(
        "exp(-(x - mu)/s - exp(-(x - mu)/s))/s", "(x - mu)/s + exp(-(x - mu)/s)", "1", {"s": 1.0}, rest="log(s)"
    ),
    "cauchy": lambda: own("1/(pi*s*(1 + ((x - mu)/s)**2))", "log(1 + ((x - mu)/s)**2)", "1", {"s": 1.0}, rest="log(pi*s)"),
    "inverse-gamma": lambda: own("mu**3*x**(-4)*exp(-mu/x)/2", "mu/x - 3*log(mu)", rest="4*log(x) + log(2)", **ON),
    "maxwell": lambda: own(
        "sqrt(2/pi)*x**2/mu**3*exp(-x**2/(2*mu**2))", "x**2/(2*mu**2) + 3*log(mu)", rest="log(pi/2)/2 - 2*log(x)", **ON
    ),  # fmt: skip
    "power on the unit interval": lambda: own(
        "mu*x**(mu - 1)", "-mu*log(x) - log(mu)", rest="log(x)", support=UNIT, domain=POSITIVE, link=LOG
    ),  # fmt: skip
}


def sound(kind: type[Likelihood]) -> list[tuple[str, str]]:
    """What derive refutes of a likelihood, but for its code's sample, which there is none of."""
    (found,) = derive(kind).results
    return [
        (step.statement.text, step.because)
        for step in found.steps
        if step.checked is False and "run. sample: " not in step.because
    ]


@pytest.mark.parametrize("name", ["exponential", "geometric"])
def test_a_true_likelihood_is_not_refuted(name: str) -> None:
    assert sound(TRUE[name]()) == []


@pytest.mark.hostile
@pytest.mark.parametrize("name", TRUE)
def test_no_true_likelihood_is_refuted(name: str) -> None:
    assert sound(TRUE[name]()) == []
