"""What a decoder is given is a draw of the posterior that the KL weighs, or it is said how not; and what is squashed twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal

import recon_cli
from recon_cli import audit
from recon_cli.auditing.result import Audit

K = 4


def kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()


Draw = Callable[[Tensor, Tensor], Tensor]
# how z is made of mu and logvar, and words of what is wrong with that; none where nothing is
DRAWS: dict[str, tuple[Draw, str]] = {
    "right": (lambda mu, lv: mu + torch.randn_like(mu) * (lv / 2).exp(), ""),
    "of the variance": (lambda mu, lv: mu + torch.randn_like(mu) * lv.exp(), "a deviation of {s}.exp()"),
    "uniform": (lambda mu, lv: mu + torch.rand_like(mu) * (lv / 2).exp(), "uniform noise"),
    "without the mean": (lambda mu, lv: torch.randn_like(mu) * (lv / 2).exp(), "z leaves {m} out"),
    "of the logarithm": (lambda mu, lv: mu + lv * torch.randn_like(mu), "a deviation of {s}, which"),
    "half of the variance": (lambda mu, lv: mu + 0.5 * lv.exp() * torch.randn_like(mu), "a deviation of 0.5 * {s}.exp()"),
    "of twice it": (lambda mu, lv: mu + (2 * lv).exp() * torch.randn_like(mu), "a deviation of (2 * {s}).exp()"),
    "half as wide": (lambda mu, lv: mu + 0.5 * (lv / 2).exp() * torch.randn_like(mu), "0.5 times the KL's"),
    "no draw": (lambda mu, lv: mu + 0 * lv.detach().sum(), "z is {m} itself"),
    "deviation without noise": (lambda mu, lv: mu + (lv / 2).exp(), "without a draw"),
    "sample()": (lambda mu, lv: Normal(mu, (lv / 2).exp()).sample(), "trains no encoder"),
    "rsample()": (lambda mu, lv: Normal(mu, (lv / 2).exp()).rsample(), ""),
    "in place": (lambda mu, lv: torch.randn_like(lv).mul((lv / 2).exp()).add_(mu), ""),
    "one noise for all": (lambda mu, lv: mu + torch.randn(1, K) * (lv / 2).exp(), ""),
    "an eps": (lambda mu, lv: mu + torch.randn_like(mu) * ((lv / 2).exp() + 1e-6), ""),
    "doubled mean": (lambda mu, lv: 2 * mu + torch.randn_like(mu) * (lv / 2).exp(), "about 2 times {m}"),
    "other noise": (lambda mu, lv: mu + torch.randn_like(mu).mul(1.0) * (lv / 2).exp(), ""),  # not known to be the normal's
}
USUAL = ("right", "of the variance", "uniform", "without the mean")
NAMES = [pytest.param(name, marks=[] if name in USUAL else [pytest.mark.hostile]) for name in DRAWS]


def audited(step: Callable[[], Any]) -> Audit:
    torch.manual_seed(0)
    with recon_cli.watch() as watched:
        step()
    return watched.audit()


def vae(draw: Draw, more: int = 0) -> None:
    """A step whose decoder is given what is drawn, and other data beside it."""
    encoder, decoder, x = nn.Linear(6, 2 * K), nn.Linear(K + more, 6), torch.rand(5, 6)
    mu, logvar = encoder(x).chunk(2, 1)
    out = decoder(torch.cat([draw(mu, logvar), torch.rand(5, more)], 1))
    (0.5 * (out - x).square().sum() + kl(mu, logvar)).backward()


def is_so(found: Audit, words: str) -> bool:
    if not words:
        return (found.verdict, found.defects) == ("elbo", ())
    (finding,) = found.findings
    words = words.format(m="mu", s="logvar")
    return (found.verdict, finding.code) == ("defective", "draw-not-posterior") and words in finding.evidence


@pytest.mark.parametrize("name", NAMES)
def test_in_a_step_z_is_a_draw_of_the_posterior(name: str) -> None:
    draw, words = DRAWS[name]
    assert is_so(audited(lambda: vae(draw)), words)
    assert is_so(audited(lambda: vae(draw, K)), words)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name == "uniform" else [pytest.mark.hostile]) for name in DRAWS])
def test_in_a_function_z_is_a_draw_of_the_posterior(name: str) -> None:
    draw, words = DRAWS[name]

    def loss(model: Any, x: Tensor) -> Tensor:
        mu, logvar = model.encode(x)
        return 0.5 * (model.decode(draw(mu, logvar)) - x).square().sum() + kl(mu, logvar)

    assert is_so(audit(loss, shape=(6,), latent=K), words)


def test_the_printed_line_mends_the_draw() -> None:
    wrong = audited(lambda: vae(DRAWS["of the variance"][0])).findings[0].fix.removeprefix("Draw it: z = ")
    draw: Draw = lambda mu, logvar: eval(wrong, {"torch": torch, "mu": mu, "logvar": logvar})  # noqa: E731
    assert is_so(audited(lambda: vae(draw)), "")


def test_squares_of_codes_that_nothing_is_drawn_about_are_no_kl() -> None:
    def step() -> None:
        encoder, decoder, x = nn.Linear(6, K), nn.Linear(K, 6), torch.rand(5, 6)
        z = encoder(x)
        ((decoder(z) - x).square().sum() + 1e-3 * z.square().sum()).backward()

    found = audited(step)
    assert (found.verdict, found.holds) == ("unrecognised", False)
    assert "nothing is drawn about them" in found.sentence


def test_bits_that_are_drawn_without_a_gradient() -> None:
    def step() -> None:
        encoder, decoder, x = nn.Linear(6, K), nn.Linear(K, 6), torch.rand(5, 6)
        p = encoder(x).sigmoid()
        more = (p * (2 * p).log() + (1 - p) * (2 - 2 * p).log()).sum()
        (0.5 * (decoder(torch.bernoulli(p)) - x).square().sum() + more).backward()

    assert audited(step).defects == ("draw-not-posterior",)


REST = pytest.mark.hostile


@pytest.mark.parametrize(("loss", "shape", "words"), [
    (lambda y, x: F.binary_cross_entropy_with_logits(y.sigmoid(), x), (6,), "never below 0.5 or above 0.731059"),
    pytest.param(lambda y, x: F.binary_cross_entropy_with_logits(y.tanh(), x), (6,), "never below 0.268941", marks=REST),
    pytest.param(lambda y, x: F.binary_cross_entropy(y.sigmoid().sigmoid(), x), (6,), "above 0.731059", marks=REST),
    (lambda y, x: F.poisson_nll_loss(y.relu(), x), (6,), "never below 1"),
    (lambda logits, labels: F.cross_entropy(logits.softmax(1), labels), (10,), "never above 0.231969"),
    pytest.param(lambda logits, labels: F.cross_entropy(logits.sigmoid(), labels), (10,), "never above 0.231969", marks=REST),
])  # fmt: skip
def test_what_is_squashed_twice(loss: Any, shape: tuple[int, ...], words: str) -> None:
    found = audit(loss, shape)
    assert (found.verdict, found.defects) == ("defective", ("double-link",))
    assert words in found.findings[0].evidence
    assert "Squash once: " in found.findings[0].fix


def test_a_mean_that_is_squashed_once_is_none() -> None:
    assert audit(lambda y, x: F.mse_loss(y.sigmoid(), x), (6,)).defects == ()
    assert audit(lambda y, x: F.binary_cross_entropy(y.sigmoid(), x), (6,)).defects == ()
