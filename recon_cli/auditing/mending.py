"""What to write instead, in the names that the function has: each line can be copied, run and audited again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from recon_cli.auditing.formulas import call_of, line_of, number, of_output
from recon_cli.auditing.latents import PRIOR
from recon_cli.auditing.links import MEANINGS, link_of
from recon_cli.identity.likelihood import Likelihood

if TYPE_CHECKING:
    from recon_cli.auditing.defects._subject import Subject
    from recon_cli.auditing.families import Candidate, DecoderScale, Match
    from recon_cli.auditing.measurements import Measurements, Term

LINES = {  # of a mean mu and a scale s from the standard normal, summed over all: Kingma & Welling 2014, appendix B
    "log_variance": "0.5 * ({mu}**2 + {s}.exp() - {s} - 1).sum()",
    "log_std": "0.5 * ({mu}**2 + (2 * {s}).exp() - 2 * {s} - 1).sum()",
    "std": "0.5 * ({mu}**2 + {s}**2 - 2 * {s}.log() - 1).sum()",
    "variance": "0.5 * ({mu}**2 + {s} - {s}.log() - 1).sum()",
}
LINES = {  # of losses by their classes; of an nll, by its likelihood and method; of others, what the registry says of them
    "SquaredError": "({r} - {x}).square().sum()",
    "AbsoluteError": "({r} - {x}).abs().sum()",
    "BinaryCrossEntropy": "torch.nn.functional.binary_cross_entropy({r}, {x}, reduction='sum')",
    "BinaryCrossEntropyWithLogits": "torch.nn.functional.binary_cross_entropy_with_logits({r}, {x}, reduction='sum')",
    "PoissonLoss": "torch.nn.functional.poisson_nll_loss({r}, {x}, log_input=False, reduction='sum')",
    "PoissonLossOfLog": "torch.nn.functional.poisson_nll_loss({r}, {x}, reduction='sum')",
    "ItakuraSaito": "({x} / {r} + {r}.log()).sum()",  # data of 0 too
    "ItakuraSaitoOfLog": "({x} * (-{r}).exp() + {r}).sum()",
    "HuberLoss": "torch.nn.functional.huber_loss({r}, {x}, delta={delta}, reduction='sum')",
    "SmoothL1": "torch.nn.functional.smooth_l1_loss({r}, {x}, beta={beta}, reduction='sum')",
    "LogCosh": "(({r} - {x}) / {scale}).cosh().log().sum()",
    "Lorentzian": "(({r} - {x}) / {width}).square().log1p().sum()",
    "PowerError": "({r} - {x}).abs().pow({power}).sum()",
    "Pinball": "torch.maximum({quantile} * ({x} - {r}), ({quantile} - 1) * ({x} - {r})).sum()",
    "AngularCosine": "(1 - ({r} - {x}).cos()).sum()",
    "CosineLoss": "(1 - torch.nn.functional.cosine_similarity({r}, {x}, dim={axis})).sum()",
    "BinaryCrossEntropyOfShares": "-({x} * ({r} / {count}).log() + ({count} - {x}) * (1 - {r} / {count}).log()).sum()",
    "BinaryCrossEntropyOfSharesWithLogits": "({count} * torch.nn.functional.softplus({r}) - {x} * {r}).sum()",
    "NegativeBinomialLoss": "(({x} + 1 / {dispersion}) * ({dispersion} * {r}).log1p() - {x} * {r}.log()).sum()",
    "NegativeBinomialLossOfLog": "(({x} + 1 / {dispersion}) * ({dispersion} * {r}.exp()).log1p() - {x} * {r}).sum()",
    "DiscretizedLogisticLoss": "-((({x} + {half} - {r}) / {scale}).sigmoid().where({x} < 1, 1) "
                               "- (({x} - {half} - {r}) / {scale}).sigmoid().where({x} > 0, 0)).log().sum()",
    "DiscretizedGaussianLoss": "-(torch.special.ndtr(({x} + {half} - {r}) / {scale}).where({x} < 1, 1) "
                               "- torch.special.ndtr(({x} - {half} - {r}) / {scale}).where({x} > 0, 0)).log().sum()",
    "continuous-bernoulli nll": "-torch.distributions.ContinuousBernoulli({r}).log_prob({x}).sum()",
    "continuous-bernoulli nll_raw": "-torch.distributions.ContinuousBernoulli(logits={r}).log_prob({x}).sum()",
}  # fmt: skip


def kl_of(meaning: str, mu: str, scale: str) -> str:
    """Return the KL to write for a scale of this meaning, summed over batch and latents."""
    return MEANINGS[meaning].kl.format(mu=mu, s=scale)


def kl(measured: Measurements) -> str:
    """Return the KL to write for what the scale is named, or measured to be; a log variance where neither says."""
    latent = measured.latent
    if measured.divergence or latent is not None and latent.line:
        return measured.divergence or latent.line  # type: ignore[union-attr]
    meaning = (latent.named or latent.meaning) if latent is not None else None
    return kl_of(meaning or "log_variance", measured.mu, measured.scale)


def ends(term: Term) -> tuple[str, str]:
    """Return a mean and the data as they are written: what is made of the reconstruction, where something is."""
    link, target = term.rec.match.link if term.rec.match else "", term.target or "x"
    code = known.code if (known := link_of(link)) is not None else "{r}"
    return code.format(r=term.recon), code.format(r=target) if link == "(x + 1)/2" else target


def scale_of(spread: DecoderScale) -> str | None:
    """Return a decoder's scale as it is made of its argument, a line of torch; None where that has no name."""
    if spread.link is None:
        return None
    line = "(torch.nn.functional.elu({r}) + 1)" if (known := link_of(spread.link)) is None else known.code
    times = "" if spread.times == 1 else f"{spread.times:.9g} * "
    more = f" {'+' if spread.more > 0 else '-'} {abs(spread.more):.9g}" if spread.more else ""
    text = f"{times}{line.format(r=spread.key)}{more}"
    return f"({text})" if times or more else text


def summed(term: Term) -> str:
    """Return the reconstruction as the sum over everything, without its weight; empty where it is not one line of torch."""
    match, rec = term.rec.match, term.rec
    r, x = ends(term)
    if match is None or match.parts or rec.counted < 1 or term.target is None:
        return ""
    if term.by_decoder:
        return f"-{term.recon}.log_prob({x}).sum()"
    if rec.spread:
        if (scale := scale_of(rec.spread)) is None or match.given or match.family not in ("laplace", "heteroscedastic-gaussian"):
            return ""
        known = MEANINGS[rec.spread.quantity]
        std, log = (part.format(s=scale) for part in (known.deviation, known.log))
        error = f"(({r} - {x}) / {std})"
        return f"({f'{error}.abs()' if match.family == 'laplace' else f'0.5 * {error}.square()'} + {log}).sum()"
    name = loss_of(match)
    axis = 1 if term.classes.startswith("first") else -1
    if match.family == "categorical":
        made = {"CrossEntropy": f".log_softmax({axis})", "CategoricalCrossEntropy": ".log()"}.get(name, "")
        hot = not term.classes or term.classes.endswith("hot")
        return f"-({x} * {r}{made}).sum()" if hot else f"-{r}{made}.gather({axis}, {x}.unsqueeze({axis})).sum()"
    if match.link and link_of(match.link) is None:
        return ""
    if (candidate := match.candidate) is None:
        return ""
    if name not in LINES:
        own = {key: float(f"{value:.9g}") for key, value in {**candidate.kind().design, **match.own}.items()}
        lines = (line_of(text, r, x, own) for text in formulas_of(candidate))
        return next(filter(None, lines), "")
    spelled = {key: number(value).replace(",", "") for key, value in match.own.items()}
    levels = getattr(candidate.kind(), "levels", None)
    half = f"1 / {2 * (round(levels) - 1)}" if levels else ""
    return LINES[name].format(r=r, x=x, half=half, axis=axis, **spelled)


def formulas_of(candidate: Candidate) -> Iterator[str]:
    """Yield what people write for a loss, or for an nll that stands for one or is nothing else, as the registry has it."""
    if hasattr(candidate.loss, "args"):
        yield call_of(candidate.kind, candidate.loss.args[1])
        return
    yield of_output(candidate.loss.torch, candidate.loss.link.name)
    usual = candidate.kind()
    if usual.slope == 1 and usual.normaliser == 0 and candidate.kind.offset is Likelihood.offset:
        yield call_of(candidate.kind, "nll_raw" if candidate.loss is type(usual.raw_loss) else "nll")


def loss_of(match: Match) -> str:
    """Return the class of a loss by name; of an nll its likelihood and method; empty of none."""
    if match.candidate is None:
        return ""
    loss = match.candidate.loss
    return f"{match.family} {loss.args[1]}" if hasattr(loss, "args") else str(loss.__name__)


def over_batch(subject: Subject) -> str:
    """Return what divides a sum where either term is averaged over the batch."""
    scaling = subject.term.scaling.batch
    averaged = (scaling[1] or 0) < -1e-6 or (scaling[2] or 0) < -1e-6 or subject.batch_literal
    return f" / len({subject.term.target or subject.term.recon or subject.measured.mu})" if averaged else ""


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
    if latent is None or latent.meaning not in PRIOR or not latent.standard or latent.forms:
        return f".sum(dim=1).mean(){' of it' if mean else ''}" if mean else ".sum() of it"
    return f"{kl_of(latent.meaning or '', measured.mu, measured.scale)}{mean}"


def is_name(text: str) -> bool:
    """Whether an argument can be written as it is named."""
    return re.fullmatch(r"[A-Za-z_]\w*(\[[\w'\"]+\]|\.\w+)*", text) is not None
