"""What an audit found: its rows, its findings, whether it passes, and the report of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from recon_cli import likelihoods
from recon_cli.auditing import defects
from recon_cli.auditing.defects._subject import Finding
from recon_cli.auditing.excerpts import excerpts
from recon_cli.auditing.formulas import at_sizes, diagram, formula, number
from recon_cli.auditing.judgement import GRAVEST, Row, judge
from recon_cli.auditing.latents import PRIOR
from recon_cli.auditing.measurements import Measurements
from recon_cli.auditing.sentences import BENT, asides, conversions, sentence
from recon_cli.auditing.survival import remarks
from recon_cli.errors import ReconError, unknown
from recon_cli.formats._presentable import Presentable
from recon_cli.identity.parametric import as_number
from recon_cli.report import Column, Diagram, Report, Table, columns_of

PASSING = ("elbo", "beta-elbo", "reconstruction-only", "kl-only")
OBJECTIVE = columns_of(Row)
ROLES = (Column("argument", "argument", "*"), Column("role", "is"), Column("found", "how that was found"))
DEFECTS = (
    Column("code", "defect", "*"),
    Column("evidence", "evidence"),
    Column("fix", "fix"),
    Column("site", "at"),
    Column("level", "level", None),
)
CONVERSIONS = (Column("keep", "to have", "*"), Column("write", "write"))
WORDS = ("formula", "sentence", "sizes")  # of an audit, a line each
WORDED = ("family", "verdict", "direction", "latent_scale", "defects", "site", "term")  # columns of words
FAMILIES = ("elastic-net", "the decoder's own")  # beside those of the registry


@dataclass(frozen=True)
class Audit(Presentable):
    """What a loss is: a row for each reconstruction term, the defects, and the words for them.

    The words are made from the measurements, which are plain data: nothing is called for them.

    rows
        as in the JSON contract (``objective``).
    findings
        each defect with its evidence and its fix.
    roles
        which argument was what, and how that was found.
    sizes
        in words, at which B, D and K that was measured.
    accepted
        codes that are no reason to fail.
    diagrams
        the loss as a drawing.
    """

    name: str
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]
    roles: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]
    formula: str
    sentence: str
    sizes: str = ""
    conversions: tuple[tuple[str, str], ...] = ()
    accepted: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()
    diagrams: tuple[Diagram, ...] = ()

    @classmethod
    def unrecognised(cls, name: str, site: str, sentence: str, hint: str | None) -> Audit:
        """Return the audit of a loss of which it is not known what its tensors are."""
        row = Row(verdict="unrecognised", site=site)
        return cls(name, (row,), (), (), (hint,) if hint else (), "", sentence)

    @property
    def verdict(self) -> str:
        """The gravest of the rows'."""
        return min((row.verdict for row in self.rows), key=GRAVEST.index)

    @property
    def defects(self) -> tuple[str, ...]:
        """The codes of what was found."""
        return tuple(dict.fromkeys(finding.code for finding in self.findings))

    @property
    def has_notes_alone(self) -> bool:
        """Whether nothing was found that speaks against the loss."""
        return all(defects.gravity(code) == "noted" for code in self.defects)

    @property
    def words(self) -> str:
        """The verdict and the codes of what was found, in a line."""
        codes = ", ".join(self.defects)
        return self.verdict + (codes and (f" ({codes} noted)" if self.has_notes_alone else f": {codes}"))

    @property
    def holds(self) -> bool:
        """Whether it passes: an ELBO, a beta-ELBO or no KL, or every reason to fail accepted; and every expectation met."""
        return not self.unmet and (self.verdict in PASSING or (bool(self.accepted) and reasons(self) <= set(self.accepted)))

    def accepting(self, *codes: str) -> Audit:
        """Return the same with these codes no reason to fail. Raises ReconError for a code that is none."""
        for code in codes:
            if code not in defects.codes():
                raise unknown("code", code, defects.codes())
        return replace(self, accepted=(*self.accepted, *codes))

    def expecting(self, wanted: str | None) -> Audit:
        """Return the same, failing unless it measured what is ``wanted``, if anything is: ``beta=1, sigma=0.2``, to 1e-6."""
        return self if wanted is None else replace(self, unmet=(*self.unmet, *unmet(self, wanted)))

    def assert_elbo(self, *accept: str, expect: str | None = None) -> None:
        """Raise an AssertionError, for tests, with the sentence and the defects, unless the loss passes."""
        audit = self.accepting(*accept).expecting(expect or None)
        if not audit.holds or (audit.verdict == "beta-elbo" and "beta-elbo" not in accept and not expect):
            lines = [f"{audit.name} is {audit.verdict}: {audit.sentence}"]
            lines += [f"  {finding.code}: {finding.evidence}. {finding.fix}" for finding in audit.findings]
            raise AssertionError("\n".join([*lines, *audit.unmet]))

    def report(self) -> Report:
        """Return the report that ``recon audit`` prints."""
        return report(self)


def audit_of(measured: Measurements) -> Audit:
    """Return what measurements amount to, judged and put in words."""
    rows, findings = judge(measured)
    latent = measured.latent
    notes = [*measured.notes, *(latent.notes if latent else ()), *([latent.forms.words] if latent and latent.forms else [])]
    notes += asides(measured, rows)
    notes += remarks(measured.data, rows, measured.sizes.K) if measured.data is not None else []
    return Audit(
        measured.name, rows, findings, measured.roles, tuple(notes), formula(measured),
        sentence(measured, rows), at_sizes(measured), conversions(measured, rows),
        diagrams=(diagram(measured, amounts_to(rows[0])),),
    )  # fmt: skip


def joined(audits: Sequence[Audit]) -> Audit:
    """Return several losses of one step as one audit: all their rows and defects, each sentence with its line."""
    if len(audits) == 1:
        return audits[0]
    at = [(f"{audit.rows[0].site}: ", audit) for audit in audits]
    formula, sentence, sizes = ("\n".join(place + part for place, each in at if (part := getattr(each, name))) for name in WORDS)
    return Audit(
        f"{len(audits)} losses",
        tuple(row for audit in audits for row in audit.rows),
        tuple(finding for audit in audits for finding in audit.findings),
        tuple((place + argument, role, how) for place, audit in at for argument, role, how in audit.roles),
        tuple(place + note for place, audit in at for note in audit.notes),
        formula,
        sentence,
        sizes,
        diagrams=tuple(replace(each, title=place + each.title) for place, audit in at for each in audit.diagrams),
    )


def amounts_to(row: Row) -> list[str]:
    """Return in a few short lines what a loss is, by a row of it."""
    family = row.family or "unrecognised"
    if row.sigma is None:
        return [family, *([f"beta = {number(row.beta)}"] if row.beta is not None else [])]
    name = "scale" if family == "laplace" else "sigma"
    lines = [family, f"{name} = {number(row.sigma)} if beta is 1"]
    return [*lines, f"beta = {number(row.tradeoff)} if {name} is 1"] if row.tradeoff is not None else lines


def reasons(audit: Audit) -> set[str]:
    """Return the codes for which it fails."""
    codes = {code for row in audit.rows if row.verdict not in PASSING for code in row.defects}
    failing = {code for code in codes if defects.gravity(code) != "noted"}
    unknown = {row.verdict for row in audit.rows if row.verdict == "unrecognised"}
    return failing | unknown or {row.verdict for row in audit.rows if row.verdict not in PASSING}


def unmet(audit: Audit, wanted: str) -> list[str]:
    """Return the expectations that the measurement does not meet. ``beta`` with ``sigma`` is one: tradeoff = beta sigma^2."""
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
    sentences = []
    for row in audit.rows:
        have: dict[str, Any] = {column.key: getattr(row, column.key) for column in OBJECTIVE}
        wish: dict[str, Any] = dict(pairs)
        if "scale" in wish:
            wish["sigma"] = wish.pop("scale")
        if "sigma" in wish and "beta" in wish and row.sigma is not None:
            sigma, beta = as_number("sigma", wish.pop("sigma")), as_number("beta", wish.pop("beta"))
            level = beta * (sigma if row.family == "laplace" else sigma**2)
            if not math.isclose(row.tradeoff or math.nan, level, rel_tol=1e-6):
                sentences.append(
                    f"expected a trade-off of {number(level)} (beta = {number(beta)}, sigma = "
                    f"{number(sigma)}), found {in_words(row.tradeoff)}"
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
                sentences.append(f"expected {key} = {value}, found {in_words(have[key])}")
    return sentences


def heading(audit: Audit) -> str:
    """Return what a trade-off is of these families: sigma^2 is a Gaussian's, a scale a Laplace's; others have neither."""
    named = {row.family: row for row in audit.rows}
    if set(named) == {"laplace"}:
        return "scale at β = 1, or β at scale 1"
    if set(named) <= {"gaussian", *BENT} or all(row.tradeoff is None for row in audit.rows):
        return "sigma² at β = 1, or β at sigma = 1"
    return "β" if all(row.sigma is None for row in audit.rows) else "trade-off"


def report(audit: Audit) -> Report:
    """Return tables, notes and the verdict."""
    rows = [{column.key: getattr(row, column.key) for column in OBJECTIVE} for row in audit.rows]
    for row in rows:
        row["defects"] = list(row["defects"])
    columns = tuple(replace(column, title=heading(audit)) if column.key == "tradeoff" else column for column in OBJECTIVE)
    objective = Table("objective", columns, rows)
    roles = Table("roles", ROLES, [dict(zip(("argument", "role", "found"), each, strict=True)) for each in audit.roles])
    tables = [objective.details() if len(rows) == 1 else objective, roles]  # the sentence has its numbers
    if audit.findings:
        headline = "notes" if audit.has_notes_alone else "defects"
        rows_of_defects = [
            {
                "code": f.code, "evidence": f.evidence, "fix": f.fix, "site": f.site or None, "level": level(audit, f.code),
                "likelihood": headline, "step": i, "because": f.fix, "checked": None,
                "statement": f"{f.code}{f' ({f.site})' if f.site else ''}: {f.evidence}.",
            }
            for i, f in enumerate(audit.findings, 1)
        ]  # fmt: skip
        tables.append(Table("defects", DEFECTS, rows_of_defects, layout="steps", answer=True))
    if audit.conversions:
        lines = [{"keep": keep, "write": write} for keep, write in audit.conversions]
        tables.append(Table("conversions", CONVERSIONS, lines, layout="lines", answer=True))
    accepted = f" ({', '.join(audit.accepted)} accepted)" if audit.accepted else ""
    verdict = "; ".join([f"{audit.words}{accepted}", *audit.unmet])
    remarks = [(finding.site, finding.code, f"{finding.evidence}.") for finding in audit.findings]
    remarks = remarks or [(row.site or "", "the loss", "") for row in audit.rows]
    return Report(
        "audit",
        tables,
        audit.notes,
        verdict,
        audit.holds,
        lead=[line for part in (audit.sentence, audit.formula, audit.sizes) for line in part.splitlines()],
        exhibits=[*audit.diagrams, *excerpts(remarks)],
    )


def level(audit: Audit, code: str) -> str:
    """Return how a defect counts for a program that reads it: an error fails, a note does not."""
    return "note" if code in audit.accepted or defects.gravity(code) == "noted" else "error"


def checked(key: str, value: str) -> str:
    """Return an expected value, as it can be of that column; ReconError where it never is."""
    columns = [column.key for column in OBJECTIVE] + ["scale"]
    if key not in columns:
        raise unknown("column to expect", key, columns)
    if value in ("none", "null"):
        return value
    if key == "family":
        return likelihoods.find(value).name if value not in FAMILIES and "+" not in value else value
    allowed = {
        "verdict": GRAVEST,
        "direction": ("loss", "log_likelihood"),
        "latent_scale": tuple(PRIOR),
        "defects": defects.codes(),
    }
    for word in value.split() if key in allowed else ():
        if word not in allowed[key]:
            raise unknown(key.rstrip("s").replace("_", " "), word, allowed[key])
    if key not in WORDED:
        as_number(f"--expect {key}", value)
    return value


def in_words(value: Any) -> str:
    """Return a value in words."""
    return "none" if value is None else number(value) if isinstance(value, float) else str(value)
