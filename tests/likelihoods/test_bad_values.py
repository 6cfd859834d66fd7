"""Values that a likelihood does not take: one sentence that says which and where, the same from Python and from outside."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy
import points
import pytest
import torch
from test_cli import complaint, recon

from recon_cli import compare, likelihoods
from recon_cli.errors import ReconError

HALF = [[0.5, 2.0], [1.0, 3.0]]
SHARES = [[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]
UNITS = [[0.6, 0.8], [0.0, 1.0]]
PAIRS = [[[0.5, 1.0], [2.0, 0.5]], [[1.0, 1.0], [3.0, 2.0]]]
NAN = float("nan")


def changed(values: Any, place: tuple[int, ...], value: float) -> Any:
    """The same but for one number."""
    found = numpy.array(values, dtype=float)
    found[place] = value
    return found


COUNTING = [  # x, mu, the likelihood, and what the sentence says: every part
    ([[0, 1.5], [2, 3]], HALF, "poisson", "1 of 4 values of the data (x.npy) | poisson allows, the whole | (0, 1) is 1.5."),
    ([[0, 1], [-1, 3]], HALF, "poisson", "the whole numbers from 0 up | from -1 to 3 | (1, 0) is -1."),
    ([[0, 1], [2, 3]], changed(HALF, (0, 1), -2), "poisson", "poisson's mean lies in, [0, inf) | (0, 1) is -2."),
    ([[0, 1.5], [2, 3]], HALF, "negative-binomial", "the whole numbers from 0 up | from 0 to 3 | (0, 1) is 1.5."),
    ([[0, 1], [2, -3]], HALF, "negative-binomial:dispersion=0.1", "from -3 to 2 | (1, 1) is -3."),
    ([[0, 1], [2, 5]], HALF, "binomial:count=4", "binomial allows, the whole numbers from 0 to 4 | from 0 to 5 | (1, 1) is 5."),
    ([[0, 1], [2, 2.5]], HALF, "binomial:count=4", "the whole numbers from 0 to 4 | (1, 1) is 2.5."),
    ([[0, 1], [2, -1]], HALF, "binomial:count=4", "from -1 to 2"),
    ([[0, 1], [2, 3]], changed(HALF, (1, 1), 4.5), "binomial:count=4", "binomial's mean lies in, [0, 4] | from 0.5 to 4.5"),
    ([[0, 1], [1, 2]], [[0.5, 0.5], [0.5, 0.5]], "binomial", "{0, 1} | (1, 1) is 2."),
]  # fmt: skip
CLASSES = [
    ([0, 3], SHARES, "categorical", "The labels run from 0 to 3, and there are 3 classes."),
    ([0, -1], SHARES, "categorical", "The labels run from -1 to 0, and there are 3 classes."),
    ([0, 1.5], SHARES, "categorical", "The labels run from 0 to 1.5, and there are 3 classes."),
    ([0, 1], changed(SHARES, (1, 2), 0.7), "categorical", "1 of 2 vectors | probabilities that add up to 1"),
    ([0, 1], changed(SHARES, (1, 2), 0.7), "categorical", "of 3 classes | (1,) runs from 0.1 to 0.7 and adds up to 0.9."),
    ([0, 1], [[0.25, 0.25, 0.5], [-0.25, 0.25, 1]], "categorical", "(1,) runs from -0.25 to 1 and adds up to 1."),
    ([[1, 1, 0], [0, 0, 1]], SHARES, "categorical", "probabilities that add up to 1 | (0,) runs from 0 to 1 and adds up to 2."),
    ([[1, 0, 0], [0.5, 0.25, 0]], SHARES, "categorical", "(1,) runs from 0 to 0.5 and adds up to 0.75."),
    ([[0, 0, 0], [0, 0, 1]], SHARES, "categorical", "runs from 0 to 0 and adds up to 0."),
    ([[0, 2, -1], [0, 0, 1]], SHARES, "categorical", "runs from -1 to 2 and adds up to 1."),
    ([[0, 0, 1], [0, 0, 1]], [[0.5, 0.5], [0.5, 0.5]], "categorical", "x has shape 2x3 and its reconstruction 2x2"),
]  # fmt: skip
VECTORS = [
    ([[0.6, 0.9], [0, 1]], UNITS, "von-mises-fisher", "1 of 2 vectors of the data (x.npy) | of 2 components | from 1 to 1.08167"),
    ([[0.6, 0.9], [0, 1]], UNITS, "von-mises-fisher", "vectors of length 1 | (0,) is 1.08166538 long, off by 0.0817."),
    ([[0.6, 0.8], [0, 1 + 1e-6]], UNITS, "von-mises-fisher", "(1,) is 1.000001 long, off by 1e-06."),
    (UNITS, [[3, 4], [0, 1]], "von-mises-fisher", "von-mises-fisher's mean lies in | (0,) is 5 long, off by 4."),
    ([[0, 0], [0, 1]], UNITS, "von-mises-fisher", "is 0 long, off by 1."),
    ([[1], [1]], [[1], [1]], "von-mises-fisher", "2 of 2 vectors | the last axis is the vector, and it has a single component."),
]  # fmt: skip
COARSE = [[0, 1 / 16], [0.3, 1]]
LEVELS = [
    (COARSE, HALF, "discretized-gaussian:levels=17", "1 of 4 values | the 17 levels 0, 1/16, ..., 1: | (1, 0) is 0.3."),
    (COARSE, HALF, "discretized-logistic", "2 of 4 values | the 256 levels 0, 1/255, ..., 1: | (0, 1) is 0.0625."),
    ([[0, 2], [0, 1]], HALF, "discretized-logistic", "from 0 to 2 | (0, 1) is 2."),
    ([[0, 1 / 3], [0, -1 / 3]], HALF, "discretized-gaussian:levels=4", "(1, 1) is -0.333333."),
    ([[0, 128], [0, 255]], HALF, "discretized-logistic", "2 of 4 values | from 0 to 255"),
]  # fmt: skip
HEADED = "heteroscedastic-gaussian"
HEADS = [
    (HALF, changed(PAIRS, (1, 1, 1), 0), HEADED, "1 of 4 elements of the reconstruction | (1, 1), has mu = 3, var = 0."),
    (HALF, changed(PAIRS, (0, 1, 1), -1), HEADED, "mu in the real numbers, var in (0, inf) | (0, 1), has mu = 2, var = -1."),
    (HALF, HALF, HEADED, "x has shape 2x2 and what the decoder gives 2x2 | takes 2 numbers for each element, mu and var."),
    (HALF, [[[1, 1, 1]] * 2] * 2, HEADED, "what the decoder gives 2x2x3 | mu and var."),
    (HALF, PAIRS, "poisson", "x has shape 2x2 and its reconstruction 2x2x2; they must be equal"),
]  # fmt: skip
ENDS = [
    ([[1, 0], [1, 0]], changed([[0.5] * 2] * 2, (0, 0), 0), "bernoulli", "gives 1 of 4 elements no chance"),
    ([[1, 0], [1, 0]], changed([[0.5] * 2] * 2, (0, 1), 1), "bernoulli", "gives 1 of 4 elements no chance"),
    ([[1, 0], [1, 0]], changed([[0.5] * 2] * 2, (1, 1), 1.5), "bernoulli", "bernoulli's mean lies in, [0, 1]"),
    ([1, 2], [[1, 0, 0], [0.5, 0.25, 0.25]], "categorical", "gives 1 of 2 elements no chance"),
    ([[1, 4], [1, 2]], [[0, 4], [1, 3]], "binomial:count=4", "gives 1 of 4 elements no chance"),
    ([[1, 4], [1, 2]], [[0, 4], [1, 3]], "poisson", "gives 1 of 4 elements no chance"),
    ([[1, 4], [1, 2]], [[0, 4], [1, 3]], "negative-binomial", "gives 1 of 4 elements no chance"),
]  # fmt: skip
LOSSES = [
    (HALF, HALF, "gaussian --loss beta-nll", "beta-nll takes other shapes than gaussian"),
    (HALF, HALF, "gaussian --loss faithful", "faithful takes other shapes than gaussian"),
    (UNITS, UNITS, "laplace --loss cosine", "cosine takes other shapes than laplace"),
    (UNITS, UNITS, "gaussian --loss cross-entropy", "cross-entropy takes other shapes than gaussian"),
    (UNITS, UNITS, "von-mises-fisher --loss mse", "squared-error takes other shapes than von-mises-fisher"),
    (HALF, PAIRS, "heteroscedastic-gaussian --loss mse", "squared-error takes other shapes than heteroscedastic-gaussian"),
    ([0, 1], SHARES, "categorical --loss bce", "binary-cross-entropy takes other shapes than categorical"),
    ([[0, 1], [2, 3]], HALF, "poisson --loss huber:delta=-1", "huber cannot have delta = -1.0"),
    ([[0, 1], [2, 3]], HALF, "poisson --loss huber:bend=1", "huber has no parameter 'bend'"),
    ([[0, 1], [2, 3]], HALF, "poisson --loss beta-nl", "no loss named 'beta-nl'"),
]
CASES = [*COUNTING, *CLASSES, *VECTORS, *LEVELS, *HEADS, *ENDS, *LOSSES]


@pytest.mark.parametrize(("x", "mu", "words", "found"), CASES, ids=[f"{words}: {found[:40]}" for *_, words, found in CASES])
def test_bad_values_are_one_sentence_wherever_they_come_from(
    x: Any, mu: Any, words: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    x, mu = (numpy.asarray(part, dtype=float) for part in (x, mu))
    numpy.save("x.npy", x)
    numpy.save("mu.npy", mu)
    sentence, hint = complaint(recon(f"compare --data x.npy --recon mu.npy --device cpu --likelihood {words}"))
    assert [part for part in found.split(" | ") if part not in sentence] == []
    assert hint
    side, _, loss = words.partition(" --loss ")
    with pytest.raises(ReconError) as caught:
        compare(x, mu, side, loss=loss or None, device="cpu", data="x.npy")
    assert (caught.value.message, caught.value.hint) == (sentence, hint)


@pytest.mark.parametrize("name", likelihoods.names())
@pytest.mark.parametrize("value", [NAN, float("inf")])
@pytest.mark.parametrize("where", ["x", "mu"])
def test_no_likelihood_takes_what_is_no_finite_number(name: str, value: float, where: str) -> None:
    side = likelihoods.parse(name)
    parts = dict(zip(("x", "mu"), points.ordinary(side), strict=True))
    parts[where].view(-1)[0] = value
    with pytest.raises(ReconError) as caught:
        compare(parts["x"], parts["mu"], side, device="cpu")
    assert f"{value:g}" in caught.value.message.lower()
    assert re.search(r"at index \(0,", caught.value.message)


# Where the limit exists.

CERTAIN = [
    ([[1.0, 0.0]], [[1.0, 0.0]], "bernoulli", None),
    ([0, 2], [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], "categorical", None),
    ([0, 2], [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], "categorical", "cross-entropy"),
    ([[0.0, 4.0]], [[0.0, 4.0]], "binomial:count=4", None),
    ([[0.0, 0.0]], [[0.0, 0.0]], "poisson", None),
    ([[0.0, 0.0]], [[0.0, 0.0]], "negative-binomial:dispersion=0.3", None),
]


@pytest.mark.parametrize(("x", "mu", "side", "loss"), CERTAIN, ids=[f"{side} {loss or ''}" for *_, side, loss in CERTAIN])
def test_what_is_certain_costs_nothing(x: Any, mu: Any, side: str, loss: str | None) -> None:
    (row,) = compare(x, mu, side, loss=loss, device="cpu", dtype="float64").rows
    assert (row.nll, row.loss_value, row.holds) == (0.0, 0.0, True)


def test_impossible_is_infinite_and_certain_is_zero() -> None:
    bernoulli = likelihoods.parse("bernoulli")
    ends = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    assert bernoulli.nll(torch.tensor([0.0, 1.0, 1.0, 0.0]), ends).tolist() == [0.0, 0.0, numpy.inf, numpy.inf]


# Numbers of the likelihood itself.

OUT_OF_RANGE = [
    ("binomial:count=0", "count = 0.0", "the whole numbers from 1 up"),
    ("binomial:count=1.5", "count = 1.5", "the whole numbers from 1 up"),
    ("binomial:count=-3", "count = -3.0", "the number of trials"),
    ("discretized-gaussian:levels=1", "levels = 1.0", "the whole numbers from 2 up"),
    ("discretized-logistic:levels=2.5", "levels = 2.5", "the whole numbers from 2 up"),
    ("discretized-logistic:scale=0", "scale = 0.0", "(0, inf)"),
    ("von-mises:kappa=0", "kappa = 0.0", "(0, inf)"),
    ("von-mises-fisher:kappa=-1", "kappa = -1.0", "the concentration"),
    ("negative-binomial:dispersion=-1", "dispersion = -1.0", "[1e-100, 1e+100]"),
    ("negative-binomial:dispersion=0", "dispersion = 0.0", "[1e-100, 1e+100]"),
    ("student-t:df=0", "df = 0.0", "the degrees of freedom"),
    ("asymmetric-laplace:quantile=1", "quantile = 1.0", "(0, 1)"),
    ("asymmetric-laplace:quantile=-0.1", "quantile = -0.1", "(0, 1)"),
    ("huber:delta=0", "delta = 0.0", "(0, inf)"),
    ("generalized-gaussian:power=0", "power = 0.0", "the exponent"),
    ("logistic:scale=-1", "scale = -1.0", "(0, inf)"),
    ("hyperbolic-secant:scale=0", "scale = 0.0", "(0, inf)"),
    ("binomial:count=inf", "binomial's count", "finite number"),
    ("von-mises:kappa=1e400", "von-mises's kappa", "finite number"),
    ("student-t:df=four", "student-t's df", "found 'four'"),
]


@pytest.mark.parametrize("command", ["compare --likelihood", "derive"])
@pytest.mark.parametrize(("word", "found", "rule"), OUT_OF_RANGE, ids=[word for word, *_ in OUT_OF_RANGE])
def test_a_parameter_out_of_range_is_refused_with_the_rule(command: str, word: str, found: str, rule: str) -> None:
    sentence, hint = complaint(recon(f"{command} {word}"))
    assert found in sentence
    assert rule in sentence
    assert hint
    with pytest.raises(ReconError) as caught:
        compare(HALF, HALF, word)
    assert (caught.value.message, caught.value.hint) == (sentence, hint)


KINDS = [likelihoods.find(name) for name in likelihoods.names()]
FIELDS = [(kind, field) for kind in KINDS for field in dataclasses.fields(kind)]
BARE = [kind.name for kind in KINDS if not dataclasses.fields(kind)]
each_field = pytest.mark.parametrize(
    ("kind", "field"),
    [pytest.param(*case, id=f"{case[0].name}:{case[1].name}") for case in FIELDS],
)


@pytest.mark.parametrize("name", BARE)
def test_a_likelihood_without_parameters_says_so(name: str) -> None:
    sentence, hint = complaint(recon(f"compare --likelihood {name}:sigma=1"))
    assert f"{name} has no parameter 'sigma'" in sentence
    assert hint == f"It takes none: write {name}."


def followed(hint: str) -> None:
    """The hint's own example is one that works."""
    example = re.search(r"[Ww]rite (\S+), say\.", hint)
    assert example, hint
    likelihoods.parse(example[1])


@each_field
def test_the_hint_for_a_misspelt_parameter_can_be_followed(kind: Any, field: Any) -> None:
    sentence, hint = complaint(recon(f"compare --likelihood {kind.name}:{field.name}s=1"))
    assert f"{kind.name} has no parameter '{field.name}s'" in sentence
    assert f"{kind.name}:{field.name}=" in hint
    followed(hint)


@each_field
def test_the_hint_for_no_number_can_be_followed(kind: Any, field: Any) -> None:
    _, hint = complaint(recon(f"compare --likelihood {kind.name}:{field.name}=abc"))
    example = re.search(r"such as (\S+)\.", hint)
    assert example, hint
    likelihoods.parse(f"{kind.name}:{field.name}={example[1]}")


@pytest.mark.parametrize(("kind", "field"), FIELDS, ids=[f"{kind.name}:{field.name}" for kind, field in FIELDS])
def test_the_hint_for_a_number_out_of_range_can_be_followed(kind: Any, field: Any) -> None:
    followed(complaint(recon(f"compare --likelihood {kind.name}:{field.name}=-1"))[1])


# Types that the one way in takes, and the other must treat alike.


@pytest.mark.parametrize("side", ["bernoulli", "poisson", "gaussian", "binomial:count=3"])
def test_true_and_false_are_one_and_zero(side: str) -> None:
    x, mu = numpy.array([[True, False]]), [[0.5, 0.25]]
    assert compare(x, mu, side, device="cpu").rows == compare(x.astype(numpy.uint8), mu, side, device="cpu").rows


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(ReconError):
        compare(numpy.array([[1 + 2j]]), [[1.0]], "gaussian", device="cpu")
