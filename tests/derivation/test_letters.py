"""No letter of a derivation without its meaning, one letter for one thing, and numbers that do not depend on noise are there."""

from __future__ import annotations

import pytest

from recon_cli import compare, derive
from recon_cli.derivation import Derivation
from recon_cli.derivation.notation import formula
from recon_cli.derivation.practice import parameters_of
from recon_cli.derivation.words import words
from recon_cli.likelihoods import find


@pytest.fixture(scope="module")
def poisson() -> Derivation:
    return derive("poisson")


def test_every_letter_of_the_steps_is_introduced(poisson: Derivation) -> None:
    said = " ".join(step.because for step in poisson.results[0].steps)
    for letters in (
        "data x, a code z and any encoder q(z|x)", "a Gaussian q of mean m and standard deviation s", "ε a standard normal",
        "the learning rate η, for every weight θ", "for a gradient g", "MEAN is here of one sample, B = 1",
    ):  # fmt: skip
        assert letters in said


def test_the_small_number_of_adam_has_one_name(poisson: Derivation) -> None:
    (step,) = (step.statement for step in poisson.results[0].steps if step.statement.text.startswith("step("))
    assert step.text == "step(a*g, a*eps) = step(g, eps), step(g, eps) = g/(eps + Abs(g))"
    assert "ε + |g|" in step.unicode


def test_a_slope_without_noise_is_a_number() -> None:
    assert derive("logistic").results[0].slope_value == 2.0


@pytest.mark.parametrize(
    ("name", "own"), [("logistic", "scale = 2·scale"), ("student-t", "width = √df·scale"), ("huber", "delta = δ·scale")]
)
def test_what_a_losss_own_letters_are(name: str, own: str) -> None:
    assert parameters_of(words(find(name)).likelihood.loss) == [own]


def test_a_power_below_one_is_a_quotient() -> None:
    names = words(find("generalized-gaussian")).names
    assert formula(names["scale"] ** -names["power"]).text == "1/scale**power"
    assert formula(names["scale"] ** -2).unicode == "1/scale²"


def test_no_note_stands_twice_and_no_gap_is_closed_that_was_not_named() -> None:
    grey = [[0.25, 0.5, 0.75]] * 4
    found = compare(grey, grey, "bernoulli", "continuous-bernoulli", loss="mse", clip=True, device="cpu")
    assert len({*found.notes}) == len(found.notes)
    assert not any("closes it" in note for note in found.notes)
    assert any("closes it" in note for note in compare(grey, grey, "bernoulli", clip=True, device="cpu").notes)
