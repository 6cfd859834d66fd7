"""What is not run, and why, in a sentence: loops that train, losses of other libraries, files with no function named."""

from __future__ import annotations

import ast
import inspect
import types
from pathlib import Path

from recon_cli.auditing.reach.callables import Reached, parameters_of
from recon_cli.auditing.reach.extracting import Definition, needed_by, own_nodes
from recon_cli.auditing.reach.objects import source
from recon_cli.auditing.reach.patterns import OTHERS, called, imports, step_of
from recon_cli.auditing.reach.scan import SourceFile
from recon_cli.auditing.reach.source_files import is_file, tree_of
from recon_cli.errors import ReconError


def trains(code: object, tree: ast.AST | None, depth: int = 3) -> bool:
    """Whether calling a function would train: it loops about a step, or calls what does."""
    if tree is None:
        return False
    loops = any(isinstance(node, (ast.For, ast.AsyncFor, ast.While)) for node in own_nodes(tree))
    if loops and step_of(tree) is not None:
        return True
    names = getattr(code, "__globals__", {})
    called = {node.func.id for node in own_nodes(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    helpers = [inspect.unwrap(names[name]) for name in sorted(called) if isinstance(names.get(name), types.FunctionType)]
    return depth > 0 and any(trains(helper, source(helper), depth - 1) for helper in helpers)


def check_runnable(reached: Reached) -> None:
    """Raise ReconError for a function that trains rather than returns a loss, and for one of another library."""
    from recon_cli.auditing.reach import jax_bridge

    code, tree = inspect.unwrap(reached.code), reached.tree
    globals_ = getattr(code, "__globals__", {})
    for name in getattr(getattr(code, "__code__", None), "co_names", ()):
        module = globals_.get(name)
        root = (getattr(module, "__name__", "") if isinstance(module, types.ModuleType) else "").partition(".")[0]
        if root in OTHERS and not jax_bridge.is_bridged(reached.code):
            raise other_library(reached.spelled, root, f"it reads {name}")
    parameters = [*parameters_of(reached.code).values()][reached.bound :]
    alone = not any(p.default is p.empty or p.kind is p.VAR_POSITIONAL for p in parameters)
    if tree is None or not (trains(code, tree) or alone and works(tree)):
        return
    step = step_of(tree)
    first = getattr(getattr(code, "__code__", None), "co_firstlineno", 1)
    at = f" (line {first + step.lineno - 1}: {ast.unparse(step)})" if step is not None else ""
    raise ReconError(
        f"{reached.spelled} is a training loop{at}, and takes no tensors of a loss: recon does not run it.",
        "Give the function that takes the tensors and returns the loss, or have the script run up to its first step: "
        "recon audit --run SCRIPT.py.",
    )


def works(tree: ast.AST) -> bool:
    """Whether a function without arguments does more than make another one: loops or steps, and has no function inside."""
    inside = any(isinstance(node, (*Definition, ast.Lambda)) for node in ast.walk(tree) if node is not tree)
    loops = any(isinstance(node, (ast.For, ast.AsyncFor, ast.While)) for node in own_nodes(tree))
    return (loops and not inside) or step_of(tree) is not None


def other_library(spelled: str, root: str, because: str) -> ReconError:
    """Return the error for a loss that is not torch's."""
    return ReconError(
        f"{spelled} is written in {OTHERS[root]} ({because}); recon audits functions of torch tensors.",
        "Write the same lines with torch (its sum is torch.sum, and so on), and audit those.",
    )


def check_word(word: str) -> None:
    """Raise ReconError for a word that names no function, and for a function, in a file, of another library's arrays."""
    place, _, name = word.rpartition(":")
    if not place or place in ("", ".") or word.endswith((".py", ".ipynb")):
        raise no_function(word)
    if not is_file(Path(place)):
        return
    from recon_cli.auditing.reach import jax_bridge

    known = imports(needed_by(tree_of(Path(place))[0], name.partition(".")[0]))
    bridge = jax_bridge.LIBRARIES if jax_bridge.installed() else ()
    libraries = [root for root in known if root in OTHERS and root not in bridge]
    if libraries and "torch" not in known:
        line = known[libraries[0]]
        raise other_library(name, libraries[0], f"line {line.lineno}: {ast.unparse(line)}")


def no_function(word: str) -> ReconError:
    """Return the error for a file without a function behind it: those that it has, or where its loss is written."""
    usage = "Write FILE.py:function, FILE.py:Class.method or package.module:name."
    path = Path(word)
    if path.suffix not in (".py", ".ipynb") or not path.is_file():
        return ReconError(f"{word!r} names no function.", usage)
    tree = tree_of(path)[0]
    file = SourceFile(word, tree)
    places = [place for place in file.places if file.is_whole(place) and not place.outer and place.short[0] != "_"]
    names = [place.name for place in places if not trains(None, place.node)]
    if names:
        more = f" and {len(names) - 8} more" * (len(names) > 8)
        return ReconError(f"Which function of {word}?", f"It has {', '.join(f'{word}:{name}' for name in names[:8])}{more}.")
    for step in [node for node in ast.walk(tree) if isinstance(node, ast.Call) and called(node) == "backward"]:
        loss = ast.unparse(step.func.value) if isinstance(step.func, ast.Attribute) else ""
        lines = [n.lineno for n in ast.walk(tree) if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == loss]
        return ReconError(
            f"{word} has no function: its loss, {loss}, is computed inline at line{'s' * (len(lines) > 1)} "
            f"{', '.join(map(str, lines or [step.lineno]))}.",
            f"Put that in a function that takes its tensors, def loss(recon, x, mu, logvar), and audit {word}:loss.",
        )
    return ReconError(f"{word!r} names no function, and has none that takes tensors.", usage)
