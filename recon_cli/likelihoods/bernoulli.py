"""Coin flips: the likelihood that binary cross-entropy is, where the data are 0 or 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import LOGIT, BinaryCrossEntropy, BinaryCrossEntropyWithLogits, coin_entropy
from recon_cli.identity.regions import BINARY, UNIT

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Bernoulli(Likelihood):
    """-log p(x | mu) = -x log mu - (1 - x) log(1 - mu), for x in {0, 1} and mu in [0, 1].

    mu is the probability of a 1; the decoder's raw output is its logit: Kingma and Welling (2014),
    appendix C.1. On grey levels in [0, 1] the same expression is no density: its integral is not
    one, and depends on mu; see ``continuous-bernoulli``.

    >>> Bernoulli().nll(1.0, 0.5)
    tensor(0.6931, dtype=torch.float64)
    >>> Bernoulli().nll_raw(0.0, -20.0)
    tensor(2.0612e-09, dtype=torch.float64)
    """

    loss = BinaryCrossEntropy()
    raw_loss = BinaryCrossEntropyWithLogits()
    source = "Kingma and Welling 2014, appendix C.1, equation 11"
    aliases = ("binary", "bern")
    density = "mu**x*(1 - mu)**(1 - x)"
    calls = (
        "-distributions.Bernoulli(probs=mu).log_prob(x)",
        "-distributions.Bernoulli(logits=r).log_prob(x)",
        "F.binary_cross_entropy(mu, x, reduction='none')",
        "F.binary_cross_entropy_with_logits(r, x, reduction='none')",
        "F.softplus(r) - x*r",
        "-stats.bernoulli.logpmf(x, mu)",
    )
    support = BINARY
    domain = UNIT
    link = LOGIT
    relaxation = "continuous-bernoulli"

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return coin_entropy(x, mu)

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        return x * softplus(-raw).where(x > 0, 0) + (1 - x) * softplus(raw).where(x < 1, 0)

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and mu (1 - mu)."""
        return mu, mu * (1 - mu)

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        return mu.bernoulli(generator=generator)


def softplus(value: Tensor) -> Tensor:
    """log(1 + e^value), never linear (torch's own is, above 20), its derivative the sigmoid at any size."""
    from torch.nn.functional import logsigmoid

    return -logsigmoid(-value)
