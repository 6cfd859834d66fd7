"""What the default run leaves out is named as it is called."""

from __future__ import annotations

import re
from pathlib import Path

from conftest import SLOW


def test_what_is_named_slow_is_there() -> None:
    """A test that was renamed would be run again by default, and its entry stay for ever."""
    functions = {
        f"{path.name}::{name}"
        for path in Path(__file__).parent.rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    for name in SLOW:
        function, bracket, _ = name.partition("[")
        assert function in functions if bracket else any(one.startswith(function) for one in functions), name
    assert sorted(SLOW) == [*SLOW]
