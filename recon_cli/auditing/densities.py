"""Log-densities of latents that a loss is given ready-made: log q(z|x) - log p(z) of one sample is a KL, in the mean.

What is of the aggregated posterior, q(z) of all data or the product of its marginals, is of a whole batch, and no KL of a sample.
"""

from __future__ import annotations

import re

from recon_cli.auditing.calling import Problem, Values
from recon_cli.auditing.divergence import EPS, Latent
from recon_cli.auditing.probes import gradients

PRIOR = re.compile(r"log_?(p(_?z)?|prior)(_|$)|log_?p_?z|p(rior)?_?z?_?log", re.I)
OF_BATCH = re.compile(r"prod|marg|agg", re.I)
GIVEN_X = re.compile(r"x|c(ond)?|post", re.I)
READY = "given ready-made, and not audited"
AGGREGATED = f"of the aggregated posterior, which all samples of a batch make together, so it is no KL of a sample; {READY}"


def weights(problem: Problem, base: Values) -> dict[str, float]:
    """Return how much each log-density weighs, of those that move the loss."""
    keys = [slot.key for slot in problem.plan.role("density")]
    grads = gradients(problem, base, keys)[1]
    return {key: float(grads[key].mean()) for key in keys if float(grads[key].abs().max()) > 1e-12}


def kinds(keys: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Return by their names which log-densities are the prior's, the posterior's and the aggregated posterior's."""
    priors = [key for key in keys if PRIOR.match(key)]
    of_batch = [key for key in keys if key not in priors and OF_BATCH.search(key)]
    rest = [key for key in keys if key not in (*priors, *of_batch)]
    given = [key for key in rest if GIVEN_X.search(re.sub(r"^log", "", key, flags=re.I))]
    posteriors = given or ([] if of_batch else rest)
    return priors, posteriors, [*of_batch, *(key for key in rest if key not in posteriors)]


def of_densities(problem: Problem, base: Values) -> Latent | None:
    """Return the KL that log-densities of one sample are together; None where there are none of a posterior and a prior."""
    known = weights(problem, base)
    priors, posteriors, _ = kinds([*known])
    if not priors and not posteriors:
        return None
    p, q = (sum(known[key] for key in some) for some in (priors, posteriors))
    if abs(p + q) > EPS * max(abs(p), abs(q)):
        names = " and ".join([*posteriors, *priors])
        return Latent(
            None, None, f"of the log-densities {names} the posterior's weighs {q:.6g} and the prior's {p:.6g}, not minus that"
        )
    given = " - ".join([*posteriors[:1], *priors[:1]])
    return Latent(
        q, notes=(f"the KL is {given} of one sample, {READY}",), line=f"({given}).sum()", to="whatever prior that is of"
    )


def aggregated(problem: Problem, base: Values) -> list[str]:
    """Return the log-densities of the aggregated posterior that move the loss."""
    return kinds([*weights(problem, base)])[2]
