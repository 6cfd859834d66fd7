"""What users wrote: their files, imported without a trace where that is asked for; and names in them that were misspelt."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from importlib import machinery
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from recon_cli.errors import ReconError, alike, listed, nearest

if TYPE_CHECKING:
    from _typeshed.importlib import PathEntryFinderProtocol

STANDARD = [Path(place).resolve() for key, place in sysconfig.get_paths().items() if "lib" in key]
NEVER = {"recon_cli", "__main__", *sys.builtin_module_names, *sys.stdlib_module_names}
OWN = "_reached_"  # how the names of files begin that were imported by their path


def import_file(path: Path) -> dict[str, Any]:
    """Return the names of a file, imported under a name of its own, with the helpers of its own folder, which stay."""
    with importing_from(path.parent, leaving=True):
        return execute_file(path)


def execute_file(path: Path) -> dict[str, Any]:
    """Return the names of a file, imported under a name of its own, from its source as it is now."""
    name = f"{OWN}{path.stem}"
    reader = SourceReader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=reader)
    assert spec is not None  # as it is for every path that is given with its loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    reader.exec_module(module)
    return vars(module)


class SourceReader(machinery.SourceFileLoader):
    """Reads source as it is now; Python itself knows a file by its second and its size, which an edit may leave."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the code of a file as it is now, whatever was compiled of it before."""
        del fullname
        return self.source_to_code(self.get_data(self.path), self.path)


@contextlib.contextmanager
def importing_from(first: Path, *others: Path, leaving: bool = False) -> Iterator[None]:
    """Have a folder in front on the path, others at its end, and what is imported from them meanwhile read anew.

    A module of a name that the first has, from wherever it came, is aside meanwhile. Afterwards ``sys.modules`` has again
    what it had, and nothing of the folders' (``leaving``: what they brought stays, but for names that others had before).
    Packages that were installed are nobody's own: once imported, they stay.
    """
    roots = list(dict.fromkeys(folder.resolve() for folder in (first, *others)))
    own = [root for root in roots if not is_installed(root)]
    offers = {name for root in own for name in importable_names(root)}
    front = importable_names(roots[0])

    def is_theirs(name: str) -> bool:
        """Whether a module is the folders' own, or would be taken for it."""
        top = name.partition(".")[0]
        if top in NEVER or top not in offers:
            return False
        group = [module for key, module in [*sys.modules.items()] if key == top or key.startswith(f"{top}.")]
        return all(map(is_reloadable, group)) and (top in front or any(is_from(module, own) for module in group))

    aside = {name: sys.modules[name] for name in [name for name in [*sys.modules] if is_theirs(name)]}
    for name in aside:
        del sys.modules[name]
    before = {*sys.modules}
    added = [str(roots[0]), *(str(root) for root in roots[1:] if str(root) not in sys.path and "" not in sys.path)]
    sys.path[:] = [added[0], *sys.path, *added[1:]]
    find = machinery.FileFinder.path_hook(
        (machinery.ExtensionFileLoader, machinery.EXTENSION_SUFFIXES), (SourceReader, machinery.SOURCE_SUFFIXES)
    )

    def hook(place: str) -> PathEntryFinderProtocol:
        if not is_under(Path(place), own) or is_installed(Path(place)):
            raise ImportError
        return find(place)

    sys.path_hooks.insert(0, hook)
    forget_folders(own)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path_hooks.remove(hook)
        for place in added:
            with contextlib.suppress(ValueError):
                sys.path.remove(place)
        forget_folders(own)
        back = {name: module for name, module in aside.items() if not (leaving and isinstance(loader(module), SourceReader))}
        tops = {name.partition(".")[0] for name in back}
        new = [name for name in [*sys.modules] if name not in before]
        gone = [
            name for name in new
            if name.partition(".")[0] in tops or not leaving and (is_theirs(name) or name.startswith(OWN))
        ]  # fmt: skip
        for name in gone:  # after all were looked at: a folder without a file finds its place by the one that it is in
            del sys.modules[name]
        sys.modules.update(back)


def importable_names(folder: Path) -> set[str]:
    """Return the names that may be imported from a folder: its files of Python, and its folders."""
    try:
        with os.scandir(folder) as entries:
            return {Path(entry.name).stem for entry in entries if entry.name.endswith(".py") or entry.is_dir()}
    except OSError:
        return set()


def is_installed(place: Path) -> bool:
    """Whether it is where Python, or pip, puts things."""
    return not {"site-packages", "dist-packages"}.isdisjoint(place.parts) or is_under(place, STANDARD)


def is_under(place: Path, roots: Iterable[Path]) -> bool:
    """Whether it is in one of some folders."""
    return any(place.is_relative_to(root) for root in roots)


def locations(module: ModuleType | None) -> list[Path]:
    """Return where a module is: its file, or the folders of a package that has none."""
    file = getattr(module, "__file__", None)
    try:
        return [Path(file)] if file else [Path(part) for part in getattr(module, "__path__", ())]
    except TypeError:  # something else that somebody put there
        return []


def is_reloadable(module: ModuleType | None) -> bool:
    """Whether a module can be read a second time: Python source that nobody installed."""
    return all((place.suffix in ("", ".py")) and not is_installed(place) for place in locations(module))


def is_from(module: ModuleType | None, roots: Iterable[Path]) -> bool:
    """Whether a module is from one of some folders."""
    return any(is_under(place, roots) for place in locations(module))


def loader(module: ModuleType | None) -> object:
    """Return what a module was read by."""
    return getattr(getattr(module, "__spec__", None), "loader", None)


def forget_folders(roots: Iterable[Path]) -> None:
    """Have the folders under some looked into anew."""
    for place in [*sys.path_importer_cache]:
        if is_under(Path(place), roots):
            sys.path_importer_cache.pop(place, None)


def nearest_names(name: str, names: Iterable[str]) -> list[str]:
    """Return which of ``names`` was probably meant, nearest first."""
    return alike(name, names)


def no_such_name(name: str, names: Iterable[str], word: str) -> ReconError:
    """Return the error for a name that is not in a file, a module or a class: with the nearest, and a dozen public ones."""
    public = sorted(key for key in set(names) if not key.startswith("_"))
    meant = nearest(name, public)
    return ReconError(
        f"There is no {name!r} in {word.rpartition(':')[0]}.",
        f"{f'Did you mean {meant!r}? ' if meant else ''}It has {listed(public, name) or 'nothing'}.",
    )
