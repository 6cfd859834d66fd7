"""Which losses are in somebody's files, read and never run: what compares tensors, or is a KL, and is returned or derived."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from recon_cli.auditing.reach.extracting import Definition, own_nodes
from recon_cli.auditing.reach.patterns import (
    CALLS,
    OBJECTS,
    OTHERS,
    POWERS,
    SHAPING,
    assignments,
    called,
    imports,
    is_difference,
    is_kl,
    is_module,
    is_power,
    is_ranking,
    makes_loss,
    plain_parts,
    step_of,
)
from recon_cli.auditing.reach.source_files import tree_of
from recon_cli.errors import ReconError

Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda"

OF_KL = {"kl_divergence", "kl_div"}
SUMS = {"sum", "mean", "nansum", "nanmean", "norm", "vector_norm", "reduce_mean", "reduce_sum"}
OWN_SUMS = re.compile(r"_*(sum|mean)_\w+|\w+_(sum|mean)$")  # a file's own: mean_flat, batch_sum
NAMED = re.compile(r"(.*_)?(loss|nll|neg_?log_?likelihood|log_?lik(elihood)?|elbo)$", re.I)  # what a loss is called
NETWORK = re.compile(
    r"(.*_)?(enc|dec|encoders?|decoders?|encode|decode|model|net|network|vae|ae|autoencoder|generator|discriminator|netg|netd"
    r"|backbone|unet|reparam\w*|generate)\d*$",
    re.I,
)
LIKE_LOSS = re.compile(r".*(loss|crit|objective|mse|bce|recon_f|kl[ds]?$)", re.I)
MEASURES = re.compile(
    r"_*(valid|val_|eval|test)|(?!.*loss)_*(psnr|ssim|accuracy|metric|score|plot|bits_per|sample|\w*distance"
    r"|(generate|reconstruct|predict)($|_)|(select|choose)_action|log_?p(rob)?$|log_\w*(pdf|density|prob)$)",
    re.I,
)
GIVEN = {"criterion", "crit", "loss_fn", "loss_func"}  # what losses are called that somebody else has made
LABELS = {"ones_like", "zeros_like", "full_like", "ones", "zeros", "full"}  # what a score is compared with, which is no data
NOT_TENSORS = {"numpy", "scipy", "sklearn", "pandas", "sympy"}
TENSORS = {"torch", "pytorch_lightning", "lightning", "torchvision", "pyro", "accelerate", "transformers", "diffusers", *OTHERS}
LEFT_OUT = {"__pycache__", "node_modules", "site-packages"}


@dataclass(frozen=True)
class Site:
    """A place where a loss is written.

    word
        what ``recon audit`` takes for it, FILE.py:FUNCTION; empty where the loss cannot be had without what is about it.
    why
        why not.
    """

    file: str
    line: int
    name: str
    word: str = ""
    why: str = ""

    @property
    def at(self) -> str:
        """FILE:LINE."""
        return f"{self.file}:{self.line}"


def files_in(word: str) -> list[Path]:
    """Return the Python files and notebooks in a folder, in order, without hidden ones and environments; a file itself."""
    if not os.path.isdir(word):
        return [Path(word)]
    found = []
    for place, folders, names in os.walk(word):
        folders[:] = sorted(
            name for name in folders
            if name[0] != "." and name not in LEFT_OUT and not os.path.exists(os.path.join(place, name, "pyvenv.cfg"))
        )  # fmt: skip
        found += [Path(place, name) for name in sorted(names) if name.endswith((".py", ".ipynb")) and name[0] != "."]
    return found


def is_place(word: str) -> bool:
    """Whether a word names a file or a folder to look through, and no function."""
    return word.endswith((".py", ".ipynb")) or os.path.isdir(word)


def losses_in(path: Path) -> list[Site]:
    """Return where the losses of a file are, in its order. Raises ReconError where it cannot be read."""
    try:
        tree = tree_of(path)[0]
        return SourceFile(path.as_posix(), tree).sites() if is_of_tensors(tree) else []
    except RecursionError:
        raise ReconError(f"{str(path)!r} is nested too deeply to look through.", "Split its longest sums.") from None


def is_of_tensors(tree: ast.Module) -> bool:
    """Whether a file may be about tensors: arrays of numpy that no library of tensors is beside are measured, not trained on."""
    roots = imports([tree]).keys()
    return bool(roots & TENSORS) or not roots & NOT_TENSORS


@dataclass
class Place:
    """A function, or the lines of a module outside any: what it is called by, what it compares, whom it calls."""

    node: ast.AST
    name: str
    owner: str
    outer: ast.AST | None = None
    compares: ast.AST | None = None
    of_kl_alone: bool = False
    differences: frozenset[str] = frozenset()
    powers: frozenset[str] = frozenset()
    drawn: frozenset[str] = frozenset()
    ranked: frozenset[int] = frozenset()

    def note_names(self) -> None:
        """Find its names for differences, for their squares and absolute values, for draws; and what is ranked."""
        assigned = [
            (target.id, each.value) for each in own_nodes(self.node) if isinstance(each, ast.Assign)
            for target in each.targets if isinstance(target, ast.Name)
        ]  # fmt: skip
        self.differences = frozenset(name for name, value in assigned if is_difference(value))
        powers: set[str] = set()
        while more := {
            name for name, value in assigned if name not in powers
            and called(value) not in SHAPING
            and any(is_power(x, self.differences) or (isinstance(x, ast.Name) and x.id in powers) for x in plain_parts(value))
        }:  # fmt: skip
            powers |= more
        self.powers = frozenset(powers)
        self.drawn = frozenset(name for name, value in assigned if called(value) == "sample")
        ranking = [each for each in own_nodes(self.node) if is_ranking(each)]
        names = {each.id for call in ranking for each in ast.walk(call) if isinstance(each, ast.Name)}
        ranking += [value for name, value in assigned if name in names and not isinstance(value, ast.Name)]
        self.ranked = frozenset(id(each) for value in ranking for each in ast.walk(value))

    @property
    def short(self) -> str:
        """Its name without what it is in."""
        return self.name.rpartition(".")[2]

    @property
    def is_made(self) -> bool:
        """Whether it is inside a function that returns it."""
        if self.outer is None:
            return False
        returned = [each.value for each in own_nodes(self.outer) if isinstance(each, ast.Return)]
        return any(isinstance(each, ast.Name) and each.id == self.short for each in returned)

    @property
    def takes(self) -> bool:
        """Whether it has a parameter beside ``self``."""
        if not isinstance(self.node, (*Definition, ast.Lambda)):
            return False
        arguments = self.node.args
        names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        return bool([name for name in names if name not in ("self", "cls")] or arguments.vararg)

    @property
    def returns(self) -> bool:
        """Whether it returns something."""
        if isinstance(self.node, ast.Lambda):
            return True
        return any(isinstance(each, ast.Return) and each.value is not None for each in own_nodes(self.node))


class SourceFile:
    """The losses of one file: each function's own lines are looked at, then who calls whom."""

    def __init__(self, name: str, tree: ast.Module) -> None:
        self.name = name
        self.objects = {
            target.attr if isinstance(target, ast.Attribute) else target.id
            for target, value in assignments(tree) if isinstance(target, (ast.Attribute, ast.Name)) and makes_loss(value)
        }  # fmt: skip
        defined = {node.name for node in ast.walk(tree) if isinstance(node, (*Definition, ast.ClassDef))}
        self.objects |= {
            alias.asname for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
            for alias in node.names if alias.asname and alias.name in CALLS
        } | (GIVEN - defined)  # fmt: skip
        self.bases = {
            node.name: [ast.unparse(base).rpartition(".")[2] for base in node.bases]
            for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
        }  # fmt: skip
        self.places = [*places_of(tree), Place(tree, "<module>", "")]
        for place in self.places:
            place.note_names()
            found = [node for node in own_nodes(place.node) if id(node) not in place.ranked and self.is_loss(node, place)]
            found = found or self.reductions(place)
            place.compares = min(found, key=lambda node: getattr(node, "lineno", 0), default=None)
            place.of_kl_alone = bool(found) and all(is_kl(node) or called(node) in OF_KL for node in found)

    def reductions(self, place: Place) -> list[ast.AST]:
        """Return the sums of a function that compares in no way that is known, and is called a loss."""
        if not NAMED.match(place.short):
            return []
        return [node for node in own_nodes(place.node) if called(node) in (*SUMS, "logsumexp") and id(node) not in place.ranked]

    def is_loss(self, node: ast.AST, place: Place) -> bool:
        """Whether an expression compares tensors as a reconstruction's loss does, or is a KL."""
        if is_kl(node):
            return True
        if not isinstance(node, ast.Call):
            return False
        name = called(node)
        if name in CALLS or name in self.objects or (isinstance(node.func, ast.Call) and OBJECTS.search(called(node.func))):
            values = [*node.args, *(keyword.value for keyword in node.keywords)]
            if name == "log_prob" and any(isinstance(value, ast.Name) and value.id in place.drawn for value in values):
                return False  # of its own draw, as a policy's
            return len(values) > (name in GIVEN) and not any(called(value) in LABELS for value in values)
        return (name in SUMS or OWN_SUMS.match(name) is not None) and any(
            is_power(each, place.differences) or (isinstance(each, ast.Name) and each.id in place.powers)
            for each in plain_parts(node) if each is not node or name in POWERS
        )  # fmt: skip

    def sites(self) -> list[Site]:
        """Return the losses: what returns one and can be called alone, unless another such one calls it; then what cannot."""
        named: dict[str, list[Place]] = {}
        for place in self.places:
            named.setdefault(place.short, []).append(place)
        callees = {id(place): self.called_by(place, named) for place in self.places}
        losses = [place for place in self.places if place.compares is not None and self.is_whole(place)]
        while more := [
            place for place in self.places
            if place not in losses and self.is_whole(place) and any(inner in losses for inner in callees[id(place)])
        ]:  # fmt: skip
            losses += more
        hindered = {id(place): self.hindrance(place) for place in losses}
        parts = [
            inner for place in self.places for inner in callees[id(place)]
            if inner.short != place.short and (hindered.get(id(place)) == "" or inner.of_kl_alone)
        ]  # fmt: skip
        sites = []
        for place in self.places:
            first = getattr(place.node, "lineno", 1)
            at = getattr(place.compares, "lineno", first)
            if place in losses and place in parts:
                continue
            if place in losses and not hindered[id(place)]:
                name = place.name.rpartition(".")[0] if place.is_made else place.name
                sites.append(Site(self.name, first, place.name, f"{self.name}:{name}"))
            elif place.compares is not None and place in losses:
                sites.append(Site(self.name, at, place.name, "", hindered[id(place)]))
            elif place.compares is not None and self.trains(place):
                sites.append(Site(self.name, at, place.name, "", f"is computed inline: {self.live()}"))
        return sorted(sites, key=lambda site: site.line)

    def called_by(self, place: Place, named: dict[str, list[Place]]) -> list[Place]:
        """Return the places of this file that a place calls by their names: of its own class and its bases, or the only such."""
        found = []
        family = [place.owner]
        for name in family:
            family += [base for base in self.bases.get(name, ()) if base not in family]
        for node in own_nodes(place.node):
            if isinstance(node, ast.Call):
                others = [other for other in named.get(called(node), ()) if other is not place]
                on = ast.unparse(node.func.value) if isinstance(node.func, ast.Attribute) else ""
                if on in ("self", "cls", "super()", *filter(None, family)):
                    found += [other for other in others if other.owner in family]
                elif not on:
                    found += [other for other in others if not other.owner]
                elif len(others) == 1 and others[0].owner:
                    found += others
        return found

    def is_whole(self, place: Place) -> bool:
        """Whether a place returns what it computes, from what it takes, and is no measure of quality."""
        return place.takes and place.returns and not self.trains(place) and not MEASURES.match(place.short)

    def trains(self, place: Place) -> bool:
        """Whether lines derive a loss and take a step, or are what a trainer derives."""
        if place.short == "training_step" or step_of(place.node) is not None:
            return True
        grads = [n for n in own_nodes(place.node) if isinstance(n, ast.Call) and ast.unparse(n.func).endswith("autograd.grad")]
        return bool(grads) and not place.returns

    def hindrance(self, place: Place) -> str:
        """Return why a loss cannot be called alone; empty where it can."""
        if place.outer is not None and not place.is_made:
            return f"is inside another function: {self.live()}"
        if network := self.network(place):
            return f"needs its network, {network}(...): {self.live()}"
        return ""

    def network(self, place: Place) -> str:
        """Return what of a network a place calls; empty where it calls nothing of one."""
        made = {
            ast.unparse(target)
            for other in self.places if (other.owner == place.owner and other.owner) or isinstance(other.node, ast.Module)
            for node in own_nodes(other.node) if isinstance(node, ast.Assign) and is_module(node.value)
            for target in node.targets if isinstance(target, (ast.Attribute, ast.Name))
        }  # fmt: skip
        for node in own_nodes(place.node):
            if isinstance(node, ast.Call) and (name := called(node)) not in CALLS:
                written = ast.unparse(node.func)
                known = (written in made and not LIKE_LOSS.match(name)) or NETWORK.match(name)
                if written == "self" or known:
                    return written
        return ""

    def live(self) -> str:
        """Return what to do about a loss that only its training shows."""
        if self.name.endswith(".ipynb"):
            return "put recon_cli.watch() around its step"
        return f"recon audit --run {self.name}"


def places_of(tree: ast.AST, prefix: str = "", owner: str = "", outer: ast.AST | None = None) -> Iterator[Place]:
    """Yield the functions in a tree, methods and named lambdas among them."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Definition):
            yield Place(node, prefix + node.name, owner, outer)
            yield from places_of(node, f"{prefix}{node.name}.", owner, node)
        elif isinstance(node, ast.ClassDef):
            yield from places_of(node, f"{prefix}{node.name}.", node.name, outer)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda) and isinstance(node.targets[0], ast.Name):
            yield Place(node.value, prefix + node.targets[0].id, owner, outer)
        else:
            yield from places_of(node, prefix, owner, outer)


def scanned(words: Sequence[str]) -> tuple[list[Site], int]:
    """Return the losses in files and folders, what could not be read among them, and how many files were read.

    A word FILE.py:FUNCTION is a loss as it stands. Raises ReconError where nothing could be read at all.
    """
    sites: list[Site] = []
    faults: list[ReconError] = []
    read, files = 0, dict.fromkeys(path for word in words if is_place(word) for path in files_in(word))
    for path in files:
        try:
            sites += losses_in(path)
            read += 1
        except ReconError as error:
            faults.append(error)
            line = getattr(error.__cause__, "lineno", None) or 1
            sites.append(Site(path.as_posix(), line, "", "", str(error)))
    for word in words:
        if not is_place(word):
            file, _, name = word.rpartition(":")
            sites.append(Site(file or word, 1, name, word))
            read += 1
    if not read:
        nothing = ReconError(f"There is no Python file in {', '.join(words)}.", "Give files, or folders of them.")
        raise faults[0] if faults else nothing
    return sites, read
