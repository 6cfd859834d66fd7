"""What the measurements amount to: for every reconstruction a row, its defects and a verdict. Nothing is called here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from recon_cli.auditing import defects
from recon_cli.auditing.defects._subject import Finding, Reading, Subject, is_one
from recon_cli.auditing.divergence import EPS
from recon_cli.auditing.families import likelihood_of
from recon_cli.auditing.measurements import Measurements, Term
from recon_cli.identity.likelihood import Likelihood
from recon_cli.report import column

GRAVEST = (
    "not-factorised",
    "defective",
    "unrecognised",
    "shape-dependent",
    "reconstruction-only",
    "kl-only",
    "beta-elbo",
    "elbo",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One reconstruction term of the objective, as in the JSON contract; and by which argument it comes.

    link
        what stands between the prediction and the mean, or on what the family hangs.
    """

    family: str | None = column("likelihood", "*", default=None)
    tradeoff: float | None = column("sigma² at β = 1, or β at sigma = 1", default=None)
    tradeoff_batch: float | None = column("exponent in B, the batch size", default=None)
    tradeoff_dim: float | None = column("exponent in D, the elements", default=None)
    tradeoff_latent: float | None = column("exponent in K, the latents", default=None)
    sigma: float | None = column("noise (β = 1)", default=None, brief=True)
    beta: float | None = column("β", default=None, brief=True)
    latent_scale: str | None = column("the latents' scale is", default=None)
    direction: str = column("direction", default="loss")
    verdict: str = column("verdict", brief=True)
    defects: tuple[str, ...] = column("defects", None, default=())
    batch: int = column("B", None, default=0)
    elements: int = column("D", None, default=0)
    latents: int | None = column("K", None, default=None)
    site: str | None = column("at", None)
    term: str = column("term", None, default="")
    parameters: dict[str, float] = field(default_factory=dict)
    weight: float | None = None
    kl_weight: float | None = None
    link: str = ""


def judge(measured: Measurements) -> tuple[tuple[Row, ...], tuple[Finding, ...]]:
    """Return a row for every reconstruction, and what is wrong with any of them, the gravest first."""
    rows, findings = [], []
    for term in measured.terms:
        subject = Subject(measured, term, reading_of(term, measured.kl_weight))
        own = [Finding(code, *each) for code, defect in defects.load_all().items() for each in defect.find(subject)]
        own = sorted(own, key=lambda finding: defects.GRAVITIES.index(defects.gravity(finding.code)))
        rows.append(row_of(subject, own))
        findings += [finding for finding in own if finding not in findings]
    return tuple(rows), tuple(findings)


def row_of(subject: Subject, findings: Sequence[Finding]) -> Row:
    """Return the row of one reconstruction with these defects."""
    measured, term, rec, b = subject.measured, subject.term, subject.term.rec, subject.measured.kl_weight
    latent, match, reading = measured.latent, subject.term.rec.match, subject.reading
    beta, sigma = reading.beta, reading.sigma
    if term.own and b and (rec.quadratic is not None or stated(term.own[0], measured.knobs)):
        beta = b / term.own[1]
    if rec.normal is not None and rec.normal.kind == "real" and b:  # as it is weighed, it is one
        beta = rec.normal.beta or 1.0
    if {finding.code for finding in findings} & {"kl-sign", "recon-sign"}:  # then no noise makes it 1
        beta, sigma = None if beta is None else -abs(beta), None
    numbers = {**match.own, **dict(match.given)} if match else {}
    if b and match and "laplace" in dict(match.parts):
        numbers["scale"] = b / abs(dict(match.parts)["laplace"])
    hidden = latent is None or b is None or not rec.additive or not subject.recognised or bool(latent.squared)
    powers = dict(zip(("tradeoff_batch", "tradeoff_dim", "tradeoff_latent"), term.scaling.tradeoff, strict=True))
    tradeoff = beta if rec.normal is not None else reading.tradeoff
    shown: dict[str, float | None] = {} if hidden else {"tradeoff": tradeoff, **powers, "sigma": sigma, "beta": beta}
    return Row(
        **shown,
        family=reading.family,
        latent_scale=latent.meaning if latent else None,
        direction=subject.direction,
        verdict=verdict_of(subject, [defects.gravity(finding.code) for finding in findings]),
        defects=tuple(dict.fromkeys(finding.code for finding in findings)),
        batch=measured.sizes.batch,
        elements=0 if measured.alone else measured.sizes.D,
        latents=measured.sizes.K if latent is not None else None,
        site=measured.site or None,
        term=term.recon,
        parameters=numbers,
        weight=abs(match.weight) if match else rec.curvature,
        kl_weight=b,
        link=match.link if match else "",
    )


def verdict_of(subject: Subject, gravities: Sequence[str]) -> str:
    """Return the verdict of one row, the gravest first: a pass is for what was recognised alone."""
    latent = subject.measured.latent
    if "no-likelihood" in gravities:
        return "not-factorised"
    if "wrong" in gravities:
        return "defective"
    if subject.measured.unexplained:
        return "unrecognised"
    spoiled = "spoiling" in gravities
    if subject.measured.alone and latent is not None and not spoiled:
        return "shape-dependent" if subject.term.scaling.moves else "kl-only"
    if not subject.recognised:
        return "defective" if subject.measured.broadcast else "unrecognised"
    if latent is None:
        return "defective" if spoiled else "reconstruction-only"
    if subject.term.scaling.moves:
        return "shape-dependent"
    if spoiled:
        return "defective"
    normal = subject.term.rec.normal
    exact = subject.reading.exact if normal is None else normal.beta is None or abs(normal.beta - 1) < 1e-6
    return "elbo" if exact and not latent.forms else "beta-elbo"


def stated(scale: float, numbers: Sequence[float]) -> bool:
    """Whether a scale is one of the numbers that the function was given, as it is or as a logarithm or square of it."""
    forms = [scale, math.log(scale), 2 * math.log(scale), scale * scale, 1 / scale]
    return any(
        abs(form - number) <= 1e-9 * max(1.0, abs(number)) for form in forms for number in numbers if number != 0 or scale == 1
    )


def reading_of(term: Term, b: float | None) -> Reading:
    """Return the two readings of one reconstruction's weight beside a KL's of weight ``b``, and the likelihood at beta = 1."""
    rec, match, best = term.rec, term.rec.match, term.best
    if best is not None:
        beta = b and b / abs(best.weight)
        return Reading(best.family, beta=beta, exact=beta is None or abs(beta - 1) < max(1e-6, best.off))
    if not rec.additive:
        return Reading()
    if match is None:
        return Reading(tradeoff=(rec.curvature and b and abs(b / rec.curvature)) or None, exact=rec.location)
    a, own = abs(match.weight), term.by_decoder and match.family == "gaussian"  # the stand-in's, whose sigma is 1
    if b is None:
        return Reading("the decoder's own" if own else match.family, exact=True)
    if own:
        return free("the decoder's own", b / (2 * a))
    if rec.quadratic is not None and rec.quadratic.whose:
        beta = b / abs(rec.quadratic.weight) if abs(rec.quadratic.weight) > 0 else None
        return free(match.family, 1.0 if beta is not None and abs(beta - 1) < EPS else beta)
    if rec.quadratic is not None:  # the mean of the variances
        return Reading(match.family, b / (2 * a), math.sqrt(b / (2 * a)), b / (2 * a), True)
    if match.parts:  # the one that leads, the squared error where there is one
        tradeoff = b / (2 * a) if "gaussian" in dict(match.parts) else b / a
        scaled = {name for name, _ in match.parts} <= {"gaussian", "laplace"}
        return Reading(match.family, tradeoff, math.sqrt(tradeoff) if scaled else None, tradeoff, scaled)
    likelihood, family = likelihood_of(match, a / b)
    kind = match.candidate.kind if match.candidate else None
    if kind is None or not kind().noise or match.candidate and match.candidate.whole:
        return free(family, b / a)  # scale-free, or an nll with its noise in it: beta is b over the loss's own slope
    tradeoff = b / abs(rec.curvature) if rec.curvature and (likelihood is None or not match.link) else b / a
    if likelihood is None:  # a loss of a width of its own, at a weight that no noise of it has
        return Reading(family, tradeoff, math.sqrt(tradeoff) if rec.curvature else None, b / a * slope_of(kind))
    if "sigma" in likelihood.noise:
        return Reading(family, likelihood.sigma**2, likelihood.sigma, likelihood.sigma**2, True)
    return Reading(family, tradeoff, math.sqrt(tradeoff) if rec.curvature else likelihood.noise.get("scale"), tradeoff, True)


def free(family: str, beta: float | None) -> Reading:
    """Return the reading of a likelihood without a noise of its own: the trade-off is beta."""
    return Reading(family, beta, None, beta, beta is not None and is_one(beta))


def slope_of(kind: type[Likelihood]) -> float:
    """Return the slope that a loss has as its likelihood's own."""
    try:
        return float(kind().slope)
    except Exception:
        return 1.0
