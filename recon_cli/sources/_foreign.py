"""Files that no source knows by their ending: told by their first bytes, or refused for what they are, with a way on."""

from __future__ import annotations

import os
import zipfile
from contextlib import suppress
from pathlib import Path

from recon_cli import registry
from recon_cli.errors import ReconError, listed

SAVE = "save numpy.save('x.npy', x), one sample along the first axis"
UNPICKLE = (
    "holds pickled objects, and unpickling a file can run any code",
    f"Where you trust it, load it yourself and {SAVE}; or give the object in Python, recon_cli.compare(x, ...).",
)
# Endings, what files are that have them, and the way on: recon reads none of them.
KINDS = (
    (".pkl .pickle .p .pk .joblib .dill .pkl.gz .pickle.gz", *UNPICKLE),
    (".xlsx .xls .ods .numbers", "is a spreadsheet", "Save its sheet as CSV, or give pandas.read_excel(path) in Python."),
    (".wav .flac .mp3 .ogg .m4a", "is sound", f"Cut it into pieces of one length, or take spectra of them, and {SAVE}."),
    (".mp4 .avi .mov .mkv .webm", "is a film", f"Save its frames as images in a folder, or {SAVE}."),
    (".nii .nii.gz .dcm .mha .nrrd", "is a medical image", f"Read it with nibabel or pydicom, and {SAVE}."),
    (".tfrecord .tfrecords", "is a TFRecord", f"Give the tf.data.Dataset in Python, or {SAVE}."),
    (".lmdb .mdb", "is an LMDB database", f"Give a torch Dataset that reads it in Python, or {SAVE}."),
    (".zarr .n5", "is a store of zarr's", f"Give zarr.open(path) in Python, or {SAVE}."),
    (".heic .heif .svg .psd .cr2 .jp2", "is an image of a kind that Pillow does not read", "Convert it to png."),
    (".npy.gz .npz.gz .pt.gz .h5.gz .7z .rar", "is packed", "Unpack it, and give what is in it."),
    (".smi .fasta .fa .fastq .pdb .md .docx .pdf .html", "is text", f"Turn it into numbers, as one-hot letters, and {SAVE}."),
    (
        ".dat .bin .raw",
        "has no header with its type and shape",
        f"numpy.fromfile(path, dtype).reshape(N, ...); then {SAVE}.",
    ),
    (".db .sqlite .sqlite3 .duckdb", "is a database", "Save the table as CSV or Parquet."),
    (".rds .rda .rdata", "is R's own format", "Save it as CSV: write.csv(x, 'x.csv', row.names = FALSE)."),
    (".onnx .pb .keras .tflite .gguf", "is a model, not data", "Give what it makes of the data, as in --recon xhat.npy."),
    (".dvc", "is a pointer to a file", "Fetch the file: dvc pull."),
)
ENDINGS = {ending: (what, way) for endings, what, way in KINDS for ending in endings.split()}
# First bytes, and the source that reads what begins so.
BEGINNINGS = (
    (b"\x93NUMPY", "npy"), (b"\x89HDF\r\n\x1a\n", "hdf5"), (b"PAR1", "parquet"), (b"ARROW1", "hf"), (b"FEA1", ""),
    (b"MATLAB 5.0 MAT-file", "mat"), (b"MATLAB 7.3 MAT-file", "mat"), (b"\0\0\x08", "idx"), (b"\0\0\x0d", "idx"),
    (b"\x89PNG", "images"), (b"\xff\xd8\xff", "images"),
)  # fmt: skip
SOME = 1 << 12  # bytes


def known(path: str) -> tuple[str, str] | None:
    """Return what a file is that recon does not read by its ending, and the way on; None for any other."""
    name = Path(path).name.lower()
    own = next((ENDINGS[ending] for ending in sorted(ENDINGS, key=len, reverse=True) if name.endswith(ending)), None)
    return own if own is None or not (sniffed := by_content(path)) or sniffed == "images" else None


def by_content(path: str) -> str:
    """Return the source that reads a file by the bytes that it begins with; empty where none does."""
    with suppress(OSError, ValueError):  # a name may have a NUL
        if not os.path.isfile(path):
            return ""
        with open(path, "rb") as file:
            start = file.read(SOME)
        if start.startswith(b"PK\x03\x04"):
            return in_zip(path)
        own = next((name for mark, name in BEGINNINGS if start.startswith(mark)), "")
        return own or ("csv" if is_table(start) else "")
    return ""


def in_zip(path: str) -> str:
    """Return the source that reads a zip, by what its members are called."""
    with suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
            return "pt"
        if names and all(name.endswith(".npy") for name in names):
            return "npz"
        if any(name == "xl/workbook.xml" for name in names):
            return ""
        return "images"
    return ""


def is_table(start: bytes) -> bool:
    """Whether bytes look like rows of numbers with marks between them."""
    try:
        lines = start.decode("utf-8-sig", errors="strict" if len(start) < SOME else "ignore").splitlines()
        lines = lines[:-1] if len(start) == SOME else lines
    except UnicodeDecodeError:
        return False
    rows = [line for line in lines[1:4] if line.strip()]
    return bool(rows) and all(
        all(is_number(cell) for cell in line.replace(";", ",").replace("\t", ",").split(",")) for line in rows
    )


def is_number(cell: str) -> bool:
    """Whether a field spells a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def refusal(path: str) -> ReconError:
    """Return the error for a file that no source reads: for what it is, where that can be told."""
    if not os.path.exists(path):
        return ReconError(
            f"There is no file {path!r}.", f"recon looked in {Path.cwd()}; a pattern (*) and an address (https://) are no file."
        )
    own = known(path) or (pickled(path) and UNPICKLE) or None
    if own:
        return ReconError(f"{path} {own[0]}; recon does not read it.", own[1])
    if os.path.isdir(path):
        names = sorted(name for name in os.listdir(path) if not name.startswith("."))
        if any(pickled(os.path.join(path, name)) for name in names[:8]):
            return ReconError(f"{path} {UNPICKLE[0]}.", UNPICKLE[1])
        kinds = sorted({Path(name).suffix or name for name in names[:1000]})
        return ReconError(
            f"recon cannot tell what the folder {path!r} holds: {listed(kinds) or 'nothing'}.",
            "Give one file of it; or a folder of images, or of .npy files of one shape.",
        )
    return ReconError(
        f"recon cannot tell what {path!r} holds, from its ending or its first bytes.",
        f"Known sources: {', '.join(registry.names('sources'))}; name one in front, as in npy:{path}.",
    )


def pickled(path: str) -> bool:
    """Whether a file begins as a pickle does."""
    with suppress(OSError):
        if os.path.isfile(path):
            with open(path, "rb") as file:
                start = file.read(2)
            return start[:1] == b"\x80" and start[1:] in (b"\x02", b"\x03", b"\x04", b"\x05")
    return False
