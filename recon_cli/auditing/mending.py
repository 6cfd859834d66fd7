"""What to write instead, in the names that the function has: each line can be copied, run and audited again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from recon_cli.auditing.formulas import number
from recon_cli.auditing.latents import PRIOR

if TYPE_CHECKING:
    from recon_cli.auditing.defects._subject import Subject
    from recon_cli.auditing.measurements import Measurements, Term

KL_LINES = {  # of a mean mu and a scale s from the standard normal, summed over all: Kingma & Welling 2014, appendix B
    "log_variance": "0.5 * ({mu}**2 + {s}.exp() - {s} - 1).sum()",
    "log_std": "0.5 * ({mu}**2 + (2 * {s}).exp() - 2 * {s} - 1).sum()",
    "std": "0.5 * ({mu}**2 + {s}**2 - 2 * {s}.log() - 1).sum()",
    "variance": "0.5 * ({mu}**2 + {s} - {s}.log() - 1).sum()",
}
SUMS = {  # by the family, and by what stands between a prediction and the mean
    ("gaussian", ""): "({r} - {x}).square().sum()",
    ("laplace", ""): "({r} - {x}).abs().sum()",
    ("bernoulli", ""): "torch.nn.functional.binary_cross_entropy({r}, {x}, reduction='sum')",
    ("bernoulli", "logit"): "torch.nn.functional.binary_cross_entropy_with_logits({r}, {x}, reduction='sum')",
    ("poisson", ""): "torch.nn.functional.poisson_nll_loss({r}, {x}, log_input=False, reduction='sum')",
    ("poisson", "log"): "torch.nn.functional.poisson_nll_loss({r}, {x}, reduction='sum')",
}


def names(subject: Subject) -> tuple[str, str]:
    """Return the reconstruction and its target as they are written; ``x`` where there is no target."""
    return subject.term.recon, subject.term.target or "x"


def kl_of(meaning: str, mu: str, scale: str) -> str:
    """Return the KL to write for a scale of this meaning, summed over batch and latents."""
    return KL_LINES[meaning].format(mu=mu, s=scale)


def kl(measured: Measurements) -> str:
    """Return the KL to write for what the scale is named, or measured to be; a log variance where neither says."""
    latent = measured.latent
    meaning = (latent.named or latent.meaning) if latent is not None else None
    return kl_of(meaning or "log_variance", measured.mu, measured.scale)


def summed(term: Term) -> str:
    """Return the reconstruction as the sum over everything, without its weight; empty where it is not one line of torch."""
    match = term.rec.match
    if match is None or match.parts or match.own or term.target is None or term.rec.domain == "classes" or term.rec.counted < 1:
        return ""
    own = match.candidate.link if match.candidate else ""
    line = SUMS.get((match.family, match.link or (own if own != "identity" else "")), "")
    return line.format(r=term.recon, x=term.target)


def over_batch(subject: Subject) -> str:
    """Return what divides a sum where either term is averaged over the batch."""
    scaling = subject.term.scaling.batch
    averaged = (scaling[1] or 0) < -1e-6 or (scaling[2] or 0) < -1e-6 or subject.batch_literal
    return f" / len({subject.term.target or subject.term.recon or subject.measured.mu})" if averaged else ""


def factor(value: float) -> str:
    """Return a weight before a line; nothing for 1."""
    return "" if abs(abs(value) - 1) < 1e-9 else f"{number(abs(value)).replace(',', '')} * "


def mended_reconstruction(subject: Subject) -> str:
    """Return in words, with the line where there is one, the reconstruction summed over a sample, as the KL is over the batch."""
    line, term = summed(subject.term), subject.term
    if not line:
        return "reduction='sum'" + (", divided by the batch size" if over_batch(subject) else "")
    half = term.rec.match is not None and term.rec.match.family == "gaussian"
    return f"{'0.5 * ' * half}{line}{over_batch(subject)}"


def mended_kl(subject: Subject) -> str:
    """Return in words, with the line if there is one, the KL summed over latents, as the reconstruction is over the batch."""
    measured, latent = subject.measured, subject.measured.latent
    mean = over_batch(subject)
    if latent is None or latent.meaning not in PRIOR or abs(latent.prior - 1) > 1e-4 or latent.centre or latent.forms:
        return f".sum(dim=1).mean(){' of it' if mean else ''}" if mean else ".sum() of it"
    return f"{kl_of(latent.meaning or '', measured.mu, measured.scale)}{mean}"


def is_name(text: str) -> bool:
    """Whether an argument can be written as it is named."""
    return re.fullmatch(r"[A-Za-z_]\w*(\[[\w'\"]+\]|\.\w+)*", text) is not None
