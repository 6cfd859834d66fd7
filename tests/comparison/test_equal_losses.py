"""compare refutes only what is false: a loss is a likelihood's own by what it is, whatever it is called."""

from __future__ import annotations

import math

import pytest
import torch
from points import mean

from recon_cli import likelihoods
from recon_cli.comparison import compare
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.training.experiments.lockstep import lockstep

POINTS = 200
# A likelihood and a loss that is its own by another name, the slope, and whether only these data say so.
EQUAL = [
    ("gaussian:sigma=0.5", "power-error:power=2", 2.0, False),
    ("gaussian:sigma=0.5", "mse", 2.0, False),
    ("laplace:scale=0.25", "pinball:quantile=0.5", 8.0, False),
    ("laplace:scale=0.25", "power-error:power=1", 4.0, False),
    ("asymmetric-laplace:scale=0.5,quantile=0.5", "l1", 1.0, False),
    ("asymmetric-laplace:scale=0.5,quantile=0.5", "power-error:power=1", 1.0, False),
    ("asymmetric-laplace:scale=0.1,quantile=0.9", "pinball:quantile=0.9", 10.0, False),
    ("generalized-gaussian:scale=0.5,power=2", "mse", 4.0, False),
    ("generalized-gaussian:scale=0.5,power=1", "l1", 2.0, False),
    ("generalized-gaussian:scale=0.5,power=1", "pinball", 4.0, False),
    ("huber:scale=0.1,delta=3", "huber:delta=0.3", 100.0, False),  # 3 times 0.1 is not 0.3
    ("huber:scale=0.1,delta=3", "smooth-l1:beta=0.3", 30.0, False),
    ("logistic:scale=0.5", "log-cosh:scale=1", 2.0, False),
    ("hyperbolic-secant:scale=0.5", "log-cosh:scale=0.5", 1.0, False),
    ("binomial:count=1", "bce", 1.0, False),
    ("binomial:count=1", "bce-with-logits", 1.0, False),
    ("bernoulli", "binary-cross-entropy-of-shares:count=1", 1.0, False),
    ("bernoulli", "binary-cross-entropy-of-shares-with-logits:count=1", 1.0, False),
    ("gaussian", "huber:delta=100", 1.0, True),
    ("gaussian", "smooth-l1:beta=100", 100.0, True),
    ("huber:delta=100", "mse", 0.5, True),
    ("huber:delta=100", "power-error:power=2", 0.5, True),
    ("laplace", "huber:delta=1e-6", 1e6, True),
    ("student-t:df=1e9", "mse", 0.5, True),
    ("gaussian", "lorentzian:width=1e4", 0.5e8, True),
    ("gaussian", "log-cosh:scale=1e4", 1e8, True),
    ("poisson", "negative-binomial:dispersion=1e-9", 1.0, True),
]  # fmt: skip


def data(side: Likelihood) -> tuple[torch.Tensor, torch.Tensor]:
    """Random data and means of a likelihood, for most inside [0, 1], where every loss takes them; two reconstructed exactly."""
    torch.manual_seed(3)
    shape = (POINTS // 10, 10)
    mu = 0.1 + 0.8 * torch.rand(shape, dtype=torch.float64)
    if side.head and side.event:
        mu = torch.tensor([[mean(side, where) for where in torch.rand(shape[1]).tolist()] for _ in range(shape[0])])
        return torch.rand(mu.shape[:-1], dtype=torch.float64), mu.double()
    if side.head:
        mu = torch.stack([mu, 0.1 + torch.rand(shape, dtype=torch.float64)], dim=-1)
        return torch.rand(shape, dtype=torch.float64), mu
    if side.event:
        mu, x = torch.rand(*shape, 3, dtype=torch.float64) + 0.1, torch.rand(*shape, 3, dtype=torch.float64) - 0.5
        whole = torch.nn.functional.one_hot(x.argmax(-1), 3).double()
        return (whole, mu / mu.sum(-1, keepdim=True)) if side.discrete else (side.domain.keep(x), side.domain.keep(mu))
    if side.discrete:
        return side.sample(mu, torch.Generator().manual_seed(1)), mu
    x = torch.rand(shape, dtype=torch.float64)
    x[0, :2] = mu[0, :2]
    return x, mu


@pytest.mark.parametrize(("word", "loss", "slope", "here"), EQUAL, ids=lambda value: str(value))
def test_a_loss_by_another_name_holds_with_its_true_slope(word: str, loss: str, slope: float, here: bool) -> None:
    side = likelihoods.parse(word)
    x, mu = (values.float() for values in data(side))
    found = compare(x, mu, side, loss=loss, device="cpu")
    (row,) = found.rows
    assert found.holds
    assert row.proportional
    assert row.here is here
    assert row.slope == pytest.approx(slope, rel=1e-6)
    assert row.nll == pytest.approx(row.slope * row.loss_value + row.offset + row.gap, abs=1e-5 * (1 + abs(row.offset)))
    assert row.cosine == pytest.approx(1, abs=1e-9)
    said = " ".join([*found.report().notes, found.report().verdict])
    assert "no learning rate" not in said
    assert ("on these data" in said) is here


@pytest.mark.parametrize(("word", "loss"), [
    ("gaussian", "huber:delta=0.3"), ("gaussian", "l1"), ("laplace", "mse"), ("gaussian", "power-error:power=2.1"),
    ("laplace", "pinball:quantile=0.4"), ("asymmetric-laplace:quantile=0.9", "l1"), ("huber:delta=0.3", "mse"),
    ("student-t:df=50", "mse"), ("hyperbolic-secant", "log-cosh:scale=2"), ("bernoulli", "mse"), ("poisson", "mse"),
    ("poisson", "negative-binomial:dispersion=0.01"),
])  # fmt: skip
def test_another_loss_is_still_refuted(word: str, loss: str) -> None:
    found = compare(*(values.float() for values in data(likelihoods.parse(word))), word, loss=loss, device="cpu")
    (row,) = found.rows
    assert not found.holds
    assert not row.proportional
    assert row.slope is None


def test_alike_at_a_point_is_not_alike() -> None:
    """Residuals of one size: l1 is proportional to a Gaussian there, and no step further."""
    x = (torch.rand(20, 10) > 0.5).float()
    found = compare(x, torch.full_like(x, 0.5), "gaussian", loss="l1", device="cpu")
    (row,) = found.rows
    assert row.proportional
    assert row.slope is None
    assert not found.holds
    said = " ".join([*found.report().notes, found.report().verdict])
    assert "no learning rate" not in said
    assert "where the means move" in said


def test_one_residual_beyond_the_threshold_refutes() -> None:
    x, mu = (values.float() for values in data(likelihoods.parse("gaussian")))
    assert compare(x, mu, "gaussian", loss="huber:delta=1.5", device="cpu").holds
    x[7, 7] += 3
    assert not compare(x, mu, "gaussian", loss="huber:delta=1.5", device="cpu").holds


@pytest.mark.parametrize("name", likelihoods.names())
def test_a_likelihood_and_its_losses_bend_alike(name: str) -> None:
    """At x = mu, where some bend, both sides return the same subgradient, or as many times it as the slope is."""
    side = likelihoods.find(name)()
    if name == "asymmetric-laplace":
        side = likelihoods.parse("asymmetric-laplace:scale=0.1,quantile=0.9")
    x, mu = data(side)
    x = (255 * x).round() / 255 if "mixture" in name else x
    mu = side.domain.keep(x) if name in ("categorical", "poisson") else x
    mu = side.usual_outputs(x, torch.full_like(x, 0.4)) if side.head else mu
    for loss in (own for own in side.losses if side.link.name in ("identity", "direction") or own.link != side.link):
        point = mu.clamp(0.01, 0.99) if "bernoulli" in name or name == "binomial" else mu.clone()
        point.requires_grad_()
        (of_nll,) = torch.autograd.grad(side.nll(x, point).sum(), point)
        (of_loss,) = torch.autograd.grad(loss(x, loss.link.forward(point)).sum(), point)
        (gap,) = torch.autograd.grad(side.gap(point).sum(), point) if side.gap(point).requires_grad else (0.0,)
        torch.testing.assert_close(of_nll, float(side.losses[loss]) * of_loss + gap, rtol=1e-9, atol=1e-9)


def test_the_canonical_form_is_what_the_loss_is() -> None:
    torch.manual_seed(0)
    x, mu = (torch.rand(50, dtype=torch.float64) for _ in range(2))
    words = ["power-error:power=1", "power-error:power=2", "pinball:quantile=0.5", "smooth-l1:beta=0.3"]
    words += [f"binary-cross-entropy-of-shares{end}:count=1" for end in ("", "-with-logits")]
    for word in words:
        loss = likelihoods.loss(word)
        named, factor = loss.canonical()
        assert type(named) is not type(loss)
        assert named.canonical() == (named, 1.0)
        point = loss.link.forward(mu)
        torch.testing.assert_close(loss(x, point), factor * named(x, named.link.forward(mu)))


def derivative(side, x: torch.Tensor, mu: torch.Tensor, way: torch.Tensor) -> torch.Tensor:
    """Along ``way``, by central differences."""
    step = 1e-5
    return (side(x, mu + step * way) - side(x, mu - step * way)) / (2 * step)


def proportional(side: Likelihood, loss: Loss, x: torch.Tensor, mu: torch.Tensor) -> bool:
    """Whether the mu-derivatives of nll and loss have one ratio at all points, and as the means move half way."""
    ratios = []
    bare = side.admitted()
    for share in (1.0, 0.5):
        here = mu * share if side.head else x + share * (mu - x)
        if side.head:
            here = torch.stack([x + share * (mu[..., 0] - x), mu[..., 1] * (2 - share)], dim=-1)
        elif side.event:
            here = side.domain.keep(here)
        ways = torch.eye(mu.shape[-1], dtype=mu.dtype) if side.event or side.head else [torch.ones_like(mu)]
        if side.event and side.discrete:  # along the simplex
            ways = [way - 1 / 3 for way in ways]
        for way in ways:
            apart = ((x - mu).abs() > 1e-3) if not (side.event or side.head) else slice(None)  # not across a bend
            of_nll = derivative(bare.nll, x, here, way)[apart]
            of_loss = derivative(lambda x, mu: loss(x, loss.link.forward(mu)), x, here, way)[apart]
            ratios.append((of_nll.flatten(), of_loss.flatten()))
    of_nll, of_loss = (torch.cat(parts) for parts in zip(*ratios, strict=True))
    slope = (of_nll * of_loss).sum() / of_loss.square().sum()
    off = (of_nll - slope * of_loss).abs()
    return bool(slope > 0) and bool((off <= 1e-4 * of_nll.abs() + 1e-6 * of_nll.square().mean().sqrt()).all())


WORDS = [*likelihoods.names(), "laplace:scale=0.2", "generalized-gaussian:power=1", "generalized-gaussian:power=3",
         "asymmetric-laplace:quantile=0.8", "binomial:count=4", "huber:delta=50"]  # fmt: skip
KINDS = {kind.name: kind for kind in likelihoods.losses().values()}
LOSSES = [
    *KINDS,
    "power-error:power=1",
    "pinball:quantile=0.8",
    "huber:delta=9",
]


def law(words: list[str], losses: list[str]) -> tuple[int, int]:
    """How many pairs hold and do not, both by compare and by finite differences."""
    counts = {True: 0, False: 0}
    for word in words:
        side = likelihoods.parse(word)
        x, mu = data(side)
        for name in losses:
            loss = likelihoods.loss(name)
            if loss.reason:
                continue
            try:
                found = compare(x, mu, side, loss=loss, device="cpu")
            except ReconError:  # of another kind of number
                continue
            true = proportional(side, loss, x, mu)
            assert found.holds is true, (word, name, found.rows)
            counts[true] += 1
    return counts[True], counts[False]


def test_compare_says_what_finite_differences_say() -> None:
    """Of a part of the registry; of all of it below."""
    holds, not_ = law(["gaussian", "laplace", "bernoulli", "huber:delta=50"], ["mse", "l1", "pinball", "bce", "huber:delta=9"])
    assert holds >= 5
    assert not_ >= 8


@pytest.mark.hostile
def test_compare_says_what_finite_differences_say_of_every_pair() -> None:
    holds, not_ = law(WORDS, LOSSES)
    print(f"{holds} pairs hold, {not_} do not")
    assert holds >= len(WORDS)
    assert not_ > 100


@pytest.mark.parametrize(("side", "against", "slope"), [
    ("gaussian:sigma=0.5", "power-error:power=2", 2.0), ("laplace:scale=0.25", "pinball:quantile=0.5", 8.0),
    ("gaussian:sigma=0.5", "huber:delta=100", 4.0),
])  # fmt: skip
def test_training_against_a_loss_by_another_name_is_one_trajectory(side: str, against: str, slope: float) -> None:
    x = torch.rand(64, 8, generator=torch.Generator().manual_seed(0))
    found = lockstep(against, data=x.numpy(), likelihood=side, epochs=1, hidden=4, latent=2, optimizer="sgd")
    assert found.holds
    assert found.same
    assert math.isclose(found.slope, slope, rel_tol=1e-6)
    assert "another objective" not in " ".join(found.notes())
