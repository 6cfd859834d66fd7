"""What ``recon audit`` reads: files as Python reads them, notebooks with all that is in them, helpers of one name."""

from __future__ import annotations

import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import recon_cli
from recon_cli.auditing.reach.source_files import python_of, tree_of
from recon_cli.errors import ReconError
from recon_cli.runtime.user_code import import_file

SQUARES = "def f(recon, x):\n    return (recon - x).square().sum()\n"
TERMS = {"gaussian": "(recon - x) ** 2 ", "laplace": "(recon - x).abs()"}  # of one length


def family(word: str, **how: Any) -> str | None:
    """Of the first row."""
    return recon_cli.audit(word, **how).rows[0].family


def project(folder: Path, family: str) -> str:
    """A loss that takes its term from a helper beside it."""
    folder.mkdir(exist_ok=True)
    (folder / "utils.py").write_text(f"def term(recon, x):\n    return {TERMS[family]}\n")
    (folder / "loss.py").write_text("from utils import term\n\n\ndef f(recon, x):\n    return term(recon, x).sum()\n")
    return f"{folder / 'loss.py'}:f"


def written(path: Path, content: str | bytes) -> str:
    """The word for ``f`` in a file of that content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return f"{path}:f"


def test_helpers_of_one_name_are_each_files_own(tmp_path: Path) -> None:
    a, b = project(tmp_path / "a", "gaussian"), project(tmp_path / "b", "laplace")
    assert [family(a), family(b), family(a)] == ["gaussian", "laplace", "gaussian"]
    assert "utils" not in sys.modules


def test_an_edited_helper_is_read_anew(tmp_path: Path) -> None:
    word = project(tmp_path / "a", "gaussian")
    helper = tmp_path / "a" / "utils.py"
    assert family(word) == "gaussian"
    before = helper.stat()
    project(tmp_path / "a", "laplace")
    os.utime(helper, ns=(before.st_atime_ns, before.st_mtime_ns))  # of the same second and size
    assert helper.stat().st_size == before.st_size
    assert family(word) == "laplace"


def test_a_module_of_the_session_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = types.ModuleType("utils")
    mine.term = None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "utils", mine)
    path, hooks = [*sys.path], [*sys.path_hooks]
    assert family(project(tmp_path / "a", "laplace")) == "laplace"
    assert sys.modules["utils"] is mine
    assert (sys.path, sys.path_hooks) == (path, hooks)


def test_what_is_installed_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    place = tmp_path / "site-packages"
    place.mkdir()
    (place / "installed_package.py").write_text("VALUE = 1\n")
    monkeypatch.syspath_prepend(str(place))
    text = "import wave\nimport installed_package\nimport torch\n" + SQUARES
    import torch

    assert family(written(tmp_path / "loss.py", text)) == "gaussian"
    assert {"wave", "installed_package"} <= {*sys.modules}
    assert sys.modules["torch"] is torch
    monkeypatch.delitem(sys.modules, "installed_package")


def test_a_package_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    (tmp_path / "ours").mkdir()
    for kind in TERMS:
        (tmp_path / "ours" / "terms.py").write_text(f"def term(recon, x):\n    return {TERMS[kind]}\n")
        (tmp_path / "ours" / "loss.py").write_text(
            "from .terms import term\n\ndef f(recon, x):\n    return term(recon, x).sum()\n"
        )
        (tmp_path / "ours" / "script.py").write_text("from ours.loss import f\n")
        assert family("ours.loss:f") == family("ours/script.py:f") == kind
    assert not [name for name in sys.modules if name.partition(".")[0] == "ours"]


def test_models_of_one_helper_each_have_their_own(tmp_path: Path) -> None:
    for kind in TERMS:
        project(tmp_path / kind, kind)
    found = [import_file(tmp_path / kind / "loss.py")["term"].__code__.co_filename for kind in TERMS]
    assert found == [str(tmp_path / kind / "utils.py") for kind in TERMS]
    assert sys.modules.pop("utils").__file__ == found[-1]


MAGICS = {
    "line": "%matplotlib inline\n!ls -la\n?torch\ntorch?\ntorch.nn??\nfiles = !ls\nroot = %pwd\npip install torch\nx = 1",
    "cell": "%%bash\nfor f in *; do echo $f; done",
    "html": "%%html\n<b>'",
    "inside": "if True:\n    !pip install \\\n        torch\nfor i in range(3):\n    %time i",
    "unclosed": "!echo 'it is\n!cat <<EOF (\nx = [1,\n     2]",
    "broken": "def g(:",
}


@pytest.mark.parametrize("magic", MAGICS)
def test_magics_in_another_cell(magic: str, tmp_path: Path) -> None:
    cells = [{"cell_type": "code", "source": part} for part in (MAGICS[magic].splitlines(keepends=True), f"%%time\n{SQUARES}")]
    tree, text = tree_of(Path(written(tmp_path / "n.ipynb", json.dumps({"cells": cells})).rpartition(":")[0]))
    assert [node.name for node in tree.body if hasattr(node, "name")] == ["f"]
    assert text.count("\n") == MAGICS[magic].count("\n") + 1 + SQUARES.count("\n") + 1


def test_what_only_looks_like_a_magic_is_left() -> None:
    source = 's = """\n%matplotlib inline\n!ls\n"""\ny = (7\n     % 4)\nassert "what"  # why?'
    assert python_of(source, "a cell") == source
    assert python_of(f"!ls\n{source}", "a cell") == f"pass\n{source}"


NOTEBOOKS = {
    "null": '{"cells": null}',
    "text": '"x"',
    "list": "[]",
    "number": "3",
    "nan": "[NaN]",
    "odd-cells": '{"cells": [null, 5, "x", [], {}, {"cell_type": "code"}, {"cell_type": "code", "source": 5}]}',
    "brackets": "[" * 100_000,
    "source-of-numbers": '{"cells": [{"cell_type": "code", "source": [1, null, {}]}]}',
    "surrogate": '{"cells": [{"cell_type": "code", "source": "x = \'\\ud800\'"}]}',
    "empty": "",
    "bytes": b"\xff\xfe\x00",
    "nothing-parses": '{"cells": [{"cell_type": "code", "source": "def f(:"}]}',
    "no-such-function": '{"cells": [{"cell_type": "code", "source": "x = 1"}]}',
}
PYTHON = {
    "nul": b"x = 1\0\n",
    "terms": "x = " + "+".join(["1"] * 20_000),
    "minus-signs": "x = " + "-" * 100_000 + "1",
    "brackets": "x = " + "(" * 100_000,
    "binary": bytes(range(256)),
    "utf-16": SQUARES.encode("utf-16"),
    "not-utf-8": b"x = '\xe9'\n",
    "no-coding": b"# coding: nothing-known\nx = 1\n",
    "empty": "",
}


UNREADABLE = {f"{name}.{end}": text for end, texts in (("ipynb", NOTEBOOKS), ("py", PYTHON)) for name, text in texts.items()}


@pytest.mark.parametrize(("name", "content"), UNREADABLE.items(), ids=[*UNREADABLE])
def test_files_that_cannot_be_read_are_a_sentence(name: str, content: Any, tmp_path: Path) -> None:
    with pytest.raises(ReconError) as caught:
        recon_cli.audit(written(tmp_path / name, content))
    assert caught.value.hint
    assert "could not be audited" not in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + SQUARES.encode(),
        b"# -*- coding: latin-1 -*-\nname = '\xe9'\n" + SQUARES.encode(),
        SQUARES.replace("\n", "\r\n").encode(),
        b"\x0c\n" + SQUARES.encode() + b"\x0c\n",
        b"# coding: latin-1\nopen('\xe9')\n" + SQUARES.encode(),
        f"print('{'x' * 100_000}')\nprint({'+'.join(['1'] * 900)})\n{SQUARES}".encode(),
    ],
    ids=["mark", "latin-1", "crlf", "form-feed", "latin-1-not-run", "long"],
)
def test_what_python_reads_is_read(content: bytes, tmp_path: Path) -> None:
    assert family(written(tmp_path / "loss.py", content)) == "gaussian"


def test_places_that_are_no_file(tmp_path: Path) -> None:
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "x.txt").write_text(SQUARES)
    (tmp_path / "x.pyc").write_bytes(b"\0" * 20)
    os.mkfifo(tmp_path / "pipe.py")
    said = {
        "folder.py": "is a folder", ".": "is a folder", "no.py": "no file", "no/loss": "no file", "x.txt": "no Python file",
        "x.pyc": "no Python file", "pipe.py": "no Python file", "a" * 300: "cannot be read", "a\0.py": "no file|cannot be read",
    }  # fmt: skip
    for place, words in said.items():
        with pytest.raises(ReconError, match=words):
            recon_cli.audit(f"{tmp_path / place}:f")
