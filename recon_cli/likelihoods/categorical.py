"""One of several classes: the likelihood that cross-entropy is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.errors import ReconError
from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.regions import ONE_HOT, SIMPLEX
from recon_cli.identity.shapes import spell
from recon_cli.identity.tensors import but_one
from recon_cli.likelihoods._softmax import SOFTMAX, cross_entropy_of_logits

if TYPE_CHECKING:
    from torch import Generator, Tensor


class CategoricalCrossEntropy(Loss):
    """-sum_k x_k log mu_k, of probabilities: -log mu of the class that x is."""

    name = "categorical-cross-entropy"
    formula = "-Sum(x[k]*log(mu[k]), (k, 1, K))"
    torch = "nll_loss(log(mu), label)"
    event = 1
    support = ONE_HOT
    domain = SIMPLEX

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Of the logarithm of the probability; torch's takes logarithms and labels."""
        return -(x * but_one(prediction, lambda: x <= 0).log()).sum(dim=-1)


class CrossEntropy(CategoricalCrossEntropy):
    """The same of logits: the logarithm of the softmax's denominator, less the logit of the class."""

    name = "cross-entropy"
    torch = "cross_entropy"
    link = SOFTMAX

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch's own takes the logarithm of a sum that 1 dominates: dead beyond 17 in float32."""
        return cross_entropy_of_logits(x, prediction)


@dataclass(frozen=True)
class Categorical(Likelihood):
    """-log p(x | mu) = -sum_k x_k log mu_k, for one-hot x and probabilities mu, along the last axis.

    x and mu have shape (..., K), the nll (...): one class an event, as pixels of K levels or tokens have.
    ``encode`` makes one-hot vectors of whole-number labels. The decoder's raw output is the logits, mu
    their softmax: Bishop (2006), equations 4.104 to 4.108.

    >>> Categorical().nll([0.0, 1.0, 0.0], [0.25, 0.5, 0.25])
    tensor(0.6931, dtype=torch.float64)
    >>> Categorical().nll_raw([0.0, 1.0, 0.0], [0.0, 40.0, 0.0])
    tensor(8.4967e-18, dtype=torch.float64)
    """

    loss = CategoricalCrossEntropy()
    raw_loss = CrossEntropy()
    aliases = ("cross-entropy", "ce", "softmax", "nll")
    density = "Product(mu[k]**x[k], (k, 1, K))"
    calls = (
        "F.cross_entropy(r, x, reduction='none')",
        "-distributions.Categorical(probs=mu).log_prob(x.argmax(-1))",
        "-distributions.Categorical(logits=r).log_prob(x.argmax(-1))",
        "-stats.multinomial.logpmf(x, 1, mu)",
        "-(x*special.log_softmax(r, axis=-1)).sum(-1)",
    )
    event = 1
    support = ONE_HOT
    mixtures = SIMPLEX
    domain = SIMPLEX
    link = SOFTMAX

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return -(x * but_one(mu, lambda: x <= 0).log()).sum(dim=-1)

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        return cross_entropy_of_logits(x, raw)

    def encode(self, x: Tensor, mu: Tensor) -> Tensor:
        """One-hot vectors of whole-number labels. Raises ReconError for a label that is none of mu's classes."""
        if x.ndim != mu.ndim - 1:
            return x
        if x.shape != mu.shape[:-1]:
            raise ReconError(
                f"The labels have shape {spell(x.shape)} and the probabilities {spell(mu.shape)}.",
                f"Give a label for every vector of probabilities: {spell(mu.shape[:-1])} of them.",
            )
        import torch

        classes, labels = mu.shape[-1], x.long()
        if not ((labels == x) & (labels >= 0) & (labels < classes)).all():
            raise ReconError(
                f"The labels run from {x.min().item():g} to {x.max().item():g}, and there are {classes} classes.",
                f"Labels are whole numbers from 0 to {classes - 1}: give as many probabilities as there are classes.",
            )
        return (labels.unsqueeze(-1) == torch.arange(classes, device=x.device)).to(mu.dtype)

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """One-hot, by torch's multinomial."""
        import torch

        labels = torch.multinomial(mu.reshape(-1, mu.shape[-1]), 1, generator=generator).reshape(mu.shape[:-1])
        return self.encode(labels, mu)
