"""Native code on disk: loaded as it was written, by whom it was written, for what it was made for; or not at all."""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from recon_cli.runtime import kernels
from recon_cli.runtime.kernels import UnusableKernel, alone, first_today, keep, load, name_of

FOLDER = kernels.folder  # the real one: a test has its own
ASKED = {"likelihood": "gaussian", "loss": "squared-error", "dtype": "float32", "torch": "9.9", "fixed": [["count", 3.0]]}


@pytest.fixture(autouse=True)
def bytes_for_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be native code is looked at and not run."""
    monkeypatch.setattr(kernels, "Kernel", lambda path: path.read_bytes())


def place() -> Path:
    return kernels.folder() / name_of(ASKED)


def test_what_was_kept_is_loaded() -> None:
    assert load(ASKED) is None
    keep(ASKED, b"code")
    assert load(ASKED) == b"code"
    assert place().name.startswith("gaussian-squared-error-float32-")
    modes = [path.stat().st_mode & 0o777 for path in (kernels.folder(), place(), *sorted(place().iterdir()))]
    assert modes == [0o700, 0o700, 0o600, 0o600]
    assert [path.name for path in kernels.folder().iterdir()] == [place().name]
    keep(ASKED, b"other code")
    assert load(ASKED) == b"other code"


@pytest.mark.parametrize("change", [{"torch": "9.10"}, {"dtype": "float64"}, {"fixed": [["count", 4.0]]}, {"more": ""}])
def test_what_was_made_for_something_else_is_not(change: dict[str, object]) -> None:
    keep(ASKED, b"code")
    assert load({**ASKED, **change}) is None


def test_nor_where_it_only_has_the_name() -> None:
    keep({**ASKED, "torch": "9.10"}, b"code")
    os.rename(kernels.folder() / name_of({**ASKED, "torch": "9.10"}), place())
    with pytest.raises(UnusableKernel, match="made for something else"):
        load(ASKED)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda: flip(place() / "kernel.so"), "checksum"),
        (lambda: flip(place() / "kernel.json"), "checksum"),
        (lambda: (place() / "kernel.so").write_bytes(b""), "checksum"),
        (lambda: (place() / "kernel.so").unlink(), "no kernel.so"),
        (lambda: (place() / "kernel.json").write_text("{}"), "no checksum"),
        (lambda: (place() / "kernel.so").chmod(0o620), "another user may write"),
        (lambda: place().chmod(0o777), "another user may write"),
        (lambda: kernels.folder().chmod(0o720), "another user may write"),
        (lambda: ((place() / "kernel.so").rename(place() / "x"), (place() / "kernel.so").symlink_to("x")), "is a link"),
        (lambda: (place().rename(kernels.folder() / "x"), place().symlink_to("x")), "is a link"),
    ],
)
def test_what_was_harmed_is_not_run(harm: object, reason: str) -> None:
    keep(ASKED, b"code")
    harm()
    with pytest.raises(UnusableKernel, match=reason):
        load(ASKED)
    if "another user" not in reason or kernels.folder().stat().st_mode & 0o022 == 0:
        keep(ASKED, b"fresh")
        assert load(ASKED) == b"fresh"


def test_nor_is_another_users(monkeypatch: pytest.MonkeyPatch) -> None:
    keep(ASKED, b"code")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    for attempt in (lambda: load(ASKED), lambda: keep(ASKED, b"code")):
        with pytest.raises(UnusableKernel, match="another user"):
            attempt()


@pytest.mark.parametrize(("call", "code"), [("rename", errno.EROFS), ("mkdir", errno.EACCES), ("open", errno.ENOSPC)])
def test_where_nothing_can_be_written_what_was_there_stays(monkeypatch: pytest.MonkeyPatch, call: str, code: int) -> None:
    keep(ASKED, b"code")

    def refused(*words: object, **named: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        if call == "open":
            patch.setattr(Path, "write_bytes", refused)
        else:
            patch.setattr(os, call, refused)
        with pytest.raises(UnusableKernel, match=os.strerror(code)):
            keep(ASKED, b"other code")
    assert load(ASKED) == b"code"
    assert [path.name for path in kernels.folder().iterdir()] == [place().name]


def test_those_longest_unused_are_taken_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "MOST", 2)
    for age, torch in enumerate(("1", "2", "3")):
        keep({**ASKED, "torch": torch}, b"code")
        os.utime(kernels.folder() / name_of({**ASKED, "torch": torch}), (1000 + age, 1000 + age))
        if torch == "2":
            assert load({**ASKED, "torch": "1"})  # which is a use
    assert [load({**ASKED, "torch": torch}) for torch in ("1", "2", "3")] == [b"code", None, b"code"]


def test_one_at_a_time() -> None:
    order: list[str] = []

    def second() -> None:
        with alone():
            order.append("second")

    with alone():
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_what_fails_is_tried_once_a_day() -> None:
    assert first_today(ASKED)
    assert not first_today(ASKED)
    assert first_today({**ASKED, "torch": "9.10"})
    (mark,) = kernels.folder().glob(f".{name_of(ASKED)}*")
    os.utime(mark, (1000, 1000))
    assert first_today(ASKED)


def test_where_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RECON_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    if sys.platform == "linux":
        assert FOLDER() == tmp_path / ".cache" / "recon" / "kernels"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "there"))
    assert FOLDER() == tmp_path / "there" / "recon" / "kernels"
    monkeypatch.setenv("RECON_CACHE", str(tmp_path / "own"))
    assert FOLDER() == tmp_path / "own" / "kernels"


def test_what_it_depends_on_is_words() -> None:
    known = kernels.surroundings()
    assert {"torch", "python", "system", "processor"} == {*known}
    assert json.loads(json.dumps(known)) == known
