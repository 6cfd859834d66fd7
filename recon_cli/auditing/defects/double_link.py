"""An output is squashed twice: a loss of logits is given what a sigmoid, a softmax, a tanh or a relu has made.

binary_cross_entropy_with_logits takes the sigmoid itself, cross_entropy the softmax, poisson_nll_loss the exponential. Of
sigmoid(r) the mean that they come to lies between 0.5 and 0.731, so that no 0 and no 1 is ever reconstructed, however long it
trains; of softmax(r) over 10 classes none has a probability above 0.232.

Give the loss the raw output, or take the loss of what the network makes: binary_cross_entropy of probabilities.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from recon_cli.auditing.defects._subject import Findings, Subject
from recon_cli.auditing.formulas import MEANS, bounds, number
from recon_cli.auditing.links import words_of
from recon_cli.auditing.mending import summed

GRAVITY = "wrong"
WIDTHS = {"softmax": 1.0, "sigmoid": 1.0, "tanh": 2.0}  # by how much logits can differ


def find(subject: Subject) -> Findings:
    """Yield it where the mean of what is on a logit or a logarithm is bounded by what that is made of."""
    match, r = subject.term.rec.match, subject.term.recon
    own = match.candidate.link if match is not None and match.candidate is not None else ""
    if match is None or not (never := bounds(match.link, own) or shares(subject, own)):
        return
    made = words_of(match.link) or match.link
    what = re.sub(r"\br\b", lambda _: r, made) if "r" in re.findall(r"\w+", made) else f"{made}({r})"
    whom, logits = ("the mean", own) if own in MEANS else ("the probability of a class", "logits")
    evidence = f"the loss takes {what} for the {logits}, so that {whom} is never {' or '.join(never)}, whatever {r} is"
    rec = replace(subject.term.rec, match=replace(match, link=""))
    line = summed(replace(subject.term, rec=rec))
    fix = f"Squash once: {line}" if line else f"Squash once: give the loss {r} itself."
    yield evidence, fix, subject.reconstruction_site


def shares(subject: Subject, own: str) -> list[str]:
    """Return what the probability of a class never is, in words, where logits are themselves squashed."""
    match, sizes, classes = subject.term.rec.match, subject.measured.sizes.shape, subject.term.classes
    if own != "softmax" or match is None or match.link not in WIDTHS or not classes:
        return []
    count, width = sizes[0] if classes.startswith("first") else sizes[-1], WIDTHS[match.link]
    return [f"above {number(math.exp(width) / (math.exp(width) + count - 1))}"]
