"""The architecture is a table: who may import whom, and what each part may import at all."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

import recon_cli

ROOT = Path(recon_cli.__file__).parent
PROJECT = ROOT.parent

# A part may import from the ranks above its own (and, where it is a folder, from its own base).
RANKS = [
    {"errors", "__init__"},
    {"regions", "limits"},
    {"registry", "report", "parametric", "progress", "exact", "stored", "arrays", "processes", "reach", "sealed", "surroundings"},
    {
        "devices",
        "supervising",
        "losses",
        "fitting",
        "numerics",
        "spheres",
        "lattices",
        "pictures",
        "downloads",
        "covariance",
        "configuration",
    },
    {"likelihood", "formats", "networks", "looks"},
    {"likelihoods", "conditional", "vae", "waterfilling", "proportions"},
    {"modules", "regression"},
    {"sources"},
    {"derivation", "comparison", "calibration", "auditing", "training", "survey"},
    {"benchmarking"},
    {"pace"},
    {"options"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
RANK = {part: rank for rank, parts in enumerate(RANKS) for part in parts}
# Third parties, and the only parts that may know them.
HOME = {
    "click": {"options", "commands", "cli"},
    "rich": {"formats", "progress"},
    "sympy": {"derivation"},
    "PIL": {"sources", "pictures"},
    "safetensors": {"sources", "training"},
    "pyarrow": {"sources"},
    "datasets": {"sources"},
    "pooch": {"downloads"},
    "requests": {"downloads"},
    "matplotlib": {"calibration"},
    "tensorboard": {"training"},
}
ALLOWED_TOP = {"README.md", "pyproject.toml", "LICENSE", "recon_cli", "tests"}
FILES = sorted(ROOT.rglob("*.py"))
each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))


@functools.cache
def tree_of(file: Path) -> ast.Module:
    """A file's syntax tree, parsed once for all that is asked of it."""
    return ast.parse(file.read_text())


def part(file: Path) -> str:
    """The part of the house that a file belongs to."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(tree: ast.AST, *, top_only: bool = False) -> list[str]:
    """Dotted names that a module imports; with ``top_only`` those that run when it is imported."""
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if top_only and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
                continue
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                found.extend(alias.name for alias in child.names)
            if isinstance(child, ast.ImportFrom):
                found.extend(f"{child.module}.{alias.name}" for alias in child.names)
            visit(child)

    visit(tree)
    return found


@each_file
def test_parts_import_from_above_only(file: Path) -> None:
    mine = part(file)
    for name in imports(tree_of(file)):
        if not name.startswith("recon_cli.") or name == "recon_cli.__version__":
            continue
        theirs = name.split(".")[1]
        assert theirs in RANK, f"{file.name} imports {name}, which has no place in the architecture"
        same_folder = theirs == mine and (ROOT / mine).is_dir()
        assert same_folder or RANK[theirs] < RANK[mine], f"{mine} may not import {name}"


@each_file
def test_third_parties_stay_at_home(file: Path) -> None:
    for name in imports(tree_of(file)):
        home = HOME.get(name.split(".")[0])
        assert home is None or part(file) in home, f"{part(file)} may not know {name}"


@each_file
def test_no_torch_when_these_are_imported(file: Path) -> None:
    if part(file) not in {"training", "auditing", "vae", "regression", "networks", "modules", "fitting", "numerics"}:
        heavy = {name.split(".")[0] for name in imports(tree_of(file), top_only=True)}
        assert "torch" not in heavy


@each_file
def test_files_of_a_registry_know_only_their_base(file: Path) -> None:
    folder = part(file)
    if folder not in {"likelihoods", "sources", "formats", "commands"} or file.name == "__init__.py":
        return
    siblings = {name for name in imports(tree_of(file)) if name.startswith(f"recon_cli.{folder}.")}
    names = {path.stem for path in (ROOT / folder).glob("*.py")} - {"__init__"}
    known = {name.split(".")[2] for name in siblings} & names
    assert known <= {"npy", "idx", "mnist", "parquet"}, f"{file.name} leans on {known}"


@each_file
def test_commands_load_their_engine_when_called(file: Path) -> None:
    if part(file) == "commands":
        loaded = {name.split(".")[1] for name in imports(tree_of(file), top_only=True) if name.startswith("recon_cli.")}
        assert loaded <= {"options"}


@each_file
def test_every_public_thing_is_explained(file: Path) -> None:
    tree = tree_of(file)
    assert ast.get_docstring(tree), f"{file.name} does not say what it is"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            overrides = file.parent.name == "formats" and node.name == "write"
            assert overrides or ast.get_docstring(node), f"{file.name}: {node.name} has no docstring"


@each_file
def test_no_file_is_a_whale(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 450


def test_every_part_has_a_place() -> None:
    assert {part(file) for file in FILES} == set(RANK)


def test_the_top_level_is_what_it_should_be() -> None:
    tracked = {path.name for path in PROJECT.iterdir() if not path.name.startswith(".")}
    leftovers = {"runs", "dist", "build", "shared"} | {name for name in tracked if name.endswith(".egg-info")}
    assert tracked >= ALLOWED_TOP
    assert tracked - leftovers == ALLOWED_TOP


def test_never_unpickle() -> None:
    for file in FILES:
        text = file.read_text()
        assert "import pickle" not in text
        assert "allow_pickle=True" not in text
        assert "weights_only=False" not in text
