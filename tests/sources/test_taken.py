"""What is taken for something else is said, or refused where it would be wrong, with the way out."""

from __future__ import annotations

import decimal
import io
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

import recon_cli
from recon_cli import errors, sources
from recon_cli.cli import main
from recon_cli.errors import ReconError, listed, printable, unknown
from recon_cli.runtime.images import pixels
from recon_cli.sources import _remarks, _values
from recon_cli.training import train

BY = numpy.random.default_rng(0)
BYTES = BY.integers(0, 256, (60, 8, 8), dtype=numpy.uint8)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(word: str, scale: float | None = None) -> str:
    """What is remarked of a source."""
    source = sources.parse(word)
    sources.samples(source, word, scale)
    return " ".join(source.remarks)


def refused(call: Any, *args: Any, **how: Any) -> ReconError:
    """The sentence that a call ends in."""
    with pytest.raises(ReconError) as caught:
        call(*args, **how)
    assert caught.value.hint
    assert caught.value.message.endswith(".")
    return caught.value


def recon(line: str) -> Any:
    """What the command line answers."""
    return CliRunner().invoke(main, line.split(), catch_exceptions=False)


# Grey levels.


def save(kind: str, values: numpy.ndarray) -> str:
    """An array in a file of some format."""
    path = f"x.{kind}"
    if kind == "npy":
        numpy.save(path, values)
    elif kind == "npz":
        numpy.savez(path, x=values)
    elif kind == "pt":
        torch.save(torch.from_numpy(values), path)
    else:
        save_file({"x": torch.from_numpy(values)}, path)
    return path


@pytest.mark.parametrize("kind", ["npy", "npz", "pt", "safetensors"])
@pytest.mark.parametrize("shape", [(8, 8), (64,), (1, 8, 8), (4, 4, 4)])
def test_bytes_that_are_images_are_grey_levels_in_every_format(kind: str, shape: tuple[int, ...]) -> None:
    word = save(kind, x := BYTES.reshape(60, *shape))
    assert numpy.array_equal(sources.read(word), x / numpy.float32(255))
    assert "divided by 255" in sources.samples(sources.parse(word), word)[1]
    assert numpy.array_equal(sources.read(word, scale=1), x)


@pytest.mark.parametrize(
    "values",
    [
        BYTES % 2,
        BYTES % 21,
        BYTES.astype("i8") % 40,
        BYTES.astype("f4") - 100,
        BYTES[:, 0, :5],
        BYTES[:, 0, 0],
        BYTES[:, :3, :3],
    ],
)
def test_masks_classes_counts_and_tables_are_no_grey_levels(values: numpy.ndarray) -> None:
    assert numpy.array_equal(sources.read(save("npy", values)), values)
    assert "grey" not in said("x.npy")


def test_bytes_in_a_large_file_are_grey_levels_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_values, "WHOLE", 0)
    word = save("npy", BYTES)
    assert numpy.array_equal(sources.read(word), BYTES / numpy.float32(255))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8", "u2"])
def test_grey_levels_of_other_types_are_said_with_the_scale(dtype: str) -> None:
    word = save("npy", BYTES.astype(dtype))
    assert sources.read(word).max() == 255
    assert "whole numbers from 0 to 255, as grey levels are" in said(word)
    assert "--scale 255" in said(word)
    assert said(word, scale=255) == said(word, scale=1) == ""
    assert "--scale 65535" in said(save("npy", BYTES.astype("u2") * 257))


def test_what_is_divided_and_was_in_the_unit_interval_is_said() -> None:
    Path("images").mkdir()
    for i, image in enumerate(BYTES[:3] % 2):
        Image.fromarray(image).save(f"images/{i}.png")
    assert "in [0, 1] before they are divided by 255; --scale none" in said("images")


def test_every_command_says_it() -> None:
    numpy.save("x.npy", BYTES[:20].astype("f4"))
    numpy.save("mu.npy", BYTES[:20].astype("f4") * 0.9)
    Path("loss.py").write_text("def loss(recon, x):\n    return ((recon - x) ** 2).sum()\n")
    for line in (
        "data x.npy", "compare --data x.npy --recon mu.npy",  "calibrate --data x.npy",
        "train --data x.npy --epochs 1 --sigma 100 --out run --latent 2 --hidden 4",
        "train --data x.npy --epochs 1 --sigma 100 --latent 2 --hidden 4 --against mse --optimizer sgd",
        "audit loss.py:loss --data x.npy",
    ):  # fmt: skip
        output = recon(f"{line} --format json").stdout
        assert output.count("x.npy: its values are whole numbers from 0 to 255, as grey levels are") == 1, line
    assert any("x / 255" in note for note in recon_cli.compare(BYTES, BYTES * 0.9).notes)
    assert any("x / 255" in note for note in recon_cli.calibrate(BYTES[:20].astype("f4")).notes)


def test_training_says_it_before_it_begins() -> None:
    numpy.save("x.npy", BYTES[:20].astype("f4"))
    result = recon("train --data x.npy --epochs 1 --sigma 100 --out run --latent 2 --hidden 4")
    assert result.stderr.startswith("warning: x.npy: its values are whole numbers from 0 to 255")
    assert result.stderr.count("warning") == 1
    with pytest.warns(errors.Remark, match="as grey levels are"):
        train("x.npy", epochs=1, sigma=100, device="cpu", latent=2, hidden=4)


def test_arrays_that_are_trained_on_are_grey_levels_too() -> None:
    how = {"epochs": 1, "device": "cpu", "sigma": 1, "latent": 2, "hidden": 4}
    for x in (BYTES, torch.from_numpy(BYTES)):
        assert "divided by 255" in train(x, **how).described
    with pytest.warns(errors.Remark):
        assert "grey levels" in " ".join(train(BYTES.astype("f4"), **how).report().notes)


# Units.

SMOOTH = BY.random((200, 6))
NEAR = (SMOOTH + 0.05 * BY.normal(size=SMOOTH.shape)).clip(0, 1)
TABLE = BY.normal(size=(200, 6)) * [1, 5, 20, 2, 9, 7] + [50, 3, -100, 7, 40, 8]
APART = {
    "bytes": (SMOOTH * 255, NEAR),
    "means in bytes": (SMOOTH, NEAR * 255),
    "signed": (2 * SMOOTH - 1, NEAR),
    "means signed": (SMOOTH, 2 * NEAR - 1),
    "standardised": ((SMOOTH - 0.5) / SMOOTH.std(), NEAR),
    "not the means": (TABLE, (TABLE - TABLE.mean(0)) / TABLE.std(0)),
    "logits": (SMOOTH, numpy.log(NEAR.clip(0.01, 0.99) / (1 - NEAR.clip(0.01, 0.99))) - 1),
    "unlike": (BYTES, BY.random(BYTES.shape)),
    "unlike, signed": (2 * SMOOTH - 1, BY.random(SMOOTH.shape)),
    "percent": (100 * SMOOTH, NEAR),
    "sixteen bits": (SMOOTH * 65535, NEAR),
    "dark": (SMOOTH**8 * 255, NEAR**8),
    "centred": (SMOOTH - 0.5, 8 * (NEAR - 0.5)),
}
ALIKE = {
    "near": (SMOOTH, NEAR),
    "mean": (SMOOTH, numpy.full_like(SMOOTH, SMOOTH.mean())),
    "beyond": (SMOOTH, NEAR * 1.2 - 0.1),
    "table": (TABLE, TABLE + BY.normal(size=TABLE.shape)),
    "its mean": (TABLE, 0 * TABLE + TABLE.mean(0)),
    "unlike": (SMOOTH, BY.random(SMOOTH.shape)),
    "shifted": (SMOOTH, SMOOTH + 0.1),
    "binary": ((SMOOTH > 0.8) * 1.0, NEAR * 0.2),
    "untrained": (SMOOTH, 0.5 + NEAR / 100),
    "counts": (BY.poisson(0.3, (200, 6)), BY.gamma(0.5, 0.6, (200, 6))),
    "bytes": (SMOOTH * 255, NEAR * 250),
    "few": (SMOOTH[:1, :2] * 255, NEAR[:1, :2]),
}


@pytest.mark.parametrize("kind", APART)
def test_other_units_are_said(kind: str) -> None:
    x, mu = APART[kind]
    said, way = _remarks.unit_mismatch(x, mu)
    assert "The data run from" in said
    assert "in different units" in said
    assert way
    assert _remarks.unit_mismatch(torch.from_numpy(x), torch.from_numpy(mu))[0] == said


def test_other_units_are_said_of_arrays() -> None:
    x, mu = APART["signed"]
    assert "in different units" in " ".join(recon_cli.compare(x, mu, device="cpu").notes)
    assert "in different units" in " ".join(recon_cli.calibrate(x[:20], mu[:20]).notes)
    assert "units" not in " ".join(recon_cli.compare(x, x * 0.9, device="cpu").notes)


@pytest.mark.parametrize("kind", ALIKE)
def test_the_same_units_are_not(kind: str) -> None:
    x, mu = ALIKE[kind]
    assert _remarks.unit_mismatch(x, mu) == ("", "")


def test_bytes_beside_the_unit_interval_are_refused_unless_a_scale_is_named() -> None:
    numpy.save("x.npy", SMOOTH * 255)
    numpy.save("mu.npy", NEAR)
    for data, means, option in (("x.npy", "mu.npy", "--scale"), ("mu.npy", "x.npy", "--recon-scale")):
        error = refused(sources.pair, data, means)
        assert f"{option} 255 brings both into [0, 1]; --scale none" in f"{error.hint[:1].lower()}{error.hint[1:]}"
        assert sources.pair(data, means, **{option[2:].replace("-", "_"): 255}).remarks == ()
        assert "different units" in " ".join(sources.pair(data, means, scale=1).remarks)
        for command in ("compare", "calibrate"):
            assert recon(f"{command} --data {data} --recon {means}").exit_code == 2
    assert "different units" in " ".join(recon("compare --data x.npy --recon mu.npy --scale none --sigma 1").stdout.split())


def test_reconstructions_in_bytes_follow_data_in_bytes() -> None:
    numpy.save("x.npy", BYTES)
    numpy.save("mu.npy", BYTES // 4)
    pair = sources.pair("x.npy", "mu.npy")
    assert pair.mu.max() == 63 / numpy.float32(255)
    assert pair.remarks == ()


# Tables.

ROWS = [[1.5, 2.0], [2.25, 3.0], [5.0, 7.0], [0.5, 1.0]]


def csv(head: str, lines: Any, path: str = "x.csv") -> None:
    """Write a table."""
    Path(path).write_text("\n".join([head] * bool(head) + [",".join(map(str, line)) for line in lines]) + "\n")


@pytest.mark.parametrize(
    ("head", "names"),
    [
        (",a,b", range(4)),
        (",a,b", range(1, 5)),
        ('"","a","b"', ['"1"', '"2"', '"3"', '"4"']),
        ("a,b", ['"1"', '"2"', '"3"', '"4"']),
        ("a,b", ["Mazda", "Fiat", "Ford", "VW"]),
        ("Unnamed: 0,a,b", range(4)),
        (",a,b", [7, 2, 9, 2]),
        (",a,b", ["2020-01-01"] * 4),
        (",a,b", "wxyz"),
    ],
)
def test_names_of_rows_are_left_out_and_that_is_said(head: str, names: Any) -> None:
    csv(head, ([name, *row] for name, row in zip(names, ROWS, strict=True)))
    assert sources.read("x.csv").tolist() == ROWS
    source = sources.parse("x.csv")
    source.read()
    assert source.columns == ("a", "b")
    assert "names the rows, and is left out" in said("x.csv")
    assert sources.read("x.csv:b,a").tolist() == [row[::-1] for row in ROWS]
    assert sources.read("x.csv:-a").tolist() == [row[1:] for row in ROWS]
    if str(names[0]).strip('"').isdigit():
        assert "x.csv:0 reads it" in said("x.csv")
        assert sources.read("x.csv:0").tolist() == [[float(str(name).strip('"'))] for name in names]


def test_an_index_that_was_saved_twice_is_left_out_twice() -> None:
    csv(",Unnamed: 0,a,b", ([i, i, *row] for i, row in enumerate(ROWS)))
    assert sources.read("x.csv").tolist() == ROWS


def test_what_only_may_be_an_index_is_a_feature_and_said() -> None:
    csv("id,a,b", ([i, *row] for i, row in enumerate(ROWS)))
    assert sources.read("x.csv").shape == (4, 3)
    assert "its column 'id' counts the rows, 0 to 3" in said("x.csv")
    assert "x.csv:-id leaves it out" in said("x.csv")
    assert said("x.csv:id,a") == ""
    csv("", ([i, *row] for i, row in enumerate(ROWS)))
    assert "its first column counts the rows, 0 to 3" in said("x.csv")
    assert sources.read("x.csv:-0").tolist() == ROWS
    csv(",a,b", ([i + 0.5, *row] for i, row in enumerate(ROWS)))
    assert "column 0 has no name, and is taken as a feature" in said("x.csv")
    assert "x[:, 1:] is without it" in said(save("npy", numpy.array([[i, *row] for i, row in enumerate(ROWS)])))


PIXELS = BY.integers(0, 256, (100, 49))
CLASSES = numpy.arange(100) % 10


@pytest.mark.parametrize("name", ["label", "Class", "target", "y", "labels"])
def test_a_label_among_features_is_said(name: str) -> None:
    csv(f"{name},{','.join(f'p{i}' for i in range(49))}", numpy.hstack([CLASSES[:, None], PIXELS]))
    assert f"its column {name!r} may be a label, with 10 different values" in said("x.csv")
    assert f"x.csv:-{name} leaves it out" in said("x.csv")
    assert numpy.array_equal(sources.read(f"x.csv:-{name}"), PIXELS)
    assert "may be" not in said(f"x.csv:-{name}")
    assert "may be a label" not in " ".join(
        train("x.csv", model="regression", target=name, epochs=1, device="cpu").report().notes
    )


@pytest.mark.parametrize(
    "table",
    [
        numpy.hstack([CLASSES[:, None], PIXELS]),
        numpy.hstack([PIXELS, CLASSES[:, None]]),
        numpy.hstack([CLASSES[:, None], PIXELS / 255]),
        numpy.hstack([PIXELS // 16, CLASSES[:, None]]),
        numpy.hstack([BY.normal(size=(99, 4)), numpy.arange(99)[:, None] // 33]),
        numpy.hstack([1 + numpy.arange(99)[:, None] // 33, BY.normal(size=(99, 13))]),
        numpy.hstack([BY.random((100, 8)), CLASSES[:, None] > 4]),
    ],
)
def test_a_label_without_a_name_is_said(table: numpy.ndarray) -> None:
    at = 0 if set(table[:, 0]) <= set(range(10)) else table.shape[1] - 1
    where = "first" if at == 0 else "last"
    csv("", table.tolist())
    assert f"its {where} column holds the whole numbers" in said("x.csv")
    assert f"x.csv:-{at} leaves it out" in said("x.csv")
    assert f"its {where} column holds the whole numbers" in said(save("npy", table.astype("f8")))


@pytest.mark.parametrize(
    "table",
    [
        PIXELS,
        PIXELS // 16,
        PIXELS / 255,
        BY.normal(size=(99, 6)),
        BY.integers(0, 4, (99, 6)),
        BY.integers(0, 2, (99, 20)),
        BY.poisson(3, (99, 30)),
        BY.normal(size=(99, 6)).round(1),
        numpy.eye(30),
    ],
)
def test_a_table_of_features_alone_is_not(table: numpy.ndarray) -> None:
    csv("", table.tolist())
    assert "label" not in said("x.csv")
    assert "counts" not in said("x.csv")


@pytest.mark.parametrize(
    "text", ["a,b\n1\n2\n", "a\n1,2,3\n", "a,b\n1,2,\n3,4,\n", "a,b,\n1,2\n", "a,b,c\n1,2\n3,4\n", "a;b;c;d\n1;2\n"]
)
def test_a_header_of_another_length_than_the_rows_is_refused(text: str) -> None:
    Path("x.csv").write_text(text)
    assert "The header of x.csv has " in refused(sources.read, "x.csv").message
    assert "The header of x.csv has " in refused(sources.read, "x.csv:a").message


def test_a_row_of_another_length_is_refused_where_columns_are_chosen_too() -> None:
    Path("x.csv").write_text("a,b,c\n1,2,3\n4,5\n6,7,8\n")
    assert "2 fields in line 3, and 3 in the first" in refused(sources.read, "x.csv:a").message


def test_a_name_that_is_there_twice_is_told_apart() -> None:
    csv("a,b,a,a", [[1, 2, 3, 4], [5, 6, 7, 8]])
    source = sources.parse("x.csv")
    source.read()
    assert source.columns == ("a", "b", "a.1", "a.2")
    assert "'a.1' (column 2), 'a.2' (column 3)" in said("x.csv")
    assert "3 columns named 'a'" in refused(sources.read, "x.csv:a").message
    assert "x.csv:0, or x.csv:2" in refused(sources.read, "x.csv:a").hint
    assert sources.read("x.csv:a.1,b").tolist() == [[3, 2], [7, 6]]


def test_a_first_line_that_may_be_a_sample_is_said() -> None:
    Path("x.csv").write_text("Ann,31,1.7\nBob,29,1.8\n")
    for word in ("x.csv:1,2", "x.csv:-0"):
        assert "its first line is read as names, though 2 of 3 spell numbers" in said(word)


@pytest.mark.parametrize("wanted", ["-a,-b", "-a,-b,-a"])
def test_all_columns_cannot_be_left_out(wanted: str) -> None:
    csv("a,b", ROWS)
    assert "leaves no column" in refused(sources.read, f"x.csv:{wanted}").message
    assert "no column named 'c'" in refused(sources.read, "x.csv:-c").message


def test_parquet_has_the_same_rules() -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    numbers = {name: arrow.array(numpy.arange(40) * step % 7.5) for name, step in (("a", 1.3), ("b", 2.1))}
    table = arrow.table(
        {**numbers, "label": arrow.array(numpy.arange(40) % 3), "__index_level_0__": arrow.array(numpy.arange(40)[::-1])}
    )
    parquet.write_table(table, "x.parquet")
    assert sources.read("x.parquet").shape == (40, 3)
    assert "the column '__index_level_0__' is the index of the rows, and is left out" in said("x.parquet")
    assert "x.parquet:-label leaves it out" in said("x.parquet")
    assert sources.read("x.parquet:-label").shape == (40, 2)
    assert sources.read("x.parquet:__index_level_0__").tolist() == [*range(39, -1, -1)]
    parquet.write_table(arrow.Table.from_arrays([*numbers.values(), numbers["a"]], ["a", "b", "a"]), "x.parquet")
    for word in ("x.parquet", "x.parquet:a", "x.parquet:a,b"):
        assert "x.parquet holds 2 columns named 'a'" in refused(sources.read, word).message
    assert sources.read("x.parquet:b").shape == (40,)


# Sparse, masked, missing, and what is no number.


def sparse(kind: str) -> None:
    """A matrix as scipy.sparse.save_npz writes it."""
    x = numpy.array([[0, 0, 3], [0, 0, 0], [1.5, 0, 2], [0, 7, 0]])
    row, col = numpy.nonzero(x)
    parts: dict[str, Any] = {"format": kind.encode(), "shape": x.shape, "data": x[row, col]}
    if kind == "csr":
        parts |= {"indices": col, "indptr": numpy.searchsorted(row, range(5))}
    elif kind == "csc":
        order = numpy.lexsort((row, col))
        parts |= {"data": x.T[x.T != 0], "indices": row[order], "indptr": numpy.searchsorted(col[order], range(4))}
    else:
        parts |= {"row": row, "col": col}
    numpy.savez("x.npz", **parts)


@pytest.mark.parametrize("kind", ["csr", "csc", "coo"])
def test_a_sparse_matrix_is_read_whole(kind: str) -> None:
    sparse(kind)
    assert sources.read("x.npz").tolist() == [[0, 0, 3], [0, 0, 0], [1.5, 0, 2], [0, 7, 0]]
    assert f"a sparse matrix ({kind}) of 4x3, 4 numbers of it stored, and is made dense" in said("x.npz")
    for part in ("data", "indices", "shape"):
        assert "is a sparse matrix of scipy's" in refused(sources.read, f"x.npz:{part}").message


def test_a_sparse_matrix_that_does_not_fit_is_refused() -> None:
    numpy.savez("x.npz", format=b"bsr", shape=(4, 4), data=numpy.ones((1, 2, 2)), indices=[0], indptr=[0, 1, 1])
    assert "in the format bsr" in refused(sources.read, "x.npz").message
    numpy.savez("x.npz", format=b"csr", shape=(10**6, 10**6), data=numpy.ones(1), indices=[0], indptr=[0, 1])
    assert "made dense, takes 8e+03 GB at once" in refused(sources.read, "x.npz").message
    for index, shape in (([5], (2, 3)), ([-1], (2, 3)), ([0], (3, 3)), ([0, 1], (2, 3))):
        numpy.savez("x.npz", format=b"csr", shape=shape, data=numpy.ones(1), indices=index, indptr=[0, 1, 1])
        assert "x.npz cannot be read: its index does not fit" in refused(sources.read, "x.npz").message


NUMBERS = numpy.arange(12.0).reshape(4, 3) % 5
NONE = {
    "complex": (NUMBERS + 1j, "type complex128", "x.real"),
    "dates": (NUMBERS.astype("M8[s]"), "type datetime64[s]", "since a date"),
    "spans": (NUMBERS.astype("m8[s]"), "type timedelta64[s]", "seconds"),
    "text": (NUMBERS.astype(str), "type <U", "text"),
    "fields": (numpy.zeros(4, [("a", "f4")]), "values of type [('a'", "field"),
    "None": ([[1.0, None]], "missing (None), at index (0, 1)", "fill"),
    "words": (numpy.array([[1.0, "b"]], object), "the text 'b', at index (0, 1)", "text"),
    "ragged": ([[1.0], [2.0, 3.0]], "no numbers", "length"),
    "rows": (numpy.array([[1], [2, 3]], object), "a list, at index (0,)", "same shape"),
    "meta": (torch.ones(3, 2, device="meta"), "no numbers", "that has numbers"),
    "object": (object(), "a object, at index ()", "array"),
    "complex tensor": (torch.ones(3, 2) * 1j, "complex", "real"),
}


@pytest.mark.parametrize("kind", NONE)
def test_what_is_no_array_of_real_numbers_is_a_sentence_everywhere(kind: str) -> None:
    values, words, way = NONE[kind]
    for call in (lambda: recon_cli.compare(values, values), lambda: recon_cli.calibrate(values), lambda: train(values, epochs=1)):
        error = refused(call)
        assert words in error.message
        assert way in error.hint


@pytest.mark.parametrize(
    "values",
    [
        numpy.ma.masked_equal(NUMBERS, 99),
        NUMBERS.astype(object),
        numpy.array([[decimal.Decimal(str(v)) for v in row] for row in NUMBERS]),
        NUMBERS.tolist(),
        [*numpy.ma.masked_equal(NUMBERS, 99)],
        torch.tensor(NUMBERS, requires_grad=True),
        torch.tensor(NUMBERS).bfloat16(),
    ],
)
def test_numbers_in_any_guise_are_numbers(values: Any) -> None:
    found = recon_cli.calibrate(values).eigenvalues
    assert found.values.tolist() == pytest.approx(recon_cli.calibrate(NUMBERS).eigenvalues.values.tolist(), rel=1e-6, abs=1e-12)


def test_missing_values_of_pandas_are_a_sentence() -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"a": pandas.array([1, None, 3], dtype="Int64"), "b": [1.0, 2.0, 3.0]})
    assert "x has 1 NaN" in refused(recon_cli.calibrate, table).message
    assert "the first at index (1, 0)" in refused(recon_cli.calibrate, table).message
    assert recon_cli.calibrate(table.fillna(0)).eigenvalues.samples == 3


# Files with more in them, and pictures.


@pytest.mark.parametrize("order", ["C", "F"])
def test_what_lies_behind_an_array_is_refused(order: str) -> None:
    with open("x.npy", "wb") as file:
        numpy.save(file, numpy.asarray(NUMBERS, order=order))
        numpy.save(file, NUMBERS)
    error = refused(sources.read, "x.npy")
    assert error.message == "x.npy holds an array behind its array of shape 4x3."
    assert "numpy.savez" in error.hint
    numpy.save("x.npy", NUMBERS)
    with open("x.npy", "ab") as file:
        file.write(b"\0")
    assert "x.npy holds 1 bytes behind its array of shape 4x3." in refused(sources.read, "x.npy").message


def picture(image: Image.Image, kind: str = "PNG", **how: Any) -> io.BytesIO:
    """An image as a file."""
    file = io.BytesIO()
    image.save(file, kind, **how)
    file.seek(0)
    return file


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 3)])
@pytest.mark.parametrize("how", range(10))
def test_photographs_are_turned_as_every_viewer_turns_them(shape: tuple[int, ...], how: int) -> None:
    from PIL import ImageOps

    image = Image.fromarray(BYTES.reshape(-1)[: numpy.prod(shape)].reshape(shape))
    about = image.getexif()
    about[0x0112] = how
    file = picture(image, exif=about)
    values, told = pixels(file)
    file.seek(0)
    assert numpy.array_equal(values, numpy.asarray(ImageOps.exif_transpose(Image.open(file))))
    assert told == (("turned as the EXIF says",) if 2 <= how <= 8 else ())


def test_frames_and_transparency_are_said() -> None:
    grey, colours = Image.fromarray(BYTES[0]), Image.fromarray(BYTES[:3].transpose(1, 2, 0).copy())
    assert pixels(picture(grey, save_all=True, append_images=[grey.rotate(90)]))[1] == ("cut to the first of 2 frames",)
    assert pixels(picture(colours, "MPO", save_all=True, append_images=[colours] * 2))[1] == ("cut to the first of 3 frames",)
    assert pixels(picture(grey, transparency=7))[1] == ("without its transparency",)
    assert pixels(picture(colours, transparency=(1, 2, 3)))[1] == ("without its transparency",)
    assert pixels(picture(colours.quantize(4), transparency=1))[1] == ("made from P to RGB", "without its transparency")
    assert pixels(picture(grey))[1] == ()
    Path("images").mkdir()
    grey.save("images/a.png", transparency=7)
    grey.save("images/b.png")
    assert "1 without its transparency, divided by 255" in sources.samples(sources.parse("images"), "images")[1]


# Sentences without end, and names that are none to print.


def test_of_many_names_the_nearest_are_shown_and_how_many_more() -> None:
    names = [f"column{i}" for i in range(100_000)]
    error = unknown("column", "colunm777", names)
    assert len(str(error)) < 600
    assert "Did you mean 'column777'?" in error.hint
    assert "and 99,988 more" in error.hint
    numpy.savez("x.npz", **{f"array{i:03d}": numpy.zeros(2) for i in range(300)})
    assert len(str(refused(sources.read, "x.npz"))) < 400
    assert "and 288 more" in refused(sources.read, "x.npz").message
    assert "Did you mean 'array123'?" in refused(sources.read, "x.npz:aray123").hint
    csv(",".join(f"f{i}" for i in range(3000)), [[1] * 3000])
    assert len(str(refused(sources.read, "x.csv:f30000"))) < 400
    assert listed(["b", "a"]) == "b, a"
    assert listed(map(str, range(20))).count(",") == 19


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", "a\rb", "x" * 10**4, "\u202eevil", "a\tb"])
def test_names_out_of_files_are_printable(name: str) -> None:
    numpy.savez("x.npz", **{name: NUMBERS, "other": NUMBERS})
    for word in ("x.npz", "x.npz:nothing", "x.npz:ohter"):
        error = refused(sources.read, word)
        assert (error.message + error.hint).isprintable()
        assert len(str(error)) < 2 * errors.LONG
    Path("x.csv").write_text(f'"{name}",label\n' + "\n".join(f"{i * 1.5},{i % 3}" for i in range(20)))
    assert all(ord(sign) >= 32 or sign == "\n" for sign in recon("data x.csv").output)
    assert "\x1b" not in recon("train --data x.csv --model regression --target 0 --epochs 1 --out run").output


def test_a_sentence_is_one_printable_line_of_bounded_length() -> None:
    error = ReconError("It holds \x1b[2J\n" + "y" * 10**6 + ".", "Mend\rit.")
    assert (error.message + error.hint).isprintable()
    assert len(error.message) <= errors.LONG
    assert printable("größe × μ") == "größe × μ"


def test_reconstructions_on_another_grid_are_brought_to_the_data_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder of [-1, 1] beside data of [0, 1]: less -1, over 2."""
    monkeypatch.chdir(tmp_path)
    x = numpy.round(numpy.random.default_rng(0).random((50, 8)) * 255) / 255
    numpy.save("x.npy", x)
    numpy.save("mu.npy", (x + 0.01) * 2 - 1)
    moved = sources.pair("x.npy", "mu.npy", recon_scale=2, recon_offset=-1)
    assert numpy.allclose(moved.mu, x + 0.01, atol=1e-12)
    assert "less -1, divided by 2" in moved.described
    for how, said in (
        ({"recon_offset": float("nan")}, "finite number"),
        ({"recon_offset": 1.0, "recon": "mean"}, "means nothing"),
    ):
        with pytest.raises(ReconError, match=said):
            sources.pair("x.npy", how.pop("recon", "mu.npy"), **how)
