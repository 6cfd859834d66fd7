"""Is a published number possible? A Gaussian nll has a floor, and what is above it is squared error and KL."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recon_cli.errors import ReconError, nearest
from recon_cli.identity.parametric import as_number
from recon_cli.report import Column, Report, Table
from recon_cli.runtime.files import read_file

COLUMNS = (
    Column("name", "reported", "*"),
    Column("nll", "nll", None),
    Column("variance", "sigma²"),
    Column("sigma", "sigma", None),
    Column("constant", "constant"),
    Column("units", "density of"),
    Column("feasible", "possible"),
    Column("floor", "floor"),
    Column("left", "left"),
    Column("squared_error", "error² ≤"),
)
FIELDS = {"name": "", "nll": "reported", "dim": "d", "sigma": "", "beta": "", "rounding": ""}
CONSTANTS = {"kept": lambda var: (math.log(2 * math.pi) + math.log(var)) / 2, "no log 2 pi": lambda var: math.log(var) / 2}
EXAMPLES = {"nll": "-1200.5", "dim": "784"}
UNITS = {"x": 1, "255 x": 255, "256 x": 256}


@dataclass(frozen=True)
class Claim:
    """A number that somebody reports as a Gaussian nll (or negative ELBO) of one sample, in nats.

    dim
        elements of a sample.
    sigma, beta
        the standard deviation, or the weight on the KL that stands for it; sigma 1 where neither is given.
    rounding
        how far the number may be off.
    """

    nll: float
    dim: int
    sigma: float | None = None
    beta: float | None = None
    rounding: float = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        rules = {"--dim": (self.dim, self.dim >= 1 and self.dim == int(self.dim), "a whole number from 1 up", "784")}
        rules["--rounding"] = (self.rounding, 0 <= self.rounding < math.inf, "a number from 0 up", "0.5")
        for option, value in (("--sigma", self.sigma), ("--beta", self.beta)):
            if value is not None:
                rules[option] = (value, 0 < value < math.inf, "a positive number", "0.1")
        for option, (value, allowed, rule, example) in rules.items():
            if not allowed:
                raise ReconError(f"{option} must be {rule}; found {value:g}.", f"Write {option} {example}, say.")
        if self.sigma is not None and self.beta is not None:
            raise ReconError("The noise is given twice: by --sigma and by --beta.", "Leave one of them out.")
        for reading, variance in self.variances.items():
            if not 0 < variance < math.inf:
                given = f"--sigma {self.sigma:g}" if self.beta is None else f"--beta {self.beta:g}"
                raise ReconError(
                    f"{given} is beyond the range of numbers: the variance, {reading}, is {variance:g}.",
                    "Choose a noise in the units of the data.",
                )

    @property
    def variances(self) -> dict[str, float]:
        """sigma^2 under each reading: of beta, beside half the squared error and beside all of it."""
        if self.beta is not None:
            return {"beta": self.beta, "beta/2": self.beta / 2}
        return {"1, as usual": 1.0} if self.sigma is None else {"given": self.sigma * self.sigma}


@dataclass(frozen=True)
class Reading:
    """A claim under one convention. Nats, summed over the ``dim`` elements of a sample.

    constant
        what of log(2 pi sigma^2)/2, for each element, is counted: all, log sigma, or nothing.
    units
        what the number is a density of: x in sigma's units, or bytes where these are x/255 or x/256.
    floor
        the least that the nll can be, reached by a perfect reconstruction.
    left
        squared error/(2 sigma^2) + KL: what the number leaves above the floor.
    squared_error
        the most that the squared error can be, in sigma's units, with no KL at all; None where nothing is left.
    """

    name: str
    nll: float
    variance: str
    sigma: float
    constant: str
    units: str
    floor: float
    left: float
    squared_error: float | None
    feasible: bool


@dataclass(frozen=True)
class Reported:
    """Every reading of every claim."""

    readings: tuple[Reading, ...]

    @property
    def impossible(self) -> list[str]:
        """The claims that no convention makes possible."""
        names = dict.fromkeys(reading.name for reading in self.readings)
        return [name for name in names if not any(each.feasible for each in self.readings if each.name == name)]

    def report(self) -> Report:
        """As ``recon calibrate --reported`` prints it. Holds where each claim is possible in some way."""
        good, count = sum(each.feasible for each in self.readings), len(self.readings)
        notes = [
            "A Gaussian nll is squared error/(2 sigma^2) + D log(2 pi sigma^2)/2, and a negative ELBO that + KL: never below "
            "its constant, the floor. What is left above it is all that error and KL can have been; with no KL the squared "
            "error is at most 2 sigma^2 times that. Nats for a sample of D elements; error in sigma's units. A density of "
            "255 x (bytes, where sigma is of x/255) is lower by D log 255 nats, its nll higher."
        ]
        verdict = f"possible under {good} of {count} conventions"
        if bad := self.impossible:
            verdict = f"impossible under every convention: {', '.join(bad)}"
        several = any(each.name != self.readings[0].name for each in self.readings)
        columns = [column for column in COLUMNS if several or column.key != "name"]
        rows = [{column.key: getattr(each, column.key) for column in columns} for each in self.readings]
        return Report("calibrate", [Table("reported", columns, rows)], notes, verdict, not bad)


def reported(*claims: Claim) -> Reported:
    """Set each claim against its floor, under each convention."""
    return Reported(tuple(reading for claim in claims for reading in readings(claim)))


def readings(claim: Claim) -> Iterator[Reading]:
    """One for each variance, constant and unit; without a constant units make no difference."""
    for variance, value in claim.variances.items():
        floors = {
            (constant, units): claim.dim * (of(value) + math.log(size))
            for constant, of in CONSTANTS.items()
            for units, size in UNITS.items()
        }
        for (constant, units), floor in {**floors, ("dropped", "x"): 0.0}.items():
            left = claim.nll - floor
            yield Reading(
                claim.name or f"{claim.nll:g}", claim.nll, variance, math.sqrt(value), constant, units, floor, left,
                2 * value * left if left >= 0 else None, left + claim.rounding >= 0,
            )  # fmt: skip


def read(word: str, dim: int | None, sigma: float | None, beta: float | None, rounding: float | None) -> list[Claim]:
    """The claims that ``--reported`` names: a number, or a csv with columns nll and, as far as they differ from the
    options, dim, sigma or beta, rounding and name.

    Raises ReconError for what is neither, for a cell that is no number, and where the dimension is not known.
    """
    if Path(word).suffix.lower() != ".csv":
        return [claim({"nll": word, "dim": dim, "sigma": sigma, "beta": beta, "rounding": rounding}, "")]
    options = {"dim": dim, "sigma": sigma, "beta": beta, "rounding": rounding}
    return read_file(word, lambda: [*rows(word, options)])


def rows(path: str, options: dict[str, float | None]) -> Iterator[Claim]:
    """A claim for each line of a csv."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        known = {alias or name: name for name, alias in FIELDS.items()} | {name: name for name in FIELDS}
        titles = {title: title.strip().lower() for title in reader.fieldnames or ()}
        meanings = [known.get(title.strip().lower()) for title in reader.fieldnames or ()]
        for name in FIELDS:
            if meanings.count(name) > 1:
                raise ReconError(f"{path} has {meanings.count(name)} columns for {name}.", "Leave one of them.")
        if not {"nll", "reported"} & {*titles.values()}:
            raise ReconError(
                f"{path} has no column nll; its first line is {','.join(titles)[:60]!r}.",
                f"Name the columns in the first line: {', '.join(FIELDS)}; only nll must be there.",
            )
        for title, word in titles.items():
            if word not in known:
                meant = nearest(word, known)
                raise ReconError(
                    f"{path} has a column {title!r}, which means nothing here.",
                    f"Did you mean {meant!r}?" if meant else f"Known: {', '.join(FIELDS)}.",
                )
        empty = True
        for line in reader:
            empty = False
            if None in line:
                raise ReconError(
                    f"Line {reader.line_num} of {path} has more cells than the first line names.",
                    "Separate cells by one comma, and write numbers without any.",
                )
            given = {known[word]: (line[title] or "").strip() for title, word in titles.items()}
            given = {name: value for name, value in given.items() if value}
            noise = {} if given.keys() & {"sigma", "beta"} else {key: options[key] for key in ("sigma", "beta")}
            others = {key: options[key] for key in ("dim", "rounding")}
            yield claim({**others, **noise, **given}, f" in line {reader.line_num} of {path}")
        if empty:
            raise ReconError(f"{path} has no row below its first line.", "Give one row for each reported number.")


def claim(given: dict[str, object], where: str) -> Claim:
    """From words or numbers. Raises ReconError that says ``where``."""
    if not given.get("nll"):
        raise ReconError(f"There is no nll{where}.", "Give the number that is reported, in nats for one sample.")
    if given.get("dim") is None:
        raise ReconError(f"How many elements a sample has is not known{where}.", "Give --dim 784, say.")
    numbers = {
        key: as_number(f"The {'reported number' if key == 'nll' else key}{where}", str(value), EXAMPLES.get(key, "0.5"))
        for key, value in given.items()
        if key != "name" and value is not None
    }
    whole = numbers["dim"]
    numbers["dim"] = int(whole) if whole == int(whole) else whole
    try:
        return Claim(**numbers, name=str(given.get("name", "")))  # type: ignore[arg-type]
    except ReconError as error:
        raise ReconError(f"{error.message[:-1]}{where}.", error.hint) from error
