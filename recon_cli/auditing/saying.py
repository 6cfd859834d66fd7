"""In words: one sentence, the objective as a formula with every mean written out, fixes, conversions, expectations."""

from __future__ import annotations

import math
import re
from typing import Any

from recon_cli.auditing import GRAVEST, PASSING, Audit
from recon_cli.auditing.calling import Problem
from recon_cli.auditing.judging import BROKEN, CODES, SPOILING, Row, Scaling, mismatch
from recon_cli.auditing.latents import PRIOR, Latent
from recon_cli.auditing.matching import latent_keys
from recon_cli.auditing.measuring import Reconstruction, benign
from recon_cli.errors import ReconError, unknown
from recon_cli.parametric import as_number
from recon_cli.report import Column, Report, Table

OBJECTIVE = (
    Column("family", "likelihood", "*"),
    Column("tradeoff", "sigma² at β = 1, or β at sigma = 1"),
    Column("tradeoff_batch", "grows with B to the power"),
    Column("tradeoff_dim", "grows with D to the power"),
    Column("tradeoff_latent", "grows with K to the power"),
    Column("sigma", "noise (β = 1)"),
    Column("beta", "β"),
    Column("latent_scale", "the latents' scale is"),
    Column("direction", "direction"),
    Column("verdict", "verdict"),
    Column("defects", "defects", None),
    Column("term", "term", None),
)
ROLES = (Column("argument", "argument", "*"), Column("role", "is"), Column("found", "how that was found"))
DEFECTS = (Column("code", "defect", "*"), Column("evidence", "evidence"), Column("fix", "fix"))
CONVERSIONS = (Column("keep", "to have", "*"), Column("write", "write"))
WORDED = ("family", "verdict", "direction", "latent_scale", "defects", "term")  # columns of words
FAMILIES = ("elastic-net", "the decoder's own")  # beside those of the registry
SUMS = {
    "gaussian": "Σ(x̂−x)²",
    "laplace": "Σ|x̂−x|",
    "bernoulli": "CE",
    "categorical": "NLL",
    "heteroscedastic-gaussian": "NLL",
    "poisson": "Σ(x̂−x log x̂)",
    "hyperbolic-secant": "Σ log cosh((x̂−x)/s)",
    "huber": "Σ huber(x̂−x)",
    "elastic-net": "Σ((x̂−x)² + r|x̂−x|)",
}
BENT = ("huber", "student-t", "hyperbolic-secant", "logistic", "elastic-net", "von-mises")  # a square near 0
Terms = list[tuple[Any, Reconstruction, Scaling]]


def fraction(value: float) -> str:
    """A weight; one over a whole number as that."""
    inverse = 1 / value if value else 0.0
    small = 1 < abs(inverse) < 1e9 and abs(inverse - round(inverse)) < 1e-7 * abs(inverse) and len(f"{value:.6g}") > 5
    return f"1/{round(inverse)}" if small else number(value)


def number(value: float) -> str:
    """Six digits; a whole number whole."""
    if not math.isfinite(value):
        return str(value)
    return f"{round(value):,}" if abs(value - round(value)) < 1e-9 * max(1, abs(value)) and abs(value) < 1e15 else f"{value:.6g}"


def coefficient(value: float, powers: dict[str, float | None], sizes: dict[str, int]) -> str:
    """A weight as a number times powers of the sizes: ``1/(B·D)``."""
    over, above = [], []
    for name, exponent in powers.items():
        if exponent:
            value /= sizes[name] ** exponent
            written = name if abs(exponent) == 1 else f"{name}^{number(abs(exponent))}"
            (over if exponent < 0 else above).append(written)
    head = "·".join(above)
    one = abs(value - 1) < 1e-9
    top = head or "1" * bool(over) if one else "·".join(filter(None, (fraction(value) if not over else number(value), head)))
    below = "·".join(over)
    return (f"({top}/({below}))·" if len(over) > 1 else f"({top}/{below})·") if over else (f"{top}·" if top else "")


def formula(problem: Problem, terms: Terms, latent: Latent | None) -> str:
    """The objective: every mean spelled out in B, D (of a table T) and K."""
    sizes = {"B": problem.sizes.batch, "D": problem.sizes.D, "K": problem.sizes.K, "T": 1}
    parts = []
    for slot, rec, scale in terms:
        sizes["T"] = scale.length or 1
        weight = abs(rec.match.weight) if rec.match else 1.0
        powers = {"B": scale.batch[1], ("T" if scale.length else "D"): scale.dim[1], "K": scale.latent[1]}
        family = rec.match.family if rec.match else ""
        what = SUMS.get(family, f"Σ {family} loss") if rec.match else "R(x̂, x)"
        if not rec.match:
            powers = {}
        parts.append(f"{coefficient(weight, powers, sizes)}{what}{f' of {slot.key}' if len(terms) > 1 else ''}")
    if latent is not None and latent.weight:
        (slot, rec, scale) = terms[0]
        powers = {"B": scale.batch[2], ("T" if scale.length else "D"): scale.dim[2], "K": scale.latent[2]}
        sign = "−" if latent.weight < 0 else ""
        parts.append(f"{sign}{coefficient(abs(latent.weight), powers, sizes)}KL")
    elif latent is not None:
        parts.append("(a term in the latents that is no KL)")
    return f"L = {' + '.join(parts)}".replace("+ −", "− ")


def sentence(found: Audit, problem: Problem, terms: Terms, latent: Latent | None) -> str:
    """The first thing to read."""
    if len(found.rows) > 1:
        named = "; ".join(f"{row.term}: {one(found, row, problem, latent)}" for row in found.rows)
        return f"This has {len(found.rows)} reconstruction terms. {named}"
    said = one(found, found.rows[0], problem, latent)
    _, rec, scale = terms[0]
    if latent is None and found.rows[0].family == "gaussian" and rec.match and rec.match.weight:
        averaged = scale.batch[1] == -1
        sigma2 = (1 / problem.sizes.batch if averaged else 1) / (2 * abs(rec.match.weight))
        how = "summed over latents and averaged over the batch" if averaged else "that is a sum too"
        said += f" Beside a KL {how} it would be sigma = {number(math.sqrt(sigma2))}, at {problem.sizes.D:,} elements a sample."
    return said


def one(found: Audit, row: Row, problem: Problem, latent: Latent | None) -> str:
    """Of one term."""
    name = title(row)
    for finding in found.findings:
        if finding.code == "target-unused" and finding.code in row.defects:
            return f"This compares {row.term} with no target: {finding.evidence}."
    if row.verdict == "not-factorised":
        return "This is no factorised likelihood: what one element costs depends on the others, so there is no noise to read off."
    if latent is None and (
        still := [key for key, _, claimed in mismatch(problem) if key in latent_keys(problem) and claimed == 0]
    ):
        return (
            f"This is {name}, and what it adds of {' and '.join(still)} has no gradient, so no KL is trained: alone, the "
            "reconstruction's weight is a learning rate, not a noise."
        )
    if latent is None:
        return f"This is {name}, and there is no KL here: alone, its weight is a learning rate, not a noise."
    if row.verdict == "unrecognised":
        return f"This is {name}: whether it is one at all was not proved, so no noise and no beta are read off it."
    if row.kl_weight is None:
        return f"This is {name} beside a term in the latents that is no KL: {latent.wrong}."
    grows = growth(row)
    if row.family == "gaussian":
        said = (
            f"This is {name} with sigma = {number(row.sigma or math.nan)} if beta is 1; with sigma = 1, beta "
            f"is {number(row.tradeoff or math.nan)}."
        )
        said += f" {'Both' if grows else 'Neither'} {grows or 'depends on the batch, the image or the latents'}."
    elif row.family == "laplace" and row.sigma is not None:
        said = (
            f"This is {name} with scale = {number(row.sigma)} if beta is 1; with scale 1, beta is "
            f"{number(row.tradeoff or math.nan)}."
        )
        said += f" {'Both' if grows else 'Neither'} {grows or 'depends on the batch, the image or the latents'}."
    elif row.sigma is None and row.beta is None:
        said = f"This is {name} and a KL of weight {number(row.kl_weight)}."
    elif row.sigma is None:
        said = f"This is {name} with beta = {number(row.beta or math.nan)}"
        said += (
            f", which {singular(grows)}."
            if grows
            else ", whatever the batch, the image and the latents."
            if row.verdict != "elbo"
            else ": an exact ELBO."
        )
    else:
        at_zero = "; near a residual of 0 it is a Gaussian with sigma" if row.family in BENT else " with scale"
        said = f"This is {name}{at_zero} = {number(row.sigma)} if beta is 1."
        said += f" That {singular(grows)}." if grows else ""
    return f"{said} But {latent.wrong}." if latent.wrong else said


def title(row: Row) -> str:
    """The family with its article and its own numbers."""
    if row.family is not None and row.family.startswith("the "):
        return row.family
    if row.family is None:
        return "an additive loss of no likelihood that recon knows"
    proper = {"gaussian": "Gaussian", "laplace": "Laplace", "bernoulli": "Bernoulli", "poisson": "Poisson"}
    name = proper.get(row.family, row.family.replace("-", " "))
    own = ", ".join(f"{key} {number(value)}" for key, value in row.parameters.items())
    return f"{'an' if name[0] in 'aeio' else 'a'} {name}{f' of {own}' if own else ''}"


def growth(row: Row) -> str:
    """What the trade-off moves with, as a verb phrase in the plural; empty where with nothing."""
    words: dict[str, list[str]] = {}
    sizes = {
        "the image size": row.tradeoff_dim,
        "the batch size": row.tradeoff_batch,
        "the number of latents": row.tradeoff_latent,
    }
    for what, exponent in sizes.items():
        if exponent and abs(exponent) > 1e-6:
            power = "" if abs(exponent) == 1 else f" to the power {number(abs(exponent))}"
            words.setdefault("grow" if exponent > 0 else "fall", []).append(f"{what}{power}")
    return " and ".join(f"{verb} with {' and '.join(what)}" for verb, what in words.items())


def singular(words: str) -> str:
    """A verb phrase of growth in the singular."""
    return re.sub(r"\b(grow|fall)\b", r"\1s", words)


def asides(found: Audit, problem: Problem, terms: Terms) -> list[str]:
    """What is worth knowing and no defect."""
    said = []
    for (slot, rec, scale), row in zip(terms, found.rows, strict=True):
        if rec.match and rec.match.link:
            said.append(
                f"The loss is of {rec.match.link} of {slot.key}."
                if rec.match.link not in ("target made over", "log-probabilities")
                else f"{slot.key}: {rec.match.link}."
            )
        if rec.match and rec.match.off > 1e-6:
            said.append(
                f"It is {rec.match.family} to within {rec.match.off:.2g} of its gradient, as with an eps inside a logarithm."
            )
        if rec.additive and 0 < rec.counted < 1:
            said.append(f"{1 - rec.counted:.0%} of the elements of {slot.key} have no gradient (a mask).")
        elif rec.additive and abs(rec.weights[0] / rec.weights[1] - 1) > 1e-6:
            said.append(
                f"The elements weigh differently, from {number(rec.weights[0])} to {number(rec.weights[1])} times the middle one."
            )
        if scale.axes:
            said.append(f"The trade-off grows with the axes of a sample to different powers ({scale.axes}).")
        if row.own_scale is not None:
            said.append(f"It is normalised, with a noise of its own of {number(row.own_scale)}.")
        said += learned(problem, row)
        if row.family == "bernoulli":
            said.append("A Bernoulli's data are 0 or 1; --data checks yours.")
        if row.tradeoff_batch and row.tradeoff and row.tradeoff_batch == 1 and row.sigma is None:
            said.append(
                f"beta is 1 in a batch of {number(problem.sizes.batch / row.tradeoff)}; measured at {problem.sizes.batch}."
            )
    return said


def learned(problem: Problem, row: Row) -> list[str]:
    """Of a scale that the loss itself trains: its gradient, and where it comes to rest with the residuals as they are."""
    import torch

    owner = problem.reached.owner
    scales = {name: p for name, p in owner.named_parameters() if p.numel() == 1} if isinstance(owner, torch.nn.Module) else {}
    said = []
    for name, parameter in scales.items() if row.own_scale is not None else ():
        values = benign(problem)
        here = parameter.item()

        def pull(at: float, name: str = name, values: Any = values) -> float:
            up, down = (
                problem.at(follow={**problem.follow, name: torch.nn.Parameter(torch.tensor(at + h))})(values).item()
                for h in (1e-5, -1e-5)
            )
            return (up - down) / 2e-5

        low, high = here - 20.0, here + 20.0
        if not pull(low) < 0 < pull(high):
            continue
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if pull(middle) < 0 else (low, middle)
        recon, target = problem.plan.role("recon")[0], problem.plan.role("target")[0]
        e = (values[recon.key].flatten() - values[target.key].flatten()).abs()
        sizes = {"mean absolute error": e.mean().item(), "root mean squared error": e.square().mean().sqrt().item()}
        what = next((word for word, size in sizes.items() if abs(math.exp(high) / size - 1) < 1e-4), "")
        rest = f"exp({name}) is the {what}" if what else f"{name} = {number(high)} for residuals of {number(e.mean().item())}"
        said.append(f"{name} is a scale that the loss trains, if an optimiser has it; it comes to rest where {rest}.")
    return said


def conversions(found: Audit) -> tuple[tuple[str, str], ...]:
    """What to write for today's trade-off with sums, and for the noise that the data choose."""
    row = found.rows[0]
    if row.tradeoff is None or len(found.rows) > 1:
        return ()
    beta = f"{row.tradeoff:.10g}"
    if row.family == "gaussian":
        return (
            ("today's trade-off, with sums", f"0.5 * (x_hat - x).square().sum() + {beta} * kl.sum()"),
            (
                "the sigma that the data choose",
                "mse = (x_hat - x).square().mean().detach(); (x_hat - x).square().sum() / (2 * mse) + kl.sum()",
            ),
            ("an ELBO with sigma = 1", "0.5 * (x_hat - x).square().sum() + kl.sum()"),
        )
    if row.family == "laplace":
        return (
            ("today's trade-off, with sums", f"(x_hat - x).abs().sum() + {beta} * kl.sum()"),
            (
                "the scale that the data choose",
                "mae = (x_hat - x).abs().mean().detach(); (x_hat - x).abs().sum() / mae + kl.sum()",
            ),
        )
    if row.family is None or row.sigma is not None:
        return ()
    return (("today's trade-off, with sums", f"nll.sum() + {beta} * kl.sum()"), ("an ELBO", "nll.sum() + kl.sum()"))


def reasons(found: Audit) -> set[str]:
    """The codes for which it fails."""
    codes = {code for row in found.rows if row.verdict not in PASSING for code in row.defects}
    moving = {"recon-mean", "kl-mean-latents", "kl-sum-batch", "batch-dependent"}
    failing = codes & (BROKEN | SPOILING | moving | {"not-additive"} | {f.code for f in found.findings if f.broken})
    unknown = {row.verdict for row in found.rows if row.verdict == "unrecognised"}
    return failing | unknown or {row.verdict for row in found.rows if row.verdict not in PASSING}


def unmet(found: Audit, wanted: str) -> list[str]:
    """Expectations that the measurement does not meet. ``beta`` and ``sigma`` together are one: tradeoff = beta sigma^2."""
    pairs: dict[str, str] = {}
    for part in filter(None, (piece.strip() for piece in wanted.split(","))):
        key, sign, value = (piece.strip() for piece in part.partition("="))
        if not sign or not value:
            raise ReconError(f"--expect {part!r} expects nothing.", 'Write --expect "beta=1, sigma=0.2".')
        if key in pairs:
            raise ReconError(f"--expect gives {key} twice.", "Give it once.")
        pairs[key] = checked(key, value)
    if not pairs:
        raise ReconError("--expect is empty: it expects nothing.", 'Write --expect "beta=1, sigma=0.2".')
    said = []
    for row in found.rows:
        have: dict[str, Any] = {column.key: getattr(row, column.key) for column in OBJECTIVE}
        wish: dict[str, Any] = dict(pairs)
        if "scale" in wish:
            wish["sigma"] = wish.pop("scale")
        if "sigma" in wish and "beta" in wish and row.sigma is not None:
            sigma, beta = as_number("sigma", wish.pop("sigma")), as_number("beta", wish.pop("beta"))
            level = beta * (sigma if row.family == "laplace" else sigma**2)
            if not math.isclose(row.tradeoff or math.nan, level, rel_tol=1e-6):
                said.append(
                    f"expected a trade-off of {number(level)} (beta = {number(beta)}, sigma = "
                    f"{number(sigma)}), found {shown(row.tradeoff)}"
                )
        for key, value in wish.items():
            if value in ("none", "null"):
                good = have[key] is None
            elif key == "defects":
                good = {*have[key]} == {*value.split()}
            elif key in WORDED:
                good = str(have[key]) == value
            else:
                good = have[key] is not None and math.isclose(have[key], as_number(key, value), rel_tol=1e-6, abs_tol=1e-12)
            if not good:
                said.append(f"expected {key} = {value}, found {shown(have[key])}")
    return said


def checked(key: str, value: str) -> str:
    """An expected value, as it can be of that column; ReconError where it never is."""
    from recon_cli import likelihoods

    columns = [column.key for column in OBJECTIVE] + ["scale"]
    if key not in columns:
        raise unknown("column to expect", key, columns)
    if value in ("none", "null"):
        return value
    if key == "family":
        return likelihoods.find(value).name if value not in FAMILIES and "+" not in value else value
    allowed = {"verdict": GRAVEST, "direction": ("loss", "log_likelihood"), "latent_scale": tuple(PRIOR), "defects": CODES}
    for word in value.split() if key in allowed else ():
        if word not in allowed[key]:
            raise unknown(key.rstrip("s").replace("_", " "), word, allowed[key])
    if key not in WORDED:
        as_number(f"--expect {key}", value)
    return value


def shown(value: Any) -> str:
    """A value in words."""
    return "none" if value is None else number(value) if isinstance(value, float) else str(value)


def report(found: Audit) -> Report:
    """Tables, notes and the verdict."""
    rows = [{column.key: getattr(row, column.key) for column in OBJECTIVE} for row in found.rows]
    for row in rows:
        row["defects"] = list(row["defects"])
    tables = [Table("objective", OBJECTIVE, rows)]
    tables.append(Table("roles", ROLES, [dict(zip(("argument", "role", "found"), each, strict=True)) for each in found.roles]))
    if found.findings:
        said = [
            {"code": f.code, "evidence": f.evidence, "fix": f.fix, "likelihood": "defects", "step": i,
             "statement": f"{f.code}: {f.evidence}.", "because": f.fix, "checked": None}
            for i, f in enumerate(found.findings, 1)
        ]  # fmt: skip
        tables.append(Table("defects", DEFECTS, said, layout="steps"))
    if found.conversions:
        tables.append(
            Table("conversions", CONVERSIONS, [dict(zip(("keep", "write"), each, strict=True)) for each in found.conversions])
        )
    codes = f": {', '.join(found.defects)}" if found.defects else ""
    accepted = f" ({', '.join(found.accepted)} accepted)" if found.accepted else ""
    verdict = f"{found.verdict}{codes}{accepted}"
    if found.unmet:
        verdict += f"; {'; '.join(found.unmet)}"
    return Report("audit", tables, found.notes, verdict, found.holds, lead=[found.sentence, found.formula])
