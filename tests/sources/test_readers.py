"""Files that are packed anew, cut, replaced, bombs or no files: read rightly, or refused in a sentence, in bounded memory."""

from __future__ import annotations

import gzip
import json
import os
import socket
import struct
import subprocess
import sys
import tracemalloc
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image

from recon_cli import registry, sources
from recon_cli.errors import ReconError
from recon_cli.runtime import limits
from recon_cli.runtime.lazy_arrays import File, Flat, FortranOrdered, Lazy, Stored, blocks
from recon_cli.sources import _survey, hf, pt

X = numpy.random.default_rng(0).normal(size=(60, 5, 4)).astype("f4")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(word: str) -> ReconError:
    """The error that reading a source ends in."""
    with pytest.raises(ReconError) as caught:
        sources.read(word)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    return caught.value


def tensors(path: str, *about: tuple[str, str, list[int], tuple[int, int]], data: bytes = b"") -> None:
    """A safetensors file of what is said of it: names, types, shapes and offsets."""
    head = json.dumps({name: {"dtype": kind, "shape": shape, "data_offsets": at} for name, kind, shape, at in about}).encode()
    Path(path).write_bytes(struct.pack("<Q", len(head)) + head + data)


def idx(values: numpy.ndarray) -> bytes:
    """Bytes as IDX has them."""
    return bytes((0, 0, 8, values.ndim)) + numpy.array(values.shape, ">u4").tobytes() + values.tobytes()


WRITE: dict[str, Callable[[], Any]] = {
    "x.npy": lambda: numpy.save("x.npy", X),
    "f.npy": lambda: numpy.save("f.npy", numpy.asfortranarray(X)),
    "x.safetensors": lambda: tensors("x.safetensors", ("x", "F32", [60, 5, 4], (0, X.nbytes)), data=X.tobytes()),
    "x.pt": lambda: torch.save(torch.from_numpy(X), "x.pt"),
    "x.idx": lambda: Path("x.idx").write_bytes(idx((X * 9).astype("u1"))),
}


# Changed while it is read.


@pytest.mark.parametrize("path", WRITE)
def test_a_file_that_is_cut_under_its_reader_is_a_sentence(path: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pt, "WHOLE", 0)
    WRITE[path]()
    found = sources.parse(path).read()
    assert isinstance(found, Stored)
    os.truncate(path, os.path.getsize(path) // 2)
    with pytest.raises(ReconError, match="changed while it was read"):
        found[0:60]
    monkeypatch.setattr(File, "unchanged", lambda self: None)  # as where it is cut after it was looked at
    with pytest.raises(ReconError, match="ends before its numbers do"):
        found[0:60]


@pytest.mark.parametrize("path", WRITE)
def test_a_file_that_is_replaced_while_it_is_read_is_a_sentence(path: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pt, "WHOLE", 0)
    WRITE[path]()
    found = sources.parse(path).read()
    assert len(found[0:1]) == 1
    Path("other").write_bytes(Path(path).read_bytes())
    os.replace("other", path)
    with pytest.raises(ReconError, match="changed while it was read"):
        found[30:40]


def test_what_was_given_stays_while_it_is_held(here: Path) -> None:
    WRITE["x.npy"]()
    found = sources.parse("x.npy").read()
    held = [found.rows(at, at + 6) for at in range(0, 60, 6)]
    assert numpy.array_equal(numpy.concatenate(held), X)
    view = torch.from_numpy(held[0])[1:]
    del held
    for at in range(0, 60, 6):
        found.rows(at, at + 6)
    assert numpy.array_equal(view, X[1:6])


# Fortran's order.


@pytest.mark.parametrize("kind", ["<f4", ">f8", "u1"])
@pytest.mark.parametrize("shape", [(7, 5, 3), (100, 4), (3, 50, 2, 2)])
@pytest.mark.parametrize(("band", "jump"), [(1 << 26, 1 << 14), (64, 0), (500, 100)])
def test_the_order_of_fortran_is_read_in_bands(
    kind: str, shape: tuple[int, ...], band: int, jump: int, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recon_cli.runtime.lazy_arrays.BAND", band)
    monkeypatch.setattr("recon_cli.runtime.lazy_arrays.JUMP", jump)
    x = numpy.asfortranarray((numpy.random.default_rng(1).random(shape) * 200).astype(kind))
    numpy.save("x.npy", x)
    found = sources.parse("x.npy").read()
    assert isinstance(found, FortranOrdered)
    assert numpy.array_equal(found, x)
    assert numpy.array_equal(found[1:3], x[1:3])
    assert numpy.array_equal(numpy.concatenate([*blocks(found, 40)]), x)
    assert isinstance(found.flat(), Flat)
    assert numpy.array_equal(found.flat()[3:17], x.reshape(-1)[3:17])


def test_the_order_of_fortran_takes_constant_memory(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recon_cli.runtime.lazy_arrays.BAND", 1 << 17)
    with open("x.npy", "wb") as file:
        numpy.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": True, "shape": (20_000, 100)})
        file.truncate(file.tell() + 8_000_000)
    found = sources.parse("x.npy").read()
    tracemalloc.start()
    assert sum(float(rows.sum()) for rows in blocks(found, 1 << 14)) == 0
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 << 17


# torch's zip.


def packed(path: str, change: Callable[[str, bytes], bytes] = lambda name, data: data, how: int = zipfile.ZIP_STORED) -> None:
    """x.pt packed anew."""
    with zipfile.ZipFile("x.pt") as old, zipfile.ZipFile(path, "w", how) as new:
        for info in reversed(old.infolist()):
            new.writestr(info.filename, change(info.filename, old.read(info)))


@pytest.mark.parametrize("whole", [0, 1 << 25])
def test_a_pt_that_was_packed_anew_is_read_as_torch_reads_it(whole: int, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pt, "WHOLE", whole)
    parts = {str(i): torch.full((30, 3), float(i)) for i in range(4)}  # members of one size, in another order
    torch.save(parts, "x.pt")
    packed("stored.pt")
    packed("deflate.pt", how=zipfile.ZIP_DEFLATED)
    for name in ("x.pt", "stored.pt", "deflate.pt"):
        for part, values in parts.items():
            found = sources.parse(f"{name}:{part}").read()
            assert numpy.array_equal(found, values)
            assert isinstance(found, Stored) == (not whole and name != "deflate.pt")


@pytest.mark.parametrize("whole", [0, 1 << 25])
def test_a_pt_whose_storage_is_short_is_refused(whole: int, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pt, "WHOLE", whole)
    WRITE["x.pt"]()
    packed("short.pt", lambda name, data: data[:60] if "data/0" in name else data)
    assert "short.pt cannot be read" in refused("short.pt").message


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.int16, torch.bool], ids=str)
def test_large_tensors_of_every_type_are_read_in_pieces(dtype: torch.dtype, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.torch import save_file

    monkeypatch.setattr(pt, "WHOLE", 0)
    x = torch.from_numpy(X).to(dtype)
    torch.save({"x": x, "y": x[1:]}, "x.pt")
    save_file({"x": x}, "x.safetensors")
    for word in ("x.pt:x", "x.safetensors"):
        found = sources.parse(word).read()
        assert isinstance(found, Lazy)
        assert numpy.array_equal(found[3:7], x[3:7].float() if dtype.is_floating_point else x[3:7])
    assert numpy.array_equal(sources.parse("x.pt:y").read()[0:2], x[1:3].float())


def test_a_header_of_safetensors_that_lies_is_refused(here: Path) -> None:
    one = ("a", "F32", [2, 2], (0, 16))
    lies = [
        [("a", "F32", [2, 2], (0, 12))],  # shorter than its shape
        [one, ("b", "F32", [2, 2], (16, 32))],  # beyond the file
        [one, ("b", "F32", [2, 2], (0, 16))],  # one over another
        [("a", "F32", [2], (8, 16))],  # a gap
        [("a", "F32", [-2, -2], (0, 16))],
        [("a", "F32", [True, 4], (0, 16)), ("b", "F32", ["4"], (16, 16))],
    ]
    for about in lies:
        tensors("x.safetensors", *about, data=bytes(16))
        assert "x.safetensors cannot be read" in refused("x.safetensors:a").message
    head = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    Path("x.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes(16))
    assert "twice" in refused("x.safetensors").message
    Path("x.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    assert "promises" in refused("x.safetensors").message
    tensors("x.safetensors", ("a", "F4", [2, 2], (0, 2)), data=bytes(2))
    assert "values of type F4" in refused("x.safetensors").message


# What is no file, and what is no array.


@pytest.mark.parametrize(
    "name", ["x.npy", "x.npz", "x.pt", "x.safetensors", "x.csv", "x.parquet", "x.idx", "x.gz", "hf:folder", "folder"]
)
def test_a_pipe_that_nobody_writes_to_is_refused(name: str, here: Path) -> None:
    folder = name.rpartition(":")[2]
    if folder == "folder":
        os.mkdir(folder)
        os.mkfifo("folder/x.png")
    else:
        os.mkfifo(name)
    assert "is a pipe or a device, not a file" in refused(name).message


def test_sockets_and_devices_are_refused(here: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("x.npy")
    for word in ("x.npy", "npy:/dev/zero", "csv:/dev/full"):
        assert "is a pipe or a device, not a file" in refused(word).message


@pytest.mark.parametrize(
    "word", ["../../x", "../../../etc/x", "../x", "/nowhere/x", "~/x", ".hidden/x", "a/../../b", "a/b/c/d", "x y"]
)
def test_what_is_no_name_of_a_data_set_is_refused_at_once(word: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf, "library", lambda name: pytest.fail("the library was asked"))
    assert "there is no such folder" in refused(f"hf:{word}").message


@pytest.mark.parametrize("axes", [33, 64, 65, 72, 300])
def test_more_axes_than_arrays_have_are_a_sentence(axes: int, here: Path) -> None:
    shape = (5, *(1,) * (axes - 1))
    for turned in (False, True):
        with open("x.npy", "wb") as file:
            numpy.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": turned, "shape": shape})
            file.write(bytes(20))
        assert f"{axes} axes" in refused("x.npy").message
    tensors("x.safetensors", ("x", "F32", [*shape], (0, 20)), data=bytes(20))
    assert f"{axes} axes" in refused("x.safetensors").message
    if axes <= 64:
        torch.save(torch.zeros(shape), "x.pt")
        assert f"{axes} axes" in refused("x.pt").message


def test_a_generic_alias_is_no_class_where_it_says_that_it_is() -> None:
    class Alias(types.GenericAlias):
        """As in Python 3.10, where isinstance(list[int], type)."""

        __class__ = property(lambda self: type)  # type: ignore[assignment]

    class Only(sources.Source):
        read = None

    module = types.ModuleType(__name__)
    module.Stream, module.Only = Alias(list, (int,)), Only  # type: ignore[attr-defined]
    assert isinstance(module.Stream, type)
    assert registry.only_class(module, sources.Source) is Only


# Limits.


def write_bombs() -> None:
    """A quarter of a million zeros each, in a few kilobytes."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    zeros = numpy.zeros((500, 500), "u1")
    Path("x.gz").write_bytes(gzip.compress(idx(zeros)))
    numpy.savez_compressed("x.npz", zeros)
    torch.save(torch.from_numpy(zeros), "x.pt")
    packed("bomb.pt", how=zipfile.ZIP_DEFLATED)
    os.mkdir("folder")
    Image.fromarray(zeros).save("folder/x.png")
    table = pyarrow.table({"x": numpy.zeros(1 << 18)})
    parquet.write_table(table, "x.parquet", use_dictionary=False, compression="zstd", data_page_size=1 << 24)
    table = pyarrow.table({"x": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(numpy.zeros(1 << 18)), 1 << 18)})
    parquet.write_table(table, "row.parquet")


def test_what_unpacks_to_far_more_than_it_is_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bombs()
    paths = ("x.gz", "x.npz", "bomb.pt", "folder", "x.parquet", "row.parquet")
    for path in paths:
        assert not sources.read(path).any()
    monkeypatch.setattr(limits, "UNPACKED", 1 << 16)
    for path in paths:
        error = refused(path)
        assert "would unpack to" in error.message, path
        assert error.hint
    assert "gunzip x.gz" in refused("x.gz").hint
    monkeypatch.setattr(limits, "RATIO", 1e6)
    monkeypatch.setattr(limits, "available", lambda: 3e5)
    for path in paths:
        assert "GB are free" in refused(path).message, path
    numpy.save("x.npy", numpy.zeros(1 << 17))
    assert "x.npy takes 0.00105 GB at once, and 0.0003 GB are free" in refused("x.npy").message


def test_an_archive_that_promises_more_than_it_holds_takes_no_memory(here: Path) -> None:
    with zipfile.ZipFile("x.npz", "w") as archive, archive.open("x.npy", "w") as file:
        numpy.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40,)})
    assert "and holds fewer" in refused("x.npz").message
    with zipfile.ZipFile("x.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", b"\x93NUMPY")
    assert "packed in another way" in refused("x.npz").message


@pytest.mark.parametrize(("text", "words"), [
    (b"1," * 3000 + b"1\n", "a line of more than"),
    (b"1,2\n" * 10 + b" " * 9000 + b"1,2\n", "a line of more than"),
    (b'a,b\n1,"2\n' + b"1,2\n" * 3000 + b'"\n', "a quoted field of more than"),
    (b"1;2\r" * 10 + b"1;" * 3000, "a line of more than"),
])  # fmt: skip
@pytest.mark.parametrize("block", [1 << 20, 100])
def test_lines_without_end_are_refused(text: bytes, words: str, block: int, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in {"LINE": 5000, "FIELDS": 2000, "BLOCK": min(block, 2000)}.items():
        monkeypatch.setattr(f"recon_cli.sources.csv.{name}", most)
    Path("x.csv").write_bytes(text)
    assert f"x.csv has {words}" in refused("x.csv").message
    Path("x.csv").write_bytes(b'"a","b"\r\n' + b"1,2\r\n" * 3000)
    assert sources.read("x.csv").shape == (3000, 2)


def test_the_memory_that_is_free_is_told() -> None:
    assert 1e6 < limits.available() < 1e15


def test_a_picture_is_surveyed_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [vars(table) for table in _survey.survey("digits").tables]
    monkeypatch.setattr(_survey, "SOME", 1 << 14)
    assert [part.shape for part in _survey.pieces(numpy.zeros((3, 9000, 2)))] == [(6750, 2)] * 4
    assert len(_survey.pieces(sources.read("digits"))) > 4
    for row, due in zip(_survey.survey("digits").tables[1].rows, whole[1]["rows"], strict=True):
        assert row == pytest.approx(due)


# In a process of its own.


def child(code: str, gigabytes: float, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python runs ``code`` in so much memory."""
    start = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({int(gigabytes * 2**30)},) * 2)\n"
    return subprocess.run([sys.executable, "-c", start + code, *arguments], capture_output=True, text=True, timeout=300)


READ = "import sys; from recon_cli.cli import main; sys.argv[1:1] = ['data']; main(prog_name='recon')"


@pytest.mark.hostile
def test_bombs_take_little_memory(here: Path) -> None:
    with gzip.open("x.gz", "wb", 1) as file:
        file.write(bytes((0, 0, 8, 2)) + struct.pack(">2I", 1000, 500_000))
        for _ in range(500):
            file.write(bytes(1_000_000))
    with open("x.csv", "wb") as file:
        for _ in range(100):
            file.write(b"1," * 1_000_000)
    with zipfile.ZipFile("x.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w", force_zip64=True) as file:
        numpy.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": (500, 1_000_000)})
        for _ in range(500):
            file.write(bytes(1_000_000))
    for path in ("x.gz", "x.csv", "x.npz"):
        done = child(READ, 3, path)
        assert done.returncode == 2, done.stderr
        assert path in done.stderr
        assert "not enough memory" not in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.hostile
def test_saving_over_a_file_that_is_compared_ends_no_process(here: Path) -> None:
    values = numpy.random.default_rng(0).random((100_000, 256), "f4")
    code = (
        "import sys; from recon_cli.cli import main; main(['compare', '--data', 'x.npy', '--recon', 'x.npy', '--device', 'cpu'])"
    )
    for _ in range(2):
        numpy.save("x.npy", values)
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as reader:
            while reader.poll() is None:
                numpy.save("x.npy", values)
            said = reader.stderr.read()  # type: ignore[union-attr]
        assert reader.returncode in {0, 1, 2}, said
        assert "Traceback" not in said
