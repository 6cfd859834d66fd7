"""The independent witness: a likelihood's density, as text, evaluated by mpmath at sixty digits.

Nothing here calls a likelihood's own code. Where ``x`` is a vector, or the decoder gives several numbers for
an element, they are lists; a vector on the sphere stands for its direction.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import mpmath
import sympy
from sympy import IndexedBase

from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss, raw_names
from recon_cli.identity.regions import Circle, CountVector, Interval, Lattice, Simplex, Sphere
from recon_cli.identity.vectors import RealVector

mpmath.mp.dps = 60
LARGEST = mpmath.mpf(10) ** 60  # e to it is beyond any use, and to its negative is 0 in any sum
SLOW = ("besseli", "gamma", "factorial", "loggamma")
NOTHING = mpmath.mpf(10) ** -35
SIZE = 3  # components of the vectors here


def length(of: Likelihood | Loss) -> int:
    """How many components the vectors here have."""
    return int(of.parameters["size"]) if of.sized_by == "size" else SIZE


def symbols(of: Likelihood | Loss, raw: bool = False) -> tuple[list[Any], list[Any]]:
    """Symbols for the components of x, and of mu (or of the raw output); where there are several for each, one after another."""
    if of.event:
        names = (raw_names(len(of.head)) if raw else of.head) or (("r",) if raw else ("mu",))
        xs = [sympy.Symbol(f"x{k}", real=True) for k in range(length(of))]
        return xs, [sympy.Symbol(f"{name}_{k}", real=True) for k in range(length(of)) for name in names]
    names = of.head or ("mu",)
    return [sympy.Symbol("x", real=True)], [sympy.Symbol(f"r{i}" if raw else name, real=True) for i, name in enumerate(names)]


def flat(*values: Any) -> list[Any]:
    """Numbers and lists of them, end to end, exactly."""
    parts = (flat(*value) if isinstance(value, (list, tuple)) else [mpmath.mpf(value)] for value in values)
    return [number for numbers in parts for number in numbers]


def function(expression: Any, names: Sequence[Any]) -> Callable[..., Any]:
    """Symbols as a function of exact numbers; at a removable singularity, its limit."""
    expression = expression.replace(
        lambda part: part.is_Pow and part.exp.free_symbols, lambda part: sympy.Function("bounded_power")(part.base, part.exp)
    )
    own = {
        "erfc": erfc,
        "exp": exp,
        "bounded_power": bounded_power,
        "besselk": besselk,
        "wright_bessel": wright_bessel,
        **{name: remembered(name) for name in SLOW},
    }
    compiled = sympy.lambdify(names, expression, modules=[own, "mpmath"], cse=not expression.has(sympy.erfc))

    def exact(*values: Any) -> Any:
        point = flat(*values)
        try:
            return compiled(*point)
        except (ZeroDivisionError, ValueError):
            return compiled(*point[:-1], point[-1] + mpmath.mpf(10) ** (-0.3 * mpmath.mp.dps))

    return exact


def remembered(name: str) -> Callable[..., Any]:
    """mpmath's function of a name, each value computed once at each precision: of a noise it is the same at every point."""

    @functools.lru_cache(4096)
    def value(precision: int, *arguments: Any) -> Any:
        return getattr(mpmath, name)(*arguments)

    return lambda *arguments: value(mpmath.mp.prec, *arguments)


def wright_bessel(a: Any, b: Any, t: Any) -> Any:
    """Wright's series as it is written, term by term; of very many terms four to a standard deviation, the trapezoidal rule."""
    return _wright(mpmath.mp.prec, a, b, t)


@functools.lru_cache(4096)
def _wright(precision: int, a: Any, b: Any, t: Any) -> Any:
    with mpmath.workprec(precision + 40):
        n = largest = max(mpmath.mpf(1), mpmath.nint((t / a**a) ** (1 / (1 + a))))
        width = mpmath.sqrt(largest / (1 + a))
        step = max(mpmath.mpf(1), width / 4) if largest > 60 * width else mpmath.mpf(1)

        def log_term(n: Any) -> Any:
            return n * mpmath.log(t) - mpmath.loggamma(n + 1) - mpmath.loggamma(a * n + b)

        most, total = log_term(largest), mpmath.mpf(1)
        for way in (1, -1):
            n = largest + way * step
            while n >= 1 and (off := log_term(n) - most) > -0.7 * (precision + 40):
                total, n = total + mpmath.exp(off), n + way * step
        return step * total * mpmath.exp(most)


def besselk(order: Any, x: Any) -> Any:
    """Bessel's K by the trapezoidal rule on DLMF 10.32.9, to all digits; mpmath's own takes a second where the order is whole."""
    return _besselk(mpmath.mp.prec, order, x)


@functools.lru_cache(4096)
def _besselk(precision: int, order: Any, x: Any) -> Any:
    with mpmath.workprec(precision + 30):
        step = mpmath.pi**2 / ((precision + 30) * mpmath.log(2) + 2 * x)
        terms, k = [mpmath.exp(-x) / 2], 1
        while not terms[-1] < terms[0] * mpmath.mpf(2) ** (-precision - 30) or k < 2:
            terms.append(mpmath.exp(-x * mpmath.cosh(k * step)) * mpmath.cosh(order * k * step))
            k += 1
        return step * mpmath.fsum(terms)


def exp(x: Any) -> Any:
    """mpmath's own takes as many digits as ``x`` has before its point: of exp(exp(1e9)) it finds no end."""
    if abs(x) > LARGEST:
        return mpmath.inf if x > 0 else mpmath.mpf(0)
    return mpmath.exp(x)


def bounded_power(base: Any, exponent: Any) -> Any:
    """mpmath's own, where it ends: see :func:`exp`."""
    if base > 0 and abs(size := exponent * mpmath.log(base)) > LARGEST:
        return exp(size)
    return base**exponent


def erfc(x: Any) -> Any:
    """mpmath's own has no digits beyond a million."""
    return mpmath.erfc(x) if x < 1000 else mpmath.exp(-x * x) / mpmath.sqrt(mpmath.pi) * mpmath.hyperu(0.5, 0.5, x * x)


def formula(text: str, of: Likelihood | Loss, raw: bool = False) -> Any:
    """A formula in x and mu, the numbers of ``of`` put in exactly, mu as the link of a raw output where ``raw``."""
    xs, mus = symbols(of, raw)
    if raw:
        mus = linked(of, mus)
    if isinstance(of.domain, Sphere):
        xs, mus = ([part / sympy.sqrt(sum(each**2 for each in vector)) for part in vector] for vector in (xs, mus))
    words = {name: exactly(value) for name, value in of.parameters.items()}
    words |= dict(zip("jk", sympy.symbols("j k", integer=True), strict=True)) | {"K": sympy.Integer(length(of))}
    if not of.event:
        return sympy.sympify(text, locals={**words, "x": xs[0], **dict(zip(of.head or ("mu",), mus, strict=True))})
    names = of.head or ("mu",)
    whole = sympy.sympify(text, locals={**words, **{name: IndexedBase(name) for name in ("x", *names)}}).doit()
    return components(whole, x=xs, **{name: mus[i :: len(names)] for i, name in enumerate(names)})


def components(expression: Any, **vectors: Sequence[Any]) -> Any:
    """``x[2]`` as the second of the vector called x."""
    return expression.replace(
        lambda part: isinstance(part, sympy.Indexed), lambda part: vectors[part.base.name][int(part.indices[0]) - 1]
    )


def linked(of: Likelihood | Loss, raw: Sequence[Any]) -> list[Any]:
    """What the decoder gives, by the link, from symbols of its raw output."""
    if not of.event:
        numbers = {name: exactly(value) for name, value in of.parameters.items()}
        names = dict(zip(raw_names(len(raw)), raw, strict=True)) | numbers
        return [sympy.sympify(text, locals=names) for text in of.link.formula.split(", ")]
    if of.link.formula == "r":
        return [*raw]
    j, k, size = sympy.symbols("j k K", integer=True, positive=True)
    names = raw_names(len(of.head)) or ["r"]
    bases = {name: IndexedBase(name) for name in names}
    texts = [sympy.sympify(text, locals={"j": j, "k": k, "K": size, **bases}) for text in of.link.formula.split("; ")]
    given = {name: raw[i :: len(names)] for i, name in enumerate(names)}
    return [components(text.subs({k: i + 1, size: SIZE}).doit(), **given) for i in range(length(of)) for text in texts]


def exactly(value: Any) -> Any:
    """The rational number that a float is; a symbol as it is."""
    return value if isinstance(value, sympy.Symbol) else sympy.Rational(*float(value).as_integer_ratio())


def sized(likelihood: Likelihood, raw: bool) -> tuple[type[Likelihood], bool, float]:
    """What a formula is made of: the family, of which output, and of how many components."""
    return type(likelihood), raw, likelihood.parameters[likelihood.sized_by] if likelihood.sized_by else 0.0


@functools.cache
def symbolic(kind: type[Likelihood], raw: bool, size: float) -> tuple[Any, list[Any], list[Any]]:
    """-log density, its derivatives by each number of mu (or of the raw output), and the names of noise, x and those."""
    fields = [field.name for field in dataclasses.fields(kind) if field.name != kind.sized_by]
    noise = {name: sympy.Symbol(name, positive=True) for name in fields}
    side = kind(**noise, **({kind.sized_by: size} if kind.sized_by else {}))
    xs, mus = symbols(side, raw)
    density = formula(side.density, side, raw)
    if isinstance(density, sympy.Piecewise):
        log = sympy.Piecewise(*((-sympy.log(value), where) for value, where in density.args))
    else:
        log = -sympy.expand_log(sympy.log(density))
    return log, [sympy.diff(log, last) for last in mus], [*noise.values(), *xs, *mus]


@functools.cache
def compiled(kind: type[Likelihood], raw: bool, size: float) -> tuple[Callable[..., Any], list[Callable[..., Any]]]:
    """What is symbolic as functions of noise, x and mu (or the raw output)."""
    log, slopes, names = symbolic(kind, raw, size)
    return function(log, names), [function(slope, names) for slope in slopes]


def nll(likelihood: Likelihood, raw: bool = False) -> Callable[[Any, Any], Any]:
    """-log density of (x, mu), or of (x, raw output), at sixty digits."""
    exact, noise = compiled(*sized(likelihood, raw))[0], [*likelihood.factors.values()]
    return lambda x, mu: exact(noise, x, mu)


def gradient(likelihood: Likelihood, raw: bool = False) -> Callable[[Any, Any], list[Any]]:
    """d nll/d mu, or d nll/d raw output, of (x, mu) at sixty digits: one number for each that the decoder gives."""
    parts, noise = compiled(*sized(likelihood, raw))[1], [*likelihood.factors.values()]
    return lambda x, mu: [part(noise, x, mu) for part in parts]


def leeway(likelihood: Likelihood, raw: bool, x: Any, at: Any) -> tuple[Any, list[Any]]:
    """What errors at a point may be measured against where a true formula cancels or magnifies: (nll, gradients).

    The largest term of the formula, or half of what its derivative by the logarithm of a noise is: z = (x - mu)/scale
    is rounded once at least, as if the scale were, and exp(-z) magnifies that. Where a density is a sum of chances, as
    that of more zeros, so is its derivative by the logarithm of mu.
    """
    values = [*likelihood.factors.values()]
    step = mpmath.mpf(10) ** (-mpmath.mp.dps // 3)

    def moved(exact: Callable[..., Any]) -> list[Any]:
        turned = ([value * (1 + step * (i == k)) for i, value in enumerate(map(mpmath.mpf, values))] for k in range(len(values)))
        here = exact(values, x, at)
        summed = (
            [abs(exact(values, x, mpmath.mpf(at) * (1 + step)) - here) / step / 2] if "Eq(x, 0)" in likelihood.density else []
        )
        if likelihood.head and likelihood.event:  # so is every number of a covariance
            every = flat(at)
            ways = ([a * (1 + step * (i == k)) for i, a in enumerate(every)] for k in range(len(every)))
            summed = [abs(exact(values, x, way) - here) / step / 2 for way in ways]
        elif likelihood.sized_by:  # so are scales and weights, where the decoder gives them
            places = range(len(at) // 3, len(at))
            ways = (
                [mpmath.mpf(a) * (1 + step * (i == k and not raw)) + step * (i == k and raw) for i, a in enumerate(at)]
                for k in places
            )
            summed = [abs(exact(values, x, way) - here) / step / 2 for way in ways]
        return [*(abs(exact(noise, x, at) - here) / step / 2 for noise in turned), *summed]

    whole, slopes = compiled(*sized(likelihood, raw))
    parts, slope_parts = terms(*sized(likelihood, raw))
    sizes = [
        max((size for size in (*moved(exact), *(abs(part(values, x, at)) for part in each)) if mpmath.isfinite(size)), default=0)
        for exact, each in ((whole, parts), *zip(slopes, slope_parts, strict=True))
    ]
    return sizes[0], sizes[1:]


@functools.cache
def terms(kind: type[Likelihood], raw: bool, size: float) -> tuple[list[Callable[..., Any]], list[list[Callable[..., Any]]]]:
    """The terms of -log density, and those of each of its derivatives, as :func:`compiled` has their sums."""
    log, slopes, names = symbolic(kind, raw, size)
    several = bool(kind.event and kind().head)  # a covariance's, which has thousands of them once it is expanded
    sums = (of if several else sympy.expand(of) for of in (log, *slopes))
    whole, *each = ([function(part, names) for part in sympy.Add.make_args(of)] for of in sums)
    return whole, each


@functools.cache
def loss(likelihood: Likelihood, times: int = 0) -> Callable[[Any, Any], Any]:
    """The matching loss's formula, differentiated by mu so many times (the largest, by each number of a vector)."""
    own = likelihood.loss
    xs, mus = symbols(likelihood)
    cost = formula(own.formula, own)
    parts = [function(sympy.diff(cost, last, times) if times else cost, [*xs, *mus]) for last in (mus if times else mus[:1])]
    return lambda *point: max((part(*point) for part in parts), key=abs)


def total(likelihood: Likelihood, mu: Any) -> Any:
    """The density added up over the support, at a mean (a list, where that is several numbers)."""
    exact = nll(likelihood)
    support = likelihood.support

    def p(x: Any) -> Any:
        return exp(-exact(x, mu))

    with mpmath.workdps(24):  # twice what is asked for
        if isinstance(support, Simplex):
            return mpmath.fsum(p([float(i == k) for i in range(SIZE)]) for k in range(SIZE))
        if isinstance(support, CountVector):
            total = int(likelihood.parameters["count"])
            every = ((a, b, total - a - b) for a in range(total + 1) for b in range(total - a + 1))
            return mpmath.fsum(p([*map(float, counts)]) for counts in every)
        if isinstance(support, RealVector):
            return paraboloid(exact, flat(mu)[:: len(likelihood.head) or 1], mu)
        if isinstance(support, Sphere):  # a ring at each height t over mu
            pole = [0.0] * (SIZE - 1) + [1.0]
            return 2 * mpmath.pi * mpmath.quad(lambda t: exp(-exact([mpmath.sqrt(1 - t * t), 0, t], pole)), [-1, 0, 1])
        if isinstance(support, Circle):
            return mpmath.quad(p, mpmath.linspace(support.low, mpmath.pi, 17))
        if isinstance(support, Lattice):
            return mpmath.fsum(p(mpmath.mpf(k) / int(support.levels - 1)) for k in range(int(support.levels)))
        if support.whole:
            return mpmath.nsum(p, [support.low, support.high])
        if type(support) is Interval and support.low == 0 and not support.closed:  # of log x, or of logit x: there may be poles
            return over_the_line(p, float(flat(mu)[0]), support.high)
        noise = [float(value) for value in likelihood.parameters.values()] or [1.0]
        units = [*noise, math.prod(noise)]
        middles = flat(mu)[: len(flat(mu)) // 3 if likelihood.sized_by else 1]
        ways = [sign * size * value for sign in (-1, 1) for size in (0, 1, 5, 40, 1e3, 1e6) for value in units]
        breaks = sorted({middle + way for middle in middles for way in ways})
        inner = [point for point in breaks if support.low < point < support.high]
        ends = [end for end in (support.low, support.high) if math.isfinite(end)]
        middle, whole = middles[0], mpmath.quad(p, sorted([*inner, *ends]))
        if support.low == -math.inf:
            whole += tail(lambda far: p(middle - far), middle - inner[0])
        return whole + tail(lambda far: p(middle + far), inner[-1] - middle) if support.high == math.inf else whole


def tail(p: Callable[[Any], Any], start: Any) -> Any:
    """The integral of ``p`` from ``start``, which is positive, on: over the logarithm, where powers of any degree fall off."""
    if p(start) * start < NOTHING:  # and less than that further out
        return mpmath.mpf(0)
    first = mpmath.log(start)
    return mpmath.quad(
        lambda u: p(mpmath.exp(u)) * mpmath.exp(u), [first, *(first + far for far in (5, 20, 100, 400)), mpmath.inf]
    )


def paraboloid(exact: Callable[..., Any], centre: list[Any], mu: Any) -> Any:
    """The integral over all vectors of e^-nll, a polynomial of degree two: by its second differences, which are exact."""
    size = len(centre)

    def at(*ways: int) -> Any:
        return exact([c + sum((1 if way >= 0 else -1) for way in ways if abs(way) == k + 1) for k, c in enumerate(centre)], mu)

    here = at()
    bends = [[at(i, j) - at(i) - at(j) + here for j in range(1, size + 1)] for i in range(1, size + 1)]
    assert all(abs(at(i, i, i) - 3 * at(i, i) + 3 * at(i) - here) < 1e-20 * (1 + abs(at(i, i))) for i in range(1, size + 1))
    assert all(abs(at(i) - at(-i)) < 1e-20 * (1 + abs(at(i))) for i in range(1, size + 1))
    return mpmath.exp(-here) * mpmath.sqrt((2 * mpmath.pi) ** size / mpmath.det(mpmath.matrix(bends)))


def beyond(likelihood: Likelihood, mu: Any, start: float) -> Any:
    """The chance of a share between 0 and 1 whose logit is above ``start``: of some likelihoods, most are next to 1."""
    exact = nll(likelihood)
    return over_the_line(lambda x: exp(-exact(x, mu)), float(flat(mu)[0]), 1.0, start)


def over_the_line(p: Callable[[Any], Any], middle: float, high: float, start: float = -math.inf) -> Any:
    """The integral of ``p`` from 0 to ``high``, infinite or 1, over the logarithm or the logit of x, from ``start`` on."""
    bounded = high < math.inf

    def moved(u: Any) -> Any:
        with mpmath.workdps(200 if bounded else 24):  # as near to 1 as that is
            x = 1 / (1 + mpmath.exp(-u)) if bounded else mpmath.exp(u)
            return p(x) * x * (1 - x if bounded else 1)

    centre = math.log(middle / (1 - middle)) if bounded else math.log(middle)
    breaks = {centre + sign * far for sign in (-1, 1) for far in (0, 1, 5, 20, 100, 400)}
    return mpmath.quad(moved, sorted({max(point, start) for point in breaks}))


def off_by(found: Sequence[float], exact: Iterable[Any], eps: float, size: Iterable[Any] | None = None) -> list[float]:
    """Errors in ``eps`` of the exact values, or of ``size`` (the largest term) where that is given.

    A zero is exact where the witness, at sixty digits, sees less than 1e-35: there its own terms cancel.
    """
    exact = [mpmath.mpf(0) if got == 0 and abs(true) < NOTHING else true for got, true in zip(found, exact, strict=True)]
    scales = [abs(value) for value in exact] if size is None else list(size)
    off = (
        float(abs(mpmath.mpf(got) - true) / (eps * max(scale, mpmath.mpf(2) ** -1074)))
        for got, true, scale in zip(found, exact, scales, strict=True)
    )
    return [math.inf if math.isnan(error) else error for error in off]  # no max and no comparison sees a NaN
