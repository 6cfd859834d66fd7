"""Where data come from: the bundled digits, files, stand-ins for a model, and the split that never changes."""

from __future__ import annotations

import io
import re
import struct
from fractions import Fraction
from pathlib import Path

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recon_cli import sources
from recon_cli.comparison import compare_sources
from recon_cli.errors import ReconError
from recon_cli.runtime.lazy_arrays import Lazy
from recon_cli.sources.digits import Digits
from recon_cli.sources.mean import Mean
from recon_cli.sources.noise import Noise
from recon_cli.sources.pca import Pca

EPS = 2.0**-52
NAN, INF = numpy.nan, numpy.inf
ARCHIVE = Path(sources.__file__).with_name("digits.npz")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def some(*shape: int, seed: int = 0) -> numpy.ndarray:
    """Numbers in [0, 1]."""
    return numpy.random.default_rng(seed).random(shape)


def refused(word: str, recon: str | None = None) -> ReconError:
    """The error that reading a source, or pairing it with another, ends in."""
    with pytest.raises(ReconError) as caught:
        sources.read(word) if recon is None else sources.pair(word, recon)
    assert caught.value.message.endswith(".")
    return caught.value


# The digits.


def test_digits_are_sixteenths_in_the_unit_interval() -> None:
    x = sources.read("digits")
    assert x.shape == (1797, 8, 8)
    assert x.dtype == numpy.float32
    assert numpy.array_equal(numpy.unique(x), numpy.arange(17) / 16)


def test_digits_carry_their_provenance_and_licence() -> None:
    with numpy.load(ARCHIVE, allow_pickle=False) as archive:
        provenance = str(archive["provenance"])
    for words in ("E. Alpaydin", "C. Kaynak", "UCI", "10.24432/C50P49", "CC BY 4.0", "1,797"):
        assert words in provenance
    assert "CC BY 4.0" in Digits().describe()
    assert "CC BY 4.0" in (Digits.__doc__ or "")


def test_total_variance_of_digits_is_that_of_the_original() -> None:
    # sklearn.datasets.load_digits().data / 16, variance with 1/N, summed over the 64 pixels
    x = sources.read("digits").reshape(1797, 64).astype(float)
    assert x.var(axis=0).sum() == pytest.approx(4.693276317822724, rel=4 * EPS)


def test_digits_are_those_of_scikit_learn() -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed to compare the digits with")
    original = datasets.load_digits()
    assert numpy.array_equal(sources.read("digits") * 16, original.images)
    with numpy.load(ARCHIVE, allow_pickle=False) as archive:
        assert numpy.array_equal(archive["labels"], original.target)


# The held-out split.


def splitmix64(index: int, seed: int = 0) -> int:
    """Output ``index`` of Vigna's splitmix64.c, in Python's whole numbers."""
    mask = 2**64 - 1
    z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def test_the_witness_is_the_published_generator() -> None:
    # rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [splitmix64(i, 1234567) for i in range(5)] == published


@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.5, 0.9])
def test_a_sample_is_held_out_by_the_hash_of_its_index(fraction: float) -> None:
    expected = [splitmix64(i) < Fraction(fraction) * 2**64 for i in range(600)]
    assert sources.held_out(600, fraction).tolist() == expected


@given(short=st.integers(0, 300), more=st.integers(0, 300), fraction=st.floats(0, 1))
def test_more_samples_change_no_earlier_choice(short: int, more: int, fraction: float) -> None:
    assert numpy.array_equal(sources.held_out(short + more, fraction)[:short], sources.held_out(short, fraction))


@given(low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_larger_fraction_holds_out_the_same_samples_and_more(low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert not (sources.held_out(500, low) & ~sources.held_out(500, high)).any()


@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("period", [1, 7, 10])
def test_the_fraction_is_as_asked_at_every_phase_of_every_period(fraction: float, period: int) -> None:
    kept = sources.held_out(200_000, fraction)
    for phase in range(period):
        part = kept[phase::period]
        assert abs(part.mean() - fraction) < 4 * (fraction * (1 - fraction) / len(part)) ** 0.5


def test_fraction_zero_keeps_nothing_back() -> None:
    assert not sources.held_out(10_000, 0.0).any()
    train, kept = sources.split(some(50, 2), 0.0, "x")
    assert len(train) == 50
    assert kept.shape == (0, 2)


def test_a_split_is_a_partition_in_order() -> None:
    x = numpy.arange(1000.0)
    train, kept = sources.split(x, 0.2, "x")
    mask = [splitmix64(i) < Fraction(0.2) * 2**64 for i in range(1000)]
    assert kept.tolist() == [float(i) for i in range(1000) if mask[i]]
    assert train.tolist() == [float(i) for i in range(1000) if not mask[i]]


@pytest.mark.parametrize(("count", "fraction"), [(1, 0.2), (3, 1e-6), (50, 1.0)])
def test_a_split_with_an_empty_side_is_refused(count: int, fraction: float) -> None:
    with pytest.raises(ReconError, match=f"x has {count} sample") as caught:
        sources.split(numpy.zeros((count, 2)), fraction, "x")
    assert "--recon" in caught.value.hint


# Files.


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8", "int16", "int64", "bool"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_is_read_as_it_is(dtype: str, order: str, here: Path) -> None:
    x = numpy.asarray(some(5, 3, 2) * 2, dtype=dtype, order=order)
    numpy.save("x.npy", x)
    found = sources.read("x.npy")
    assert found.dtype == (numpy.uint8 if dtype == "bool" else x.dtype)
    assert numpy.array_equal(found, x)


def test_npy_is_read_when_it_is_asked_for(here: Path) -> None:
    numpy.save("x.npy", x := some(5, 3))
    found = sources.parse("x.npy").read()
    assert isinstance(found, Lazy)
    assert numpy.array_equal(found[1:3], x[1:3])


@pytest.mark.parametrize("word", ["x.npy", "X.NPY", "npy:x.dat", "npy:x.npy", "./x.npy", "a:b.npy"])
def test_the_ending_or_a_name_in_front_says_how_to_read(word: str, here: Path) -> None:
    x = some(4, 2)
    with open(word.removeprefix("npy:"), "wb") as file:
        numpy.save(file, x)
    assert numpy.array_equal(sources.read(word), x)


def test_npz_of_one_array_needs_no_name(here: Path) -> None:
    numpy.savez("x.npz", only=some(4, 2))
    for word in ("x.npz", "x.npz:only", "npz:x.npz", "npz:x.npz:only"):
        assert numpy.array_equal(sources.read(word), some(4, 2))


@pytest.mark.parametrize("save", [numpy.savez, numpy.savez_compressed])
def test_npz_of_several_arrays_is_read_by_name(save: object, here: Path) -> None:
    save("x.npz", images=some(4, 2), labels=numpy.arange(4))  # type: ignore[operator]
    assert numpy.array_equal(sources.read("x.npz:images"), some(4, 2))
    assert sources.read("x.npz:labels").tolist() == [0, 1, 2, 3]


def test_npz_of_several_arrays_without_a_name_lists_them(here: Path) -> None:
    numpy.savez("x.npz", images=some(4, 2), labels=numpy.arange(4))
    error = refused("x.npz")
    assert "2 arrays: images, labels" in error.message
    assert "x.npz:images" in error.hint


def test_an_unknown_array_offers_the_nearest(here: Path) -> None:
    numpy.savez("x.npz", images=some(4, 2), labels=numpy.arange(4))
    error = refused("x.npz:imags")
    assert "'imags'" in error.message
    assert "Did you mean 'images'?" in error.hint


def test_npz_of_no_array_is_refused(here: Path) -> None:
    numpy.savez("x.npz")
    assert "0 arrays" in refused("x.npz").message


def test_a_file_of_the_other_kind_never_ends_in_a_traceback(here: Path) -> None:
    numpy.save("x.npy", some(4, 2))
    Path("x.npy").rename("npy.npz")
    numpy.savez("x.npz", some(4, 2))
    Path("x.npz").rename("npz.npy")
    for word, way in (("npy.npz", "npy:npy.npz"), ("npz.npy", "npz:npz.npy")):
        error = refused(word)
        assert word in error.message
        assert way in error.hint
        assert numpy.array_equal(sources.read(way), some(4, 2))


def test_an_archive_member_that_is_no_array_is_refused(here: Path) -> None:
    from zipfile import ZipFile

    with ZipFile("x.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "x.npz" in refused("x.npz").message


@pytest.mark.parametrize("word", ["nothing.npy", "nothing.npz", "nothing.npz:a", "npy:nothing.dat"])
def test_a_missing_file_is_named_with_the_folder_searched(word: str, here: Path) -> None:
    error = refused(word)
    assert re.search(r"There is no file 'nothing\.\w+'\.", error.message)
    assert str(here) in error.hint


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (numpy.array(["a", "b"]), "<U1"),
        (numpy.array([b"a"]), "|S1"),
        (numpy.array([1j]), "complex128"),
        (numpy.array(["2020-01-01"], dtype="datetime64[D]"), "datetime64[D]"),
        (numpy.array([(1.0, 2)], dtype=[("a", "f4"), ("b", "i4")]), "'<f4'"),
    ],
)
def test_what_is_no_real_number_is_refused_by_its_type(values: numpy.ndarray, kind: str, here: Path) -> None:
    numpy.save("x.npy", values)
    assert kind in refused("x.npy").message


@pytest.mark.parametrize(("shape", "spelled"), [((0, 8), "0x8"), ((5, 0), "5x0"), ((0,), "0")])
def test_an_empty_array_is_refused_with_its_shape(shape: tuple[int, ...], spelled: str, here: Path) -> None:
    numpy.save("x.npy", numpy.zeros(shape))
    assert refused("x.npy").message == f"x.npy is empty: its shape is {spelled}."


def test_a_single_number_is_refused_and_not_called_empty(here: Path) -> None:
    numpy.save("x.npy", numpy.array(3.0))
    error = refused("x.npy")
    assert "empty" not in error.message
    assert "first axis" in error.hint


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({(3, 2): NAN, (3, 4): INF, (5, 5): -INF}, "1 NaN and 2 infinite values, the first at index (3, 2)"),
        ({(0, 0): -INF}, "0 NaN and 1 infinite values, the first at index (0, 0)"),
        ({(19, 7): NAN, (19, 6): NAN}, "2 NaN and 0 infinite values, the first at index (19, 6)"),
    ],
)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_values_that_are_not_finite_are_counted_and_located(bad: dict, words: str, dtype: str, here: Path) -> None:
    x = some(20, 8).astype(dtype)
    for index, value in bad.items():
        x[index] = value
    numpy.save("x.npy", x)
    assert words in refused("x.npy").message
    numpy.save("fine.npy", some(20, 8))
    assert words in refused("fine.npy", "x.npy").message


# Damaged files.


def saved(kind: str) -> bytes:
    """A good file of a few hundred bytes."""
    file = io.BytesIO()
    x = some(4, 3).astype("float32")
    {"npy": numpy.save, "npz": numpy.savez, "compressed": numpy.savez_compressed}[kind](file, x)
    return file.getvalue()


def patched(raw: bytes, record: bytes, offset: int, layout: str, value: int) -> bytes:
    """A zip archive with one field of each of its records of a kind overwritten."""
    found = bytearray(raw)
    at = raw.find(record)
    while at >= 0:
        struct.pack_into(layout, found, at + offset, value)
        at = raw.find(record, at + 4)
    return bytes(found)


CENTRAL, LOCAL = b"PK\x01\x02", b"PK\x03\x04"
DAMAGED = {
    "no-byte.npy": b"",
    "no-byte.npz": b"",
    "header-cut.npy": saved("npy")[:20],
    "data-cut.npy": saved("npy")[:-7],
    "one-byte-cut.npy": saved("npy")[:-1],
    "header-open.npy": saved("npy").replace(b"}", b" ", 1),
    "header-leading-zero.npy": saved("npy").replace(b"(4, 3)", b"(04,3)"),
    "header-negative.npy": saved("npy").replace(b"(4, 3)", b"(-4,3)"),
    "version-9.npy": saved("npy")[:6] + b"\x09" + saved("npy")[7:],
    "half.npz": saved("npz")[: len(saved("npz")) // 2],
    "zeros-inside.npz": saved("npz")[:150] + bytes(60) + saved("npz")[210:],
    "encrypted.npz": patched(saved("npz"), CENTRAL, 8, "<H", 1),
    "zip-version-25.npz": patched(saved("npz"), CENTRAL, 6, "<H", 255),
    "method-77.npz": patched(patched(saved("npz"), CENTRAL, 10, "<H", 77), LOCAL, 8, "<H", 77),
    "shorter-than-said.npz": patched(
        patched(saved("npz").replace(b"(4, 3), }   ", b"(4000, 3), }"), CENTRAL, 20, "<I", 10**6), CENTRAL, 24, "<I", 10**6
    ),
    "deflated-garbage.npz": saved("compressed")[:60] + b"\xff" * 40 + saved("compressed")[100:],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused_by_name_with_a_reason(name: str, here: Path) -> None:
    Path(name).write_bytes(DAMAGED[name])
    error = refused(name)
    assert re.fullmatch(rf"{re.escape(name)} cannot be read: [^\n]*\w[^\n]*\.", error.message)
    assert "damaged" in error.hint


@pytest.mark.parametrize("name", ["text.npy", "text.npz"])
def test_a_file_that_is_neither_is_not_called_a_pickle(name: str, here: Path) -> None:
    Path(name).write_bytes(b"x,y\n1,2\n" * 50)
    error = refused(name)
    assert "cannot be read" in error.message
    assert "pickle" not in error.message


@pytest.mark.parametrize("kind", ["npy", "npz", "compressed"])
@settings(derandomize=True, max_examples=200, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255) | st.sampled_from(b"0 }'(,")), max_size=4),
    cut=st.one_of(st.none(), st.integers(0, 2000)),
)
def test_no_damage_ends_in_anything_but_numbers_or_a_sentence(
    kind: str, changes: list[tuple[int, int]], cut: int | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    raw = bytearray(saved(kind))
    for place, byte in changes:
        raw[place % len(raw)] = byte
    path = tmp_path_factory.getbasetemp() / f"changed.{kind if kind == 'npy' else 'npz'}"
    path.unlink(missing_ok=True)
    path.write_bytes(raw if cut is None else raw[: cut % len(raw)])
    try:
        found = sources.read(str(path))
    except ReconError as error:
        assert error.message  # noqa: PT017
        assert error.hint  # noqa: PT017
    else:
        assert numpy.isfinite(found).all()
        assert found.size


# Words.


@pytest.mark.parametrize(
    ("word", "meant"),
    [("digit", "digits"), ("pcaa:3", "pca"), ("nois:0.1", "noise"), ("meen", "mean")],
)
def test_an_unknown_source_offers_the_nearest(word: str, meant: str, here: Path) -> None:
    error = refused(word)
    assert f"no file or source named {word!r}" in error.message
    assert f"Did you mean {meant!r}?" in error.hint


def test_no_word_at_all_is_an_unknown_source(here: Path) -> None:
    assert "no file or source named ''" in refused("").message


@pytest.mark.parametrize("name", ["x.odd", "x"])
def test_a_file_of_unknown_ending_offers_to_be_named(name: str, here: Path) -> None:
    Path(name).write_text("no numbers")
    error = refused(name)
    assert repr(name) in error.message
    assert f"npy:{name}" in error.hint


@pytest.mark.parametrize("word", ["pca", "pca:3", "mean", "noise:0.1"])
def test_a_reconstruction_has_no_data_of_its_own(word: str) -> None:
    error = refused(word)
    assert error.message.startswith(word.partition(":")[0])
    assert "--recon" in error.hint


@pytest.mark.parametrize(("data", "recon"), [("digits:3", "mean"), ("digits", "mean:3")])
def test_what_a_source_takes_no_notice_of_is_refused(data: str, recon: str) -> None:
    assert "3" in refused(data, recon).message


# Stand-ins for a model.


def best(x: numpy.ndarray, train: numpy.ndarray, rank: int) -> numpy.ndarray:
    """The rank-K affine reconstruction of least squared error on ``train``, by singular values (Eckart and Young, 1936)."""
    flat = train.reshape(len(train), -1).astype(float)
    axes = numpy.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)[2][:rank]
    return ((x.reshape(len(x), -1) - flat.mean(axis=0)) @ axes.T @ axes + flat.mean(axis=0)).reshape(x.shape)


@pytest.mark.parametrize("rank", [1, 2, 5, 16, 40, 64])
def test_pca_is_the_svd_of_the_training_split_on_the_held_out_one(rank: int) -> None:
    train, kept = sources.split(sources.read("digits"), 0.2, "digits")
    pair = sources.pair("digits", f"pca:{rank}")
    assert numpy.array_equal(pair.x, kept)
    assert numpy.abs(pair.mu - best(kept, train, rank)).max() < 400 * EPS
    assert pair.fitted


@pytest.mark.parametrize("rank", [1, 5, 16, 40])
@pytest.mark.parametrize("shape", [(300, 8, 8), (40, 5, 11)])
def test_pca_leaves_only_the_singular_values_beyond_k(rank: int, shape: tuple[int, ...]) -> None:
    train = some(*shape, seed=1) * numpy.arange(1, shape[-1] + 1)
    rank = min(rank, shape[0] - 2)
    left = ((Pca(str(rank)).reconstruct(train, train, 0) - train) ** 2).sum()
    flat = train.reshape(len(train), -1)
    values = numpy.linalg.svd(flat - flat.mean(axis=0), compute_uv=False)
    assert left == pytest.approx((values[rank:] ** 2).sum(), rel=1e-12)


@pytest.mark.parametrize("shape", [(200, 30), (12, 30)])
def test_pca_of_new_data_where_dimensions_are_more_or_fewer_than_samples(shape: tuple[int, ...]) -> None:
    train, x = some(*shape, seed=2), some(9, 30, seed=3)
    assert numpy.abs(Pca("7").reconstruct(x, train, 0) - best(x, train, 7)).max() < 400 * EPS


def test_pca_keeps_16_components_unless_told() -> None:
    assert numpy.array_equal(sources.pair("digits", "pca").mu, sources.pair("digits", "pca:16").mu)
    assert "16 principal components" in sources.pair("digits", "pca").described


@pytest.mark.parametrize(("dimensions", "rank"), [(70, 16), (64, 16), (63, 15), (20, 5), (3, 1), (1, 1)])
def test_pca_keeps_a_quarter_of_few_dimensions(dimensions: int, rank: int) -> None:
    train, x = some(500, dimensions, seed=4), some(5, dimensions, seed=5)
    assert numpy.array_equal(Pca().reconstruct(x, train, 0), Pca(str(rank)).reconstruct(x, train, 0))


@pytest.mark.parametrize("rank", ["0", "65", "-1", "two", "1.5", "²", "1e1", "999999999999999999999"])
def test_pca_of_an_impossible_number_of_components_is_refused(rank: str) -> None:
    error = refused("digits", f"pca:{rank}")
    assert f"pca:{rank}" in error.message
    assert "1 to 64" in error.hint


def test_pca_of_few_samples_is_refused_beyond_their_number(here: Path) -> None:
    numpy.save("x.npy", some(12, 30))
    trained = sum(splitmix64(i) >= Fraction(0.2) * 2**64 for i in range(12))
    assert sources.pair("x.npy", f"pca:{trained}").mu.shape == (12 - trained, 30)
    assert f"1 to {trained}:" in refused("x.npy", f"pca:{trained + 1}").hint


@pytest.mark.parametrize("recon", ["pca:2", "mean"])
def test_a_reconstruction_never_looks_at_the_held_out_samples(recon: str, here: Path) -> None:
    x = some(60, 6)
    kept = numpy.flatnonzero(sources.held_out(60, 0.2))
    assert len(kept) >= 2
    changed = x.copy()
    changed[kept[1:]] += 100
    numpy.save("x.npy", x)
    numpy.save("changed.npy", changed)
    first, other = sources.pair("x.npy", recon).mu[0], sources.pair("changed.npy", recon).mu[0]
    assert numpy.abs(first - other).max() < 100 * EPS


def test_mean_is_the_mean_of_the_training_split() -> None:
    train, kept = sources.split(sources.read("digits"), 0.2, "digits")
    mu = sources.pair("digits", "mean").mu
    assert mu.shape == kept.shape
    assert numpy.abs(mu - train.astype(float).mean(axis=0)).max() < 4 * EPS
    assert Mean().reconstruct(kept, train, 0).flags.writeable


@pytest.mark.parametrize("size", [0.02, 0.1, 3.0])
def test_noise_has_the_standard_deviation_asked_for(size: float) -> None:
    x = some(200, 10, 10).astype("float32")
    error = Noise(str(size)).reconstruct(x, x[:0], 7) - x
    assert abs(error.mean()) < 4 * size / error.size**0.5
    assert abs(error.std() - size) < 4 * size / (2 * error.size) ** 0.5
    flat = error.reshape(-1) / size
    assert abs((flat[1:] * flat[:-1]).mean()) < 4 / error.size**0.5
    assert abs((flat**4).mean() - 3) < 4 * (96 / error.size) ** 0.5  # a Gaussian's fourth moment, whose variance is 96


def test_noise_is_a_tenth_unless_told_and_nothing_at_zero() -> None:
    x = some(5, 4)
    assert numpy.array_equal(Noise().reconstruct(x, x, 3), Noise("0.1").reconstruct(x, x, 3))
    assert numpy.array_equal(Noise("0").reconstruct(x, x, 3), x)


def test_noise_is_repeatable_by_its_seed_alone() -> None:
    def mu(seed: int) -> numpy.ndarray:
        return sources.pair("digits", "noise:0.3", seed=seed).mu

    assert numpy.array_equal(mu(5), mu(5))
    assert not numpy.array_equal(mu(5), mu(6))


@pytest.mark.parametrize("size", ["-1", "-1e-9", "nan", "inf", "-inf", "abc", "1,2"])
def test_noise_that_is_no_standard_deviation_is_refused(size: str) -> None:
    assert size in refused("digits", f"noise:{size}").message


# Pairs.


def test_files_are_taken_whole_and_as_they_are(here: Path) -> None:
    numpy.save("x.npy", some(30, 4))
    numpy.save("mu.npy", some(30, 4, seed=1) * 5 - 2)
    pair = sources.pair("x.npy", "mu.npy")
    assert numpy.array_equal(pair.x, some(30, 4))
    assert numpy.array_equal(pair.mu, some(30, 4, seed=1) * 5 - 2)
    assert not pair.fitted


@pytest.mark.parametrize(
    ("x", "mu"),
    [
        ((5, 8), (5, 1)), ((5, 1), (5, 8)), ((5, 8), (1, 8)), ((5, 8), (8,)), ((5, 8), (5,)),
        ((5, 8), (5, 8, 1)), ((8, 8), (8,)), ((5, 8), (8, 5)), ((5, 8), (40,)), ((5, 8), (6, 8)),
    ],
)  # fmt: skip
def test_shapes_that_differ_are_refused_even_where_they_would_broadcast(x: tuple, mu: tuple, here: Path) -> None:
    numpy.save("x.npy", some(*x))
    numpy.save("mu.npy", some(*mu))
    spelled = ["x".join(map(str, shape)) for shape in (x, mu)]
    with pytest.raises(ReconError) as caught:
        compare_sources("x.npy", "mu.npy")
    found = caught.value.message
    assert found.startswith(f"x has shape {spelled[0]} and its reconstruction {spelled[1]}; they must be equal")


def test_the_description_says_what_was_read_and_how_much_was_held_out() -> None:
    described = sources.pair("digits", "mean").described
    kept = sum(splitmix64(i) < Fraction(0.2) * 2**64 for i in range(1797))
    assert "1,797" in described
    assert f"{kept} held out" in described
    assert "8x8" in described


# Made 0 or 1.


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_threshold_is_one_above_one_half_only(dtype: str) -> None:
    values = numpy.array([0, 0.25, 0.5, 0.5009765625, 1], dtype=dtype)
    made = sources.binarized(values, "threshold", 0, "x")
    assert made.tolist() == [0, 0, 0, 1, 1]
    assert made.dtype == ("float64" if dtype == "float64" else "float32")


def test_sample_is_one_with_that_probability() -> None:
    p = sources.read("digits").astype(float)
    made = sources.binarized(p, "sample", 1, "digits")
    assert set(numpy.unique(made)) == {0, 1}
    assert (made[p == 0] == 0).all()
    assert (made[p == 1] == 1).all()
    for level in numpy.arange(1, 16) / 16:
        drawn = made[p == level]
        assert abs(drawn.mean() - level) < 4 * (level * (1 - level) / drawn.size) ** 0.5


def test_sample_is_repeatable_by_its_seed_alone() -> None:
    p = sources.read("digits")
    assert numpy.array_equal(sources.binarized(p, "sample", 1, "x"), sources.binarized(p, "sample", 1, "x"))
    assert not numpy.array_equal(sources.binarized(p, "sample", 1, "x"), sources.binarized(p, "sample", 2, "x"))


def test_not_asked_for_is_not_done() -> None:
    p = sources.read("digits")
    assert sources.binarized(p, None, 0, "x") is p


@pytest.mark.parametrize("how", ["threshold", "sample"])
@pytest.mark.parametrize("value", [-0.25, 1.25])
def test_what_lies_outside_the_unit_interval_is_not_made_0_or_1(how: str, value: float) -> None:
    with pytest.raises(ReconError, match=rf"x cannot be binarised: its values run from .*{value:g}") as caught:
        sources.binarized(numpy.array([0.5, value]), how, 0, "x")
    assert "[0, 1]" in caught.value.hint


@pytest.mark.parametrize(("how", "words"), [("threshold", "> 1/2"), ("sample", "sampled"), (None, "digits")])
def test_data_made_0_or_1_say_so(how: str | None, words: str) -> None:
    pair = sources.pair("digits", "mean", binarize=how)
    assert words in pair.named
    assert set(numpy.unique(pair.x)) == ({0, 1} if how else set(numpy.arange(17) / 16))
