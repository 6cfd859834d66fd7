"""The notebooks of the guide are true: their cells run, and show what they are said to show.

``pytest tests/test_notebooks.py --update-readme`` writes their outputs anew.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from test_readme import ANEW, README, TEXT, steady

NOTEBOOKS = sorted((README.parent / "recon_cli" / "guide").glob("*.ipynb"))


def shown(source: str, names: dict[str, Any]) -> Any:
    """Run a cell, and return what its last expression is, as a notebook shows it; None where it ends in a statement."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if isinstance(last, ast.Expr) else None


def outputs(value: Any) -> list[dict[str, Any]]:
    """What a notebook keeps of a value."""
    if value is None:
        return []
    data = {"text/plain": str(value).splitlines(keepends=True)}
    if hasattr(value, "_repr_html_"):
        data["text/html"] = value._repr_html_().splitlines(keepends=True)
    return [{"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": None}]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_shows_what_it_says(
    notebook: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = json.loads(notebook.read_text(encoding="utf-8"))
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            now = outputs(shown("".join(cell["source"]), names))
            if request.config.getoption("--update-readme"):
                cell["outputs"] = now
                continue
            assert [{*each["data"]} for each in cell["outputs"]] == [{*each["data"]} for each in now]
            for old, new in zip(cell["outputs"], now, strict=True):
                for form in new["data"]:
                    (words, numbers), (real, measured) = (steady("".join(each["data"][form])) for each in (old, new))
                    assert real == words, f"{''.join(cell['source'])}\nshows something else now; if that is right: {ANEW}"
                    assert measured == pytest.approx(numbers, rel=0.02, abs=1e-3)
    if request.config.getoption("--update-readme"):
        notebook.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def test_the_readme_leads_to_each() -> None:
    assert len(NOTEBOOKS) == 4
    for notebook in NOTEBOOKS:
        assert f"(recon_cli/guide/{notebook.name})" in TEXT
