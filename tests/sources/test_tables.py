"""Parquet, and the data sets of the Hugging Face library: columns, images, nulls, damage, constant memory."""

from __future__ import annotations

import gc
import gzip
import io
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from PIL import Image
from test_formats_in import damaged, grey, idx, refused

from recon_cli import sources
from recon_cli.comparison import compare_sources
from recon_cli.errors import ReconError
from recon_cli.runtime.lazy_arrays import Lazy, blocks
from recon_cli.sources import _values
from recon_cli.sources._files import library
from recon_cli.sources.parquet import PIECE

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed: pip install 'recon-loss[datasets]'")
pq = pytest.importorskip("pyarrow.parquet")

X = numpy.random.default_rng(0).random((1000, 6)).astype("f4")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(columns: dict[str, Any], name: str = "x.parquet", **how: Any) -> None:
    """A Parquet file of these columns."""
    pq.write_table(
        pa.table({key: pa.array(value) if isinstance(value, list) else value for key, value in columns.items()}), name, **how
    )


def fixed(x: numpy.ndarray) -> Any:
    """Rows as lists of one size by their type."""
    return pa.FixedSizeListArray.from_arrays(x.ravel(), x.shape[1])


def png(image: numpy.ndarray) -> bytes:
    """An image in a file's bytes."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "png")
    return file.getvalue()


def pictures(images: numpy.ndarray) -> Any:
    """Images as Hugging Face stores them."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": png(image), "path": "nowhere.png"} for image in images], kind)


LAYOUTS: dict[str, Callable[[numpy.ndarray], Any]] = {
    "fixed": fixed,
    "list": lambda x: pa.array(list(x)),
    "large": lambda x: pa.array(list(x), pa.large_list(pa.from_numpy_dtype(x.dtype))),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "u1", "i1", "i2", "i4", "i8"])
def test_lists_of_one_length_are_samples_as_they_are(layout: str, dtype: str, here: Path) -> None:
    x = (X * 100).astype(dtype)
    save({"x": LAYOUTS[layout](x)}, row_group_size=300)
    found = sources.read("x.parquet")
    assert found.dtype == dtype
    assert numpy.array_equal(found, x)
    assert "1,000 samples of shape 6, taken as they are" in sources.pair("x.parquet", "mean").described


def test_lists_of_lists_keep_their_shape(here: Path) -> None:
    x = X.reshape(-1, 3, 2, 2)
    save({"x": x.tolist()}, row_group_size=70)
    assert numpy.array_equal(sources.read("x.parquet:x"), x.astype("f8"))


def test_columns_of_plain_numbers_stand_side_by_side(here: Path) -> None:
    save({"a": X[:, 0], "b": numpy.arange(1000), "c": X[:, 1] > 0.5, "d,e": X[:, 2]})
    assert numpy.array_equal(sources.read("x.parquet:b"), numpy.arange(1000))
    assert numpy.array_equal(sources.read("x.parquet:b, a"), numpy.stack([numpy.arange(1000), X[:, 0]], axis=1))
    assert numpy.array_equal(sources.read("x.parquet:d,e"), X[:, 2])
    assert numpy.array_equal(sources.read("x.parquet:c"), X[:, 1] > 0.5)
    assert sources.read("x.parquet").shape == (1000, 4)


def test_a_dictionary_is_its_values(here: Path) -> None:
    save({"x": pa.array(numpy.arange(50) % 3).dictionary_encode()})
    assert numpy.array_equal(sources.read("x.parquet"), numpy.arange(50) % 3)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3)])
@pytest.mark.parametrize("bare", [False, True])
def test_images_are_grey_levels(shape: tuple[int, ...], bare: bool, here: Path) -> None:
    x = grey(20, *shape)
    save({"image": [png(image) for image in x] if bare else pictures(x), "label": numpy.arange(20)}, row_group_size=7)
    found = sources.read("x.parquet:image")
    assert found.dtype == numpy.float32
    assert numpy.array_equal(found, x.astype("f4") / 255)
    kind = "colours" if len(shape) == 3 else "grey levels"
    assert f"x.parquet: 20 images of 6x5 {kind}, divided by 255" in sources.pair("x.parquet:image", "mean").described


def test_what_reading_an_image_changed_is_said(here: Path) -> None:
    save({"x": [png(image) for image in grey(5, 4, 4, 4)]})
    assert "5 made from RGBA to RGB" in sources.pair("x.parquet", "mean").described


def test_a_column_is_chosen_by_its_name(here: Path) -> None:
    save({"image": pictures(grey(3, 4, 4)), "label": [1, 2, 3], "name": ["a", "b", "c"]})
    assert refused("x.parquet").message == "x.parquet holds 3 columns: image, label, name."
    assert "x.parquet:image" in refused("x.parquet").hint
    assert "no column named 'imag'" in refused("x.parquet:imag").message
    assert "Did you mean 'image'?" in refused("x.parquet:imag").hint
    assert "name in x.parquet holds string" in refused("x.parquet:name").message
    assert refused("x.parquet:name").hint == "Choose another column: image, label."
    assert "image in x.parquet holds struct" in refused("x.parquet:label,image").message


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1.0, None, 3.0], "row 1 (the first is 0), empty (null)"),
        ([[1.0, 2.0], [3.0, 4.0], None], "row 2 (the first is 0), empty (null)"),
        ([[1.0, 2.0], [3.0, None]], "row 1 (the first is 0), empty (null)"),
        ([[[1.0], [2.0]], [[3.0], [None]]], "row 1 (the first is 0), empty (null)"),
        ([[1.0, 2.0], [3.0, 4.0], [5.0]], "row 2 (the first is 0), 1 long, and the first of these 2"),
        ([[[1.0], [2.0]], [[3.0], [4.0, 5.0]]], "row 1 (the first is 0), 2 long, and the first of these 1"),
        ([png(grey(4, 4)), png(grey(4, 5))], "row 1 (the first is 0), 4x5 grey levels, and the first 4x4 grey levels"),
        ([png(grey(4, 4)), png(grey(4, 4, 3))], "row 1 (the first is 0), 4x4 colours, and the first 4x4 grey levels"),
        ([png(grey(4, 4)), b"GIF89a"], "Row 1 of x in x.parquet (the first is 0) cannot be read: cannot identify image file"),
        ([{"bytes": None, "path": "/etc/hostname"}], "its bytes are not in the table"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("groups", [1, 100])
def test_what_is_missing_or_differs_is_refused_with_its_row(values: list, words: str, groups: int, here: Path) -> None:
    save({"x": values}, row_group_size=groups)
    assert words in refused("x.parquet:x").message


def test_lists_that_differ_between_pieces_are_refused(here: Path) -> None:
    save({"x": [[0.0] * 8192] * 200 + [[0.0] * 8191] * 200}, row_group_size=50)
    assert PIECE < 200 * 8192 * 8
    assert "8191" in refused("x.parquet").message


def test_images_of_other_depth_in_another_piece_are_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recon_cli.sources.parquet.PIECE", 1)
    save({"x": [png(grey(4, 4)), png(grey(4, 4).astype("u2") * 200)]})
    assert "row 1 (the first is 0), uint16 of shape 4x4, and the first uint8 of shape 4x4" in refused("x.parquet").message


def test_a_file_that_changes_while_it_is_read_is_said(here: Path) -> None:
    x = numpy.random.default_rng(0).random((40_000, 256), "f4")
    save({"x": fixed(x)}, row_group_size=10_000, compression="none", use_dictionary=False)
    rows = sources.parse("x.parquet").read()
    assert numpy.array_equal(rows[:1000], x[:1000])
    Path("x.parquet").write_bytes(b"PAR1")
    with pytest.raises(ReconError, match=r"^x.parquet changed while it was read"):
        rows[1000:]


def test_an_empty_table_and_one_without_columns_are_refused(here: Path) -> None:
    save({"x": pa.array([], pa.float32())})
    assert refused("x.parquet").message == "x.parquet has no rows."
    pq.write_table(pa.table({}), "none.parquet")
    assert "holds 0 columns" in refused("none.parquet").message
    assert refused("gone.parquet").message == "There is no file 'gone.parquet'."
    Path("x.parquet").write_bytes(b"PAR1" * 5)
    assert "x.parquet cannot be read: " in refused("x.parquet").message


def test_rows_are_read_as_they_are_asked_for(here: Path) -> None:
    save({"x": fixed(X)}, row_group_size=300)
    rows = sources.parse("x.parquet").read()
    assert (rows.shape, rows.dtype, len(rows), rows.ndim, rows.size) == ((1000, 6), numpy.float32, 1000, 2, 6000)
    rows.step = 7
    by = random.Random(0)
    for start, stop in [(0, 1000), (1000, 1000), (5, 3), *(sorted((by.randrange(1001), by.randrange(1001))) for _ in range(200))]:
        assert numpy.array_equal(rows[start:stop], X[start:stop])
    assert numpy.array_equal(rows[-10:], X[-10:])
    assert numpy.asarray(rows, "f8").dtype == numpy.float64
    assert numpy.array_equal(rows[::3], X[::3])
    assert numpy.array_equal(numpy.concatenate([*blocks(rows, 50)]), X)
    assert numpy.array_equal(rows.spread(60), X[::100])


def test_a_large_table_is_compared_piece_by_piece(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mu = X + numpy.float32(0.1)
    save({"x": fixed(X), "mu": fixed(mu)}, row_group_size=300)
    save({"image": pictures(grey(30, 4, 4, 4))}, "images.parquet")
    whole = compare_sources("x.parquet:x", "x.parquet:mu", device="cpu", scale=2.0, recon_scale=2.0).rows[0]
    monkeypatch.setattr(_values, "WHOLE", 0)
    pieces = compare_sources("x.parquet:x", "x.parquet:mu", device="cpu", scale=2.0, recon_scale=2.0).rows[0]
    assert (pieces.nll, pieces.loss_value, pieces.elements) == pytest.approx((whole.nll, whole.loss_value, 6000), rel=1e-12)
    assert isinstance(sources.samples(sources.parse("x.parquet:x"), "x")[0], Lazy)
    assert "the first made from RGBA to RGB" in sources.samples(sources.parse("images.parquet"), "x")[1]


def test_reading_on_takes_the_memory_of_a_few_pieces(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recon_cli.sources.parquet.PIECE", 1 << 19)
    x = numpy.random.default_rng(0).random((40_000, 256), "f4")  # 41 MB in a single group
    save({"x": fixed(x)}, row_group_size=len(x), compression="none", use_dictionary=False)
    gc.collect()
    before, rows = pa.total_allocated_bytes(), sources.parse("x.parquet").read()
    most = total = 0
    for start in range(0, len(rows), 1000):
        total += rows[start : start + 1000].sum(dtype="f8")
        most = max(most, pa.total_allocated_bytes() - before + rows.piece.nbytes)
    assert total == pytest.approx(x.sum(dtype="f8"), rel=1e-12)
    assert most < x.nbytes / 4


def test_a_library_that_is_missing_is_said_with_the_way_to_it(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    for word, name in (("x.parquet", "pyarrow"), ("hf:folder", "datasets")):
        error = refused(word)
        assert error.message == f"Reading this takes the library {name}, which is not installed."
        assert "pip install 'recon-loss[datasets]'" in error.hint
    assert library("numpy") is numpy


@pytest.mark.slow
def test_damage_ends_in_numbers_or_a_sentence(here: Path) -> None:
    save({"x": fixed(X[:30])}, row_group_size=20)
    save({"x": pictures(grey(4, 6, 5))}, "images.parquet")
    save({"a": X[:9, 0], "b": numpy.arange(9)}, "several.parquet")
    files, by, counts = (
        {name: Path(name).read_bytes() for name in ("x.parquet", "images.parquet", "several.parquet")},
        random.Random(5),
        [0, 0],
    )
    for i in range(900):
        name = list(files)[i % 3]
        Path(name).write_bytes(damaged(files[name], by))
        try:
            assert sources.read(name).size
        except ReconError as error:
            assert error.message.endswith(".")  # noqa: PT017
            assert error.hint  # noqa: PT017
            counts[1] += 1
        else:
            counts[0] += 1
    assert min(counts) > 50, counts


@pytest.mark.slow
def test_mnist_as_a_table_of_images(mnist: Path, here: Path) -> None:
    packed = mnist / "t10k-images-idx3-ubyte.gz"
    truth = sources.read(str(packed), scale=1)[:500]
    save({"image": pictures(truth), "label": numpy.arange(500)}, row_group_size=128)
    assert numpy.array_equal(sources.read("x.parquet:image", scale=1), truth)
    Path("x.idx.gz").write_bytes(gzip.compress(idx(truth)))
    one, other = (compare_sources(word, "pca:8", device="cpu").rows[0] for word in ("x.parquet:image", "x.idx.gz"))
    assert (one.nll, one.loss_value, one.ratio_median) == (other.nll, other.loss_value, other.ratio_median)


# The Hugging Face library.


@pytest.fixture
def datasets(here: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library, with an empty cache and no network."""
    found = pytest.importorskip("datasets", reason="datasets is not installed: pip install 'recon-loss[datasets]'")
    monkeypatch.setattr(found.config, "HF_DATASETS_CACHE", here / "cache")
    found.disable_progress_bars()
    return found


def test_a_data_set_saved_to_disk_is_read_by_split_and_column(datasets: Any) -> None:
    one = datasets.Dataset.from_dict({"x": X.tolist(), "label": range(1000)}).cast_column(
        "x", datasets.List(datasets.Value("float32"), 6)
    )
    one.save_to_disk("one")
    datasets.DatasetDict(train=one, test=one.select(range(10, 30))).save_to_disk("both")
    for word, rows in {
        "hf:one:x": X, "hf:one::x": X, "hf:both:train:x": X, "hf:both:test:x": X[10:30], "hf:both:train[:10]:x": X[:10],
        "hf:both:train[10%:20%]:x": X[100:200], "hf:both:train[-5:]:x": X[-5:], "hf:both:test:label": numpy.arange(10, 30),
    }.items():  # fmt: skip
        assert numpy.array_equal(sources.read(word), rows), word
    assert refused("hf:one").message == "hf:one holds 2 columns: x, label."
    assert refused("hf:both").message == "hf:both holds 2 splits: train, test."
    assert "hf:both:train:x" in refused("hf:both:train").hint
    assert "Did you mean 'test'?" in refused("hf:both:tset").hint
    assert "no column named 'lable'" in refused("hf:one:lable").message
    assert "[x] is no part of a split" in refused("hf:both:train[x]:x").message
    rows = sources.parse("hf:one:x").read()
    assert numpy.array_equal(rows[990:], X[990:])
    assert numpy.array_equal(rows[3:5], X[3:5])


def test_a_table_that_was_chosen_from_is_read_in_its_order(datasets: Any) -> None:
    order = numpy.random.default_rng(0).permutation(1000)
    datasets.Dataset.from_dict({"x": X[:, 0]}).select(order).save_to_disk("one")
    assert numpy.array_equal(sources.read("hf:one"), X[order, 0])


def test_arrays_and_images_of_the_library(datasets: Any) -> None:
    x = grey(12, 6, 5)
    kinds = datasets.Features({"square": datasets.Array2D((6, 5), "uint8"), "image": datasets.Image()})
    images = [{"bytes": png(image), "path": None} for image in x]
    datasets.Dataset.from_dict({"square": x, "image": images}, features=kinds).save_to_disk("one")
    assert numpy.array_equal(sources.read("hf:one:square"), x.astype("f4") / 255)
    assert numpy.array_equal(sources.read("hf:one:square", scale=1), x)
    assert numpy.array_equal(sources.read("hf:one:image"), x.astype("f4") / 255)


def test_a_folder_of_images_and_a_folder_of_tables(datasets: Any, here: Path) -> None:
    x = grey(12, 6, 5)
    for i, image in enumerate(x):
        path = Path("pictures") / ("test" if i < 4 else "train") / "ab"[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    order = [*range(0, 4, 2), *range(1, 4, 2)]
    assert numpy.array_equal(sources.read("hf:pictures:test:image"), x[order].astype("f4") / 255)
    assert sources.read("hf:pictures:train:image").shape == (8, 6, 5)
    assert sources.read("hf:pictures:train:label").tolist() == [0] * 4 + [1] * 4
    Path("tables").mkdir()
    save({"x": X.tolist()}, "tables/train-0.parquet")
    assert numpy.array_equal(sources.read("hf:tables"), X)
    rows = [compare_sources(word, "mean", device="cpu").rows[0].nll for word in ("tables/train-0.parquet", "hf:tables:train:x")]
    assert rows[0] == rows[1]


def test_what_cannot_be_loaded_gets_a_sentence(datasets: Any, here: Path) -> None:
    assert "hf:no/where cannot be loaded: " in refused("hf:no/where:train").message
    assert "none is named" in refused("hf:").message
    Path("empty").mkdir()
    assert "hf:empty cannot be loaded: " in refused("hf:empty").message
    Path("code").mkdir()
    Path("code/code.py").write_text("raise SystemExit('this ran')")
    assert "hf:code cannot be loaded: " in refused("hf:code").message
    datasets.Dataset.from_dict({"x": X.tolist()}).save_to_disk("broken")
    next(Path("broken").glob("*.arrow")).write_bytes(b"no Arrow")
    assert "hf:broken cannot be loaded: " in refused("hf:broken").message


def test_naming_the_sources_imports_no_library() -> None:
    words = "import sys; from recon_cli import sources; sources.names(); sources.kind('hf'), sources.kind('parquet')"
    code = f"{words}; assert not {{'pyarrow', 'datasets', 'pandas'}} & {{*sys.modules}}"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
