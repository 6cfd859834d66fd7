"""A scale that is trained divides the error, and the loss has not its logarithm once for every element.

-log p of a Gaussian is e^2 / (2 sigma^2) + log sigma for each element, of a Laplace |e| / s + log s, and so of every likelihood
of e/s (a logistic's, Student's t): log s, once for each element. Where sigma is trained, the
logarithm is what holds it: without it the loss falls as sigma grows, so sigma goes to infinity and the error counts for
nothing. Counted once instead of once for each element, it lets sigma rest far above the size of the errors.

A scale that is an argument of the loss, one number for each element, may be a network's or somebody's: given, nothing is
missing, and the defect may be accepted; given by a network, it is trained.

Of a full covariance C it is log det C / 2, once for each sample.

Add the logarithm within the sum over elements, beside the error, or keep the scale fixed.
"""

from __future__ import annotations

import math

from recon_cli.auditing.defects._subject import Findings, Subject

GRAVITY = "wrong"


def find(subject: Subject) -> Findings:
    """Yield it for each trained scale whose logarithm is there more or less often than once an element."""
    for scale in subject.term.learned:
        if scale.logs is None or scale.logs == 1:
            continue
        what = scale.what or "log of that scale"
        way = "grows" if scale.grows else "falls"
        if math.isnan(scale.logs):
            evidence = f"{scale.name} weighs the error, and without errors the loss does not move with it as {what} does"
        elif scale.logs <= 0:
            how = "has the wrong sign in the loss" if scale.logs else "is not in the loss"
            evidence = f"{scale.name} weighs the error, and {what} {how}: it falls without end as {scale.name} {way}"
            if scale.argument:
                evidence += f", if a network gives {scale.name}; if somebody else does, nothing is missing"
        else:
            times = math.exp(-math.log(scale.logs) / scale.power) if scale.power else math.nan
            rest = f"at {times:.4g} times the size of the errors" if scale.power else "elsewhere than at the size of the errors"
            once = "sample" if scale.what else "element"
            count = f"{what} is in the loss {scale.logs:.3g} times for each {once}"
            evidence = f"{scale.name} weighs the error, and {count}: trained, the scale comes to rest {rest}"
        every = (
            f"half of {what} for every sample" if scale.what else "log of the scale for every element, within the sum over them"
        )
        fix = f"Add {every}; or do not train {scale.name}{', and accept this' if scale.argument else ''}."
        yield evidence, fix, subject.reconstruction_site
