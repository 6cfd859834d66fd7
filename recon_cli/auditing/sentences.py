"""In words: one sentence, the objective as a formula with every mean written out, fixes, conversions, expectations."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import replace

from recon_cli import likelihoods
from recon_cli.auditing.discrete import READY
from recon_cli.auditing.families import DecoderScale, GivenWeights, likelihood_of
from recon_cli.auditing.formulas import at, bounds, number
from recon_cli.auditing.judgement import Row
from recon_cli.auditing.latents import PRIOR, Latent
from recon_cli.auditing.links import MEANINGS, words_of
from recon_cli.auditing.measurements import Measurements, Term
from recon_cli.auditing.measuring import MADE, SIMPLEX
from recon_cli.auditing.mending import ends, is_name, kl, summed
from recon_cli.auditing.noises import LINK
from recon_cli.auditing.scaling import product
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood

LINKED = {"identity": "mean is", "": "mean is", "softmax": "logits are"}  # what a link leads to
SCALE_WORDS = {  # of a family whose scale is no standard deviation
    "std": "scale", "log_std": "log scale", "log_variance": "log squared scale", "variance": "squared scale",
    "precision": "inverse squared scale",
}  # fmt: skip
OUTPUTS = {"logit": "logits", "softmax": "logits", "log": "logarithms"}  # what a reconstruction is, where it is no mean
UNKNOWN = "Not recognised is"
BENT = ("huber", "student-t", "hyperbolic-secant", "logistic", "von-mises")  # a square near 0


@functools.cache
def steep(family: str | None) -> str | None:
    """Return the name of a family's noise where its slope is that noise itself: a concentration, a shape."""
    kind = likelihoods.find(family) if family in likelihoods.names() else None
    if kind is None or kind.gap is not Likelihood.gap or len(kind().noise) != 1:
        return None
    (name,) = kind().noise
    try:
        return name if kind.with_slope(2.0).noise[name] == 2 else None
    except ReconError:
        return None


PROPER = {"multivariate-gaussian": "multivariate Gaussian"} | {
    name: name.title() for name in ("gaussian", "laplace", "bernoulli", "poisson")
}
NAMELESS = ("heteroscedastic-gaussian", "gaussian", "laplace")  # whose plain scale is said where the arguments are


def sentence(measured: Measurements, rows: Sequence[Row]) -> str:
    """Return the first thing to read."""
    row, term = rows[0], measured.terms[0]
    if len(rows) > 1:
        each = [f"{row.term}: {told(measured, term, row)}" for term, row in zip(measured.terms, rows, strict=True)]
        return " ".join([f"This has {len(rows)} reconstruction terms.", *each])
    text, match = told(measured, term, row), term.rec.match
    if measured.latent is None and row.verdict == "reconstruction-only" and row.family == "gaussian" and not term.best and match:
        batch = term.scaling.batch[1]
        sigma2 = (1 / measured.sizes.batch if batch == -1 else 1) / (2 * abs(match.weight))
        how = "summed over latents and averaged over the batch" if batch == -1 else "that is a sum too"
        where = at(measured.sizes, None if batch == -1 else batch, term.scaling.dim[1], None, term.scaling.length)
        text += f" Beside a KL {how} it would be sigma = {number(math.sqrt(sigma2))}{where}."
    return text


def told(measured: Measurements, term: Term, row: Row) -> str:
    """Return the sentence of one term, without the comma that closes a clause where another mark follows."""
    match = term.rec.match
    link = match.candidate.link if match is not None and match.candidate is not None else ""
    shares = "probabilities" if link == "identity" and match and match.family in ("bernoulli", "categorical") else ""
    given = "" if row.link or measured.alone or term.astray else OUTPUTS.get(link, shares)
    more = f" It takes {row.term} for {given}." if given and given[:4] not in row.term.lower() else ""
    if term.uneven and " + " not in (row.family or "") and not (measured.alone or term.astray):
        low, high = map(number, term.rec.weights)
        more += f" Its elements have weights w of their own, from {low} to {high} times the middle one, for which that is."
    more += f" What {row.term} is compared with is {term.rec.aim}." if term.rec.aim else ""
    if term.rec.given is not None:
        more += f" {weighted(term.rec.given, row)}"
    return re.sub(r",(?=[,.;:])", "", one(measured, term, row)) + more


def one(measured: Measurements, term: Term, row: Row) -> str:
    """Return the sentence of one term."""
    latent, astray = measured.latent, term.astray
    if measured.alone:
        return alone(measured, term)
    if astray is not None:
        return f"This compares {row.term} with {astray.other or 'no target'}: {astray.evidence}. {astray.fix}"
    if term.rec.bound and not term.favour:
        return (
            f"This is an importance-weighted bound of {term.rec.bound}: -log of the mean of their weights (Burda et al., "
            "2016). Each weighs as its log-weight says, so there is no one weight of a reconstruction beside a KL, and no beta."
        )
    if row.verdict == "not-factorised" and term.rec.norm:
        return (
            f"This is the Euclidean norm of {term.rec.norm.of}: a density of that as a whole, in its norm, and no likelihood of "
            "independent elements, so there is no noise of an element to read off."
        )
    if term.rec.quadratic is not None and not term.rec.quadratic.definite:
        return (
            "This is a quadratic form of each sample's residuals, whose matrix is not positive definite: no covariance has it "
            "for an inverse, so no noise and no beta are read off it."
        )
    if row.verdict == "not-factorised":
        return "This is no factorised likelihood: what one element costs depends on the others, so there is no noise to read off."
    name = title(row, term) + (f" with the noise that its residuals choose, {term.best.words}" if term.best else "")
    normal = term.rec.normal
    if normal is not None and normal.kind in ("gap", "no-density"):
        why = "has no finite sum" if normal.kind == "no-density" else "adds up to another number for every prediction"
        return f"This is no likelihood: over {normal.support} e^-loss {why}, so no noise and no beta are read off it."
    if latent is None:
        return f"This is {name}, {without(measured)}"
    if measured.mixed:
        return f"This is {name} beside a term that is not recognised. {UNKNOWN} {measured.unexplained}."
    if row.verdict == "unrecognised" and not measured.unexplained:
        return f"This is {name}: whether it is one at all was not proved, so no noise and no beta are read off it."
    if row.kl_weight is None:
        return f"This is {name} beside a term in the latents that is no KL: {latent.wrong}."
    text = f"This is {name}{weighed(measured, term, row, latent)}"
    if "bce-on-nonbinary" in row.defects:
        text = f"{text.replace(': an exact ELBO.', '.')} But {measured.outside['bernoulli']}."
    if latent.forms and not latent.squared:
        text += f" All that is where the KL counts at its full weight, and it does not everywhere: {latent.forms.words}."
    text = f"{text} But {latent.wrong}." if latent.wrong else text
    return f"{text.replace(': an exact ELBO.', '.')} {UNKNOWN} {measured.unexplained}." if measured.unexplained else text


def alone(measured: Measurements, term: Term) -> str:
    """Return the sentence of a KL without a reconstruction."""
    latent = measured.latent
    if measured.unexplained:
        return f"This is no KL that recon knows. {UNKNOWN} {measured.unexplained}."
    if latent is None or not latent.weight or latent.wrong:
        return f"This is no KL: {latent.wrong if latent else 'it depends on none of the latents'}."
    whose = (
        "a standard normal"
        if latent.standard
        else f"a normal of mean {number(latent.centre)} and variance {number(latent.prior)}"
    )
    priors = [key for key, role, _ in measured.roles if role == "prior"]
    if priors:
        whose = f"the normal that {' and '.join(priors)} give{'s' * (len(priors) == 1)}"
    whose = latent.to or whose
    scale = f", whose scale {measured.scale} is {MEANINGS[latent.meaning].words}" if latent.meaning else ""
    ways = {0.0: "summed over the {}", -1.0: "averaged over the {}"}
    powers = zip(("batch", "latents"), (term.scaling.batch[2], term.scaling.latent[2]), strict=True)
    how = ", ".join(
        ways.get(9.0 if by is None else by, "neither summed nor averaged over the {}").format(axis) for axis, by in powers
    )
    sizes, scaling = measured.sizes, term.scaling
    times = latent.weight / product((sizes.batch, sizes.K), (scaling.batch[2], scaling.latent[2]))
    what = "the KL" if abs(abs(times) - 1) < 1e-6 else f"{number(abs(times))} times the KL"
    forms = f" It does not count everywhere: {latent.forms.words}." if latent.forms else ""
    whole = f"This is {'minus ' * (times < 0)}{what} to {whose} alone{scale}: {how}."
    return f"{whole}{forms} There is no reconstruction that it is weighed against."


def without(measured: Measurements) -> str:
    """Return what is said of the latents where no KL pulls at them."""
    alone, theirs = (
        f"{whose} weight is a learning rate, not a noise." for whose in ("alone, its", "Alone, the reconstruction's")
    )
    if measured.still:
        still = f"and what it adds of {' and '.join(measured.still)} has no gradient, so no KL is trained:"
        return f"{still} {theirs[0].lower()}{theirs[1:]}"
    if measured.switch:
        return f"and its KL is switched off: the KL's weight is 0 at {measured.switch} = 0, as it is by default. {theirs}"
    if measured.unexplained:
        return f"and there is no KL that recon knows in what it adds. {UNKNOWN} {measured.unexplained}."
    if measured.latents:
        move = "move" if len(measured.latents) > 1 else "moves"
        return f"and {' and '.join(measured.latents)} {move} nothing: no KL is weighed here. {theirs}"
    if measured.besides and all(each.times is not None for each in measured.besides):
        names = " and ".join(each.arguments[0] for each in measured.besides)
        return f"and beside it stands {names}, {READY}: {alone}"
    if measured.besides:
        terms = " and ".join(f"the term in {' and '.join(each.arguments)} ({each.words})" for each in measured.besides)
        return f"and {terms} {'are' if len(measured.besides) > 1 else 'is'} no KL: {alone}"
    return f"and there is no KL here: {alone}"


def weighed(measured: Measurements, term: Term, row: Row, latent: Latent) -> str:
    """Return the noise and the beta of a term beside a KL, as the end of a sentence; they move with the sizes in ``where``."""
    where, rows = place(row, term, measured), "the length of a sample" if term.scaling.length else "the size of a sample"
    size = "the image size" if len(measured.sizes.shape) > 2 else rows
    if (turn := latent.squared) is not None:
        return (
            f" beside the square of the KL's distance from {turn.target}, which has no one weight: it goes as KL − C, "
            "and drives the KL up below C, so no beta is read off it."
        )
    grows, sample = growth(row, size), size.replace("the image size", "the image")
    depends = f" {'Both' if grows else 'Neither'} {grows or f'depends on the batch, {sample} or the latents'}."
    if row.beta is not None and row.beta < 0:
        unit = " at sigma = 1" if row.family == "gaussian" else " at scale 1" if term.own or row.family == "laplace" else ""
        whose = "a KL of the wrong sign" if "kl-sign" in row.defects else "a KL, and its own sign is wrong"
        return f" beside {whose}: beta is {number(row.beta)}{unit}{where}, and no noise makes it 1."
    if term.best:
        end = ": an ELBO at that noise." if row.verdict == "elbo" else "."
        return f", and beta = {number(row.beta or math.nan)}{where}{end}"
    if row.family in ("gaussian", "laplace") and row.sigma is not None:
        word, unit = ("sigma", "sigma = 1") if row.family == "gaussian" else ("scale", "scale 1")
        beta = number(row.tradeoff or math.nan)
        return f" with {word} = {number(row.sigma)}{where} if beta is 1; with {unit}, beta is {beta}{where}.{depends}"
    if row.family == "multivariate-gaussian" and row.sigma is not None:
        variance = f"{number(row.tradeoff or math.nan)}{where}"
        unmeasured = row.tradeoff_dim is None and not grows  # the matrix has a size of its own
        end = "" if unmeasured else depends
        return f" whose variances have a mean of {variance} if beta is 1; with a mean of 1, beta is {variance}.{end}"
    if row.family == "elastic-net" and row.sigma is not None:
        scale = number(row.parameters.get("scale", math.nan))
        text = f"; near a residual of 0 it is a Laplace with scale = {scale}{where}, far out a Gaussian with sigma = "
        text += f"{number(row.sigma)}{where}, if beta is 1."
    elif row.tradeoff and (name := steep(row.family)):
        strength, beta = number(1 / row.tradeoff), number(row.tradeoff)
        text = f" with {name} = {strength}{where} if beta is 1; with {name} = 1, beta is {beta}{where}."
        return text + (f" That beta {singular(grows)}." if grows else "")
    elif row.family is None and term.rec.recognised:
        ending = ": an exact ELBO." if row.verdict == "elbo" else "."
        text = f", normalised by the identity itself, with beta = {number(row.beta or math.nan)}{where}{ending}"
    elif row.sigma is None and row.beta is None:
        return f" and a KL of weight {number(row.kl_weight or math.nan)}{where}."
    elif row.sigma is None:
        text = f" with beta = {number(row.beta or math.nan)}{where}"
        exact = ": an exact ELBO." if row.verdict == "elbo" else f", whatever the batch, {sample} and the latents."
        return text + (f", which {singular(grows)}." if grows else exact)
    else:
        at_zero = "; near a residual of 0 it is a Gaussian with sigma" if row.family in BENT else " with scale"
        text = f"{at_zero} = {number(row.sigma)}{where} if beta is 1."
    return text + (f" That {singular(grows)}." if grows else "")


def place(row: Row, term: Term, measured: Measurements) -> str:
    """Return the sizes that the trade-off of a row moves with, as ``at`` writes them."""
    return at(measured.sizes, row.tradeoff_batch, row.tradeoff_dim, row.tradeoff_latent, term.scaling.length)


def title(row: Row, term: Term) -> str:
    """Return the family with its article and its own numbers."""
    if row.family is not None and row.family.startswith("the "):
        return row.family
    if row.family is None:
        return "a likelihood of no name" if term.rec.recognised else "an additive loss of no likelihood that recon knows"
    several = [PROPER.get(part, part.replace("-", " ")) for part in row.family.split(" + ")]
    named = [f"{'an' if name[0] in 'aeio' else 'a'} {name}" for name in several]
    if len(named) > 1:
        return f"a product of {' and '.join(named)}"
    own = "" if row.family == "elastic-net" else ", ".join(f"{key} {number(value)}" for key, value in row.parameters.items())
    if row.family in ("huber", "hyperbolic") and term.rec.match is not None and term.rec.spread is None:
        own = f"threshold {number(next(iter(row.parameters.values())))}"
        if row.kl_weight and (known := likelihood_of(term.rec.match, abs(term.rec.match.weight) / row.kl_weight)[0]) is not None:
            own += f", which is {row.family}:{','.join(f'{key}={number(value)}' for key, value in known.noise.items())},"
    whole = f"{named[0]}{f' of {own}' if own else ''}"
    if term.rec.quadratic is not None and term.rec.quadratic.whose:
        whole += f" whose covariance is the decoder's, made of {term.rec.quadratic.whose},"
    if words_of(row.link):
        match = term.rec.match
        link = match.candidate.link if match is not None and match.candidate is not None else "identity"
        never = " or ".join(bounds(row.link, link))
        whole += f" whose {LINKED.get(link, f'{link} is')} {words_of(row.link)}, r being {row.term},"
        whole += f" so that its mean is never {never}," if never else ""
    if term.rec.spread is not None and not (term.rec.spread.plain and row.family in NAMELESS):
        whole += f" {scaled(term.rec.spread, row.family)},"
    return f"{whole}, {row.link}," if row.link == SIMPLEX else whole


def weighted(given: GivenWeights, row: Row) -> str:
    """Return what is said of weights that are a function of an argument: given, or learned, where it may be either."""
    noise = {"gaussian": "a sigma of 1/sqrt(w)", "laplace": "a scale of 1/w"}.get(row.family or "", "a loss of w")
    text = f"Its elements have weights w, {given.words}: where {given.key} is given, one of weight w has {noise} times that of 1."
    if "log-scale-missing" in row.defects or not given.named:
        return text
    return f"{text} Where a network gives {given.key}, the log of the scale in w is missing (recon explain log-scale-missing)."


def scaled(spread: DecoderScale, family: str) -> str:
    """Return in words what a decoder's scale is of its argument."""
    normal = family in ("heteroscedastic-gaussian", "gaussian")
    words = {"std": "standard deviation", "log_std": "log standard deviation"} if normal else SCALE_WORDS
    spread = replace(spread, quantity="std", link="exp") if spread.plain and spread.quantity == "log_std" else spread
    what = f"whose {words.get(spread.quantity, spread.quantity.replace('_', ' '))} is"
    if spread.link is None:
        at = ", ".join(f"{number(sigma)} at {spread.key} = {s:.3g}" for s, sigma in spread.samples)
        return f"{what} a function of {spread.key} ({at})"
    made = spread.key if not spread.link else re.sub(r"(?<![a-z])r(?![a-z])", spread.key, words_of(spread.link) or spread.link)
    times = "" if spread.times == 1 else f"{number(spread.times)} * "
    more = f" {'+' if spread.more > 0 else '-'} {number(abs(spread.more))}" if spread.more else ""
    return f"{what} {times}{made}{more}{', clamped' if spread.clamped else ''}"


def growth(row: Row, size: str) -> str:
    """Return what the trade-off moves with, as a verb phrase in the plural; empty where with nothing."""
    words: dict[str, list[str]] = {}
    sizes = {
        size: row.tradeoff_dim,
        "the batch size": row.tradeoff_batch,
        "the number of latents": row.tradeoff_latent,
    }
    for what, exponent in sizes.items():
        if exponent and abs(exponent) > 1e-6:
            power = "" if abs(exponent) == 1 else f" to the power {number(abs(exponent))}"
            words.setdefault("grow" if exponent > 0 else "fall", []).append(f"{what}{power}")
    return " and ".join(f"{verb} with {' and '.join(what)}" for verb, what in words.items())


def singular(words: str) -> str:
    """Return a verb phrase of growth in the singular."""
    return re.sub(r"\b(grow|fall)\b", r"\1s", words)


def asides(measured: Measurements, rows: Sequence[Row]) -> list[str]:
    """Return what is worth knowing and no defect."""
    notes = []
    for term, row in zip(measured.terms, rows, strict=True):
        rec = term.rec
        named = rec.match is None or rec.match.link in ("", LINK, SIMPLEX) or words_of(rec.match.link)  # in the sentence already
        if rec.match and not named and "target-unused" not in row.defects:
            notes.append(
                f"The loss is of {rec.match.link} of {term.recon}."
                if rec.match.link not in (MADE, "log-probabilities")
                else f"{term.recon}: {rec.match.link}."
            )
        if rec.normal is not None and rec.normal.words:
            notes.append(rec.normal.words)
        if rec.within:
            notes.append(f"It is {title(row, term).rstrip(',')} for {rec.within}; beyond, it is another function.")
        if term.best:
            notes.append(
                f"Its gradient is the one of -log p at {term.best.words}"
                + (f", to within {term.best.off:.2g}" if term.best.off else "")
                + f". Where that noise is detached the value says nothing of {term.recon}: log it another way."
            )
        elif rec.match and rec.match.off > 1e-6:
            notes.append(
                f"It is {rec.match.family} to within {rec.match.off:.2g} of its gradient, as with an eps inside a logarithm."
            )
        if rec.additive and 0 < rec.counted < 1:
            notes.append(f"{1 - rec.counted:.0%} of the elements of {term.recon} have no gradient (a mask).")
        if term.scaling.axes:
            notes.append(f"The trade-off grows with the axes of a sample to different powers ({term.scaling.axes}).")
        if (form := rec.quadratic) is not None and form.definite and not form.whose:
            times, whose = (row.kl_weight, "at beta = 1") if row.kl_weight else (1.0, "at this weight")
            low, high = (number(times * variance) for variance in form.variances)
            apart = f"{form.size:,} variances from {low} to {high} and correlations up to {number(form.correlation)}"
            notes.append(f"Its covariance, {whose}, has {apart}.")
        if term.own is not None:
            word = {"gaussian": "sigma", "multivariate-gaussian": "root of the mean variance"}.get(row.family or "", "scale")
            lacks = "log 2 = 0.693147" if word == "scale" else "log(2 pi)/2 = 0.918939"
            full = "It is normalised" + ("" if term.own[2] else f" but for {lacks} for each element, which moves no gradient")
            notes.append(f"{full}; its own {word} is {number(term.own[0])}.")
        for scale in [each for each in term.learned if not math.isnan(each.rest)]:
            how = f"{scale.name} = {number(scale.rest)} for residuals of {number(scale.residual)}"
            how = f"exp({scale.name}) is the {scale.size}" if scale.size else how
            notes.append(f"{scale.name} is a scale that the loss trains, if an optimiser has it; it comes to rest where {how}.")
        if row.link == SIMPLEX:
            notes.append(
                f"-x log {term.recon} of every element on its own has no integral of 1: it is a categorical's where {term.recon} "
                "adds up to 1 over the classes before it comes here, which was not looked into."
            )
        if row.family == "bernoulli" and measured.data is None:
            notes.append("A Bernoulli's data are 0 or 1; --data checks yours.")
        if row.tradeoff_batch and row.tradeoff and row.tradeoff_batch == 1 and row.sigma is None:
            notes.append(
                f"beta is 1 in a batch of {number(measured.sizes.batch / row.tradeoff)}; measured at {measured.sizes.batch}."
            )
    return notes


def conversions(measured: Measurements, rows: Sequence[Row]) -> tuple[tuple[str, str], ...]:
    """Return what to write for today's trade-off with sums, and for the noise that the data choose: whole objectives."""
    row, term = rows[0], measured.terms[0]
    if row.tradeoff is None or len(rows) > 1 or term.astray is not None or measured.unexplained or term.uneven or term.rec.given:
        return ()
    tilted = term.rec.match is not None and term.rec.match.off > 1e-9  # an eps inside a logarithm, whose digits are no weight
    beta = f"{row.tradeoff:.6g}" if tilted else f"{row.tradeoff:.10g}"
    weighed, today = "" if beta == "1" else f"{beta} * ", f"today's trade-off{place(row, term, measured) or ', with sums'}"
    latent = measured.latent
    known = latent is not None and latent.meaning in PRIOR and is_name(measured.mu) and is_name(measured.scale)
    passed = next((key for key, role, _ in measured.roles if role == "kl"), "kl")
    pull = kl(measured) if known or measured.divergence or (latent and latent.line) else f"{passed}.sum()"
    has_prior = any(role == "prior" for _, role, _ in measured.roles)
    if (
        latent is not None
        and not (measured.divergence or latent.to.startswith("uniform"))
        and (has_prior or not latent.standard or latent.forms or latent.to)
    ):
        pull, today = f"{passed}.sum()", f"{today}, {passed} your own"
    masks = [key for key, role, _ in measured.roles if role == "mask"]
    recon, target = ends(term) if is_name(term.recon) and is_name(term.target or "x") else ("x_hat", "x")
    error = f"({recon} - {target})"
    square, size = (f"({masks[0]} * {error}.{power}())" if masks else f"{error}.{power}()" for power in ("square", "abs"))
    unit = "a negative ELBO with sigma = 1", f"0.5 * {square}.sum() + {pull}"
    if row.family == "gaussian" and row.beta is not None and row.beta < 0:
        return (unit,)
    if row.beta is not None and row.beta < 0:
        return ()
    if row.family in ("gaussian", "laplace") and not term.rec.spread:
        normal = row.family == "gaussian"
        mean, power, name, twice = ("mse", "square", "sigma", "(2 * mse)") if normal else ("mae", "abs", "scale", "mae")
        best = f"{mean} = {error}.{power}().mean().detach(); {error}.{power}().sum() / {twice} + {pull}"
        chosen = [] if masks else [(f"the {name} that the data choose", best)]
        line = f"{f'0.5 * {square}' if normal else size}.sum() + {weighed}{pull}"
        return ((today, line), *chosen, *([unit] if normal else []))
    if row.family is None or row.sigma is not None or masks:
        return ()
    nll = summed(term)
    if not nll:
        return ()
    return ((today, f"{nll} + {weighed}{pull}"), ("a negative ELBO", f"{nll} + {pull}"))
