"""Saved data sets, whose Arrow files are read by position: never mapped, the same rows, damage a sentence."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy
import pytest

from recon_cli import sources
from recon_cli.errors import ReconError

X = numpy.random.default_rng(0).random((2500, 3)).astype("f4")


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files of a data set that was saved: two, of more than one batch of rows each."""
    monkeypatch.chdir(tmp_path)
    datasets = pytest.importorskip("datasets")
    kinds = datasets.Features({"x": datasets.List(datasets.Value("float32"), 3), "label": datasets.Value("int32")})
    datasets.disable_progress_bars()
    one = datasets.Dataset.from_dict({"x": X.tolist(), "label": range(2500)}, features=kinds)
    datasets.DatasetDict(train=one).save_to_disk("saved", num_shards={"train": 2})
    return sorted(Path("saved").rglob("*.arrow"))


def test_rows_anywhere_are_those_of_the_library(saved: list[Path]) -> None:
    rows, labels = sources.parse("hf:saved:train:x").read(), sources.parse("hf:saved:train:label").read()
    assert len(saved) == 2
    for start, stop in ((0, 2500), (2499, 2500), (995, 1005), (1240, 1260), (3, 4), (2000, 2300), (7, 7)):
        assert numpy.array_equal(rows[start:stop], X[start:stop])
        assert numpy.array_equal(labels[start:stop], numpy.arange(start, stop))
    part = sources.parse("hf:saved:train[1200:1300]:x").read()
    assert numpy.array_equal(part[:], X[1200:1300])
    assert numpy.array_equal(part[90:], X[1290:1300])


def test_a_file_that_is_cut_meanwhile_is_a_sentence_and_no_signal(saved: list[Path]) -> None:
    rows = sources.parse("hf:saved:train:x").read()
    gc.collect()
    if (maps := Path("/proc/self/maps")).exists():
        assert str(saved[0]) not in maps.read_text()
    for path in saved:
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ReconError, match="changed while it was read"):
        rows[:]


def test_damage_is_numbers_or_a_sentence(saved: list[Path]) -> None:
    by, path = numpy.random.default_rng(0), saved[0]
    whole = path.read_bytes()
    refused = 0
    for place in [*range(0, 600, 24), *by.integers(0, len(whole), 15)]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << int(by.integers(8)))]) + whole[place + 1 :])
        try:
            assert len(sources.parse("hf:saved:train:x").read()[:])
        except ReconError:
            refused += 1
    assert refused


@pytest.mark.parametrize("size", [3, 8, 100, 900, 20_000])
def test_a_short_file_is_a_sentence(saved: list[Path], size: int) -> None:
    saved[1].write_bytes(saved[1].read_bytes()[:size])
    with pytest.raises(ReconError, match="cannot be"):
        sources.parse("hf:saved:train:x").read()[:]
