"""The files and objects that people have, written by the libraries that they use: read rightly, or refused for what they are."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import math
import pickle
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import recon_cli
from recon_cli import sources
from recon_cli.errors import ReconError
from recon_cli.sources import ReadOptions

BY = numpy.random.default_rng(0)
X = BY.normal(size=(24, 4)).astype("f4")
GREY = BY.integers(0, 256, (6, 12, 12), dtype=numpy.uint8)
COLOURS = BY.integers(0, 256, (6, 12, 12, 3), dtype=numpy.uint8)
COUNTS = BY.poisson(0.4, (24, 4)).astype("f4")
NAMES = list("abcd")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf", raising=False) if HAS_DATASETS else None
    return tmp_path


try:
    import datasets  # noqa: F401

    HAS_DATASETS = True
except ImportError:
    HAS_DATASETS = False


def needs(*names: str) -> list[Any]:
    return [pytest.importorskip(name) for name in names]


def table(path: str, mark: str = ",", header: bool = True, opened: Callable[..., Any] = open) -> None:
    with opened(path, "wt") as file:
        numpy.savetxt(file, X, delimiter=mark, header=mark.join(NAMES) if header else "", comments="")


def pictures(folder: str, ending: str, values: numpy.ndarray = COLOURS, **options: Any) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    for at, image in enumerate(values):
        Image.fromarray(image).save(Path(folder, f"{at}.{ending}"), **options)


def png(image: numpy.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def zipped(path: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "images")
        archive.writestr("__MACOSX/._0.png", "no image")
        for at, image in enumerate(COLOURS):
            archive.writestr(f"pictures/{at}.png", png(image))


def webdataset(path: str, mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for at, image in enumerate(COLOURS):
            for name, content in ((f"{at:04}.png", png(image)), (f"{at:04}.cls", b"1"), (f"{at:04}.json", b"{}")):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))


def arrow(path: str, stream: bool = False) -> None:
    pyarrow, _ = needs("pyarrow", "datasets")
    rows = pyarrow.table(dict(zip(NAMES, X.T, strict=True)))
    kind = pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file
    with pyarrow.OSFile(path, "wb") as sink, kind(sink, rows.schema) as writer:
        writer.write(rows)


def feather(path: str) -> None:
    pyarrow, _ = needs("pyarrow.feather", "datasets")
    from pyarrow import table as rows

    pyarrow.write_feather(rows(dict(zip(NAMES, X.T, strict=True))), path)


def lines(path: str, key: str = "v", opened: Callable[..., Any] = open) -> None:
    needs("datasets")
    with opened(path, "wt") as file:
        for row in X.tolist():
            file.write(json.dumps({key: row, "word": "no number"} if key else dict(zip(NAMES, row, strict=True))) + "\n")


def json_list(path: str) -> None:
    needs("datasets")
    Path(path).write_text(json.dumps([{"v": row} for row in X.tolist()]))


def hdf5(path: str, **arrays: Any) -> None:
    (h5py,) = needs("h5py")
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, chunks=True)


def anndata_file(path: str, sparse: bool) -> None:
    anndata, scipy = needs("anndata", "scipy.sparse")
    cells = anndata.AnnData(scipy.csr_matrix(COUNTS) if sparse else COUNTS, layers={"raw": 2 * COUNTS})
    cells.var_names = NAMES
    cells.write_h5ad(path)


def matlab(path: str, **arrays: Any) -> None:
    (scipy,) = needs("scipy.io")
    scipy.savemat(path, arrays)


def pandas_table(path: str, how: str) -> None:
    (pandas,) = needs("pandas")
    getattr(pandas.DataFrame(X, columns=NAMES), how)(path)


def classes(folder: str) -> None:
    pictures(f"{folder}/cat", "png", COLOURS[:3])
    pictures(f"{folder}/dog", "png", COLOURS[3:])


def idx(path: str) -> None:
    Path(path).write_bytes(gzip.compress(struct.pack(">4B3I", 0, 0, 8, 3, *GREY.shape) + GREY.tobytes()))


UNIT, GREY_UNIT = COLOURS / numpy.float32(255), GREY / numpy.float32(255)
slow = pytest.mark.slow
# How a kind is written, the word that names it, and what is read.
FILES: dict[str, tuple[Callable[[], Any], str, Any]] = {
    "npy": (lambda: numpy.save("x.npy", X), "x.npy", X),
    "npy in Fortran's order": (lambda: numpy.save("x.npy", numpy.asfortranarray(X)), "x.npy", X),
    "npz of several": (lambda: numpy.savez("x.npz", x=X, y=X[:, 0]), "x.npz:x", X),
    "npz compressed": (lambda: numpy.savez_compressed("x.npz", x=X), "x.npz", X),
    "csv with names": (lambda: table("x.csv"), "x.csv", X),
    "csv without names": (lambda: table("x.csv", header=False), "x.csv", X),
    "csv with semicolons": (lambda: table("x.csv", ";"), "x.csv", X),
    "csv of pandas with its index": (lambda: pandas_table("x.csv", "to_csv"), "x.csv", X),
    "csv.gz": (lambda: table("x.csv.gz", opened=gzip.open), "x.csv.gz", X),
    "csv.bz2": (lambda: table("x.csv.bz2", opened=bz2.open), "x.csv.bz2", X),
    "csv.xz": (lambda: table("x.csv.xz", opened=lzma.open), "x.csv.xz", X),
    "tsv": (lambda: table("x.tsv", "\t"), "x.tsv", X),
    "tsv.gz": (lambda: table("x.tsv.gz", "\t", opened=gzip.open), "x.tsv.gz", X),
    "txt with blanks": (lambda: table("x.txt", " ", header=False), "x.txt", X),
    "a table of an unknown ending": (lambda: table("x.data"), "x.data", X),
    "parquet of pandas": (lambda: needs("pyarrow") and pandas_table("x.parquet", "to_parquet"), "x.parquet", X),
    "arrow file": (lambda: arrow("x.arrow"), "x.arrow", X),
    "arrow stream": (lambda: arrow("x.arrow", stream=True), "x.arrow", X),
    "feather": (lambda: feather("x.feather"), "x.feather", X),
    "jsonl of lists": (lambda: lines("x.jsonl"), "x.jsonl:v", X),
    "jsonl of numbers": (lambda: lines("x.jsonl", ""), "x.jsonl", X),
    "ndjson.gz": (lambda: lines("x.ndjson.gz", opened=gzip.open), "x.ndjson.gz:v", X),
    "json list": (lambda: json_list("x.json"), "x.json", X),
    "safetensors": (lambda: needs("safetensors.torch")[0].save_file({"x": torch.tensor(X)}, "x.safetensors"), "x.safetensors", X),
    "pt": (lambda: torch.save(torch.tensor(X), "x.pt"), "x.pt", X),
    "pt nested": (lambda: torch.save({"latents": {"train": torch.tensor(X), "n": 3}}, "x.pt"), "x.pt:latents.train", X),
    "pt of a pair": (lambda: torch.save((torch.tensor(X), torch.arange(24)), "x.pt"), "x.pt:0", X),
    "pt of a list in a dict": (lambda: torch.save({"z": [torch.tensor(X)]}, "x.pth"), "x.pth:z.0", X),
    "hdf5": (lambda: hdf5("x.h5", x=X), "x.h5", X),
    "hdf5 of several": (lambda: hdf5("x.hdf5", images=X, labels=X[:, 0]), "x.hdf5:images", X),
    "hdf5 in groups": (lambda: hdf5("x.h5", **{"train/x": X, "test/x": X}), "x.h5:train/x", X),
    "hdf5 images": (lambda: hdf5("x.h5", images=COLOURS), "x.h5", UNIT),
    "hdf5 of an unknown ending": (lambda: hdf5("x.data", x=X), "x.data", X),
    "h5ad, sparse": (lambda: anndata_file("x.h5ad", True), "x.h5ad", COUNTS),
    "h5ad, dense": (lambda: anndata_file("x.h5ad", False), "x.h5ad", COUNTS),
    "h5ad, a layer": (lambda: anndata_file("x.h5ad", True), "x.h5ad:raw", 2 * COUNTS),
    "mat as SVHN": (lambda: matlab("x.mat", X=numpy.moveaxis(COLOURS, 0, -1), y=numpy.arange(6)[:, None]), "x.mat", UNIT),
    "mat as Frey faces": (lambda: matlab("x.mat", ff=X.T), "x.mat:ff.T", X),
    "mat of rows": (lambda: matlab("x.mat", data=X), "x.mat", X),
    "idx.gz": (lambda: idx("train-images-idx3-ubyte.gz"), "train-images-idx3-ubyte.gz", GREY_UNIT),
    "folder of png": (lambda: pictures("f", "png"), "f", UNIT),
    "folder of grey png": (lambda: pictures("f", "png", GREY), "f", GREY_UNIT),
    "folder of bmp": (lambda: pictures("f", "bmp"), "f", UNIT),
    "folder of webp": (lambda: pictures("f", "webp", lossless=True), "f", UNIT),
    "folder of tif": (lambda: pictures("f", "tif"), "f", UNIT),
    "folder of 16-bit tif": (lambda: pictures("f", "tif", GREY.astype("u2") * 257), "f", GREY_UNIT),
    "folder of float tif": (lambda: pictures("f", "tiff", GREY_UNIT), "f", GREY_UNIT),
    "folder of grey gif": (lambda: pictures("f", "gif", GREY), "f", None),
    "folder of pgm": (lambda: pictures("f", "pgm", GREY), "f", GREY_UNIT),
    "folder of ppm": (lambda: pictures("f", "ppm"), "f", UNIT),
    "class folders": (lambda: classes("f"), "f", UNIT),
    "split and class folders": (lambda: classes("f/train"), "f", UNIT),
    "CelebA's outer folder": (lambda: pictures("celeba/img_align_celeba", "png"), "celeba", UNIT),
    "zip of images": (lambda: zipped("x.zip"), "x.zip", UNIT),
    "webdataset tar": (lambda: webdataset("x.tar"), "x.tar", UNIT),
    "tar.gz": (lambda: webdataset("x.tar.gz", "w:gz"), "x.tar.gz", UNIT),
    "folder of npy": (lambda: [Path("f").mkdir(), *(numpy.save(f"f/{at:02}.npy", row) for at, row in enumerate(X))], "f", X),
}
RARE = {
    "arrow stream",
    "json list",
    "ndjson.gz",
    "jsonl of numbers",
    "csv.bz2",
    "csv.xz",
    "tsv.gz",
    "hdf5 in groups",
    "folder of ppm",
}


def sometimes(names: dict[str, Any], rare: set[str]) -> list[Any]:
    """All kinds, those that are ``rare`` in the slow run."""
    return [pytest.param(name, marks=slow if name in rare else ()) for name in names]


@pytest.mark.parametrize("kind", sometimes(FILES, RARE))
def test_a_kind_of_file_is_read(kind: str) -> None:
    write, word, expected = FILES[kind]
    write()
    source = sources.parse(word)
    values = numpy.asarray(sources.samples(source, word)[0])
    if expected is not None:
        assert values.shape == expected.shape
        assert numpy.allclose(values, expected, rtol=1e-6, atol=1e-7)


# How a kind is written, the word that names it, how it is read, and what is said.
WRONG: dict[str, tuple[Callable[[], Any], str, str]] = {
    "pickle": (lambda: Path("x.pkl").write_bytes(pickle.dumps(X)), "x.pkl", "pickled objects.* numpy.save"),
    "pandas's pickle": (lambda: pandas_table("x.pickle", "to_pickle"), "x.pickle", "pickled objects"),
    "joblib": (lambda: Path("x.joblib").write_bytes(b"\x80\x04"), "x.joblib", "pickled objects"),
    "CIFAR's batches": (lambda: Path("data_batch_1").write_bytes(pickle.dumps({b"data": X})), "data_batch_1", "pickled objects"),
    "a folder of pickles": (lambda: [Path("f").mkdir(), Path("f/data_batch_1").write_bytes(b"\x80\x04")], "f", "pickled objects"),
    "npy of objects": (lambda: numpy.save("x.npy", numpy.array([{}, {}]), allow_pickle=True), "x.npy", "pickled objects"),
    "xlsx": (lambda: Path("x.xlsx").write_bytes(b"PK\x03\x04"), "x.xlsx", "spreadsheet.*CSV"),
    "wav": (lambda: Path("x.wav").write_bytes(b"RIFF"), "x.wav", "is sound"),
    "nifti": (lambda: Path("x.nii.gz").write_bytes(b"\x1f\x8b"), "x.nii.gz", "medical image.*nibabel"),
    "tfrecord": (lambda: Path("x.tfrecord").write_bytes(b"\0"), "x.tfrecord", "TFRecord"),
    "a raw memmap": (lambda: X.tofile("x.dat"), "x.dat", "no header.*numpy.fromfile"),
    "sqlite": (lambda: Path("x.db").write_bytes(b"SQLite"), "x.db", "database"),
    "fasta": (lambda: Path("x.fasta").write_text(">a\nACGT"), "x.fasta", "is text.*one-hot"),
    "one image": (lambda: pictures(".", "png"), "0.png", "one image.*folder"),
    "no file": (lambda: None, "nowhere.h5", "no file"),
    "a pattern": (lambda: None, "x*.npy", "no file"),
    "an address": (lambda: None, "https://example.org/x.csv.gz", "no file"),
    "an empty folder": (lambda: Path("f").mkdir(), "f", "cannot tell what the folder"),
    "a zip of text": (lambda: zipfile.ZipFile("x.zip", "w").writestr("a.md", "text"), "x.zip", r"holds \.md"),
    "mixed sizes": (lambda: [pictures("f", "png"), Image.new("RGB", (5, 5)).save("f/z.png")], "f", "z.png is 5x5.*--size"),
    "grey among colours": (lambda: [pictures("f", "png"), Image.new("L", (12, 12)).save("f/z.png")], "f", "grey.*--colour"),
    "a corrupt image": (lambda: [pictures("f", "png"), Path("f/z.png").write_bytes(b"\x89PNG")], "f", "z.png cannot.*--skip-bad"),
    "arrays of several shapes": (
        lambda: [Path("f").mkdir(), numpy.save("f/a.npy", X), numpy.save("f/b.npy", X[:3])], "f", "Cut or pad"),
    "decimal commas": (lambda: Path("x.csv").write_text("a;b\n1,5;2,5\n"), "x.csv", "decimal comma.*decimal=','"),
    "words in a column": (lambda: Path("x.csv").write_text("a,b\n1,red\n2,blue\n"), "x.csv", "'red'.*column 'b'.*x.csv:-b"),
    "dates in a column": (lambda: Path("x.csv").write_text("t,b\n2020-01-01,1\n"), "x.csv", "'2020-01-01'.*x.csv:-t"),
    "ragged rows": (lambda: Path("x.csv").write_text("1,2\n3,4,5\n"), "x.csv", "3 fields in line 2"),
    "an empty cell": (lambda: Path("x.csv").write_text("a,b\n1,\n2,3\n"), "x.csv", "'' in line 2"),
    "a sparse matrix in parts": (
        lambda: numpy.savez("x.npz", data=X[0], indices=X[0], indptr=X[0]), "x.npz:data", "sparse matrix in parts"),
    "a bomb of zeros in gzip": (
        lambda: Path("x.csv.gz").write_bytes(gzip.compress(b"1,2\n" * (1 << 27))), "x.csv.gz", "would unpack"),
    "hdf5 of words": (lambda: hdf5("x.h5", words=[b"a", b"b"]), "x.h5:words", "text or objects"),
    "hdf5 without a choice": (lambda: hdf5("x.h5", a=X, b=X), "x.h5", "2 arrays: a, b.*x.h5:a"),
    "hdf5 that is cut": (lambda: Path("x.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(90)), "x.h5", "cannot be read"),
    "jsonl of ragged lists": (
        lambda: needs("datasets") and Path("x.jsonl").write_text('{"v": [1, 2]}\n{"v": [3]}\n'), "x.jsonl", "1 long"),
    "jsonl of text": (lambda: needs("datasets") and Path("x.jsonl").write_text('{"a": "b"}\n'), "x.jsonl", "holds string"),
}  # fmt: skip
HEAVY = {"a bomb of zeros in gzip", "jsonl of ragged lists", "jsonl of text"}


@pytest.mark.parametrize("kind", sometimes(WRONG, HEAVY))
def test_a_kind_of_file_is_refused_for_what_it_is(kind: str) -> None:
    write, word, said = WRONG[kind]
    write()
    if kind == "hdf5 that is cut":
        needs("h5py")
    with pytest.raises(ReconError) as caught:
        sources.read(word)
    assert caught.value.hint
    assert re.search(said, f"{caught.value.message} {caught.value.hint}", re.DOTALL), str(caught.value)


class Pairs(Dataset[Any]):
    """Samples and labels, one at a time."""

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        return torch.tensor(X[at]), at % 3


class Stream(IterableDataset[Any]):
    """The same, one after another, of unknown number."""

    def __iter__(self) -> Any:
        return iter((torch.tensor(row), 1) for row in X)


def frame(**how: Any) -> Any:
    return needs("pandas")[0].DataFrame(X, columns=NAMES, **how)


def hugging(**how: Any) -> Any:
    return needs("datasets")[0].Dataset.from_dict({"v": X.tolist(), "label": [1] * len(X)}).with_format(**how)


OBJECTS: dict[str, Callable[[], Any]] = {
    "ndarray": lambda: X,
    "float64 in Fortran's order": lambda: numpy.asfortranarray(X.astype("f8")),
    "list of lists": lambda: X.tolist(),
    "list of arrays": lambda: [*X],
    "list of tensors": lambda: [*torch.tensor(X)],
    "tensor": lambda: torch.tensor(X),
    "tensor that asks for a gradient": lambda: torch.tensor(X, requires_grad=True),
    "sparse tensor": lambda: torch.tensor(X).to_sparse(),
    "DataFrame": frame,
    "DataFrame of nullable floats": lambda: frame().astype("Float32"),
    "polars": lambda: needs("polars")[0].DataFrame(dict(zip(NAMES, X.T, strict=True))),
    "pyarrow Table": lambda: needs("pyarrow")[0].table(dict(zip(NAMES, X.T, strict=True))),
    "xarray DataArray": lambda: needs("xarray")[0].DataArray(X),
    "xarray Dataset of one": lambda: needs("xarray")[0].Dataset({"x": (("a", "b"), X)}),
    "jax": lambda: needs("jax.numpy")[0].array(X),
    "zarr": lambda: needs("zarr")[0].array(X),
    "h5py": lambda: needs("h5py")[0].File("x.h5", "w").create_dataset("x", data=X),
    "scipy sparse": lambda: needs("scipy.sparse")[0].csr_matrix(X),
    "AnnData": lambda: needs("anndata")[0].AnnData(X),
    "TensorDataset": lambda: TensorDataset(torch.tensor(X)),
    "Dataset of pairs": Pairs,
    "Subset": lambda: Subset(Pairs(), range(24)),
    "DataLoader": lambda: DataLoader(Pairs(), batch_size=7),
    "DataLoader of x": lambda: DataLoader(TensorDataset(torch.tensor(X)), batch_size=7),
    "IterableDataset": Stream,
    "DataLoader of an IterableDataset": lambda: DataLoader(Stream(), batch_size=5),
    "generator of batches": lambda: (X[at : at + 5] for at in range(0, 24, 5)),
    "generator of tensors": lambda: (torch.tensor(X[at : at + 5]) for at in range(0, 24, 5)),
    "pair of arrays": lambda: (X, numpy.arange(24)),
    "dict of one": lambda: {"x": X},
    "Hugging Face Dataset": hugging,
    "Hugging Face Dataset of tensors": lambda: hugging(type="torch"),
    "Hugging Face column": lambda: hugging()["v"],
    "Hugging Face IterableDataset": lambda: hugging().to_iterable_dataset(),
    "masked array without a mask": lambda: numpy.ma.masked_array(X),
    "Path": lambda: numpy.save("x.npy", X) or Path("x.npy"),
    "word": lambda: numpy.save("x.npy", X) or "x.npy",
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_a_kind_of_object_is_taken(kind: str) -> None:
    assert numpy.allclose(sources.read(OBJECTS[kind]()), X, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda: None, "is None"),
        (lambda: iter([]), "empty, or was gone through before"),
        (lambda: {"x": X, "y": X}, "2 arrays: x, y"),
        (lambda: [[1, 2], [3]], "all rows of one length"),
        (lambda: iter([X, X[:, :2]]), "samples of 2 after others of 4"),
        (lambda: iter([1.0, 2.0]), "single numbers"),
        (lambda: frame().assign(city="Rome"), "column 'city'.*words.*drop"),
        (lambda: frame().assign(day=needs("pandas")[0].Timestamp("2020-01-01")), "column 'day'.*dates"),
        (lambda: X + 1j, "complex"),
        (lambda: ["a", "b"], "not text"),
    ],
)
def test_a_kind_of_object_is_refused_for_what_it_is(given: Callable[[], Any], said: str) -> None:
    with pytest.raises(ReconError, match=f"(?s){said}"):
        sources.read(given())


def test_what_is_taken_or_left_out_is_said() -> None:
    for given, said in (
        (Pairs(), "of its pairs"),
        (DataLoader(Pairs(), shuffle=True, batch_size=5), "its loader shuffles"),
        (numpy.ma.masked_greater(X, 1), "are not there"),
    ):
        source, word = sources.source_of(given)
        sources.samples(source, word)
        assert said in " ".join(source.remarks)


def test_a_loader_that_shuffles_has_no_reconstruction_beside_it() -> None:
    given = DataLoader(Pairs(), shuffle=True, batch_size=5)
    for function in (recon_cli.compare, recon_cli.calibrate):
        with pytest.raises(ReconError, match="a loader that shuffles"):
            function(given, X)
    (row,) = recon_cli.compare(DataLoader(Pairs(), batch_size=5), (row[None] for row in X), device="cpu").rows
    assert row.nll == pytest.approx(math.log(2 * math.pi) / 2)


def test_names_of_columns_are_kept() -> None:
    source, word = sources.source_of(frame(), reading=ReadOptions(drop="b"))
    values = sources.samples(source, word)[0]
    assert (list(source.columns), values.shape) == (["a", "c", "d"], (24, 3))


def test_images_are_made_alike(here: Path) -> None:
    pictures("f", "png", COLOURS)
    Image.new("L", (30, 20), 128).save("f/a.png")
    Path("f/z.png").write_bytes(b"no image")
    source = sources.parse("f", reading=ReadOptions(size=(6, 8), colour="grey", skip_bad=True))
    values, about = sources.samples(source, "f")
    assert values.shape == (7, 6, 8)
    assert numpy.allclose(values[-1], 128 / 255)
    assert "7 resized to 6x8" in about
    assert "6 made grey" in about
    assert "1 of 8 files cannot be read, and are left out: z.png" in " ".join(source.remarks)
    numpy.save("x.npy", X)
    with pytest.raises(ReconError, match="--size is of images"):
        sources.parse("x.npy", reading=ReadOptions(size=(6, 8)))


@pytest.mark.parametrize("options", [{"drop": "b,d"}, {"columns": "a,c"}])
@pytest.mark.parametrize("kind", ["csv", "csv.gz"])
def test_columns_are_chosen(options: dict[str, str], kind: str) -> None:
    table(f"x.{kind}", opened=gzip.open if kind == "csv.gz" else open)
    assert numpy.allclose(sources.read(f"x.{kind}", reading=ReadOptions(**options)), X[:, [0, 2]])


def test_an_offset_is_subtracted_before_dividing() -> None:
    numpy.save("x.npy", X)
    assert numpy.allclose(sources.read("x.npy", scale=2, reading=ReadOptions(offset=-1)), (X + 1) / 2)


LIMITED = """
import resource, sys
import numpy, torch, recon_cli
from recon_cli.sources import source_of, samples
from torch.utils.data import DataLoader, IterableDataset
N, D = 3000, 32768  # 393 MB
class Many(IterableDataset):
    def __iter__(self):
        return iter(torch.full((D,), float(at % 7)) for at in range(N))
def hdf5():
    import h5py
    with h5py.File("x.h5", "w") as file:
        rows = file.create_dataset("x", shape=(N, D), dtype="f4", chunks=(64, D))
        for at in range(0, N, 64):
            rows[at : at + 64] = (numpy.arange(at, min(at + 64, N)) % 7)[:, None] * numpy.ones(D, "f4")
    return "x.h5"
data = DataLoader(Many(), batch_size=50) if sys.argv[1] == "loader" else hdf5()
recon_cli.compare(torch.zeros(2, 2), torch.ones(2, 2), device="cpu")
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (250 << 20),) * 2)
source, word = source_of(data)
values, _ = samples(source, word)
total = sum(float(values[at : at + 100].sum(dtype="f8")) for at in range(0, len(values), 100))
assert values.shape == (N, D) and total == D * sum(at % 7 for at in range(N)), (values.shape, total)
"""


@slow
@pytest.mark.parametrize("kind", ["loader", "hdf5"])
def test_memory_stays_flat(kind: str, here: Path) -> None:
    """More than the limit that is set comes by batches, or lies in a file."""
    if kind == "hdf5":
        needs("h5py")
    done = subprocess.run([sys.executable, "-c", LIMITED, kind], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
