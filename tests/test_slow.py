"""What the default run leaves out is named as it is called."""

from __future__ import annotations

import re
from pathlib import Path

import slowness


def test_what_is_named_slow_is_there() -> None:
    """A test that was renamed would be run again by default, and its entry stay for ever."""
    functions = {
        f"{path.name}::{name}"
        for path in Path(__file__).parent.rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    left = slowness.slow()
    assert not {name.partition("[")[0] for name in left} - functions
    assert all("[" in name for name in left), "a test without variants is marked where it is written"
    assert [*left] == sorted({*left})


def test_the_cheapest_stay_and_whatever_costs_little() -> None:
    seconds = {"t.py::a": 9.0, **{f"t.py::b[{n}]": n / 20 for n in range(6)}, "t.py::c[x]": 5.0, "t.py::c[y]": 6.0}
    left = slowness.chosen(seconds)
    assert left == {"t.py::b[3]", "t.py::b[4]", "t.py::b[5]"}


def test_a_beginning_is_of_whole_words_and_of_no_test_that_is_kept() -> None:
    left = {"t.py::a[beta-1]", "t.py::a[beta-2]", "t.py::a[gamma:shape=1-x]", "t.py::b[beta]"}
    kept = {"t.py::a[betabinomial-1]", "t.py::a[gamma:shape=1-y]", "t.py::a[gamma:shape=2-x]"}
    assert slowness.beginnings(left, kept) == ["t.py::a[beta-", "t.py::a[gamma:shape=1-x]", "t.py::b[beta]"]
