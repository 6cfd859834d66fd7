"""How near the ELBO comes to log p(x): importance-weighted bounds, and their bits per dimension."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.tensors import wide
from recon_cli.likelihoods._grey_levels import bits_per_dimension
from recon_cli.models._base import Model
from recon_cli.models._vae import Vae
from recon_cli.report import Table, column
from recon_cli.training.figures import CHUNK, weighed

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Bound:
    """A lower bound on log p(x) by so many samples of z, a mean over rows in nats, and its standard error."""

    samples: int = column("samples of z", brief=True)
    bound: float = column("bound on log p(x), estimated", brief=True)
    error: float = column("standard error", brief=True)
    bits_per_dimension: float = column("bits/dim", brief=True)


def weights(vae: Vae, likelihood: Likelihood, rows: Tensor, samples: int, seed: int) -> Iterator[Tensor]:
    """Yield log p(x, z)/q(z | x) at so many z for each row, (n, samples) for some rows at a time, in float64.

    No more than about a million elements are decoded at once, whatever the number of samples.
    """
    generator = torch.Generator(rows.device).manual_seed(seed)
    many = max(1, CHUNK // rows.shape[1])
    with torch.no_grad():
        for x in rows.split(max(1, many // samples)):
            mean, log_variance = vae.encode(x)
            assert log_variance is not None
            parts = []
            for first in range(0, samples, many):
                count = min(many, samples - first)
                eps = torch.randn(len(x), count, mean.shape[1], generator=generator, device=x.device)
                z = mean.unsqueeze(1) + (log_variance / 2).exp().unsqueeze(1) * eps
                raw = vae.decode(z.flatten(0, 1))
                events = vae.target(x.repeat_interleave(count, dim=0))
                nll = wide(likelihood.nll_raw(events, raw))
                counts = vae.counts(x)
                share = None if counts is None else counts.events.repeat_interleave(count, dim=0)
                nll = weighed(nll, share).flatten(1).sum(dim=1).reshape(len(x), count)
                prior = (wide(z).square() - wide(eps).square()).sum(dim=2) / 2  # -log p(z) + log q(z | x), but for log s
                parts.append(wide(log_variance).sum(dim=1, keepdim=True) / 2 - prior - nll)
            yield torch.cat(parts, dim=1)


def estimates(
    model: Model, likelihood: Likelihood, rows: Tensor, samples: int, seed: int
) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]:  # fmt: skip
    """Return k = 1, 2, 4, ... up to ``samples``, the IWAE bounds on log p(x), means over ``rows`` in nats; and standard errors.

    log mean_k w at k samples of z; k = 1 is the ELBO. The same samples serve every k, in groups of k within groups of 2k, so by
    Jensen's inequality no estimate is below the one before it, exactly. Burda, Grosse and Salakhutdinov (2016), theorem 1.
    Each estimates its bound from draws of z; the error is that of a mean over so many rows, their draws included. Of no
    samples, or a model without a KL, there are none.
    """
    if not samples or not isinstance(model, Vae) or not model.has_kl:
        return (), (), ()
    parts = [
        torch.stack(
            [
                (each.reshape(len(each), -1, 1 << power).logsumexp(dim=2) - power * math.log(2)).mean(dim=1)
                for power in range(samples.bit_length())
            ]
        )
        for each in weights(model, likelihood, rows, samples, seed)
    ]
    every = torch.cat(parts, dim=1)
    means = every.sum(dim=1) / len(rows)
    errors = every.std(dim=1, correction=1 if len(rows) > 1 else 0) / math.sqrt(len(rows))
    return tuple(1 << power for power in range(len(means))), tuple(means.tolist()), tuple(errors.tolist())


def table(
    bounds: Sequence[tuple[int, float]], errors: Sequence[float], elements: int, width: float | None, discrete: bool
) -> Table:  # fmt: skip
    """Return a row for each number of samples, with the standard error of its estimate.

    Bits per dimension are -bound/(D log 2), of the data in the units of training. Of 8-bit data whose levels are ``width``
    apart, they are those of the levels.
    """
    rows = [
        Bound(samples, bound, error, bits_per_dimension(-bound / elements, width or 1.0, discrete))
        for (samples, bound), error in zip(bounds, errors, strict=True)
    ]
    return Table.of("bounds", Bound, rows, "importance-weighted lower bounds on log p(x), by Monte Carlo, nats per sample")
