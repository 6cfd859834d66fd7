"""A pass is for what is compared with the target as it was given: what is made of it, or in which order, is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from recon_cli import likelihoods
from recon_cli.auditing import audit
from recon_cli.auditing.result import Audit
from recon_cli.comparison.changes import CHANGES

SHAPE, LATENT = (1, 4, 4), 3
Both = Callable[[Tensor, Tensor], Tensor]


def kl(mu: Tensor, logvar: Tensor) -> Tensor:
    """Summed over all."""
    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()


def audited(of: Both) -> Audit:
    """The audit of a reconstruction beside a KL."""

    def loss(x_hat: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        return of(x_hat, x) + kl(mu, logvar)

    return audit(loss, SHAPE, LATENT)


def half(e: Tensor) -> Tensor:
    """Half the squared error."""
    return 0.5 * e.square().sum()


def several(*cases: Any) -> list[Any]:
    """The first of a kind in the default run, all with hostile's."""
    rows = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*row, marks=[pytest.mark.hostile] * (i >= 1)) for i, row in enumerate(rows)]


@pytest.mark.parametrize(("of", "centre"), several(
    (lambda r, x: half(r - x) + 0.005 * r.square().sum(), "0.990099 x"),
    (lambda r, x: half(r - x.round()), "where x is"),
    (lambda r, x: half(r - 2 * x), "2 x"),
    (lambda r, x: half(r + x), "-x"),
    (lambda r, x: half(r - (x - 0.25) / 0.5), "2 x - 0.5"),
    (lambda r, x: half(r - x) + 0.01 * r.sum(), "x - 0.01"),
    (lambda r, x: half(r - x) + 0.01 * r.abs().sum(), "where x is"),
    (lambda r, x: half(r - x.square()), "where x is"),
    (lambda r, x: half(r - x.clamp(0.3, 0.6)), "where x is"),
    (lambda r, x: half(r - (x > 0.5).double()), "where x is"),
    (lambda r, x: half(r + 1 - x), "x - 1"),
    (lambda r, x: half(3 * r - x), "0.333333 x"),
))  # fmt: skip
def test_a_gradient_that_vanishes_elsewhere_than_at_the_target_is_no_elbo(of: Both, centre: str) -> None:
    found = audited(of)
    assert not found.holds
    assert found.verdict == "defective"
    assert found.defects == ("target-unused",)
    assert centre in found.findings[0].evidence
    assert found.sentence.startswith("This compares x_hat with something else than x:")
    assert not found.conversions  # they would be of x itself


@pytest.mark.parametrize("of", several(
    lambda r, x: half(r - x.transpose(-1, -2)),
    lambda r, x: (r - x.flip(-1)).abs().sum(),
    lambda r, x: half(r - x.roll(1, -1)),
    lambda r, x: F.binary_cross_entropy(r, x.flip(-2), reduction="sum"),
    lambda r, x: F.huber_loss(r.flatten(1), x.transpose(-1, -2).flatten(1), reduction="sum"),
    lambda r, x: half(r.rot90(1, (-2, -1)) - x),
))  # fmt: skip
def test_elements_that_are_compared_with_others_are_no_elbo(of: Both) -> None:
    found = audited(of)
    assert not found.holds
    assert found.defects == ("target-unused",)
    assert "x in another order" in found.sentence
    assert "not its own" in found.findings[0].evidence


@pytest.mark.parametrize(("of", "family", "mean"), several(
    (lambda r, x: half(r.square() - x), "Gaussian", "r²"),
    (lambda r, x: (r.abs() - x.abs()).abs().sum(), "Laplace", "|r|"),
    (lambda r, x: half(F.relu(r) - x), "Gaussian", "relu(r)"),
    (lambda r, x: half(r.clamp(0, 1) - x), "Gaussian", "clamp(r, 0, 1)"),
    (lambda r, x: half(r.exp() - x), "Gaussian", "exp(r)"),
    (lambda r, x: half(r - (2 * x - 1)), "Gaussian", "(r+1)/2"),
    (lambda r, x: half(r - x / 255), "Gaussian", "255·r"),
    (lambda r, x: (F.softplus(r) - x).abs().sum(), "Laplace", "softplus(r)"),
))  # fmt: skip
def test_a_mean_that_is_a_function_of_the_output_is_named(of: Both, family: str, mean: str) -> None:
    found = audited(of)
    assert found.holds
    assert found.sentence.startswith(f"This is a {family} whose mean is {mean}, r being x_hat,")
    assert mean in found.formula


def test_targets_below_zero_are_looked_at_too() -> None:
    found = audited(lambda r, x: (r.abs() - x.abs()).abs().sum())
    assert any("for x from 0 up; beyond, it is another function" in note for note in found.notes)


@pytest.mark.parametrize(("threshold", "said"), [(10, "residuals up to 10;"), (1e5, "residuals up to 10000;")])
def test_a_family_up_to_some_residual_is_said_to_be_one_there(threshold: float, said: str) -> None:
    found = audited(lambda r, x: F.huber_loss(r, x, delta=threshold, reduction="sum"))
    assert found.rows[0].family == "gaussian"
    assert any(said in note for note in found.notes)


def test_a_family_that_is_one_everywhere_has_no_such_note() -> None:
    for of in (lambda r, x: half(r - x), lambda r, x: F.huber_loss(r, x, delta=0.5, reduction="sum")):
        assert not any("beyond" in note for note in audited(of).notes)


def pulled(r: Tensor, x: Tensor) -> Tensor:
    """An absolute error about another target."""
    return (r - 2 * x).abs().sum()


@pytest.mark.hostile
def test_another_target_is_no_wrong_sign() -> None:
    found = audited(pulled)
    assert found.verdict == "unrecognised"
    assert not found.defects


@pytest.mark.parametrize("of", several(
    lambda r, k: torch.maximum(r, k),
    lambda r, k: torch.where(k > 20, k, r + 0 * k),
    lambda r, k: torch.stack([r, k]).max(),
))  # fmt: skip
def test_a_maximum_of_both_terms_is_no_free_nats(of: Both) -> None:
    def loss(x_hat: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        return of(half(x_hat - x), kl(mu, logvar))

    found = audit(loss, SHAPE, LATENT)
    assert found.defects == ("kl-not-kl",)
    assert "not added" in found.sentence
    assert "free nats" not in " ".join([found.sentence, *found.notes])


def test_free_nats_are_still_free_nats() -> None:
    def loss(x_hat: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        return half(x_hat - x) + torch.maximum(kl(mu, logvar), torch.tensor(3.0))

    assert "free nats" in audit(loss, SHAPE, LATENT).sentence


def test_what_a_call_drops_is_named_by_what_it_is() -> None:
    """log x! moves no gradient at all; a normaliser moves that of a noise which is learned."""
    said = {change.calls: change.because for change in CHANGES if change.name == "constant dropped"}
    assert said["poisson_nll_loss"].startswith("log x!, which moves no gradient,")
    assert "would move a learned noise's" in said["huber_loss|cosine_similarity"]


@pytest.mark.parametrize(("word", "said"), [
    pytest.param(word, said, marks=[pytest.mark.hostile] * (i >= 3)) for i, (word, said) in enumerate([
        ("von-mises:kappa=3", "a von mises with kappa = 3 if beta is 1; with kappa = 1, beta is 0.333333."),
        ("poisson", "a Poisson with beta = 1: an exact ELBO."),
        ("continuous-bernoulli", "a continuous bernoulli with beta = 1: an exact ELBO."),
        ("bernoulli", "a Bernoulli with beta = 1: an exact ELBO."),
        ("negative-binomial:dispersion=0.5", "a negative binomial of dispersion 0.5 with beta = 1: an exact ELBO."),
        ("discretized-logistic:scale=0.1,levels=256", "a discretized logistic of scale 0.1 with scale = 0.1 if beta is 1."),
        ("gaussian:sigma=0.5", "a Gaussian with sigma = 0.5 if beta is 1; with sigma = 1, beta is 0.25."),
        ("student-t:df=4,scale=0.5", "a student t of width 1; near a residual of 0 it is a Gaussian with sigma = 0.447214 if"),
    ])
])  # fmt: skip
def test_a_likelihood_of_recon_itself_is_the_elbo_that_compare_says_it_is(word: str, said: str) -> None:
    """Of counts, whose nll has no gradient by them; of means in an open interval; of angles, whose density is on a circle."""
    side = likelihoods.parse(word)
    found = audited(lambda r, x: side.nll(x, r).sum())
    assert found.holds
    assert found.verdict == "elbo"
    assert not found.defects
    assert found.sentence.startswith(f"This is {said}")


@pytest.mark.parametrize(("of", "said"), [
    (lambda r, x: half(r - x) * 0 + ((r - x) ** 2 * (x != 0)).sum(), "x other than 0;"),
    (lambda r, x: torch.where(x == 0, 2 * (r - x) ** 2, (r - x) ** 2).sum(), "x other than 0;"),
    (lambda r, x: torch.where(x > 3, 3 * (r - x) ** 4, (r - x) ** 2).sum(), "x up to 3;"),
])  # fmt: skip
def test_zeros_and_whole_numbers_are_looked_at(of: Both, said: str) -> None:
    found = audited(of)
    assert found.rows[0].family == "gaussian"
    assert any(said in note for note in found.notes)


def levels(x_hat: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    """Other for grey levels of 1/16 and 3/16."""
    bent = torch.where((16 * x == 1) | (16 * x == 3), (x_hat - x).abs(), (x_hat - x) ** 2)
    return bent.sum() + kl(mu, logvar)


def test_the_data_s_own_values_are_looked_at() -> None:
    assert audit(levels, (64,), LATENT).verdict == "elbo"
    found = audit(levels, data="digits", latent=LATENT)
    assert (found.verdict, found.holds) == ("unrecognised", False)
    assert any("at x = 0.0625, 0.1875, which the data have, it is another function than gaussian" in note for note in found.notes)
