"""Every format that data come in: round trips, what is refused and in which words, damage, and real MNIST."""

from __future__ import annotations

import gzip
import io
import math
import os
import random
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from recon_cli import likelihoods, sources
from recon_cli.comparison import compare_sources
from recon_cli.errors import ReconError
from recon_cli.runtime.lazy_arrays import Lazy
from recon_cli.training import train

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
CODES = {dtype: code for code, dtype in DTYPES.items()}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def grey(*shape: int, seed: int = 0, high: int = 256) -> numpy.ndarray:
    """Whole numbers from 0 up."""
    return numpy.random.default_rng(seed).integers(0, high, shape, dtype=numpy.uint8)


def idx(values: numpy.ndarray, sizes: tuple[int, ...] | None = None, code: int | None = None) -> bytes:
    """An IDX file by its definition; ``sizes`` and ``code`` make it lie."""
    dtype = next(name for name in CODES if numpy.dtype(name).newbyteorder("=") == values.dtype.newbyteorder("="))
    sizes = values.shape if sizes is None else sizes
    head = struct.pack(f">BBBB{len(sizes)}I", 0, 0, CODES[dtype] if code is None else code, len(sizes), *sizes)
    return head + values.astype(dtype).tobytes()


def refused(word: str, recon: str | None = None, **how: Any) -> ReconError:
    """The error that reading a source, or pairing it with another, ends in: a sentence and a hint, each one line."""
    with pytest.raises(ReconError) as caught:
        sources.read(word, **how) if recon is None else sources.pair(word, recon, **how)
    assert caught.value.message.endswith((".", "?"))
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


def described(word: str, **how: Any) -> str:
    """What is said of a source."""
    return sources.samples(sources.parse(word), word, **how)[1]


# IDX.


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("shape", [(7,), (7, 5), (7, 5, 4), (2, 3, 4, 5)])
def test_idx_of_every_type_is_read_as_it_is(dtype: str, pack: Callable, shape: tuple[int, ...], here: Path) -> None:
    x = (numpy.random.default_rng(0).normal(size=shape) * 100).astype(dtype)
    Path("x.idx").write_bytes(pack(idx(x)))
    found = sources.read("x.idx", scale=1)
    assert numpy.array_equal(found, x)
    assert found.dtype == x.dtype.newbyteorder("=")


@pytest.mark.parametrize("name", [
    "x.idx", "X.IDX", "x.gz", "x.idx.gz", "train-images-idx3-ubyte", "train-images-idx3-ubyte.gz", "train-images.idx3-ubyte",
    "a-idx1-int", "idx:x.dat", "./idx3-ubyte",
])  # fmt: skip
def test_idx_is_known_by_its_name(name: str, here: Path) -> None:
    x = grey(4, 3, 2)
    Path(name.removeprefix("idx:")).write_bytes(gzip.compress(idx(x)) if name.endswith("gz") else idx(x))
    assert numpy.array_equal(sources.read(name, scale=1), x)


def test_grey_levels_of_idx_are_divided_by_255_in_float32_and_labels_are_not(here: Path) -> None:
    x = numpy.arange(256, dtype="u1").reshape(8, 32)
    Path("x.idx").write_bytes(idx(x))
    Path("labels.idx").write_bytes(idx(x.reshape(-1)))
    found = sources.read("x.idx")
    assert found.dtype == numpy.float32
    assert numpy.array_equal(found, x.astype("f4") / numpy.float32(255))
    assert described("x.idx") == "x.idx: 8 samples of shape 32, divided by 255"
    assert sources.read("labels.idx").tolist() == list(range(256))
    assert "taken as they are" in described("labels.idx")


@pytest.mark.parametrize("kind", ["u1", "f4", "i2"])
def test_idx_is_read_when_it_is_asked_for(kind: str, here: Path) -> None:
    Path("x.idx").write_bytes(idx(x := grey(4, 3).astype(kind)))
    found = sources.parse("x.idx").read()
    assert isinstance(found, Lazy)
    assert numpy.array_equal(found[1:3], x[1:3])


IMAGE = grey(4, 3)
BAD_IDX = {
    "cut.idx": (idx(IMAGE)[:-1], "promises 4x3 values in 12 bytes, and holds fewer"),
    "long.idx": (idx(IMAGE) + b"\0", "in 12 bytes, and holds more"),
    "cut.gz": (gzip.compress(idx(IMAGE)[:-1]), "in 12 bytes, and holds fewer"),
    "long.gz": (gzip.compress(idx(IMAGE) + bytes(10**6)), "in 12 bytes, and holds more"),
    "lie.idx": (idx(IMAGE, (2**32 - 1,) * 3), "and holds fewer"),
    "lie.gz": (gzip.compress(idx(IMAGE, (2**32 - 1,) * 3)), "and holds fewer"),
    "type.idx": (idx(IMAGE, code=0x0A), "type 0x0a, which IDX does not have"),
    "magic.idx": (b"\x93NUMPY" + bytes(90), "is no IDX file: it begins with the bytes 93 4e 55 4d"),
    "other.gz": (gzip.compress(b"x,y\n1,2\n"), "is no IDX file: it begins with the bytes 78 2c 79 0a"),
    "head.idx": (idx(IMAGE)[:9], "its header is cut short"),
    "short.idx": (b"\0\0", "its header is cut short"),
    "none.gz": (gzip.compress(b""), "its header is cut short"),
    "axes.idx": (bytes((0, 0, 8, 255)) + bytes(4 * 255), "its header promises 255 axes"),
    "zero.idx": (idx(grey(0, 8)), "is empty: its shape is 0x8"),
    "flat.gz": (gzip.compress(idx(grey(5, 0))), "is empty: its shape is 5x0"),
    "single.idx": (idx(numpy.array(7, "u1")), "holds a single number"),
    "nothing.idx": (b"", "cannot be read: it has no bytes"),
    "stream.gz": (gzip.compress(idx(grey(50, 50)))[:-900], "cannot be read: "),
    "checksum.gz": (gzip.compress(idx(IMAGE))[:-8] + bytes(8), "cannot be read: CRC check failed"),
    "nan.idx": (idx(numpy.array([1, math.nan], "f4")), "1 NaN and 0 infinite values"),
}


@pytest.mark.parametrize("name", BAD_IDX)
def test_an_idx_that_lies_is_refused(name: str, here: Path) -> None:
    raw, words = BAD_IDX[name]
    Path(name).write_bytes(raw)
    error = refused(name)
    assert name in error.message
    assert words in error.message


@pytest.mark.parametrize("promised", [(4, 3), (2**16, 2**16)])
def test_a_gzip_bomb_is_not_unpacked(promised: tuple[int, ...], here: Path) -> None:
    import tracemalloc

    with gzip.open("bomb.gz", "wb") as file:
        file.write(idx(grey(), promised))
        for _ in range(64):
            file.write(bytes(2**20))
    tracemalloc.start()
    assert "bomb.gz promises" in refused("bomb.gz").message
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 * 2**20


# safetensors and torch.

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
WHOLE = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool]


def save(path: str, tensors: dict[str, torch.Tensor] | torch.Tensor) -> None:
    """Write tensors in the format that the ending says."""
    if path.endswith("safetensors"):
        save_file(tensors if isinstance(tensors, dict) else {"only": tensors}, path)
    else:
        torch.save(tensors, path)


@pytest.mark.parametrize("path", ["x.safetensors", "x.pt", "x.pth"])
@pytest.mark.parametrize("dtype", FLOATS + WHOLE, ids=str)
def test_tensors_of_every_type_are_read_as_they_are(path: str, dtype: torch.dtype, here: Path) -> None:
    x = (torch.rand(5, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3).to(dtype)
    save(path, x)
    found = torch.from_numpy(sources.read(path))
    wider = {torch.bfloat16: torch.float32, torch.bool: torch.uint8}
    assert found.dtype == wider.get(dtype, dtype)
    assert torch.equal(found, x.to(found.dtype))
    assert "taken as they are" in described(path)


@pytest.mark.parametrize("path", ["x.safetensors", "x.pt"])
def test_one_of_several_tensors_is_chosen_by_its_name(path: str, here: Path) -> None:
    save(path, {"images": torch.ones(4, 2), "labels": torch.arange(4)})
    assert sources.read(f"{path}:labels").tolist() == [0, 1, 2, 3]
    error = refused(path)
    assert f"{path} holds 2 tensors: images, labels." in error.message
    assert f"{path}:images" in error.hint
    assert "Did you mean 'images'?" in refused(f"{path}:imges").hint


def test_a_view_of_tensors_is_read_as_the_view(here: Path) -> None:
    x = torch.arange(24.0).reshape(4, 6)
    torch.save(x[:, 1::2].t(), "x.pt")
    assert sources.read("x.pt").tolist() == x[:, 1::2].t().tolist()
    torch.save(torch.nn.Parameter(x), "x.pt")
    assert sources.read("x.pt").tolist() == x.tolist()
    torch.save(x, "x.pt", _use_new_zipfile_serialization=False)
    assert sources.read("x.pt").tolist() == x.tolist()


class Payload:
    """Makes a folder if it is ever unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("OPENED",)


@pytest.mark.parametrize("what", [Payload(), {"x": torch.ones(3), "bait": Payload()}, torch.nn.Linear(2, 2)])
def test_objects_are_never_unpickled(what: Any, here: Path) -> None:
    torch.save(what, "x.pt")
    error = refused("x.pt")
    assert "pickle" in error.message
    assert "torch.save" in error.hint
    assert not Path("OPENED").exists()


def test_what_is_no_dense_tensor_is_refused(here: Path) -> None:
    bad = {"3": 3, "sparse": torch.eye(3).to_sparse(), "expanded": torch.ones(1).expand(10**12)}
    for what in bad.values():
        torch.save(what, "x.pt")
        assert "x.pt holds a" in refused("x.pt").message
    torch.save(torch.ones(3), "x.pt")
    assert "has no name" in refused("x.pt:a").message
    for empty in ({"a": 1}, [1], ({"a": [()]},)):
        torch.save(empty, "x.pt")
        assert "x.pt holds 0 tensors: none." in refused("x.pt").message


# CSV.


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("head", [None, ["a", "b b", "c,d"], ['"x;y"', "2", "3"]])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_keeps_every_digit(mark: str, head: list[str] | None, end: str, here: Path) -> None:
    x = numpy.random.default_rng(0).normal(size=(20, 3)) * 10.0 ** numpy.arange(-150, 300, 150)
    lines = [mark.join(f'"{name}"' if mark in name and '"' not in name else name for name in head)] if head else []
    lines += [mark.join(map(repr, row)) for row in x.tolist()]
    Path("x.csv").write_bytes((end.join(lines) + end).encode("utf-8-sig" if head else "utf-8"))
    assert numpy.array_equal(sources.read("x.csv"), x)
    assert described("x.csv") == "x.csv: 20 samples of shape 3, taken as they are"


def test_columns_are_chosen_by_name_or_number(here: Path) -> None:
    Path("x.csv").write_text("name,age,height,2\nAnn,31,1.7,5\nBob,29,1.8,6\n")
    assert sources.read("x.csv:age,height").tolist() == [[31, 1.7], [29, 1.8]]
    assert sources.read("x.csv:height, 1").tolist() == [[1.7, 31], [1.8, 29]]
    assert sources.read("csv:x.csv:2").tolist() == [[5], [6]]
    error = refused("x.csv:hieght")
    assert "no column named 'hieght'" in error.message
    assert "Did you mean 'height'?" in error.hint
    assert "'Ann' in line 2, column 'name'" in refused("x.csv").message
    Path("x.csv").write_text("1,2\n3,4\n")
    assert sources.read("x.csv:1").tolist() == [[2], [4]]
    assert "x.csv has no column '2': it has 2" in refused("x.csv:2").message


BAD_CSV = {
    "1,2\n3,x\n": "'x' in line 2, column 1 (the first is 0)",
    "a,b\n1,2\n\n\n3,\n": "'' in line 5, column 'b'",
    "a,b\n1,2\n3,4,5\n": "3 fields in line 3, and 2 in the first",
    "a,b\n1,2\n3\n": "1 field in line 3, and 2 in the first",
    "a,b\n1,nan\n3,4\n": "'nan' in line 2, column 'b'",
    "1,2\n3,-inf\n": "'-inf' in line 2, column 1",
    "1,2\n3,1e999\n": "'1e999' in line 2, column 1",
    "1,5;2,5\n": "no row below its first, '1,5;2,5'",
    "a;b\n1,5;2,5\n": "'1,5' in line 2, column 'a'",
    "a,b\n": "no row below its first, 'a,b'",
    "": "it has no bytes",
    "\n\n  \n": "cannot be read: it holds no rows",
    "1,2\n3,1_0\n": "x.csv cannot be read: could not convert string '1_0'",
    "hello world\n": "no row below its first, 'hello world'",
}


@pytest.mark.parametrize("text", BAD_CSV)
def test_a_table_that_is_no_numbers_is_refused_with_the_line(text: str, here: Path) -> None:
    Path("x.csv").write_text(text)
    assert BAD_CSV[text] in refused("x.csv").message


def test_a_table_in_another_encoding_is_refused(here: Path) -> None:
    Path("x.csv").write_bytes("größe,b\n1,2\n".encode("latin-1"))
    assert "x.csv is no text in UTF-8" in refused("x.csv").message


def test_a_million_cells_take_no_more_than_a_few_times_what_splitting_them_takes(here: Path) -> None:
    numpy.savetxt("x.csv", numpy.random.default_rng(0).random((10_000, 100)), delimiter=",", fmt="%.6f")
    start = time.process_time()
    rows = [list(map(float, line.split(","))) for line in Path("x.csv").read_text().splitlines()]
    plain = time.process_time() - start
    start = time.process_time()
    assert sources.read("x.csv").shape == (10_000, 100)
    assert time.process_time() - start < 8 * plain
    assert len(rows) == 10_000


# Images.


def folder(images: dict[str, Any], name: str = "images") -> str:
    """A folder of images, each saved under its name."""
    Path(name).mkdir(exist_ok=True)
    for file, image in images.items():
        (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(Path(name) / file)
    return name


@pytest.mark.parametrize(("shape", "kind"), [((6, 5), "grey levels"), ((6, 5, 3), "colours")])
@pytest.mark.parametrize("spell", ["images", "./images/", "images:images"])
def test_a_folder_of_images_is_read_in_the_order_of_names(shape: tuple[int, ...], kind: str, spell: str, here: Path) -> None:
    x = grey(4, *shape)
    folder({f"{name}.png": image for name, image in zip("dbca", x, strict=True)})
    Path("images/notes.txt").write_text("not an image")
    Path("images/.hidden.png").write_text("not an image either")
    found = sources.read(spell)
    assert found.dtype == numpy.float32
    assert numpy.array_equal(found, x[[3, 1, 2, 0]].astype("f4") / 255)
    assert numpy.array_equal(sources.read(spell, scale=1), x[[3, 1, 2, 0]])
    assert f"4 images of 6x5 {kind}, divided by 255" in described(spell)


def test_jpeg_is_what_pillow_decodes(here: Path) -> None:
    folder({"a.jpg": grey(8, 8, 3), "b.JPEG": grey(8, 8, 3, seed=1)})
    found = sources.read("images", scale=1)
    for i, name in enumerate(("a.jpg", "b.JPEG")):
        assert numpy.array_equal(found[i], numpy.asarray(Image.open(Path("images") / name)))


def test_16_bit_grey_levels_are_divided_by_65535(here: Path) -> None:
    x = numpy.random.default_rng(0).integers(0, 2**16, (3, 4, 5), dtype=numpy.uint16)
    folder({f"{i}.png": image for i, image in enumerate(x)})
    assert numpy.array_equal(sources.read("images"), (x / 65535).astype("f4"))
    assert "of 16 bits, divided by 65535" in described("images")


def test_palettes_transparency_and_bits_are_converted_and_said(here: Path) -> None:
    colours = Image.fromarray(grey(4, 5, 3))
    x = colours.quantize(7)
    folder({"a.png": colours, "b.png": x, "c.png": Image.fromarray(grey(4, 5, 4))})
    found = sources.read("images", scale=1)
    assert found.shape == (3, 4, 5, 3)
    assert numpy.array_equal(found[1], numpy.asarray(x.convert("RGB")))
    assert numpy.array_equal(found[2], grey(4, 5, 4)[..., :3])
    assert "1 made from P to RGB, 1 made from RGBA to RGB, divided by 255" in described("images")
    folder({"a.png": Image.fromarray(grey(4, 5) > 99)}, "bits")
    assert numpy.array_equal(sources.read("bits")[0], grey(4, 5) > 99)


@pytest.mark.parametrize(("kind", "channels", "wanted"), [(2, 3, "RGB"), (6, 4, "RGB"), (4, 2, "L")])
def test_colours_of_16_bits_are_read_in_8_and_that_is_said(kind: int, channels: int, wanted: str, here: Path) -> None:
    x = numpy.random.default_rng(0).integers(0, 2**16, (4, 5, channels), dtype=numpy.uint16)
    mode = {2: "RGB", 6: "RGBA", 4: "LA"}[kind]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in x)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 5, 4, 16, kind, 0, 0, 0)), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    png = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    )
    Path("images").mkdir()
    Path("images/a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + png)
    found = sources.read("images", scale=1)[0]
    assert numpy.array_equal(found, (x >> 8)[..., : len(wanted)] if wanted == "RGB" else x[..., 0] >> 8)
    assert f"1 made from {mode} of 16 bits to {wanted} of 8, divided by 255" in described("images")


def test_images_that_differ_are_refused_by_name(here: Path) -> None:
    folder({"a.png": grey(4, 5), "b.png": grey(4, 5), "c.png": grey(5, 4)})
    assert "images/c.png is 5x4 grey levels, and images/a.png is 4x5 grey levels." in refused("images").message
    folder({"c.png": grey(4, 5, 3)})
    assert "images/c.png is 4x5 colours, and images/a.png is 4x5 grey levels." in refused("images").message
    Path("images/c.png").write_bytes(Path("images/a.png").read_bytes()[:-30])
    assert "images/c.png cannot be read: " in refused("images").message
    Path("images/c.png").write_bytes(b"")
    assert "images/c.png cannot be read: it has no bytes." in refused("images").message
    Path("images/c.png").write_bytes(b"GIF89a")
    assert "images/c.png cannot be read: cannot identify image file" in refused("images").message


def test_a_folder_without_images_is_refused(here: Path) -> None:
    Path("empty").mkdir()
    assert "empty holds no image." in refused("images:empty").message
    assert "'nowhere' does not exist" in refused("images:nowhere").message
    Path("x.txt").write_text("")
    assert "'x.txt' is a file" in refused("images:x.txt").message


def test_an_enormous_image_is_refused_before_it_is_unpacked(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder({"a.png": grey(40, 40)})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "images/a.png cannot be read: Image size (1600 pixels) exceeds limit" in refused("images").message


# Draws from a known likelihood.


@pytest.mark.parametrize("name", likelihoods.names())
def test_draws_and_their_true_means_are_where_a_likelihood_allows(name: str) -> None:
    pair = sources.pair(f"synthetic:{name}", "synthetic")
    side = likelihoods.parse(name)
    assert len(pair.x) == 1000
    assert side.support.contains(torch.from_numpy(pair.x)).all()
    assert side.domain.contains(torch.from_numpy(pair.mu)).all()
    assert not pair.fitted
    nll = side.nll(pair.x, pair.mu)
    assert nll.isfinite().all()


@pytest.mark.parametrize("word", ["gaussian:sigma=0.5", "laplace:scale=0.2", "von-mises:kappa=3", "student-t:scale=2,df=5"])
def test_the_noise_that_fits_best_is_the_true_one(word: str) -> None:
    pair = sources.pair(f"synthetic:{word}", "synthetic", seed=3)
    side = likelihoods.parse(word)
    found = side.fit(torch.from_numpy(pair.x), torch.from_numpy(pair.mu))
    assert found.parameters == pytest.approx(side.parameters, rel=0.05)


def test_draws_are_those_of_the_seed() -> None:
    one, same, other = (sources.pair("synthetic:poisson", "synthetic", seed=seed) for seed in (1, 1, 2))
    assert numpy.array_equal(one.x, same.x)
    assert numpy.array_equal(one.mu, same.mu)
    assert not numpy.array_equal(one.x, other.x)
    assert "1,000 x 64 draws from poisson, seed 2" in other.described


def test_draws_without_a_likelihood_and_means_of_other_data_are_refused() -> None:
    assert "none is named" in refused("synthetic").message
    assert "no likelihood named 'gausian'" in refused("synthetic:gausian").message
    assert "sigma" in refused("synthetic:gaussian:sigma=-1").message
    assert "true means" in refused("digits", "synthetic").message


# Scale.


def test_a_scale_divides_anything_and_is_said(here: Path) -> None:
    for dtype, wide in (("u1", "f4"), ("i2", "f4"), ("i4", "f8"), ("f2", "f4"), ("f4", "f4"), ("f8", "f8")):
        x = grey(5, 4).astype(dtype)
        numpy.save("x.npy", x)
        found = sources.read("x.npy", scale=51.5)
        assert found.dtype == wide
        assert numpy.array_equal(found, (x.astype("f8") / 51.5).astype(wide))
        assert described("x.npy", scale=51.5).endswith("divided by 51.5")
    assert "digits" in described("digits", scale=2)
    assert sources.read("digits", scale=2).max() == 0.5


def test_none_leaves_grey_levels_as_they_are(here: Path) -> None:
    Path("x.idx").write_bytes(idx(grey(5, 4)))
    assert numpy.array_equal(sources.read("x.idx", scale=1), grey(5, 4))
    assert "taken as they are" in described("x.idx", scale=1)


@pytest.mark.parametrize("scale", [1e-300, 0.0])
def test_a_scale_that_leaves_the_range_is_refused(scale: float, here: Path) -> None:
    numpy.save("x.npy", numpy.ones((3, 2), "f4"))
    assert "leaves the range of float32" in refused("x.npy", scale=scale).message
    numpy.save("x.npy", numpy.array(["a"]))
    assert "values of type <U1" in refused("x.npy", scale=2).message


def test_data_and_reconstructions_have_a_scale_each(here: Path) -> None:
    numpy.save("x.npy", grey(5, 4))
    numpy.save("mu.npy", grey(5, 4) / 255)
    pair = sources.pair("x.npy", "mu.npy", scale=255)
    assert numpy.abs(pair.x - pair.mu).max() < 1e-7
    assert pair.described == "x.npy: 5 samples of shape 4, divided by 255; reconstructions from mu.npy."
    pair = sources.pair("x.npy", "x.npy", scale=255, recon_scale=255)
    assert numpy.array_equal(pair.x, pair.mu)
    assert pair.described.endswith("reconstructions from x.npy, divided by 255.")
    found = train("x.npy", scale=255, holdout=0, epochs=1, device="cpu", sigma=1)
    assert "divided by 255" in found.described
    assert "divided by 2" in train(grey(5, 4), scale=2, holdout=0, epochs=1, device="cpu", sigma=1).described


@pytest.mark.parametrize("value", ["0", "-1", "nan", "many", "None"])
@pytest.mark.parametrize("option", ["--scale", "--recon-scale"])
def test_what_is_no_scale_is_refused(value: str, option: str) -> None:
    from click.testing import CliRunner

    from recon_cli.cli import main

    result = CliRunner().invoke(main, ["compare", option, value], catch_exceptions=True)
    assert result.exit_code == 2
    assert option in result.output


# Memory.


@pytest.mark.parametrize("name", ["x.idx", "f.idx", "x.idx.gz", "x.csv", "x.safetensors", "x.pt", "x.npy", "images"])
def test_reading_takes_no_more_than_twice_what_is_read(name: str, here: Path) -> None:
    import tracemalloc

    x = grey(500, 32, 32)
    match name:
        case "images":
            folder({f"{i:03d}.png": image for i, image in enumerate(x)})
        case "x.csv":
            numpy.savetxt(name, x.reshape(-1, 64), delimiter=",", fmt="%d")
        case "x.npy":
            numpy.save(name, x)
        case "x.safetensors" | "x.pt":
            save(name, torch.from_numpy(x).bfloat16())
        case _:
            raw = idx(x.astype("f4") if name == "f.idx" else x)
            Path(name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    sources.read(name)
    tracemalloc.start()
    size = sources.read(name).nbytes
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2 * size


# Files that are none.


@pytest.mark.parametrize("ending", ["npy", "npz", "idx", "gz", "safetensors", "csv", "pt", "pth"])
def test_what_is_missing_empty_or_a_folder_gets_a_sentence(ending: str, here: Path) -> None:
    name = f"x.{ending}"
    error = refused(name)
    assert error.message == f"There is no file {name!r}."
    assert str(here) in error.hint
    Path(name).write_bytes(b"")
    assert refused(name).message == f"{name} cannot be read: it has no bytes."
    Path(name).unlink()
    Path(name).mkdir()
    assert refused(name).message == f"{name} cannot be read: Is a directory."


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("ending", ["npy", "npz", "idx", "safetensors", "csv", "pt"])
def test_a_pipe_or_a_device_is_refused(ending: str, here: Path) -> None:
    os.mkfifo(f"x.{ending}")
    writer = os.open(f"x.{ending}", os.O_RDWR)
    assert f"x.{ending} is a pipe or a device" in refused(f"x.{ending}").message
    os.close(writer)
    assert "is a pipe or a device" in refused(f"{ending}:/dev/zero").message


def test_a_file_that_vanishes_is_a_missing_one(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder({"a.png": grey(4, 5), "b.png": grey(4, 5)})
    monkeypatch.setattr("recon_cli.sources.images.files", lambda path: [f"images/{name}.png" for name in ("a", "b", "gone")])
    assert "There is no file 'images/gone.png'." in refused("images").message


def test_a_folder_that_may_not_be_listed_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: str) -> None:
        raise PermissionError(13, "Permission denied")

    Path("pictures").mkdir()
    monkeypatch.setattr("os.scandir", denied)
    assert refused("pictures").message == "pictures cannot be read: Permission denied."


@pytest.mark.parametrize("word", ["x:y.npz:a", "x:y.npz", "npz:x:y.npz:a"])
def test_a_path_may_have_colons(word: str, here: Path) -> None:
    numpy.savez("x:y.npz", a=numpy.ones((3, 2)))
    assert sources.read(word).shape == (3, 2)


@pytest.mark.parametrize("word", [":", ":a", "a" * 5000, "npy:" + "a" * 5000, "x\0.npy", "::", "npz::", "images:"])
def test_no_word_ends_in_a_traceback(word: str, here: Path) -> None:
    refused(word)


# Damage.


def good() -> dict[str, bytes]:
    """A small valid file of every format."""
    x = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))

    def written(save: Callable[[Any], None]) -> bytes:
        file = io.BytesIO()
        save(file)
        return file.getvalue()

    from safetensors.torch import save as tensors

    picture = Image.fromarray(grey(6, 5))
    return {
        "x.idx": idx(grey(6, 4)),
        "y.idx": idx(x.numpy()),
        "x.idx.gz": gzip.compress(idx(grey(6, 4)), mtime=0),
        "x.safetensors": tensors({"x": x.half()}),
        "x.csv": written(lambda file: numpy.savetxt(file, x.numpy(), delimiter=",", fmt="%.3f", header="a,b,c,d", comments="")),
        "x.pt": written(lambda file: torch.save(x, file)),
        "y.pth": written(lambda file: torch.save({"x": x}, file, _use_new_zipfile_serialization=False)),
        "folder/x.png": written(lambda file: picture.save(file, "png")),
        "folder/x.jpg": written(lambda file: picture.save(file, "jpeg")),
        "x.npy": written(lambda file: numpy.save(file, x.numpy())),
        "x.npz": written(lambda file: numpy.savez(file, x=x.numpy())),
    }


def damaged(raw: bytes, by: random.Random) -> bytes:
    """Bytes flipped (the header's above all), cut, put in, or added at the end."""
    made = bytearray(raw)
    for _ in range(by.choice((1, 1, 2, 8))):
        place = by.randrange(min(len(made), by.choice((16, 128, 10**6))))
        made[place] = by.choice((by.randrange(256), made[place] ^ 1 << by.randrange(8), 0, 255))
    match by.randrange(6):
        case 0:
            del made[by.randrange(len(made)) :]
        case 1:
            made += by.randbytes(by.choice((1, 100)))
        case 2:
            place = by.randrange(len(made))
            made[place:place] = by.randbytes(by.randrange(1, 9))
    return bytes(made)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_damage_ends_in_numbers_or_a_sentence(here: Path) -> None:
    by, files = random.Random(4), good()
    Path("folder").mkdir()
    counts = {name: [0, 0] for name in files}
    start, slowest = time.process_time(), 0.0
    for i in range(2002):
        name = list(files)[i % len(files)]
        path = Path(name)
        path.write_bytes(damaged(files[name], by) if i >= len(files) else files[name])
        began = time.process_time()
        try:
            found = sources.read("folder" if name.startswith("folder") else name)
            assert found.size
            assert numpy.isfinite(found).all()
        except ReconError as error:
            assert error.message.endswith(".")  # noqa: PT017
            assert error.hint  # noqa: PT017
            counts[name][1] += 1
        else:
            counts[name][0] += 1
        slowest = max(slowest, time.process_time() - began)
        path.unlink()
    assert all(fine and refused for fine, refused in counts.values()), counts
    assert slowest < 3
    print(counts, f"{time.process_time() - start:.1f} s")


# Real MNIST.


@pytest.mark.slow
def test_mnist_is_the_same_in_every_format(mnist: Path, here: Path) -> None:
    packed = mnist / "t10k-images-idx3-ubyte.gz"
    raw = gzip.decompress(packed.read_bytes())
    truth = numpy.frombuffer(raw, "u1", offset=16).reshape(10_000, 28, 28)
    Path("t10k-images-idx3-ubyte").write_bytes(raw)
    numpy.save("x.npy", truth)
    x = sources.read(str(packed))
    assert x.dtype == numpy.float32
    assert numpy.array_equal(x, truth.astype("f4") / numpy.float32(255))
    assert numpy.array_equal(sources.read("t10k-images-idx3-ubyte"), x)
    assert numpy.array_equal(sources.read("x.npy", scale=255), x)
    rows = [
        compare_sources(word, "mean", scale=scale, device="cpu").rows
        for word, scale in ((str(packed), None), ("t10k-images-idx3-ubyte", None), ("x.npy", 255.0))
    ]
    for other in rows[1:]:
        assert [(row.nll, row.loss_value, row.slope) for row in other] == [
            (row.nll, row.loss_value, row.slope) for row in rows[0]
        ]


def test_mnist_as_a_folder_of_images(mnist: Path, here: Path) -> None:
    packed = mnist / "t10k-images-idx3-ubyte.gz"
    truth = numpy.frombuffer(gzip.decompress(packed.read_bytes()), "u1", offset=16).reshape(10_000, 28, 28)[:200]
    Path("x.idx.gz").write_bytes(gzip.compress(idx(truth)))
    folder({f"{i:05d}.png": image for i, image in enumerate(truth)})
    assert numpy.array_equal(sources.read("images"), sources.read("x.idx.gz"))
    one, other = (compare_sources(word, "pca:8", device="cpu").rows[0] for word in ("images", "x.idx.gz"))
    assert one.nll == other.nll


def test_mnist_labels_are_whole_numbers(mnist: Path) -> None:
    assert numpy.unique(sources.read(str(mnist / "t10k-labels-idx1-ubyte.gz"))).tolist() == list(range(10))
