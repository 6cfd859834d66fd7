"""Data sets by name: fetched once, checked, and never half there, from a server on this machine."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy
import pytest
from click.testing import CliRunner

from recon_cli import sources
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.runtime import progress
from recon_cli.sources import _download
from recon_cli.sources.fashion_mnist import FashionMnist
from recon_cli.sources.kmnist import Kmnist
from recon_cli.sources.mnist import FILES, Mnist

SETS = [Mnist, FashionMnist, Kmnist]


def packed(values: numpy.ndarray) -> bytes:
    """An IDX file of unsigned bytes, in gzip."""
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return gzip.compress(bytes((0, 0, 8, values.ndim)) + sizes + values.astype("u1").tobytes(), mtime=0)


X = numpy.random.default_rng(0).integers(0, 256, (200, 28, 28), dtype=numpy.uint8)
BODY = packed(X)
SUM = hashlib.sha256(BODY).hexdigest()
OTHERS = {"train": packed(X[:50]), "test-labels": packed(X[:20, 0, 0] % 10), "train-labels": packed(X[:30, 0, 0] % 10)}


class Server:
    """Sends ``files`` by path, in one of several ways, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.how = "whole"
        self.asked: list[str] = []
        self.half = threading.Event()
        self.go = threading.Event()
        self.go.set()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.send(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def send(self, to: BaseHTTPRequestHandler) -> None:
        self.asked.append(to.path)
        body = self.files.get(to.path)
        if body is None or self.how == "broken":
            to.send_error(404 if body is None else 503)
            return
        to.send_response(200)
        if self.how != "endless":
            to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        try:
            if self.how == "endless":
                while True:
                    to.wfile.write(bytes(1 << 16))
            half = len(body) // 2
            to.wfile.write(body[:half])
            to.wfile.flush()
            self.half.set()
            self.go.wait(30)
            if self.how == "cut":
                to.wfile.flush()
                to.close_connection = True
                return
            to.wfile.write(body[half:] if self.how == "whole" else bytes(len(body) - half))
        except (BrokenPipeError, ConnectionResetError):
            pass


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.go.set()
    found.http.shutdown()
    found.http.server_close()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder."""
    monkeypatch.setenv("RECON_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RECON_MIRROR", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def here(server: Server, kept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder, where every data set is the small one that the server has."""
    for kind in SETS:
        monkeypatch.setattr(kind, "homes", (f"{server.url}/{kind.name()}",))
        monkeypatch.setattr(
            kind, "checksums", {"test": SUM, **{part: hashlib.sha256(body).hexdigest() for part, body in OTHERS.items()}}
        )
        for part, file in FILES.items():
            server.files[f"/{kind.name()}/{file}"] = OTHERS.get(part, BODY)
    return kept


def files(folder: Path) -> list[str]:
    """Every file below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def refused(word: str) -> ReconError:
    """The error that reading a source ends in: a sentence and a hint."""
    with pytest.raises(ReconError) as caught:
        sources.read(word)
    assert caught.value.message.endswith(".")
    assert caught.value.hint.endswith(".")
    return caught.value


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist"])
def test_a_data_set_is_fetched_once_and_read_as_idx(name: str, server: Server, here: Path) -> None:
    for word in (name, f"{name}:test"):
        assert numpy.array_equal(sources.read(word), (X / 255).astype("float32"))
    assert numpy.array_equal(sources.read(f"{name}:train"), (X[:50] / 255).astype("float32"))
    assert numpy.array_equal(sources.read(f"{name}:test-labels"), X[:20, 0, 0] % 10)
    assert sources.read(f"{name}:train-labels").dtype == numpy.uint8
    assert server.asked == [f"/{name}/{FILES[part]}" for part in FILES]
    assert files(here) == sorted(f"{name}/{file}" for file in FILES.values())


def test_what_it_is_and_whose_is_said(here: Path) -> None:
    pair = sources.pair("mnist", "mean")
    assert pair.described.startswith(
        "mnist: 200 test samples of 28x28 grey levels, handwritten digits (LeCun, Cortes and Burges)"
    )
    assert "divided by 255" in pair.described
    labels = sources.parse("kmnist:train-labels")
    assert "taken" not in sources.samples(labels, "kmnist:train-labels")[1]
    assert labels.describe().startswith("kmnist: 30 train labels samples of whole numbers")


def test_the_published_checksums_are_sha256_and_all_different() -> None:
    every = [checksum for kind in SETS for checksum in kind.checksums.values()]
    assert all(len(checksum) == 64 and int(checksum, 16) for checksum in every)
    assert len({*every}) == 12
    assert all({*kind.checksums} == {*FILES} for kind in SETS)


def test_mnist_by_its_name_is_mnist(mnist: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The copy here was packed anew: its content is MNIST's, its gzip header another's.
    for part in ("test", "test-labels"):
        (kept / "mnist").mkdir(parents=True, exist_ok=True)
        body = (mnist / FILES[part]).read_bytes()
        (kept / "mnist" / FILES[part]).write_bytes(body)
        monkeypatch.setitem(Mnist.checksums, part, hashlib.sha256(body).hexdigest())
    assert sources.read("mnist", scale=1).mean(dtype="f8") == pytest.approx(33.791224489795916, rel=1e-12)
    assert numpy.bincount(sources.read("mnist:test-labels")).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_without_a_network_what_was_tried_and_the_way_out_are_said(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mnist, "homes", ("http://127.0.0.1:9/a", "http://127.0.0.1:9/b"))
    error = refused("mnist:train")
    for url in ("http://127.0.0.1:9/a/train-images-idx3-ubyte.gz", "http://127.0.0.1:9/b/train-images-idx3-ubyte.gz"):
        assert f"{url}: it cannot be reached" in error.message
    assert str(kept / "mnist" / FILES["train"]) in error.hint
    assert "RECON_MIRROR=" in error.hint
    assert files(kept) == []
    shown = CliRunner().invoke(main, ["compare", "--data", "mnist:train"])
    assert shown.exit_code == 2
    assert "Traceback" not in shown.output


def test_a_file_put_there_by_hand_needs_no_network(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mnist, "homes", ("http://127.0.0.1:9",))
    monkeypatch.setattr(Mnist, "checksums", {"test": SUM})
    path = kept / "mnist" / FILES["test"]
    path.parent.mkdir(parents=True)
    path.write_bytes(BODY)
    assert sources.read("mnist").shape == X.shape
    path.write_bytes(BODY[:-1])
    error = refused("mnist")
    assert f"The file that is there now, {path}, has another checksum than sha256:{SUM}." in error.message


def test_a_mirror_is_named_by_the_environment_or_after_the_colon(
    server: Server, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = f"{server.url}/mnist"
    monkeypatch.setattr(Mnist, "homes", ("http://127.0.0.1:9",))
    for word in (f"mnist:test:{home}", f"mnist:{home}/", f"mnist::{home}"):
        assert sources.read(word).shape == X.shape
        (here / "mnist" / FILES["test"]).unlink()
    monkeypatch.setenv("RECON_MIRROR", f"{server.url}/")
    assert sources.read("mnist").shape == X.shape
    assert {*server.asked} == {f"/mnist/{FILES['test']}"}


def test_the_next_home_is_tried_where_one_fails(server: Server, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Mnist, "homes", ("http://127.0.0.1:9", f"{server.url}/nothing", *Mnist.homes))
    assert sources.read("mnist").shape == X.shape
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut", "it was cut short"),
        ("wrong", "what it sends fails its checksum"),
        ("broken", "the server answers 503"),
        ("endless", "it sends more than"),
    ],
)
def test_a_download_that_fails_leaves_nothing(
    how: str, words: str, server: Server, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_download, "MOST", 1 << 20)
    server.how = how
    assert words in refused("mnist").message
    assert files(here) == []
    server.how = "whole"
    assert sources.read("mnist").shape == X.shape


def test_a_server_that_stops_is_not_waited_for(server: Server, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_download, "PATIENCE", 0.2)
    server.go.clear()
    assert "no answer within 0.2 seconds" in refused("mnist").message
    assert files(here) == []


def test_what_is_no_url_and_no_part_is_refused(here: Path) -> None:
    assert "mnist:test:nonsense".removeprefix("mnist:test:") in refused("mnist:test:nonsense").message
    assert "Did you mean 'train'?" in refused("mnist:tran").hint


FULL = "import sys; from recon_cli.sources import _download; print(_download.fetch([sys.argv[1]], 'mnist/x.gz', sys.argv[2]))"


def fetching(url: str, kept: Path, limit: int | None = None) -> subprocess.Popen:
    """A process that fetches, with no file over ``limit`` bytes."""

    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, "-c", FULL, url, f"sha256:{SUM}"], preexec_fn=limited, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "RECON_CACHE": str(kept)}, text=True,
    )  # fmt: skip


def test_a_full_disk_leaves_nothing(server: Server, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    import pooch.downloaders

    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            super().write(data[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pooch.downloaders, "open", lambda path, mode: Full(path, "w"), raising=False)
    error = refused("mnist")
    assert error.message == f"mnist/{FILES['test']} cannot be kept in the cache folder {here / 'mnist'}: No space left on device."
    assert "RECON_CACHE" in error.hint
    assert files(here) == []


def test_a_limit_on_the_size_of_files_leaves_nothing(server: Server, here: Path) -> None:
    process = fetching(f"{server.url}/mnist/{FILES['test']}", here, limit=10_000)
    assert "File too large" in process.communicate(timeout=60)[1]
    assert files(here) == []


def test_a_cache_that_cannot_be_made_is_said(server: Server, here: Path) -> None:
    here.write_text("a file")
    assert f"cannot be kept in the cache folder {here / 'mnist'}" in refused("mnist").message


def test_several_processes_at_once_get_the_same_whole_file(server: Server, here: Path) -> None:
    server.go.clear()
    several = [fetching(f"{server.url}/mnist/{FILES['test']}", here) for _ in range(3)]
    while len(server.asked) < 3:
        time.sleep(0.01)
    server.go.set()
    said = {process.communicate(timeout=60)[0].strip() for process in several}
    assert [process.returncode for process in several] == [0, 0, 0]
    assert said == {str(here / "mnist" / "x.gz")}
    assert (here / "mnist" / "x.gz").read_bytes() == BODY
    assert files(here) == ["mnist/x.gz"]


def test_ctrl_c_leaves_nothing_and_exits_with_130(server: Server, here: Path) -> None:
    server.go.clear()
    process = subprocess.Popen(
        [sys.executable, "-m", "recon_cli", "data", f"mnist:{server.url}/mnist"],
        env={**os.environ, "RECON_CACHE": str(here)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.half.wait(60)
    while not files(here):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert "Interrupted" in said
    assert files(here) == []


def test_what_a_killed_download_left_goes_with_the_next(server: Server, here: Path) -> None:
    for name, age in (("tmpold", 2 * _download.STALE), ("tmpnew", 1)):
        path = here / "mnist" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
        os.utime(path, (time.time() - age,) * 2)
    sources.read("mnist")
    assert files(here) == [f"mnist/{FILES['test']}", "mnist/tmpnew"]
    (here / "mnist" / "tmpgone").symlink_to(here / "nowhere")  # as one that another process has just renamed
    assert sources.read("mnist:train").shape == (50, 28, 28)


def test_progress_is_told_on_a_terminal_and_a_bar_fits_into_another(
    server: Server, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources.read("mnist")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with progress.bar("measuring", 100) as advance:
        advance(1, "a word")
        (shown,) = progress.displays
        seen = []
        add = shown.add_task
        monkeypatch.setattr(shown, "add_task", lambda what, **how: seen.append((what, how["total"])) or add(what, **how))
        sources.read("mnist:train")
        assert seen == [(f"downloading {FILES['train']}", len(OTHERS["train"]) // 1000)]
        assert [task.description for task in shown.tasks] == ["measuring"]
    assert progress.displays == []
    with pytest.raises(KeyboardInterrupt), progress.bar("again", 1):
        raise KeyboardInterrupt
    assert progress.displays == []
