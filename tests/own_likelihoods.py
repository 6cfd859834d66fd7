"""Fifteen likelihoods that are in no registry, as a user writes them into a file of one's own: all of them true."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from recon_cli.identity.likelihood import Likelihood, elementwise, log
from recon_cli.identity.losses import LOG, Loss
from recon_cli.identity.parametric import parameter
from recon_cli.identity.regions import COUNT, REAL, UNIT, Interval

POSITIVE = Interval(0, closed=False)


def uniform(mu: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """A uniform draw for every element, none of them zero."""
    return 1 - mu.new_empty(mu.shape).uniform_(generator=generator)


def exponential(mu: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """A standard exponential draw for every element."""
    return -uniform(mu, generator).log()


def normal(mu: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """A standard normal draw for every element."""
    return mu.new_empty(mu.shape).normal_(generator=generator)


class Own(Loss):
    """A loss over x from zero up, of a mean from zero up."""

    torch = "as written"
    support, domain = Interval(0), POSITIVE


class Scaled(Likelihood):
    """A likelihood that is a loss and an offset, of x and mu from zero up, the raw output a logarithm."""

    support, domain, link = Interval(0), POSITIVE, LOG

    @elementwise
    def nll(self, x, mu):
        return self.slope * self.loss.values(x, mu) + self.rest(x)

    def rest(self, x):
        return torch.zeros_like(x)

    @elementwise
    def offset(self, x):
        return self.rest(x)

    @property
    def slope(self):
        return 1.0


class Ratio(Own):
    name = "ratio"
    formula = "x/mu + log(mu)"

    def values(self, x, mu):
        return x / mu + mu.log()


class Exponential(Scaled):
    loss = Ratio()
    density = "exp(-x/mu)/mu"

    def sample(self, mu, generator=None):
        return mu * exponential(mu, generator)


@dataclass(frozen=True)
class Gamma(Scaled):
    shape: float = parameter(2.0, "the shape")

    loss = Ratio()
    density = "(shape/mu)**shape*x**(shape - 1)*exp(-shape*x/mu)/gamma(shape)"

    @property
    def slope(self):
        return self.shape

    def rest(self, x):
        return math.lgamma(self.shape) - self.shape * math.log(self.shape) - (self.shape - 1) * x.log()

    def sample(self, mu, generator=None):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(generator.initial_seed() if generator else 0)
            return torch._standard_gamma(mu.new_full(mu.shape, self.shape)) * mu / self.shape


class Squares(Own):
    name = "squares"
    formula = "x**2/(2*mu**2) + 2*log(mu)"

    def values(self, x, mu):
        return (x / mu).square() / 2 + 2 * mu.log()


class Rayleigh(Scaled):
    loss = Squares()
    density = "x/mu**2*exp(-x**2/(2*mu**2))"

    def rest(self, x):
        return -x.log()

    def sample(self, mu, generator=None):
        return mu * (2 * exponential(mu, generator)).sqrt()


class Square(Own):
    name = "square"
    formula = "x**2/(2*mu**2) + log(mu)"

    def values(self, x, mu):
        return (x / mu).square() / 2 + mu.log()


class HalfNormal(Scaled):
    loss = Square()
    density = "sqrt(2/pi)/mu*exp(-x**2/(2*mu**2))"

    def rest(self, x):
        return torch.full_like(x, math.log(math.pi / 2) / 2)

    def sample(self, mu, generator=None):
        return mu * normal(mu, generator).abs()


class Cubes(Own):
    name = "cubes"
    formula = "x**2/(2*mu**2) + 3*log(mu)"

    def values(self, x, mu):
        return (x / mu).square() / 2 + 3 * mu.log()


class Maxwell(Scaled):
    loss = Cubes()
    density = "sqrt(2/pi)*x**2/mu**3*exp(-x**2/(2*mu**2))"

    def rest(self, x):
        return math.log(math.pi / 2) / 2 - 2 * x.log()

    def sample(self, mu, generator=None):
        return mu * sum(normal(mu, generator).square() for _ in range(3)).sqrt()


class LogSquare(Loss):
    name = "log-square"
    formula = "(log(x) - mu)**2"
    torch = "as written"
    support = Interval(0)

    def values(self, x, mu):
        return (x.log() - mu).square()


@dataclass(frozen=True)
class LogNormal(Scaled):
    s: float = parameter(1.0, "the deviation of log x")

    domain, link = REAL, LogSquare.link
    loss = LogSquare()
    density = "exp(-(log(x) - mu)**2/(2*s**2))/(x*s*sqrt(2*pi))"

    @property
    def slope(self):
        return 0.5 / self.s / self.s

    def rest(self, x):
        return x.log() + math.log(self.s) + math.log(2 * math.pi) / 2

    def sample(self, mu, generator=None):
        return (mu + self.s * normal(mu, generator)).exp()


@dataclass(frozen=True)
class Tail(Own):
    a: float = parameter(2.0, "the power of the tail")

    name = "tail"
    formula = "log(1 + x/mu) + log(mu)/(a + 1)"

    def values(self, x, mu):
        return (x / mu).log1p() + mu.log() / (self.a + 1)


@dataclass(frozen=True)
class Lomax(Scaled):
    a: float = parameter(2.0, "the power of the tail")

    density = "a/mu*(1 + x/mu)**(-a - 1)"

    @property
    def loss(self):
        return Tail(self.a)

    @property
    def slope(self):
        return self.a + 1

    def rest(self, x):
        return torch.full_like(x, -math.log(self.a))

    def sample(self, mu, generator=None):
        return mu * (exponential(mu, generator) / self.a).expm1()


@dataclass(frozen=True)
class Power(Own):
    k: float = parameter(2.0, "the power")

    name = "power"
    formula = "(x/mu)**k + k*log(mu)"

    def values(self, x, mu):
        return (x / mu) ** self.k + self.k * mu.log()


@dataclass(frozen=True)
class Weibull(Scaled):
    k: float = parameter(2.0, "the power")

    density = "k/mu*(x/mu)**(k - 1)*exp(-(x/mu)**k)"

    @property
    def loss(self):
        return Power(self.k)

    def rest(self, x):
        return -math.log(self.k) - (self.k - 1) * x.log()

    def sample(self, mu, generator=None):
        return mu * exponential(mu, generator) ** (1 / self.k)


class Inverse(Own):
    name = "inverse"
    formula = "mu/x - 3*log(mu)"

    def values(self, x, mu):
        return mu / x - 3 * mu.log()


class InverseGamma(Scaled):
    loss = Inverse()
    density = "mu**3*x**(-4)*exp(-mu/x)/2"

    def rest(self, x):
        return 4 * x.log() + math.log(2)

    def sample(self, mu, generator=None):
        return mu / sum(exponential(mu, generator) for _ in range(3))


class Logs(Own):
    name = "logs"
    formula = "-mu*log(x) - log(mu)"
    support = UNIT

    def values(self, x, mu):
        return -mu * x.log() - mu.log()


class Kumaraswamy(Scaled):
    support = UNIT
    loss = Logs()
    density = "mu*x**(mu - 1)"

    def rest(self, x):
        return x.log()

    def sample(self, mu, generator=None):
        return uniform(mu, generator) ** (1 / mu)


class Trials(Own):
    name = "trials"
    formula = "(x + 1)*log(1 + mu) - x*log(mu)"
    support = COUNT

    def values(self, x, mu):
        return (x + 1) * mu.log1p() - x * mu.log()


class Geometric(Scaled):
    support = COUNT
    loss = Trials()
    density = "(mu/(1 + mu))**x/(1 + mu)"

    def sample(self, mu, generator=None):
        return (exponential(mu, generator) / (1 / mu).log1p()).floor()


class Centred(Scaled):
    """The same of any x and mu, a constant apart."""

    support, domain, link = REAL, REAL, LogSquare.link

    def rest(self, x):
        return torch.full_like(x, float(self.normaliser))


@dataclass(frozen=True)
class Hat(Loss):
    w: float = parameter(1.0, "half the width")

    name = "hat"
    formula = "-log(Max(0, 1 - Abs(x - mu)/w))"
    torch = "as written"

    def values(self, x, mu):
        return -(1 - (x - mu).abs() / self.w).clamp(min=0).log()


@dataclass(frozen=True)
class Triangular(Centred):
    w: float = parameter(1.0, "half the width")

    density = "Max(0, 1 - Abs(x - mu)/w)/w"

    @property
    def loss(self):
        return Hat(self.w)

    @property
    def normaliser(self):
        return log(self.w)

    def sample(self, mu, generator=None):
        return mu + self.w * (uniform(mu, generator) - uniform(mu, generator))


@dataclass(frozen=True)
class Insensitive(Loss):
    e: float = parameter(0.5, "half the width of the tube")

    name = "insensitive"
    formula = "Max(0, Abs(x - mu) - e)"
    torch = "as written"

    def values(self, x, mu):
        return ((x - mu).abs() - self.e).clamp(min=0)


@dataclass(frozen=True)
class EpsilonInsensitive(Centred):
    e: float = parameter(0.5, "half the width of the tube")
    s: float = parameter(1.0, "the scale of the tails")

    density = "exp(-Max(0, Abs(x - mu) - e)/s)/(2*(e + s))"

    @property
    def loss(self):
        return Insensitive(self.e)

    @property
    def slope(self):
        return 1 / self.s

    @property
    def normaliser(self):
        return log(2 * (self.e + self.s))

    def sample(self, mu, generator=None):
        inside = uniform(mu, generator) < self.e / (self.e + self.s)
        sign = 2 * uniform(mu, generator).round() - 1
        return mu + sign * torch.where(inside, self.e * uniform(mu, generator), self.e + self.s * exponential(mu, generator))


@dataclass(frozen=True)
class Extreme(Loss):
    s: float = parameter(1.0, "the scale")

    name = "extreme"
    formula = "(x - mu)/s + exp(-(x - mu)/s)"
    torch = "as written"

    def values(self, x, mu):
        z = (x - mu) / self.s
        return z + (-z).exp()


@dataclass(frozen=True)
class Gumbel(Centred):
    s: float = parameter(1.0, "the scale")

    density = "exp(-(x - mu)/s - exp(-(x - mu)/s))/s"

    @property
    def loss(self):
        return Extreme(self.s)

    @property
    def normaliser(self):
        return log(self.s)

    def sample(self, mu, generator=None):
        return mu - self.s * exponential(mu, generator).log()


@dataclass(frozen=True)
class Tails(Loss):
    s: float = parameter(1.0, "the scale")

    name = "tails"
    formula = "log(1 + ((x - mu)/s)**2)"
    torch = "as written"

    def values(self, x, mu):
        return ((x - mu) / self.s).square().log1p()


@dataclass(frozen=True)
class Cauchy(Centred):
    s: float = parameter(1.0, "the scale")

    density = "1/(pi*s*(1 + ((x - mu)/s)**2))"

    @property
    def loss(self):
        return Tails(self.s)

    @property
    def normaliser(self):
        return log(math.pi * self.s)

    def sample(self, mu, generator=None):
        return mu + self.s * (math.pi * (uniform(mu, generator) - 0.5)).tan()
