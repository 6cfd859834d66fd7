"""The measurement: what holds is seen to hold, and what is broken by a half is seen to be broken."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import recon_cli
from recon_cli import comparison, likelihoods, sources
from recon_cli.cli import main
from recon_cli.comparison import Tally, compare, compare_sources, drawn, measure
from recon_cli.errors import ReconError
from recon_cli.identity import losses
from recon_cli.identity.regions import Interval
from recon_cli.likelihoods.bernoulli import Bernoulli
from recon_cli.likelihoods.continuous_bernoulli import ContinuousBernoulli
from recon_cli.likelihoods.gaussian import Gaussian
from recon_cli.likelihoods.laplace import Laplace

DTYPES = ("float32", "float64")


@pytest.fixture(scope="module")
def pair() -> sources.Pair:
    return sources.pair("digits", "pca:16")


@pytest.fixture(scope="module")
def binary() -> sources.Pair:
    return sources.pair("digits", "pca:16", binarize="threshold")


def rows(*words: str) -> tuple[int, list[dict], dict]:
    """Exit code, identity rows and the whole object of a ``recon compare`` in JSON."""
    result = CliRunner().invoke(main, ["compare", *words, "--format", "json"])
    found = json.loads(result.stdout)
    return result.exit_code, found["tables"]["identity"], found


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("side", [Gaussian(0.5), Gaussian(0.037), Gaussian(13.0), Laplace(0.2), Laplace(3.3)], ids=str)
def test_true_claims_hold(side, dtype: str, pair: sources.Pair, device: str) -> None:
    (row,) = compare(pair.x, pair.mu, side, dtype=dtype, device=device).rows
    assert row.holds
    assert row.worst < 4
    assert row.elements == pair.x.size
    assert row.ratio_elements + row.ratio_excluded == row.elements
    assert row.ratio_median == pytest.approx(float(side.slope), rel=1e-6)
    assert row.ratio_min == pytest.approx(row.ratio_max, rel=1e-6)
    assert row.nll == pytest.approx(row.slope * row.loss_value + row.offset + row.gap, rel=1e-6)
    assert row.cosine == pytest.approx(1, abs=1e-12)


def test_the_numbers_are_the_closed_forms(pair: sources.Pair, device: str) -> None:
    (row,) = compare(pair.x, pair.mu, Gaussian(0.5), dtype="float64", device=device).rows
    squares = numpy.mean((pair.x.astype(float) - pair.mu) ** 2)
    assert row.loss_value == pytest.approx(squares, rel=1e-12)
    assert row.slope == 2.0
    assert row.offset == pytest.approx(math.log(0.5) + math.log(2 * math.pi) / 2, rel=1e-12)
    assert row.nll == pytest.approx(2 * squares + row.offset, rel=1e-12)
    assert row.best["sigma"] == pytest.approx(math.sqrt(squares), rel=1e-12)
    assert row.cost == pytest.approx(row.nll - (math.log(2 * math.pi * squares) + 1) / 2, rel=1e-9)


@pytest.mark.parametrize("loss", [losses.BinaryCrossEntropy(), losses.BinaryCrossEntropyWithLogits()])
@pytest.mark.parametrize("dtype", DTYPES)
def test_bernoulli_holds_on_binary_data(loss, dtype: str, binary: sources.Pair, device: str) -> None:
    (row,) = compare(binary.x, binary.mu, Bernoulli(), loss=loss, dtype=dtype, clip=True, device=device).rows
    assert row.holds
    assert row.slope == 1.0
    assert row.offset == row.gap == 0
    assert row.best is row.cost is None


def test_bernoulli_on_grey_levels_is_refuted_with_the_gap(pair: sources.Pair, device: str) -> None:
    found = compare(pair.x, pair.mu, Bernoulli(), clip=True, device=device)
    (row,) = found.rows
    assert not row.holds
    assert not row.proportional
    assert row.worst > 1e5
    assert row.ratio_min < 0 < row.ratio_max
    mu = torch.as_tensor(pair.mu).clamp(0.001, 0.999).float()
    assert row.gap == pytest.approx(ContinuousBernoulli().gap(mu).double().mean().item(), rel=1e-6)
    text = " ".join([*found.report().notes, found.report().verdict])
    for word in ("continuous-bernoulli", "--binarize threshold", "--binarize sample", "no likelihood"):
        assert word in text
    closed = compare(pair.x, pair.mu, ContinuousBernoulli(), clip=True, device=device).rows[0]
    assert closed.worst < 4
    assert closed.gap == row.gap
    assert closed.nll == pytest.approx(closed.loss_value + closed.gap, rel=1e-6)


def test_a_loss_that_is_not_its_own_is_not_proportional(pair: sources.Pair, device: str) -> None:
    found = compare(pair.x, pair.mu, Gaussian(0.5), loss=losses.AbsoluteError(), device=device)
    (row,) = found.rows
    assert not row.holds
    assert not row.proportional
    assert row.slope is row.offset is row.gap is row.worst is None
    x, mu = pair.x.astype(numpy.float32), pair.mu.astype(numpy.float32)
    g, h = (mu - x).astype(float) / 0.25, numpy.sign(mu - x).astype(float)
    assert row.cosine == pytest.approx((g * h).sum() / numpy.sqrt((g**2).sum() * (h**2).sum()), rel=1e-6)
    ratio = g[h != 0] / h[h != 0]
    assert (row.ratio_min, row.ratio_max) == pytest.approx((ratio.min(), ratio.max()), rel=1e-6)
    assert row.ratio_median == pytest.approx(torch.tensor(ratio).median().item(), rel=1e-6)
    verdict = found.report().verdict
    assert "not proportional" in verdict
    assert "refuted" in verdict


@pytest.mark.parametrize("claimed", [4.0, 2.002, 1.0])
def test_a_slope_wrong_by_a_factor_is_set_beside_the_one_that_is_measured(claimed: float, pair: sources.Pair) -> None:
    @dataclasses.dataclass(frozen=True)
    class Own(Gaussian):
        slope = claimed

    verdict, notes = (found := compare(pair.x, pair.mu, Own(0.5)).report()).verdict, " ".join(found.notes)
    assert f"d nll / d loss is 2 everywhere, and the slope that is claimed is {claimed:g}" in verdict
    assert f"2 of the likelihood's everywhere, where {claimed:g} is claimed" in notes


HALF_LOG_2PI = 0.9189385332046727  # mpmath.log(2*mpmath.pi)/2
MUTANTS = {
    "a lost half": (Gaussian, "nll", lambda self, x, mu: ((x - mu) / self.sigma) ** 2 + math.log(self.sigma) + HALF_LOG_2PI),
    "a lost sigma": (Gaussian, "nll", lambda self, x, mu: (x - mu) ** 2 / 2 + math.log(self.sigma) + HALF_LOG_2PI),
    "log 2 pi for half of it": (Gaussian, "nll",
        lambda self, x, mu: ((x - mu) / self.sigma) ** 2 / 2 + math.log(self.sigma) + math.log(2 * math.pi)),
    "slope 1": (Gaussian, "slope", property(lambda self: 1.0)),
    "a slope without the half": (Gaussian, "slope", property(lambda self: 1 / self.sigma**2)),
    "an offset without log sigma": (Gaussian, "offset", lambda self, x: torch.full_like(x, HALF_LOG_2PI)),
    "laplace without its 2": (Laplace, "nll", lambda self, x, mu: ((x - mu) / self.scale).abs() + math.log(self.scale)),
    "a continuous bernoulli without its gap": (ContinuousBernoulli, "gap", lambda self, mu: torch.zeros_like(mu)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("kind", "name", "wrong"), MUTANTS.values(), ids=MUTANTS)
def test_a_broken_statement_is_seen(kind, name: str, wrong, dtype: str, pair: sources.Pair, monkeypatch) -> None:
    side = likelihoods.parse({Gaussian: "gaussian:sigma=0.3", Laplace: "laplace:scale=0.3"}.get(kind, kind.name))
    honest = compare(pair.x, pair.mu, side, dtype=dtype, clip=True, device="cpu").rows[0]
    assert honest.worst < 4
    monkeypatch.setattr(kind, name, wrong)
    row = compare(pair.x, pair.mu, side, dtype=dtype, clip=True, device="cpu").rows[0]
    assert row.worst > 1e5
    assert not row.holds


def test_the_gradient_ratio_is_measured_not_claimed(pair: sources.Pair, monkeypatch) -> None:
    class Crooked(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value.clone()

        @staticmethod
        def backward(ctx, grad):
            return 3 * grad

    right = Gaussian.nll
    monkeypatch.setattr(Gaussian, "nll", lambda self, x, mu: right(self, x, Crooked.apply(mu)))
    row = compare(pair.x, pair.mu, Gaussian(0.5), device="cpu").rows[0]
    assert row.worst < 4  # every value is right
    assert row.ratio_median == pytest.approx(6)  # the gradient is not
    assert not row.holds


@settings(max_examples=40)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(0, 2**31))
def test_tallies_add(sizes: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, mu = torch.rand(2, sum(sizes), generator=generator, dtype=torch.float64)
    whole = measure(Gaussian(0.3), x, mu)
    parts = sum((measure(Gaussian(0.3), *part) for part in zip(x.split(sizes), mu.split(sizes), strict=True)), Tally())
    for part in dataclasses.fields(Tally):
        one, other = getattr(whole, part.name), getattr(parts, part.name)
        if part.name == "ratios":
            assert torch.equal(torch.cat(one), torch.cat(other))
        elif part.name in ("worst", "ratio_min", "ratio_max", "elements", "ratio_elements", "ratio_excluded"):
            assert one == other
        else:
            assert one == pytest.approx(other, rel=1e-13)


def test_chunks_do_not_show(monkeypatch, pair: sources.Pair) -> None:
    whole = compare(pair.x, pair.mu, Gaussian(0.3), device="cpu").rows[0]
    monkeypatch.setattr(comparison.tally, "CHUNK", 977)
    pieces = compare(pair.x, pair.mu, Gaussian(0.3), device="cpu").rows[0]
    for name, value in vars(whole).items():
        found = getattr(pieces, name)
        assert found == (pytest.approx(value, rel=1e-13) if isinstance(value, float) else value), name


def test_both_gradients_zero_are_left_out_and_counted() -> None:
    row = compare([0.5, 0.2, 0.7], [0.5, 0.3, 0.7], Gaussian(0.5), device="cpu").rows[0]
    assert (row.ratio_elements, row.ratio_excluded) == (1, 2)
    assert row.holds


def test_a_perfect_reconstruction_leaves_the_values_to_compare() -> None:
    found = compare([0.5, 0.2], [0.5, 0.2], Gaussian(0.5), device="cpu")
    row = found.rows[0]
    assert row.ratio_min is row.ratio_median is row.ratio_max is row.cosine is None
    assert row.ratio_elements == 0
    assert row.holds
    assert "only the values were compared" in " ".join(found.report().notes)


@pytest.mark.parametrize(
    ("x", "mu", "side"),
    [
        ([1e30, 0.0], [0.0, 0.0], Gaussian(1e-10)),
        ([0.5, 0.1], [0.4, 0.0], Gaussian(1e-30)),
        ([1.0, 0.0], [0.0, 0.5], Bernoulli()),
    ],
    ids=["nll beyond float32", "gradient beyond float32", "an impossible outcome"],
)
def test_what_is_not_finite_is_never_said_to_hold(x, mu, side) -> None:
    with pytest.raises(ReconError, match="leave the range of float32 on [12] of 2|gives 1 of 2 elements no chance"):
        compare(torch.tensor(x), torch.tensor(mu), side, device="cpu")


@pytest.mark.parametrize(
    ("x", "mu", "side", "words"),
    [
        ([0.5, 1.5], [0.5, 0.5], Bernoulli(), "2 of 2 values of the data"),
        ([0.5, -0.5], [0.5, 0.5], ContinuousBernoulli(), "the first at index"),
        ([0.0, 1.0], [0.5, 1.5], Bernoulli(), "mean lies in"),
        ([0.0, 1.0], [[0.5, 0.5]], Gaussian(), "never broadcasts"),
        ([], [], Gaussian(), "empty"),
    ],
)
def test_what_cannot_be_compared_is_refused(x, mu, side, words: str) -> None:
    with pytest.raises(ReconError) as caught:
        compare(x, mu, side, device="cpu")
    assert words in str(caught.value)


def test_the_default_table_holds() -> None:
    code, found, whole = rows("--device", "cpu")
    assert code == 0
    assert [(row["likelihood"], row["loss"]) for row in found] == [
        ("gaussian", "squared-error"),
        ("bernoulli", "binary-cross-entropy"),
    ]
    assert found[1]["data"] == "digits > 1/2"
    assert any("digits > 1/2" in note for note in whole["notes"])
    assert [*found[0]] == [
        *("likelihood", "parameters", "loss", "data", "elements", "nll", "loss_value", "slope", "offset", "gap", "worst"),
        *("ratio_min", "ratio_median", "ratio_max", "ratio_elements", "ratio_excluded", "cosine", "proportional", "holds"),
        *("best", "cost", "bits_per_dimension"),
    ]


def test_a_list_of_sigmas_is_a_row_each() -> None:
    code, found, _ = rows("--sigma", "0.1,0.25", "--sigma", "0.5")
    assert code == 0
    assert [row["parameters"] for row in found] == [{"sigma": 0.1}, {"sigma": 0.25}, {"sigma": 0.5}]
    assert [row["slope"] for row in found] == pytest.approx([50, 8, 2])


def test_refuted_means_exit_code_one() -> None:
    assert rows("--likelihood", "bernoulli")[0] == 1
    assert rows("--likelihood", "continuous-bernoulli")[0] == 1
    assert rows("--likelihood", "gaussian", "--loss", "l1")[0] == 1
    assert rows("--likelihood", "bernoulli", "--binarize", "sample")[0] == 0


def test_precision_and_reconstruction_are_the_users() -> None:
    one = rows("--sigma", "0.5", "--dtype", "float64", "--recon", "noise:0.1", "--seed", "3")[1][0]
    assert one["loss_value"] == pytest.approx(0.01, rel=0.05)
    assert one == rows("--sigma", "0.5", "--dtype", "float64", "--recon", "noise:0.1", "--seed", "3")[1][0]
    assert one != rows("--sigma", "0.5", "--dtype", "float64", "--recon", "noise:0.1", "--seed", "4")[1][0]
    assert rows("--sigma", "0.5", "--recon", "mean")[1][0]["loss_value"] > 0.05


def test_ones_own_model_output(tmp_path) -> None:
    generator = numpy.random.default_rng(0)
    x = generator.normal(size=(50, 7))
    numpy.save(tmp_path / "x.npy", x)
    numpy.savez(tmp_path / "xhat.npz", first=x, second=x + generator.normal(size=x.shape) * 0.2)
    words = ("--data", str(tmp_path / "x.npy"), "--recon", f"{tmp_path / 'xhat.npz'}:second")
    code, found, _ = rows(*words)
    assert code == 0
    (row,) = found  # no bernoulli row: these data are not shares
    assert row["elements"] == 350
    assert row["loss_value"] == pytest.approx(0.04, rel=0.3)
    assert row["worst"] < 4


def test_the_notes_say_what_it_means() -> None:
    text = " ".join(compare_sources(noise_models=[Gaussian(0.5)]).report().notes)
    assert "at 2 × η" in text
    assert "β = 0.5" in text
    assert "β = 0.25" in text
    assert "sigma = 0.107937" in text
    assert "nats per element more" in text


def test_from_python_by_its_short_name(pair: sources.Pair) -> None:
    report = recon_cli.compare(pair.x, torch.as_tensor(pair.mu), Gaussian(0.5), device="cpu").report()
    assert report.holds
    assert report.tables[0].rows[0]["slope"] == 2.0


def test_real_mnist_is_no_different(mnist, device: str) -> None:
    import gzip

    with gzip.open(mnist / "t10k-images-idx3-ubyte.gz") as file:
        pixels = numpy.frombuffer(file.read(), numpy.uint8, offset=16).reshape(-1, 784)[:2000]
    x = pixels.astype(numpy.float32) / 255
    mu = numpy.full_like(x, x.mean())
    row = compare(x, mu, Gaussian(0.3), device=device).rows[0]
    assert row.holds
    assert row.elements == 2000 * 784


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA here")
def test_cuda_and_cpu_agree(pair: sources.Pair) -> None:
    one, other = (compare(pair.x, pair.mu, Gaussian(0.3), device=name).rows[0] for name in ("cpu", "cuda"))
    assert one.nll == pytest.approx(other.nll, rel=1e-7)
    assert other.holds


def test_saturated_means_that_are_right_still_hold() -> None:
    x, mu = torch.tensor([0.0, 1.0, 1.0, 0.0]), torch.tensor([1e-15, 1.0, 0.999, 0.2])
    row = compare(x, mu, Bernoulli(), device="cpu").rows[0]
    assert row.holds
    assert row.ratio_elements == 4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_holds_too(dtype: str) -> None:
    found = compare_sources(dtype=dtype, device="cpu")
    assert found.holds
    assert len(found.rows) == 2


def test_words_and_defaults_serve_from_python() -> None:
    assert compare([0.1, 0.2], [0.3, 0.1], device="cpu").rows[0].likelihood == "gaussian"
    assert compare(1.0, 0.5, "laplace:scale=0.2", device="cpu").rows[0].slope == 5.0
    assert not compare([0.1, 0.2], [0.3, 0.1], "gaussian", loss="l1", device="cpu").holds
    assert Gaussian(sigma=numpy.float32(0.5)) == Gaussian(sigma="0.5") == Gaussian(0.5)
    with pytest.raises(ReconError):
        Gaussian(sigma=numpy.float32(-0.5))


def test_an_unasked_row_never_spoils_the_others(tmp_path) -> None:
    generator = numpy.random.default_rng(0)
    grey = generator.random((40, 5)).astype(numpy.float32)
    numpy.save(tmp_path / "x.npy", grey)
    numpy.save(tmp_path / "clipped.npy", numpy.clip(grey + 0.3, 0, 1))
    code, found, _ = rows("--data", str(tmp_path / "x.npy"), "--recon", str(tmp_path / "clipped.npy"))
    assert code == 0
    assert [row["likelihood"] for row in found] == ["gaussian", "bernoulli"]
    numpy.save(tmp_path / "x.npy", grey * 255)
    code, found, whole = rows("--data", str(tmp_path / "x.npy"))
    assert [row["likelihood"] for row in found] == ["gaussian"]
    assert any("bernoulli is left out" in note for note in whole["notes"])


def test_an_underflow_is_not_called_a_refutation() -> None:
    with pytest.raises(ReconError, match="leave the range of float32"):
        compare_sources(noise_models=[Gaussian(1e20)], device="cpu")
    assert compare_sources(noise_models=[Gaussian(1e20)], dtype="float64", device="cpu").holds


def test_nothing_to_compare_is_said_where_the_loss_is_not_its_own() -> None:
    found = compare([0.5, 0.2], [0.5, 0.2], Gaussian(0.5), loss="l1", device="cpu")
    assert not found.holds
    assert "nothing to compare" in found.report().verdict


# Means that recon made, kept inside.


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_means_of_counts_are_kept_a_thousandth_above_zero(dtype: torch.dtype) -> None:
    mu = torch.tensor([-3.0, -1e-9, 0.0, 5e-4, 0.002, 7.0], dtype=dtype)
    kept = Interval(0).keep(mu)
    assert kept.tolist() == pytest.approx([1e-3] * 4 + [0.002, 7.0], rel=torch.finfo(dtype).eps)
    assert torch.equal(Interval(-math.inf, 0).keep(-mu), -kept)
    assert Interval().keep(mu) is mu


@given(cut=st.integers(0, 40))
def test_pieces_are_kept_as_the_whole_is(cut: int) -> None:
    mu = torch.randn(40, generator=torch.Generator().manual_seed(0))
    for region in (Interval(0), Interval(0, 1), Interval(0, 5)):
        assert torch.equal(torch.cat([region.keep(mu[:cut]), region.keep(mu[cut:])]), region.keep(mu))


def test_counts_are_compared_out_of_the_box(tmp_path: Path) -> None:
    rates = numpy.random.default_rng(1).gamma(0.5, 2, (400, 8))
    numpy.save(tmp_path / "counts.npy", numpy.random.default_rng(0).poisson(rates).astype("u1"))
    below = int((sources.pair(str(tmp_path / "counts.npy"), "pca").mu < 1e-3).sum())
    assert below > 10
    for words in (["--likelihood", "poisson"], ["--likelihood", "negative-binomial"]):
        code, found, whole = rows("--data", str(tmp_path / "counts.npy"), *words)
        assert code == 0
        assert found[0]["holds"]
        assert f"{below} of {found[0]['elements']} reconstructed means were kept inside {words[1]}'s [0, inf), 0.001" in str(
            whole["notes"]
        )


def test_somebodys_means_of_counts_below_zero_are_refused_with_the_link(tmp_path: Path) -> None:
    numpy.save(tmp_path / "x.npy", numpy.ones((3, 2)))
    numpy.save(tmp_path / "mu.npy", -numpy.ones((3, 2)))
    with pytest.raises(ReconError) as caught:
        compare_sources(str(tmp_path / "x.npy"), str(tmp_path / "mu.npy"), [likelihoods.parse("poisson")], device="cpu")
    assert "exp or softplus" in caught.value.hint


@pytest.mark.parametrize(("scale", "more"), [(255.0, math.log2(255)), (256.0, 8.0), (1.0, 0.0)])
def test_eight_bit_data_have_bits_per_dimension(scale: float, more: float) -> None:
    grey = numpy.random.default_rng(0).integers(0, 256, (50, 20))
    x, mu = grey / scale, numpy.full(grey.shape, 128 / scale)
    x = x.astype("u1") if scale == 1 else x
    (row,) = recon_cli.compare(x, mu, f"gaussian:sigma={40 / scale}", device="cpu").rows
    assert row.bits_per_dimension == pytest.approx(row.nll / math.log(2) + more, rel=1e-12)
    if scale == 255:
        (row,) = recon_cli.compare(x, mu, "discretized-gaussian:scale=0.2", device="cpu").rows
        assert row.bits_per_dimension == pytest.approx(row.nll / math.log(2), rel=1e-12)
    (row,) = recon_cli.compare(numpy.sqrt(x + 1.0), mu, "gaussian", device="cpu").rows
    assert row.bits_per_dimension is None


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (-0.5, 0.5), (0.0, 255.0), (-2.117904, 2.2489083)])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_levels_of_any_grid_have_bits_and_masses(low: float, high: float, dtype: str) -> None:
    """8-bit images in [-1, 1], in bytes or standardised: as in [0, 1], by the normal distribution function."""
    by = numpy.random.default_rng(1)
    base = by.uniform(0.1, 0.9, (200, 20))
    levels_ = numpy.clip(numpy.rint(255 * (base + 0.04 * by.normal(size=base.shape))), 0, 255)
    levels_[0, :2], base[0, :2] = (0, 255), (0.02, 0.97)
    x, mu = ((low + (high - low) * part).astype(dtype) for part in (levels_ / 255, base))
    sigma = 0.04 * (high - low)
    (row,) = recon_cli.compare(x, mu, f"gaussian:sigma={sigma}", device="cpu").rows
    assert row.bits_per_dimension == pytest.approx(row.nll / math.log(2) + math.log2(255 / (high - low)), rel=1e-6)
    found = recon_cli.compare(x, mu, "discretized-gaussian:scale=0.04", device="cpu", dtype="float64")
    below = numpy.where(levels_ == 0, -numpy.inf, (levels_ - 0.5) / 255 - base) / 0.04
    above = numpy.where(levels_ == 255, numpy.inf, (levels_ + 0.5) / 255 - base) / 0.04
    mass = torch.special.ndtr(torch.from_numpy(above)) - torch.special.ndtr(torch.from_numpy(below))
    assert found.rows[0].bits_per_dimension == pytest.approx(-mass.log2().mean().item(), rel=1e-5)
    assert "are taken to [0, 1]" in " ".join(found.notes)


@pytest.mark.parametrize(
    ("numbers", "said"), [(1, "step for step."), (3, "on its mean over the 3 elements of a sample, at 6 × η")]
)
def test_the_mean_over_a_sample_is_told_where_a_sample_has_several_numbers(numbers: int, said: str) -> None:
    x = torch.linspace(0, 1, 30).reshape(-1, numbers)
    notes = " ".join(compare(x, x + 0.1, "gaussian:sigma=0.5").report().notes)
    assert said in notes
    assert "the 1 elements" not in notes


@pytest.mark.parametrize(
    ("ratios", "count"),
    [([2.0] * 5, 5), ([math.inf, 1.0, 1.0], 2), ([math.inf], None), ([], None), ([1e308, 1e308], 2), ([-3e3, 1.0, 2.0, 4e3], 4),
     ([0.0, 0.0], 2), ([1e-310], 1), ([-2.0, -2.0], 2), ([-1e308, 1e308], 2)],
    ids=str,
)  # fmt: skip
def test_the_histogram_of_ratios_counts_what_is_finite(ratios: list[float], count: int | None) -> None:
    found = drawn.histogram([torch.tensor(ratios, dtype=torch.float64)])
    assert (None if found is None else sum(found.counts)) == count
    if found is not None:
        assert all(math.isfinite(middle) for middle in found.middles)
        assert sorted(set(found.middles)) == [*found.middles]
