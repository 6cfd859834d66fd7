"""Objects that raise, or lie, when they are asked are no fault of recon's; and sentences that were once not true."""

from __future__ import annotations

import collections
import functools
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recon_cli.auditing import audit
from recon_cli.errors import ReconError


def elbo(pred: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (pred - x).square().sum() + kl(mu, logvar)


def kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()


class Anything:
    """Has whatever it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return self


class Nothing:
    """Raises whatever it is asked for."""

    def __call__(self, pred: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        return elbo(pred, x, mu, logvar)

    def __getattribute__(self, name: str) -> Any:
        raise TypeError(name)


class Liar:
    """No tensor, whatever it says."""

    __class__ = Tensor  # type: ignore[assignment]


class Endless(list):  # type: ignore[type-arg]
    """A list that is not to be looped over."""

    def __iter__(self) -> Any:
        return 3


class Module(nn.Module):
    parameters = None  # type: ignore[assignment]

    def forward(self, pred: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        return elbo(pred, x, mu, logvar)


def configured(pred: Tensor, x: Tensor, mu: Tensor, logvar: Tensor, cfg: Any) -> Tensor:
    return elbo(pred, x, mu, logvar)


Config = collections.namedtuple("Config", "width depth")


@pytest.mark.parametrize("cfg", [Anything(), Liar(), Endless([1]), Config(1, 2)], ids=["anything", "liar", "endless", "named"])
def test_what_a_function_is_given_is_left_as_it_is(cfg: Any) -> None:
    assert audit(functools.partial(configured, cfg=cfg), (2,), 2).verdict == "elbo"


def test_a_module_without_parameters_is_audited() -> None:
    assert audit(Module(), (2,), 2).verdict == "elbo"


def test_what_cannot_be_asked_is_said() -> None:
    with pytest.raises(ReconError, match="Nothing could not be audited"):
        audit(Nothing(), (2,), 2)
    with pytest.raises(ReconError, match="in which no number is"):
        audit(lambda pred, x, mu, logvar: Anything(), (2,), 2)


REPLACED = {
    "in the call": "\n\ndef f(pred, x):\n    F.mse_loss = F.l1_loss\n    torch.exp = torch.abs\n    return F.mse_loss(pred, x)\n",
    "at import": "F.mse_loss = F.l1_loss\n\ndef f(pred, x):\n    return F.mse_loss(pred, x)\n",
    "of a class": "torch.Tensor.square = torch.Tensor.abs\n\ndef f(pred, x):\n    return (pred - x).square().mean()\n",
    "by name": "setattr(F, 'mse_loss', F.l1_loss)\nprint()\n\ndef f(pred, x):\n    return F.mse_loss(pred, x)\n",
    "by a function": "def g():\n    F.mse_loss = F.l1_loss\n\ng()\n\ndef f(pred, x):\n    return F.mse_loss(pred, x)\n",
    "by its dictionary": "vars(F)['mse_loss'] = F.l1_loss\nprint()\n\ndef f(pred, x):\n    return F.mse_loss(pred, x)\n",
}
UNKNOWN = (
    "from absent import mine\nF.mse_loss = mine\nprint()\n",
    "from unittest import mock\nmock.patch.object(F, 'mse_loss', F.l1_loss).start()\n",
    "from unittest.mock import patch\npatch('torch.nn.functional.mse_loss', F.l1_loss).start()\n",
)  # fmt: skip


@pytest.mark.parametrize("how", REPLACED)
def test_what_code_puts_in_the_place_of_torchs_is_what_is_measured(how: str, tmp_path: Path) -> None:
    before = F.mse_loss, torch.exp
    file = tmp_path / "f.py"
    file.write_text(f"import torch\nimport torch.nn.functional as F\n{REPLACED[how]}")
    for _ in range(2):
        assert audit(f"{file}:f", (2,)).rows[0].family == "laplace"
        assert (F.mse_loss, torch.exp) == before
        assert "square" not in vars(torch.Tensor)


@pytest.mark.parametrize("lines", UNKNOWN)
def test_what_cannot_be_put_in_the_place_of_torchs_is_no_pass(lines: str, tmp_path: Path) -> None:
    file = tmp_path / "f.py"
    file.write_text(f"import torch\nimport torch.nn.functional as F\n{lines}\ndef f(pred, x):\n    return F.mse_loss(pred, x)\n")
    with pytest.raises(ReconError, match=r"Line 4 of f.py may put something else in the place of \w+.mse_loss, which f calls"):
        audit(f"{file}:f", (2,))


def twice(pred: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(torch.sigmoid(pred), x, reduction="sum") + kl(mu, logvar)


def test_a_sigmoid_taken_twice_is_the_logit_and_its_reach_is_said() -> None:
    said = audit(twice, (6,), 2).sentence
    assert "whose logit is sigmoid(r), r being pred, so that its mean is never below 0.5 or above 0.731059" in said


def pseudo(pred: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return (pred - x).cosh().mean() + kl(mu, logvar) / len(x)


def test_a_mean_of_no_known_slope_is_compared_with_sums_by_its_sizes() -> None:
    result = audit(pseudo, (36,), 2)
    (finding,) = [each for each in result.findings if each.code == "recon-mean"]
    assert "the trade-off is 36 times that of sums" in finding.evidence
    assert "grows with the size of a sample" in result.sentence


def tokens(logits: Tensor, target: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), target.flatten()) + kl(mu, logvar) / len(target)


def test_a_sequence_has_a_length_and_no_image() -> None:
    said = audit(tokens, (12, 30), 20).sentence
    assert "12 at T = 12, which grows with the length of a sample" in said


def columns(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    squares = 0.5 * ((x[:, :2] - recon[:, :2]) / 0.3).square().sum()
    return squares - (x[:, 2:] * F.log_softmax(recon[:, 2:], 1)).sum() + kl(mu, logvar)


def test_families_of_several_columns_are_a_product() -> None:
    result = audit(columns, (5,), 2)
    assert "a product of a categorical and a Gaussian" in result.sentence
    assert "Σ (categorical + gaussian) loss" in result.formula
    assert not [note for note in result.notes if "weigh differently" in note]


def unread(pred: Tensor, logvar_x: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return elbo(pred, x, mu, logvar)


def test_a_scale_that_is_not_read_is_not_the_latents() -> None:
    result = audit(unread, (6,), 2)
    assert result.rows[0].latent_scale == "log_variance"
    assert result.rows[0].tradeoff_dim == 0


def two(outs: dict[str, Tensor], goals: dict[str, Tensor]) -> Tensor:
    return F.mse_loss(outs["first"], goals["first"]) + F.mse_loss(outs["second"], goals["second"])


def test_terms_are_said_in_whole_sentences() -> None:
    assert not re.search(r"\.;", audit(two, (6,)).sentence)


def squashed(pred: Tensor, x: Tensor) -> Tensor:
    return (torch.tanh(pred) - x).abs().sum()


def test_a_clause_ends_in_one_mark() -> None:
    assert "r being pred, and there is no KL here" in audit(squashed, (6,)).sentence


def muddled(recon: Tensor, logvar_x: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    likelihood = 0.5 * ((recon - x) ** 2 / logvar_x.exp() + logvar_x).sum()
    return likelihood + kl(x, logvar)


def test_the_last_of_two_scales_is_not_read_as_the_decoders() -> None:
    assert not audit(muddled, (4,), 4).holds


@pytest.mark.slow
def test_a_bend_within_the_step_is_no_detached_gradient() -> None:
    """Of so many residuals behind tanh one is within the step of the difference, and an absolute value bends there."""

    def loss(recon: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return ((recon.tanh() - x) ** 2 + 100 * (recon.tanh() - x).abs()).mean()

    for shape in ((3, 64, 64), (3, 96, 96)):
        assert "value-gradient-mismatch" not in audit(loss, shape=shape).defects
    detached = audit(
        lambda recon, x: ((recon.tanh() - x) ** 2 + 100 * (recon.tanh().detach() - x).abs()).mean(), shape=(3, 64, 64)
    )
    assert "value-gradient-mismatch" in detached.defects


@pytest.mark.parametrize("reduced", [torch.mean, torch.sum])
def test_a_gradient_that_is_a_rounding_is_none(reduced: Any) -> None:
    """The cosine along an axis of one element is 1, its gradient 1e-17; along the axis of a vector it is a likelihood's."""
    found = audit(lambda a, b: reduced(1 - torch.nn.functional.cosine_similarity(a, b, dim=1)), (1, 6, 6))
    assert (found.verdict, found.defects, found.rows[0].family) == ("reconstruction-only", (), "von-mises-fisher")


def divergent(q: Tensor) -> Tensor:
    return (q * (q.clamp_min(1e-20).log() + torch.tensor(q.shape[-1]).log())).sum()


@pytest.mark.parametrize(("loss", "term"), [
    (lambda x_hat, x, z: F.mse_loss(x_hat, x) + 1e-3 * z.pow(2).sum(1).mean(), "S(z)"),
    (lambda x_hat, x, z: F.mse_loss(x_hat, x) + torch.exp(-torch.cdist(z, z) ** 2).mean(), "S(z)"),
    (lambda logits_x, x, q_logits: F.binary_cross_entropy_with_logits(logits_x, x) + q_logits.softmax(-1).square().sum(),
     "S(q_logits)"),
])  # fmt: skip
def test_a_term_of_no_data_is_named_where_it_is_no_kl(loss: Any, term: str) -> None:
    found = audit(loss, (6,), 3)
    assert term in found.formula
    assert "no KL here" not in found.sentence
    assert "is no KL that recon knows" in found.sentence


def test_what_moves_nothing_is_no_term() -> None:
    found = audit(lambda x_hat, x, z: F.mse_loss(x_hat, x), (6,), 3)
    assert "S(" not in found.formula
    assert "no KL here" in found.sentence


def test_weights_of_elements_are_in_the_sentence_and_in_the_formula() -> None:
    """As sigmas of channels are: no line stands for it that has lost them."""

    def loss(recon, x, mu, logvar):
        w = torch.tensor([2.0, 1.0, 0.5], dtype=recon.dtype).reshape(3, 1, 1)
        return 0.5 * (w * (recon - x) ** 2).sum() - 0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()

    result = audit(loss, shape=(3, 2, 2))
    assert result.verdict == "elbo"
    assert "weights w of their own, from 0.5 to 2 times the middle one" in result.sentence
    assert "L = 0.5·Σ w·(x̂−x)² + KL" in str(result)
    assert "trade-off" not in str(result)


@pytest.mark.parametrize(("entries", "is_gaussian"), [((2.0, 0.5, 0.2), True), ((2.0, 3.0, 0.2), False)], ids=["positive", "not"])
def test_a_quadratic_form_is_a_gaussian_of_full_covariance_where_it_is_positive(entries, is_gaussian) -> None:
    matrix = torch.tensor([[entries[0], entries[1], 0.0], [entries[1], 1.0, entries[2]], [0.0, entries[2], 3.0]])

    def loss(recon, x, mu, logvar):
        e = recon - x
        return 0.5 * ((e @ matrix.to(e.dtype)) * e).sum() - 0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()

    for of in (loss, lambda recon, x, mu, logvar: -loss(recon, x, mu, logvar)):  # a log-likelihood too
        result = audit(of, shape=(3,))
        assert (result.verdict, result.holds) == (("elbo", True) if is_gaussian else ("defective", False))
        assert ("a multivariate Gaussian whose variances" in result.sentence) is is_gaussian


def test_weights_that_are_passed_are_in_the_formula() -> None:
    assert audit(lambda recon, x, w: (w * (recon - x) ** 2).sum(), shape=(6,)).formula == "L = Σ w·(x̂−x)²"


def test_scores_that_are_transposed_are_of_tokens() -> None:
    """As torch's cross-entropy takes them, classes second: (B, T, V) to (B, V, T)."""
    for turn in (lambda s: s.transpose(1, 2), lambda s: s.permute(0, 2, 1)):
        found = audit(lambda logits, tokens, turn=turn: F.cross_entropy(turn(logits), tokens, reduction="sum"))
        assert (found.verdict, found.rows[0].family) == ("reconstruction-only", "categorical")
