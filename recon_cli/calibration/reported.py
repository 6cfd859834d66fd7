"""Is a published number possible? A Gaussian nll has a floor, and what is above it is squared error and KL."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from recon_cli.errors import ReconError, nearest
from recon_cli.formats._presentable import Presentable
from recon_cli.identity.parametric import as_number
from recon_cli.report import Report, Table, column
from recon_cli.runtime.files import read_file

FIELDS = {"name": "", "nll": "reported", "dim": "d", "sigma": "", "beta": "", "rounding": ""}
CONSTANTS: dict[str, Callable[[float], float]] = {
    "kept": lambda var: (math.log(2 * math.pi) + math.log(var)) / 2,
    "no log 2 pi": lambda var: math.log(var) / 2,
}
EXAMPLES = {"nll": "-1200.5", "dim": "784"}
UNITS = {"x": 1, "255 x": 255, "256 x": 256}


@dataclass(frozen=True)
class PublishedNll:
    """A number that somebody reports as a Gaussian nll (or negative ELBO) of one sample, in nats.

    dim
        elements of a sample.
    sigma, beta
        the standard deviation, or the weight on the KL that stands for it; sigma 1 where neither is given.
    rounding
        how far the number may be off.
    place
        where the number was read, for an error's sentence: `` in line 3 of x.csv``.
    """

    nll: float
    dim: float
    sigma: float | None = None
    beta: float | None = None
    rounding: float = 0.0
    name: str = ""
    place: str = ""

    def __post_init__(self) -> None:
        rules = {
            "--dim": (self.dim, self.dim >= 1 and self.dim == int(self.dim), "a whole number from 1 up", "784"),
            "--rounding": (self.rounding, 0 <= self.rounding < math.inf, "a number from 0 up", "0.5"),
        }
        for option, value in (("--sigma", self.sigma), ("--beta", self.beta)):
            if value is not None:
                rules[option] = (value, 0 < value < math.inf, "a positive number", "0.1")
        for option, (value, allowed, rule, example) in rules.items():
            if not allowed:
                raise ReconError(f"{option} must be {rule}; found {value:g}{self.place}.", f"Write {option} {example}, say.")
        if self.sigma is not None and self.beta is not None:
            raise ReconError(f"The noise is given twice: by --sigma and by --beta{self.place}.", "Leave one of them out.")
        for reading, variance in self.variances.items():
            if not 0 < variance < math.inf:
                option = f"--sigma {self.sigma:g}" if self.beta is None else f"--beta {self.beta:g}"
                raise ReconError(
                    f"{option} is beyond the range of numbers: the variance, {reading}, is {variance:g}{self.place}.",
                    "Choose a noise in the units of the data.",
                )

    @property
    def variances(self) -> dict[str, float]:
        """sigma^2 under each reading: of beta, beside half the squared error and beside all of it."""
        if self.beta is not None:
            return {"beta": self.beta, "beta/2": self.beta / 2}
        return {"1, as usual": 1.0} if self.sigma is None else {"given": self.sigma * self.sigma}


@dataclass(frozen=True)
class Interpretation:
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

    name: str = column("reported", "*")
    nll: float = column("nll", None)
    variance: str = column("sigma²", brief=True)
    sigma: float = column("sigma", None)
    constant: str = column("constant", brief=True)
    units: str = column("density of", brief=True)
    feasible: bool = column("possible", brief=True)
    floor: float = column("floor", brief=True)
    left: float = column("left", brief=True)
    squared_error: float | None = column("error² ≤", brief=True)


@dataclass(frozen=True)
class Reported(Presentable):
    """Every reading of every claim."""

    readings: tuple[Interpretation, ...]

    @property
    def impossible(self) -> list[str]:
        """The claims that no convention makes possible."""
        names = dict.fromkeys(reading.name for reading in self.readings)
        return [name for name in names if not any(each.feasible for each in self.readings if each.name == name)]

    def report(self) -> Report:
        """Return what ``recon calibrate --reported`` prints. It holds where each claim is possible in some way."""
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
        table = Table.of("reported", Interpretation, self.readings)
        if len({each.name for each in self.readings}) == 1:
            rows = [{key: value for key, value in row.items() if key != "name"} for row in table.rows]
            table = replace(table, columns=[each for each in table.columns if each.key != "name"], rows=rows)
        return Report("calibrate", [table], notes, verdict, not bad)


def reported(*claims: PublishedNll) -> Reported:
    """Set each claim against its floor, under each convention."""
    return Reported(tuple(reading for claim in claims for reading in readings(claim)))


def readings(claim: PublishedNll) -> Iterator[Interpretation]:
    """Yield one for each variance, constant and unit; without a constant units make no difference."""
    for variance, value in claim.variances.items():
        floors = {
            (constant, units): claim.dim * (of(value) + math.log(size))
            for constant, of in CONSTANTS.items()
            for units, size in UNITS.items()
        }
        for (constant, units), floor in {**floors, ("dropped", "x"): 0.0}.items():
            left = claim.nll - floor
            yield Interpretation(
                name=claim.name or f"{claim.nll:g}",
                nll=claim.nll,
                variance=variance,
                sigma=math.sqrt(value),
                constant=constant,
                units=units,
                feasible=left + claim.rounding >= 0,
                floor=floor,
                left=left,
                squared_error=2 * value * left if left >= 0 else None,
            )


def read(word: str, dim: int | None, sigma: float | None, beta: float | None, rounding: float | None) -> list[PublishedNll]:
    """Return the numbers that ``--reported`` names: one, or those of a csv.

    A csv has columns nll and, as far as they differ from the options, dim, sigma or beta, rounding and name. Raises
    ReconError for what is neither, for a cell that is no number, and where the dimension is not known.
    """
    options = {"dim": dim, "sigma": sigma, "beta": beta, "rounding": rounding}
    if Path(word).suffix.lower() != ".csv":
        return [published({"nll": word, **options}, "")]
    return read_file(word, lambda: [*rows(word, options)])


def rows(path: str, options: Mapping[str, float | None]) -> Iterator[PublishedNll]:
    """Yield what each line of a csv reports."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        fields = field_of(path, reader.fieldnames or ())
        empty = True
        for line in reader:
            empty = False
            if None in line:
                raise ReconError(
                    f"Line {reader.line_num} of {path} has more cells than the first line names.",
                    "Separate cells by one comma, and write numbers without any.",
                )
            texts = {name: (line[title] or "").strip() for title, name in fields.items()}
            cells: dict[str, str | float | None] = {name: text for name, text in texts.items() if text}
            defaults = {"dim", "rounding"} if cells.keys() & {"sigma", "beta"} else {"dim", "rounding", "sigma", "beta"}
            others = {name: options[name] for name in defaults}
            yield published({**others, **cells}, f" in line {reader.line_num} of {path}")
        if empty:
            raise ReconError(f"{path} has no row below its first line.", "Give one row for each reported number.")


def field_of(path: str, titles: Sequence[str]) -> dict[str, str]:
    """Return which number each column of a csv holds, by its title. Raises ReconError for titles that say nothing, or twice."""
    names = {alias or name: name for name, alias in FIELDS.items()} | {name: name for name in FIELDS}
    words = [title.strip().lower() for title in titles]
    for name in FIELDS:
        if (count := [names.get(word) for word in words].count(name)) > 1:
            raise ReconError(f"{path} has {count} columns for {name}.", "Leave one of them.")
    if not {"nll", "reported"} & {*words}:
        raise ReconError(
            f"{path} has no column nll; its first line is {','.join(dict.fromkeys(titles))[:60]!r}.",
            f"Name the columns in the first line: {', '.join(FIELDS)}; only nll must be there.",
        )
    for title, word in zip(titles, words, strict=True):
        if word not in names:
            meant = nearest(word, names)
            raise ReconError(
                f"{path} has a column {title!r}, which means nothing here.",
                f"Did you mean {meant!r}?" if meant else f"Known: {', '.join(FIELDS)}.",
            )
    return {title: names[word] for title, word in zip(titles, words, strict=True)}


def published(cells: Mapping[str, str | float | None], place: str) -> PublishedNll:
    """Return a reported number from words or numbers. Raises ReconError that says the ``place`` they are from."""
    if not cells.get("nll"):
        raise ReconError(f"There is no nll{place}.", "Give the number that is reported, in nats for one sample.")
    if cells.get("dim") is None:
        raise ReconError(f"How many elements a sample has is not known{place}.", "Give --dim 784, say.")
    numbers = {
        key: as_number(f"The {'reported number' if key == 'nll' else key}{place}", str(value), EXAMPLES.get(key, "0.5"))
        for key, value in cells.items()
        if key != "name" and value is not None
    }
    return PublishedNll(
        nll=numbers["nll"],
        dim=int(numbers["dim"]) if numbers["dim"] == int(numbers["dim"]) else numbers["dim"],
        sigma=numbers.get("sigma"),
        beta=numbers.get("beta"),
        rounding=numbers.get("rounding", 0.0),
        name=str(cells.get("name", "")),
        place=place,
    )
