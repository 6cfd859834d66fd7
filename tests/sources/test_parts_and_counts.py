"""What lies beside an array in its file, counts the rows in disorder, or is a header of mere numbers, is said or refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import recon_cli
from recon_cli import likelihoods, sources
from recon_cli.errors import ReconError
from recon_cli.sources.csv import TextTable

BY = numpy.random.default_rng(0)
TABLE = BY.normal(size=(40, 3))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(word: str) -> str:
    """What is remarked of a source."""
    source = sources.parse(word)
    _, about = sources.samples(source, word)
    return " ".join((about, *source.remarks))


def save(kind: str, **arrays: numpy.ndarray) -> str:
    """Arrays in one file of some format."""
    path, tensors = f"x.{kind}", {name: torch.from_numpy(each) for name, each in arrays.items()}
    {"npz": lambda: numpy.savez(path, **arrays), "pt": lambda: torch.save(tensors, path)}.get(
        kind, lambda: save_file(tensors, path)
    )()
    return path


@pytest.mark.parametrize("kind", ["npz", "pt", "safetensors"])
@pytest.mark.parametrize("front", ["", "x_", "adata.X/"])
@pytest.mark.parametrize(
    "parts", [("data", "indices", "indptr"), ("data", "row", "col"), ("values", "col_indices", "crow_indices")]
)
def test_a_part_of_a_sparse_matrix_is_refused(kind: str, front: str, parts: tuple[str, ...]) -> None:
    numbers, *places = parts
    arrays = {front + numbers: BY.random(20), **{front + part: numpy.arange(20) for part in places}}
    path = save(kind, **arrays)
    for part in parts[:2]:
        with pytest.raises(ReconError, match="sparse matrix in parts") as caught:
            sources.read(f"{path}:{front}{part}")
        assert "toarray" in caught.value.hint


@pytest.mark.parametrize("kind", ["npz", "pt", "safetensors"])
def test_a_mask_beside_an_array_is_said(kind: str) -> None:
    path = save(kind, x=TABLE, x_mask=TABLE > 0, other_mask=TABLE[:3] > 0, data=TABLE[:9] + 1, row=TABLE[:9] + 2)
    assert "'x_mask' beside 'x' has its shape" in said(f"{path}:x")
    assert "other_mask" not in said(f"{path}:x")
    assert "mask" not in said(f"{path}:data")
    assert "not heeded" not in said(f"{path}:x_mask")


def test_a_tensor_of_many_shapes_is_a_sentence() -> None:
    nested = torch.nested.nested_tensor([torch.rand(3), torch.rand(4)], layout=torch.jagged)
    for x, mu in ((nested, TABLE), (TABLE, nested)):
        with pytest.raises(ReconError, match="nested"):
            recon_cli.compare(x, mu)


def test_a_type_that_is_an_array_is_a_sentence() -> None:
    head = b"{'descr': '(2,)<f4', 'fortran_order': False, 'shape': (3,)}"
    Path("x.npy").write_bytes(b"\x93NUMPY\x01\x00" + bytes([118, 0]) + head.ljust(117) + b"\n" + bytes(24))
    with pytest.raises(ReconError, match="each an array"):
        sources.read("x.npy")


def test_a_header_that_counts_the_columns_is_a_header() -> None:
    """As pandas writes it for columns that have no names."""
    numpy.savetxt("x.csv", TABLE, delimiter=",", header="0,1,2", comments="")
    assert "40 samples" in said("x.csv")
    assert "its first line is read as names" in said("x.csv")
    numpy.savetxt("x.csv", BY.integers(0, 9, (40, 5)), "%d", ",", header="0,1,2,3,4", comments="")
    assert "40 samples" in said("x.csv")
    Path("x.csv").write_text("0,1\n1,0\n1,1\n")
    assert "3 samples" in said("x.csv")


@pytest.mark.parametrize(
    ("name", "numbers", "words"),
    [
        ("a", BY.permutation(40), "holds each of 0 to 39 once"),
        ("id", BY.permutation(40) * 7, "another whole number in every row"),
        ("user_id", BY.permutation(40) * 7, "another whole number in every row"),
        ("row.names", 100 - numpy.arange(40), "holds each of 61 to 100 once"),
        ("a", BY.permutation(40) * 7, ""),
        ("id", BY.integers(0, 20, 40), ""),
    ],
)
def test_numbers_of_rows_in_disorder_are_said(name: str, numbers: numpy.ndarray, words: str) -> None:
    numpy.savetxt("x.csv", numpy.column_stack([numbers, TABLE]), "%.17g", ",", header=f"{name},b,c,d", comments="")
    found = said("x.csv")
    assert words in found
    assert ("is taken as a feature" in found) == bool(words)


def test_names_take_no_longer_than_they_are_many() -> None:
    class Counted(str):
        compared = 0
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            Counted.compared += 1
            return str.__eq__(self, other)

    names = [Counted(f"c{at % 900}") for at in range(1000)]
    Path("x.csv").write_text("1\n")
    found = TextTable("x.csv", ",", names, 1).names
    assert len({*found}) == 1000
    assert found[899:902] == ["c899", "c0.1", "c1.1"]
    assert Counted.compared < 10_000


def test_images_that_are_not_read_are_said() -> None:
    image = Image.fromarray(BY.integers(0, 255, (8, 8), dtype=numpy.uint8))
    Path("f/inner").mkdir(parents=True)
    for name in ("a.png", "b.bmp", "c.tiff", "inner/e.png"):
        image.save(f"f/{name}")
    for name in ("d.heic", "e.heic", "f.psd"):
        Path("f", name).write_bytes(b"of a kind that Pillow has not")
    found = said("f")
    assert "3 images" in found
    assert "f: 2 .heic, 1 .psd in it are left out" in found
    assert "(inner) are left out" in found


@pytest.mark.parametrize(("word", "name"), [("neg-binomial", "negative-binomial"), ("cosine_similarity", "von-mises-fisher")])
def test_words_that_people_use(word: str, name: str) -> None:
    assert likelihoods.parse(word).name == name


@pytest.mark.parametrize(("scale", "delta"), [(1e100, 1e-300), (1e10, 1e-305), (1e100, 1e-250), (1.0, 5e-324)])
def test_a_huber_of_nearly_no_middle_is_a_number(scale: float, delta: float) -> None:
    """Its normaliser is 2 scale/delta there, and no float holds that."""
    nll = likelihoods.parse(f"huber:scale={scale},delta={delta}").nll(0.0, 0.0)
    assert nll.item() == pytest.approx(math.log(2) + math.log(scale) - math.log(delta), rel=1e-14)
