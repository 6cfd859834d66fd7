"""Whatever the code does that it runs, ``recon audit`` ends in a verdict that was earned, or in one sentence and exit code 2."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostile
import pytest

import recon_cli
from recon_cli.errors import ReconError
from recon_cli.report import Block, Chart, Column, Diagram, Excerpt, Formula, Picture, Report, Series, Table
from recon_cli.runtime import supervisor

run_supervised, run_in_parts = supervisor.run_supervised, supervisor.run_in_parts  # before the suite works in this process
HERE = f"{__name__}:work"


@pytest.fixture(autouse=True)
def in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts come from a process of their own again."""
    monkeypatch.setattr(supervisor, "run_in_parts", run_in_parts)


def work(what: str) -> Report:
    """What a child does for these tests."""
    exec(what)
    return Report("test", [Table("t", [Column("a", "A")], [{"a": float("inf"), "b": (1, None, {"é": True})}])], lead=["\udcff"])


def audited(folder: Path, name: str, *words: str, timeout: float = 2) -> subprocess.CompletedProcess[str]:
    """``recon audit`` of one of the functions, as a program."""
    path = folder / f"{name.replace('-', '_')}.py"
    path.write_text(hostile.FUNCTIONS[name])
    command = [sys.executable, "-m", "recon_cli", "audit", f"{path}:f", "--timeout", f"{timeout}", "--format", "json", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, stdin=subprocess.DEVNULL)


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one that it ended in."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    return next(line for line in done.stderr.splitlines() if line.startswith("error: "))


# A few of each kind, in this process.

RAISING = (
    "raises-system-exit-5", "raises-keyboard", "raises-generator-exit", "raises-own-base", "raises-str-raises", "raises-lines",
    "raises-recursion", "raises-memory", "raises-key", "returns-itself", "returns-context", "returns-vars-raise", "kind-async",
    "returns-generator", "kind-context-manager", "kind-no-arguments", "kind-made-of-itself", "kind-no-setter", "kind-metaclass",
    "kind-base-not-there", "kind-default-not-there", "kind-init-exits", "kind-copy-raises", "raises-str-exits",
)  # fmt: skip
ODD = ("returns-mapping-raises", "kind-hook-exits", "kind-getattr-exits")  # what recon meets with where it does not call them


@pytest.mark.parametrize("name", RAISING + ODD)
def test_what_code_raises_is_a_sentence(name: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.py"
    path.write_text(hostile.FUNCTIONS[name])
    with pytest.raises(ReconError) as caught:
        recon_cli.audit(f"{path}:f", (2, 2), 3)
    assert "\n" not in caught.value.message
    assert "fault of recon's" not in caught.value.hint or name in ODD


def test_a_loss_that_calls_backward_is_the_loss_that_it_returns(tmp_path: Path) -> None:
    path = tmp_path / "theirs.py"
    path.write_text(hostile.FUNCTIONS["undoes-backward"])
    assert recon_cli.audit(f"{path}:f", (2, 2), 3).verdict == "elbo"


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), -1.0, 0.0, "5"])
def test_a_timeout_is_a_number_above_zero(timeout: Any) -> None:
    with pytest.raises(ReconError, match="number of seconds above 0"):
        recon_cli.audit(lambda y, t: ((y - t) ** 2).sum(), timeout=timeout)
    with pytest.raises(ReconError, match="number of seconds above 0"):
        run_supervised(HERE, {}, timeout)


def test_a_total_that_ends_the_program() -> None:
    with pytest.raises(ReconError, match="--total 'exit.0.' fails: SystemExit: 0"):
        recon_cli.audit(lambda recon, x: ((recon - x) ** 2).sum(), total="exit(0)")


def test_a_real_interrupt_is_one() -> None:
    def loss(recon: Any, x: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return ((recon - x) ** 2).sum()

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            recon_cli.audit(loss)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_a_thread_no_interrupt_is_real() -> None:
    def loss(recon: Any, x: Any) -> Any:
        raise KeyboardInterrupt

    found: list[BaseException] = []

    def audit() -> None:
        try:
            recon_cli.audit(loss)
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=audit)
    thread.start()
    thread.join()
    assert isinstance(found[0], ReconError)


def test_a_copy_of_the_process_ends_after_the_call() -> None:
    copies: list[int] = []

    def loss(recon: Any, x: Any) -> Any:
        copies.append(os.fork()) if not copies else None
        return ((recon - x) ** 2).sum()

    assert recon_cli.audit(loss, (2, 2), 3).rows[0].family == "gaussian"
    assert os.waitpid(copies[0], 0)[1] == 0  # else it goes on with the audit, and with the tests


# Processes.


def test_a_report_comes_back_as_it_was() -> None:
    formula = Formula("x^2", "x²", "x^{2}")
    columns = [Column("a", "A", None), Column("b", "B", "*")]
    whole = Report(
        "audit", [Table("t", columns, [{"a": 0.1 + 0.2, "b": formula}, {"a": float("-inf"), "b": None}], most=3)], ["é"], "elbo",
        False, [Picture("p", [["a", [[[0.5]]]]])], True,
        [Chart("c", [1.0, 2.0], [Series("s", [3.0, None])], scales=["linear", "log"], level=0.5)], ["first"],
        exhibits=[Diagram("d", [Block("KL", "mu", "1/B", "summed")], ["elbo"]), Excerpt("f.py", [[1, "x"]], [[1, "gap", "so"]])],
    )  # fmt: skip
    key = b"k" * 32
    read, write = os.pipe()
    with open(read, "rb") as pipe:
        os.write(write, supervisor.signed({"report": whole}, key) + supervisor.signed({}, b"other"))
        os.close(write)
        first, second = supervisor.messages(pipe, key)
        assert first == {"report": whole}
        assert "nobody else's" in second["error"][0]


ENDS = {
    "import os; os._exit(0)": "ended its process with code 0",
    "import os; os.kill(os.getppid(), 9)\nwhile True: pass": "ended its process by SIGKILL",
    "import os; os.abort()": "ended its process by SIGABRT",
    "import os\nfor n in range(3, 99):\n  try: os.write(n, b'{}' * 99)\n  except OSError: pass": "nobody else's to write to",
    "import sys; sys.exit(0)": "SystemExit",
    "import signal; signal.signal(signal.SIGALRM, signal.SIG_IGN)\nwhile True: pass": "nor did it let itself be stopped",
}


@pytest.mark.parametrize("what", ENDS)
def test_how_a_child_ends_is_told(what: str) -> None:
    with pytest.raises((ReconError, supervisor.ChildError), match=ENDS[what]):
        run_supervised(HERE, {"what": what}, 0.5)


def test_what_a_child_finds_comes_back(capfd: pytest.CaptureFixture[str]) -> None:
    what = "import os, threading, time; print('loudly'); os.close(0); os.fork(); "
    what += "threading.Thread(target=time.sleep, args=(9,)).start()"
    found = run_supervised(HERE, {"what": what}, 30)
    assert json.dumps(found, default=supervisor.to_json) == json.dumps(work(""), default=supervisor.to_json)
    assert capfd.readouterr() == ("", "loudly\n")


def parts() -> Iterator[Report]:
    """Two reports, and what a child says that is killed before its third."""
    for name in "ab":
        yield Report("test", [Table(name, [], [])])
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_child_finds_in_parts_comes_back_before_its_end() -> None:
    reports = run_in_parts(f"{__name__}:parts", {}, 30)
    assert [next(reports).tables[0].name for _ in "ab"] == ["a", "b"]
    with pytest.raises(ReconError, match="SIGKILL"):
        next(reports)


def test_what_the_code_started_ends_with_it(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    what = f"import os, subprocess; open({str(mark)!r}, 'w').write(str(subprocess.Popen(['sleep', '99']).pid)); os._exit(0)"
    with pytest.raises(ReconError):
        run_supervised(HERE, {"what": what}, 30)
    assert ended(int(mark.read_text()))


def interrupted(command: list[str], mark: Path) -> subprocess.Popen[str]:
    """A program that had a Ctrl-C when its child had written its number."""
    code = "import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); os.execv(sys.argv[1], sys.argv[1:])"
    program = subprocess.Popen([sys.executable, "-c", code, sys.executable, *command], stderr=subprocess.PIPE, text=True)
    while not (mark.exists() and mark.read_text()):
        time.sleep(0.05)
    program.send_signal(signal.SIGINT)
    return program


def test_an_interrupt_ends_the_child(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    what = f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(99)"
    code = f"import sys; sys.path[:] = {sys.path!r}; from recon_cli.runtime.supervisor import run_supervised; "
    code += f"run_supervised({HERE!r}, {{'what': {what!r}}}, 99)"
    assert "KeyboardInterrupt" in interrupted(["-c", code], mark).communicate(timeout=100)[1]
    assert ended(int(mark.read_text()))


def ended(pid: int) -> bool:
    """Whether a process is gone, or about to be."""
    for _ in range(200):
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_the_command_ends_in_a_sentence(tmp_path: Path) -> None:
    assert "ended its process with code 0" in sentence(audited(tmp_path, "ends-exit-0"))


def test_the_command_earns_its_verdict(tmp_path: Path) -> None:
    done = audited(tmp_path, "spoils-print-fd", timeout=100)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "elbo"


# All of them.


@pytest.mark.hostile
@pytest.mark.parametrize("name", hostile.FUNCTIONS)
def test_hostile(name: str, tmp_path: Path) -> None:
    start = time.monotonic()
    done = audited(tmp_path, name, timeout=5)
    print(f"{time.monotonic() - start:.1f} s")
    if name in hostile.MAY_HOLD and done.returncode == 0:
        assert json.loads(done.stdout)["verdict"] == "elbo"
        assert json.loads(done.stdout)["tables"]["objective"][0]["family"] == "gaussian"
    else:
        sentence(done)


@pytest.mark.hostile
@pytest.mark.parametrize("words", hostile.WORDS, ids=" ".join)
def test_hostile_words(words: tuple[str, ...], tmp_path: Path) -> None:
    sentence(audited(tmp_path, "spoils-seed", *words))


@pytest.mark.hostile
def test_hostile_keyboards(tmp_path: Path) -> None:
    mark, path = tmp_path / "pid", tmp_path / "theirs.py"
    path.write_text(hostile.inside(f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(999)"))
    program = interrupted(["-m", "recon_cli", "audit", f"{path}:f"], mark)
    said = program.communicate(timeout=100)[1]
    assert program.returncode == 130, said
    assert said.split() == ["Interrupted."]
    assert ended(int(mark.read_text()))
