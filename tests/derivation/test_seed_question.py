"""The question that all this began with, point by point: what `recon derive` prints for each."""

from __future__ import annotations

import pytest
import torch  # noqa: F401  # here, or every derivation imports it in a process of its own

from recon_cli import likelihoods
from recon_cli.derivation import Derivation, derive


@pytest.fixture(scope="module")
def gaussian() -> Derivation:
    """recon derive gaussian"""
    return derive("gaussian")


def texts(found: Derivation) -> str:
    """All statements and reasons, as on a terminal, in one line."""
    return " ".join(f"{step.statement.unicode} {step.because}" for each in found.results for step in each.steps)


POINTS = {
    "the output is a mean, not a number to subtract": "the mean of a distribution of x, not a number to subtract from x",
    "so far just an idea": "So far it is only an idea: p(x|z) is still to be chosen",
    "the expectation is over z": "over the code z; under a Gaussian q of mean m and standard deviation s that is m + s·ε",
    "an identity of the paper": "An identity (Kingma and Welling 2014, equations 1 and 3)",
    "the paper's Gaussian": "Kingma and Welling 2014, appendix C.2, equation 12",
    "the derivative of log p": "∂log p/∂μ = (x − μ)/σ²",
    "the derivative of the squared error": "∂loss/∂μ = 2·(μ − x)",
    "the derivative of its mean": "∂MEAN(loss)/∂μ = 2·(μ − x)/D",
    "the factor": "(∂nll/∂μ)/(∂loss/∂μ) = 1/(2·σ²)",
    "the factor with the half": "(∂nll/∂μ)/(∂(loss/2)/∂μ) = 1/σ²",
    "a factor on the learning rate": "exactly, momentum included, without weight decay or clipping",
    "the misprint": "∫ p dx = ∞",
    "as it was printed": "the square stands outside of a fraction without parentheses",
    "independence": "conditionally independent given z",
    "what may be dropped": "may be dropped while σ is held: where it is learned, b must stay",
}


@pytest.mark.parametrize("point", POINTS)
def test_every_point_is_in_what_derive_prints(point: str, gaussian: Derivation) -> None:
    assert POINTS[point] in texts(gaussian)


def test_bernoulli_is_equation_11_of_appendix_c_1() -> None:
    assert "appendix C.1, equation 11" in likelihoods.find("bernoulli").source


def test_the_misprint_is_set_as_it_was_printed(gaussian: Derivation) -> None:
    assert r"\frac{x-\mu}{\sigma}^2" in gaussian.results[0].steps[-1].statement.latex


def test_sum_mean_and_batchmean_of_vectors_count_events() -> None:
    (found,) = derive("categorical", shape=(28, 28, 256)).results
    assert "784*B*MEAN(loss)" in next(step.statement.text for step in found.steps if "MEAN(loss)" in step.statement.text)


def test_a_sum_as_a_factor_has_its_parentheses() -> None:
    (found,) = derive("student-t").results
    assert "(df + 1)/2*SUM(loss)" in next(step.statement.text for step in found.steps if "SUM(loss)" in step.statement.text)
    assert "β < 2 only" in texts(Derivation((found,)))


@pytest.mark.parametrize("word", ["negative-binomial:dispersion=0.5", "binomial:count=10", "von-mises-fisher:kappa=4"])
def test_numbers_for_the_noise_where_the_offset_has_more_in_it(word: str) -> None:
    assert derive(word).holds


def test_choices_carry_no_tick(gaussian: Derivation) -> None:
    assert [step.checked for step in gaussian.results[0].steps if step.by == "choice"] == [None]
