"""The architecture is a table: who may import whom, and what each part may import at all."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import recon_cli

ROOT = Path(recon_cli.__file__).parent
PROJECT = ROOT.parent

# Who may import whom: a part imports from those above it.
RANKS = [
    {"errors"},
    {"report", "registry"},
    {"identity"},
    {"runtime"},
    {"numerics"},
    {"likelihoods"},
    {"models", "formats"},
    {"sources"},
    {"derivation", "comparison", "calibration", "auditing", "training"},
    {"benchmark", "callbacks"},
    {"guide"},
    {"commands"},
    {"cli"},
    {"__main__", "__init__"},
]
RANK = {part: rank for rank, parts in enumerate(RANKS) for part in parts}
LOOSE = {"__init__", "__main__", "cli", "errors", "registry", "report"}
# Third parties, and the only parts that may know them.
HOME = {
    "click": {"commands", "cli"},
    "rich": {"formats", "runtime"},
    "sympy": {"derivation"},
    "PIL": {"sources", "runtime"},
    "safetensors": {"sources", "training"},
    "pyarrow": {"sources"},
    "datasets": {"sources"},
    "pooch": {"sources"},
    "requests": {"sources"},
    "matplotlib": {"calibration", "runtime"},
    "tensorboard": {"training"},
    "lightning": {"callbacks"},
    "pytorch_lightning": {"callbacks"},
    "transformers": {"callbacks"},
}
# What must not be loaded by importing a part (or one file of it), for start-up's sake; and the files that may all the same.
NEVER_LOADED = {
    "torch": {"errors", "report", "registry", "identity", "runtime", "formats", "likelihoods", "sources", "commands", "cli"},
    "numpy": {"errors", "report", "registry", "formats", "commands", "cli"},
    "sympy": {"comparison", "calibration", "auditing", "training", "benchmark", "models", "sources", "likelihoods"},
    "rich": {"errors", "report", "registry", "identity", "runtime", "likelihoods", "sources", "commands", "cli"},
}
LOADING = {
    "identity/fitting.py": "torch",  # imported where something is fitted
    "identity/modules.py": "torch",  # imported where a module is made
    "likelihoods/_by_decoder.py": "torch",  # imported where something is trained
}
# Inside a function, a file imports what would slow start-up down: a library that the file does not load otherwise, or a file of
# recon's that loads one. These load nothing but the standard library, and much of it.
SLOW_TO_START = {
    "recon_cli.formats",
    "recon_cli.auditing.defects",
    "recon_cli.auditing.reach.scan",
    "recon_cli.auditing.reach.survey",
    "recon_cli.runtime.supervisor",
    "recon_cli.calibration.plots",
    "recon_cli.runtime.user_classes",
    "recon_cli.report",
    "torch.utils.tensorboard.SummaryWriter",
}
ALLOWED_TOP = {"README.md", "pyproject.toml", "LICENSE", "recon_cli", "tests"}
FILES = sorted(ROOT.rglob("*.py"))


def each_file(law: Callable[[Path], None]) -> Callable[[], None]:
    """A test that holds every file to ``law``: one test and not two hundred, which would take longer to count than to run."""

    def test() -> None:
        for file in FILES:
            law(file)

    test.__doc__ = law.__doc__
    return test


@functools.cache
def tree_of(file: Path) -> ast.Module:
    """A file's syntax tree, parsed once for all that is asked of it."""
    return ast.parse(file.read_text())


def part(file: Path) -> str:
    """The part of the house that a file belongs to."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


@functools.cache
def imports(tree: ast.AST, *, top_only: bool = False) -> list[str]:
    """Dotted names that a module imports; with ``top_only`` those that run when it is imported."""
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr) or (top_only and isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))):
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


def module(file: Path, root: Path = ROOT) -> str:
    """The dotted name of a file of the package whose folder is ``root``."""
    return ".".join(file.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module(file): file for file in FILES}


def owner(name: str, modules: Collection[str]) -> str:
    """The module that a dotted name is, or is in."""
    while name not in modules and "." in name:
        name = name.rpartition(".")[0]
    return name


def leads(root: Path) -> dict[str, set[str]]:
    """Which modules of the package below ``root`` each of them imports, inside its functions too."""
    trees = {module(file, root): tree_of(file) if root == ROOT else ast.parse(file.read_text()) for file in root.rglob("*.py")}
    own = f"{root.name}."
    return {name: {owner(one, trees) for one in imports(tree) if one.startswith(own)} - {name} for name, tree in trees.items()}


def circle(leads: Mapping[str, Collection[str]]) -> list[str]:
    """Modules each of which imports the next, and the last the first; none where there is no such circle."""
    left = dict(leads)
    while free := [name for name, others in left.items() if not set(others) & set(left)]:
        for name in free:
            del left[name]
    walk: list[str] = [next(iter(left))] if left else []
    while walk and walk[-1] not in walk[:-1]:
        walk.append(next(name for name in left[walk[-1]] if name in left))
    return walk[walk.index(walk[-1]) :] if walk else []


def misplaced(root: Path) -> set[str]:
    """Files and folders right below the package's folder that have no place there."""
    here = {path.stem for path in root.iterdir() if path.suffix == ".py" or (path.is_dir() and (path / "__init__.py").exists())}
    loose = {path.stem for path in root.glob("*.py")}
    return (here - set(RANK)) | (loose - LOOSE)


@functools.cache
def loaded_by(name: str) -> frozenset[str]:
    """The libraries that importing a module of recon's loads, through others too."""
    modules, libraries, seen, ahead = MODULES, set(), set(), [name]
    while ahead:
        one = ahead.pop()
        if one in seen or one not in modules:
            continue
        seen.add(one)
        names = imports(tree_of(modules[one]), top_only=True)
        libraries |= {found.split(".")[0] for found in names} - sys.stdlib_module_names - {"recon_cli"}
        ahead += [owner(found, modules) for found in names if found.startswith("recon_cli.")]
        ahead += [".".join(one.split(".")[:end]) for end in range(2, len(one.split(".")))]  # the faces of its folders
    return frozenset(libraries)


@each_file
def test_parts_import_from_above_only(file: Path) -> None:
    mine = part(file)
    for name in imports(tree_of(file)):
        if not name.startswith("recon_cli."):
            continue
        theirs = name.split(".")[1]
        assert theirs in RANK, f"{file.name} imports {name}, which has no place in the architecture"
        assert theirs == mine or RANK[theirs] < RANK[mine], f"{mine} may not import {name}"


def test_no_file_leads_back_to_itself() -> None:
    assert circle(leads(ROOT)) == []


def test_a_circle_inside_a_folder_and_a_loose_file_are_noticed(tmp_path: Path) -> None:
    house = tmp_path / "recon_cli"
    (house / "identity").mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "identity/__init__.py"):
        (house / name).write_text("")
    (house / "identity" / "one.py").write_text("from recon_cli.identity import two\n")
    (house / "identity" / "two.py").write_text("from recon_cli import errors\n")
    assert circle(leads(house)) == []
    assert misplaced(house) == set()
    (house / "identity" / "two.py").write_text("def late():\n    from recon_cli.identity.one import x\n")
    assert set(circle(leads(house))) == {"recon_cli.identity.one", "recon_cli.identity.two"}
    (house / "stray.py").write_text("")
    assert misplaced(house) == {"stray"}


def test_nothing_lies_loose() -> None:
    assert misplaced(ROOT) == set()


@each_file
def test_an_import_inside_a_function_is_for_start_up(file: Path) -> None:
    modules, mine = MODULES, loaded_by(module(file))
    at_once = imports(tree_of(file), top_only=True)
    for name in imports(tree_of(file)):
        if name in at_once or name.split(".")[0] in sys.stdlib_module_names:
            continue
        theirs = owner(name, modules) if name.startswith("recon_cli.") else ""
        brings = loaded_by(theirs) if theirs else {name.split(".")[0]}
        assert brings - mine or {theirs, name} & SLOW_TO_START, f"{file.name} imports {name} inside a function, and need not"


@each_file
def test_importing_it_loads_no_more_than_it_may(file: Path) -> None:
    free = LOADING.get(str(file.relative_to(ROOT)))
    for library, parts in NEVER_LOADED.items():
        if part(file) in parts and library != free and not (part(file) == "formats" and library == "rich"):
            assert library not in loaded_by(module(file)), f"importing {module(file)} loads {library}"


@each_file
def test_third_parties_stay_at_home(file: Path) -> None:
    for name in imports(tree_of(file)):
        home = HOME.get(name.split(".")[0])
        assert home is None or part(file) in home, f"{part(file)} may not know {name}"


@each_file
def test_files_of_a_registry_know_only_their_base(file: Path) -> None:
    folder = part(file)
    if folder not in {"likelihoods", "sources", "formats", "commands", "models"} or file.name == "__init__.py":
        return
    siblings = {name for name in imports(tree_of(file)) if name.startswith(f"recon_cli.{folder}.")}
    names = {path.stem for path in (ROOT / folder).glob("[!_]*.py")}
    known = {name.split(".")[2] for name in siblings} & names
    assert known <= {"npy", "idx", "mnist", "parquet"}, (
        f"{folder}/{file.name} leans on {', '.join(sorted(known))}: move what they share to a file whose name begins with _, "
        "or to identity"
    )


@each_file
def test_commands_load_their_engine_when_called(file: Path) -> None:
    if part(file) == "commands":
        loaded = {name.split(".")[1] for name in imports(tree_of(file), top_only=True) if name.startswith("recon_cli.")}
        early = loaded - {"commands", "runtime", "errors", "registry", "identity", "report", "models"}
        assert not early, f"{file.name}: import {', '.join(sorted(early))} inside the function that needs it, for start-up's sake"


@each_file
def test_every_public_thing_is_explained(file: Path) -> None:
    tree = tree_of(file)
    assert ast.get_docstring(tree), f"{file.name} does not say what it is"
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            overrides = file.parent.name == "formats" and node.name == "write"
            overrides |= any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list)
            assert overrides or ast.get_docstring(node), f"{file.name}: {node.name} has no docstring"


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for file in FILES:
        for node in tree_of(file).body:
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(str(file.relative_to(ROOT)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


@each_file
def test_no_file_is_a_whale(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 450


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
