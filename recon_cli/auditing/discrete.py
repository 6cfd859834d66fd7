"""The KL of latents that are no Gaussians: classes or bits, as a field, and log-densities that a loss is given ready-made.

With q the posterior's probabilities and p the prior's, KL = sum q (log q - log p), and its gradient by q is log q - log p and a
number that is the same for every class of one latent: where q adds up to 1, that number moves nothing. Its gradient by logits or
by logarithms of q is that times q, the logits' without its mean. Of a bit of probability q it is logit q - logit p.

Of log-densities log q(z|x) - log p(z) of one sample is a KL, in the mean. What is of the aggregated posterior, q(z) of all data
or the product of its marginals, is of a whole batch, and no KL of a sample.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem, Values
from recon_cli.auditing.divergence import EPS, SAME, Latent, settled
from recon_cli.auditing.latent_fields import averaged
from recon_cli.auditing.probes import REFUSALS, gradients, uniform, value_at

OTHER = "its gradient is that of no KL of classes or bits"
PRIOR_SHOWN = 4  # classes whose prior is said
LINES = {  # the KL to uniform classes, and to uniform bits, of an argument in one of its forms
    ("probabilities", False): "({q} * ({n} * {q}).log()).sum()",
    ("log-probabilities", False): "({q}.exp() * ({q} + math.log({n}))).sum()",
    ("logits", False): "({q}.softmax(-1) * ({q}.log_softmax(-1) + math.log({n}))).sum()",
    ("probabilities", True): "({q} * (2 * {q}).log() + (1 - {q}) * (2 - 2 * {q}).log()).sum()",
    ("logits", True): "torch.distributions.kl_divergence(torch.distributions.Bernoulli(logits={q}), "
                      "torch.distributions.Bernoulli(torch.full_like({q}, 0.5))).sum()",
}  # fmt: skip


@dataclass(frozen=True)
class Discrete:
    """A way to see an argument: ``form`` of the probabilities of ``classes`` classes along an axis, of bits where that is 1.

    shape
        of the latents with the classes last; value is the argument there, and q their probabilities.
    axis
        of the latents' own shape, None where they run over another one.
    """

    form: str
    classes: int
    shape: tuple[int, ...]
    axis: int | None
    value: Tensor
    q: Tensor

    def laid(self, tensor: Tensor) -> Tensor:
        """Return what has the argument's canonical shape with the classes last."""
        whole = tensor.reshape(len(tensor), *self.shape)
        return whole if self.axis is None else whole.movedim(self.axis + 1, -1)

    def pull(self, gradient: Tensor) -> tuple[Tensor, float]:
        """Return the gradient by q, and by how much that by logits does not add up to 0, as that of a softmax does."""
        g = self.laid(gradient)
        if self.classes == 1:
            return (g / (self.q * (1 - self.q)) if self.form == "logits" else g), 0.0
        off = g.sum(-1).abs().max() / g.abs().max() if self.form == "logits" else torch.zeros(())
        return (g if self.form == "probabilities" else g / self.q), float(off)


def readings(B: int, own: tuple[int, ...]) -> Iterator[Discrete]:
    """Yield the ways to see an argument of B samples of some shape, the classes along an axis of its own first."""
    K = math.prod(own)
    shape = (B, K)
    spread = uniform(shape, -1.5, 1.5, 61)
    axes: list[tuple[tuple[int, ...], int | None]] = [(own, axis) for axis in range(len(own) - 1, -1, -1)]
    axes += [((K // n, n), None) for n in range(K, 1, -1) if K % n == 0 and (K // n, n) != own]
    for form in ("logits", "log-probabilities", "probabilities"):
        if form != "log-probabilities":
            q = spread.sigmoid().reshape(B, *own)
            yield Discrete(form, 1, own, None, spread if form == "logits" else q.reshape(shape), q)
        for way, axis in axes:
            classes = way[-1 if axis is None else axis]
            if classes < 2:
                continue
            whole = spread.reshape(B, *way)
            q = whole.softmax(-1 if axis is None else axis + 1)
            value = {"logits": whole, "log-probabilities": q.log(), "probabilities": q}[form].reshape(shape)
            yield Discrete(form, classes, way, axis, value, q if axis is None else q.movedim(axis + 1, -1))


def discrete(problem: Problem, base: Values, key: str) -> Latent | None:
    """Return the term of latents that are classes or bits; None where nothing of the loss depends on them."""
    moves, own = False, problem.shapes.get(key) or problem.sizes.latent
    for reading in readings(len(base[key]), own):
        try:
            _, grads = averaged(problem, {**base, key: reading.value}, [key])
        except REFUSALS:
            continue
        g = grads[key]
        if not bool(g.isfinite().all()) or not bool(g.abs().max() > 0):
            continue
        moves = True
        if (field := fitted(reading, g)) is not None:
            return read(problem, base, key, reading, *field)
    return Latent(None, None, OTHER) if moves else None


def fitted(reading: Discrete, g: Tensor) -> tuple[float, Tensor] | None:
    """Return the weight of the KL that a gradient is, an argument being seen so, and its prior's logits; None of no KL's."""
    pull, off = reading.pull(g)
    if off > EPS:
        return None
    bits = reading.classes == 1
    log_q = reading.q.logit() if bits else reading.q.log()
    alike = pull if bits else pull - pull.mean(-1, keepdim=True)
    field = log_q if bits else log_q - log_q.mean(-1, keepdim=True)
    apart = field - field.mean(0) if len(field) > 1 else field  # pull = weight (field - the prior's), of which a batch has draws
    weight = (apart * alike).sum() / apart.square().sum()
    level = (alike - weight * field).mean(0) if len(field) > 1 else torch.zeros_like(field[0])
    if not bool((alike - weight * field - level).abs().max() <= EPS * alike.abs().max()) or abs(weight) < SAME * g.abs().max():
        return None
    return weight.item(), -level / weight


def read(problem: Problem, base: Values, key: str, reading: Discrete, b: float, prior: Tensor) -> Latent:
    """Return the KL of weight b to a prior of these logits, which an argument has when it is seen so."""
    bits, own = reading.classes == 1, problem.shapes.get(key) or problem.sizes.latent
    uniform_prior = bool(prior.abs().max() < 1e-3)
    stated = torch.zeros_like(prior) if uniform_prior else prior
    p = stated.sigmoid() if bits else stated.softmax(-1)
    least = bottom(problem, base, key, reading, stated) / b / len(reading.q)
    line, kind = LINES[reading.form, bits].format(q=key, n=reading.classes), "bits" if bits else "classes"
    count = math.prod(prior.shape) // reading.classes
    entropy = -count * math.log(2 if bits else reading.classes)
    whole = abs(least) < 1e-3
    notes = [what(reading, count, key)]
    if not uniform_prior:
        shown = ", ".join(f"{each:.4g}" for each in p.reshape(-1)[:PRIOR_SHOWN].tolist())
        notes.append(f"the prior of the latents is stated: {shown}{', ...' * (p.numel() > PRIOR_SHOWN)}")
    if abs(least - entropy) < 1e-3:
        notes.append(f"log {2 if bits else reading.classes} of every latent is left out, which moves no gradient")
    elif least < -1e-3 and not whole:
        joint = f" (one softmax over all {reading.classes} entries)" * (count == 1 and len(own) > 1)
        evidence = f"its minimum is {least:.6g} nats a sample, and a KL is never below 0{joint}"
        others = round(reading.classes * math.exp(least / count)) if uniform_prior and not bits and len(own) == 1 else 0
        logged = others > 1 and abs(count * math.log(others / reading.classes) - least) < 1e-3
        return Latent(b, None, evidence, line=line, classes=others if logged else 0)
    if reading.axis is None and not bits and count == 1 and len(own) > 1 and reading.form == "logits":
        each = own[-1]
        return Latent(b, None, f"one softmax runs over all {reading.classes} entries, not over each latent's {each}", line=line)
    return Latent(
        b, notes=tuple(notes), line=line, to=f"{'uniform ' * uniform_prior}{kind}{' of a stated prior' * (not uniform_prior)}"
    )


def what(reading: Discrete, count: int, key: str) -> str:
    """Return in words what the latents are."""
    if reading.classes == 1:
        return f"the latents are bits, {key} their {reading.form}"
    each = f"{count} of them" if count > 1 else "one of them"
    return f"the latents are categorical, {each}, of {reading.form}, {reading.classes} classes"


def bottom(problem: Problem, base: Values, key: str, reading: Discrete, prior: Tensor) -> float:
    """Return the latent term where the posterior is the prior, the reconstruction's own value left out."""
    bits = reading.classes == 1
    logits = prior.expand_as(reading.q)
    q = logits.sigmoid() if bits else logits.softmax(-1)
    there = {"logits": logits, "log-probabilities": q.log(), "probabilities": q}[reading.form]
    there = there if reading.axis is None else there.movedim(-1, reading.axis + 1)
    still = {**base, key: there.reshape(base[key].shape).clone()}
    return value_at(problem, settled(problem, still, torch.round))


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
