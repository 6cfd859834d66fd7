"""The noise that data choose, against closed forms, scipy and mpmath; and ``recon calibrate`` as people call it."""

from __future__ import annotations

import csv
import functools
import io
import json
import math
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from click.testing import CliRunner, Result

from recon_cli import likelihoods, sources
from recon_cli.calibration import Choices, ModelPoint, calibrate, calibrate_sources, plot, plottable
from recon_cli.calibration.noise import every_noise, spacing
from recon_cli.cli import main
from recon_cli.errors import ReconError

CONTINUOUS = ["gaussian", "laplace", "logistic", "hyperbolic-secant", "student-t", "generalized-gaussian", "asymmetric-laplace"]
CONTINUOUS += ["huber", "von-mises"]


def drawn(word: str, samples: int = 400, elements: int = 5) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Data from a likelihood around the means 0.1 ... 3, and these."""
    mu = torch.linspace(0.1, 3.0, samples * elements, dtype=torch.float64).reshape(samples, elements)
    return likelihoods.parse(word).sample(mu, torch.Generator().manual_seed(3)).numpy(), mu.numpy()


def rows(x: numpy.ndarray, mu: numpy.ndarray, clip: bool = False) -> tuple[dict, dict]:
    """The noise table of ``x`` and ``mu`` by likelihood, and what is left out."""
    found, left = every_noise(x, lambda head: mu, clip, lambda done, words: None)
    return {row.likelihood: row for row in found}, dict(left)


MIXED, MEANS = drawn("student-t:df=5,scale=0.3")


@functools.cache
def mixed() -> Any:
    """Every noise fitted to the mixed data, and why others are left out: once, where a test asks."""
    return rows(MIXED, MEANS)


def test_the_closed_forms() -> None:
    off = MIXED - MEANS
    mse, mae = float((off**2).mean()), float(abs(off).mean())
    assert mixed()[0]["gaussian"].parameters["sigma"] ** 2 == pytest.approx(mse, rel=1e-12)
    assert mixed()[0]["gaussian"].nll == pytest.approx(5 / 2 * (math.log(2 * math.pi * mse) + 1), rel=1e-12)
    assert mixed()[0]["gaussian"].nll_at_unit == pytest.approx(5 / 2 * (math.log(2 * math.pi) + mse), rel=1e-12)
    assert mixed()[0]["laplace"].parameters["scale"] == pytest.approx(mae, rel=1e-12)
    assert mixed()[0]["laplace"].nll == pytest.approx(5 * (math.log(2 * mae) + 1), rel=1e-12)
    assert mixed()[0]["laplace"].cost == pytest.approx(5 * (math.log(2) + mae) - mixed()[0]["laplace"].nll, rel=1e-12)


@pytest.mark.parametrize("name", CONTINUOUS)
def test_no_noise_beside_the_best_is_better_and_the_slope_there_is_zero(name: str) -> None:
    row, x, mu = mixed()[0][name], torch.from_numpy(MIXED), torch.from_numpy(MEANS)
    kind = likelihoods.find(name)
    free = {key: torch.tensor(value, dtype=torch.float64, requires_grad=True) for key, value in row.parameters.items()}
    nll = kind(**free).nll(x, mu).mean()
    for value, slope in zip(free.values(), torch.autograd.grad(nll, [*free.values()]), strict=True):
        assert abs((value * slope).item()) < 1e-12  # by the logarithm of the parameter
    for key, value in row.parameters.items():
        for factor in (0.99, 1.01):
            assert kind(**{**row.parameters, key: value * factor}).nll(x, mu).sum(dim=1).mean().item() > row.nll


def test_student_t_and_the_power_are_scipy_s() -> None:
    optimize, stats = pytest.importorskip("scipy.optimize"), pytest.importorskip("scipy.stats")
    off = (MIXED - MEANS).ravel()
    for name, cost, start in (
        ("student-t", lambda p: -stats.t.logpdf(off, p[0], 0, p[1]).mean(), (4, 0.5)),
        ("generalized-gaussian", lambda p: -stats.gennorm.logpdf(off, p[1], 0, p[0]).mean(), (0.5, 1.5)),
        ("logistic", lambda p: -stats.logistic.logpdf(off, 0, p[0]).mean(), (0.5,)),
    ):
        best = optimize.minimize(cost, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-15, "maxiter": 4000})
        assert [*mixed()[0][name].parameters.values()] == pytest.approx(best.x, rel=1e-6)
        assert mixed()[0][name].nll == pytest.approx(5 * best.fun, rel=1e-12)


@pytest.mark.slow
def test_a_dispersion_to_ten_digits_is_mpmath_s_root() -> None:
    mpmath = pytest.importorskip("mpmath")
    x, mu = drawn("negative-binomial:dispersion=0.5", 60, 2)
    found = rows(x, mu)[0]["negative-binomial"].parameters["dispersion"]

    def nll(k, m, a):
        """-log p of a count k about the mean m, but for log k!."""
        return (
            -mpmath.log(mpmath.gamma(k + 1 / a) / mpmath.gamma(1 / a)) + (k + 1 / a) * mpmath.log1p(a * m) - k * mpmath.log(a * m)
        )

    def slope(a):
        pairs = zip(x.ravel().tolist(), mu.ravel().tolist(), strict=True)
        return sum(mpmath.diff(lambda v, k=k, m=m: nll(mpmath.mpf(k), mpmath.mpf(m), v), a) for k, m in pairs)

    with mpmath.workdps(30):
        assert found == pytest.approx(
            float(mpmath.findroot(slope, (0.9 * found, 1.1 * found), solver="secant", tol=1e-24)), rel=1e-10
        )


def test_the_data_s_own_likelihood_comes_first() -> None:
    for word in ("laplace:scale=0.3", "gaussian:sigma=0.3", "student-t:df=3,scale=0.2"):
        found, _ = rows(*drawn(word, 600))
        (first, *_) = sorted((row for row in found.values() if row.kind == "density"), key=lambda row: row.rank)
        own = found[word.partition(":")[0]]
        assert own.nll <= first.nll + 0.02  # a family that holds it may fit a little better


def test_ranks_and_kinds() -> None:
    counts, means = drawn("poisson", 15)
    found, left = rows(counts, means)
    assert {found["poisson"].kind, found["negative-binomial"].kind if "negative-binomial" in found else "probability"} == {
        "probability"
    }
    assert found["gaussian"].kind == "density"
    assert {*[*found][:3]} & {"poisson", "negative-binomial", "zero-inflated-poisson"}  # what allows counts comes first
    assert "bernoulli" in left
    for kind in ("density", "probability"):
        ranked = sorted((row for row in found.values() if row.kind == kind), key=lambda row: row.rank)
        assert [row.rank for row in ranked] == [*range(1, len(ranked) + 1)]
        assert [row.nll for row in ranked] == sorted(row.nll for row in ranked)


def test_what_is_left_out_says_why() -> None:
    assert "outside what bernoulli allows" in mixed()[1]["bernoulli"]
    assert "outside what poisson allows" in mixed()[1]["poisson"]
    assert {*mixed()[0], *mixed()[1]} == {*likelihoods.names()}
    perfect, left = rows(MIXED[:20], MIXED[:20])
    assert not perfect
    assert "sigma" in left["gaussian"]


# 8-bit data: bits per dimension.


def grey(scale: float) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Levels around smooth means, divided by ``scale``; and the means."""
    generator = numpy.random.default_rng(0)
    mu = generator.uniform(60, 190, (60, 50))
    x = numpy.rint(mu + 12 * generator.standard_normal(mu.shape)).clip(0, 255)
    x[0, :2] = 0, 255
    return x / scale, mu / scale


def test_levels_of_8_bits_are_recognised() -> None:
    assert spacing(torch.from_numpy(grey(1)[0].astype("uint8"))) == 1
    assert spacing(torch.from_numpy(grey(255)[0].astype("float32"))) == 1 / 255
    assert spacing(torch.from_numpy(grey(256)[0].astype("float32"))) == 1 / 256
    assert spacing(torch.from_numpy(MIXED)) is None
    assert spacing(torch.tensor([[0.0, 1.0]])) is None
    assert spacing(torch.tensor([[0, 1]], dtype=torch.uint8)) is None
    assert spacing(torch.from_numpy(sources.read("digits"))) is None


def test_bits_per_dimension_are_of_the_levels_whatever_the_units() -> None:
    named = ("gaussian", "laplace", "discretized-gaussian")

    def rows(x: numpy.ndarray, mu: numpy.ndarray) -> dict:
        return {row.likelihood: row for row in calibrate(x, mu, likelihood=named).noise}

    found = {scale: rows(*grey(scale)) for scale in (255, 256)}
    assert found[255]["gaussian"].bits_per_dimension == pytest.approx(found[256]["gaussian"].bits_per_dimension, rel=1e-9)
    row = found[255]["gaussian"]
    assert row.bits_per_dimension == pytest.approx(row.nll / 50 / math.log(2) + 7.99435, abs=1e-5)
    row = found[256]["laplace"]
    assert row.bits_per_dimension == pytest.approx(row.nll / 50 / math.log(2) + 8, rel=1e-12)
    of_bins = found[255]["discretized-gaussian"]
    assert of_bins.kind == "probability"
    assert of_bins.bits_per_dimension == pytest.approx(of_bins.nll / 50 / math.log(2), rel=1e-12)
    assert of_bins.bits_per_dimension == pytest.approx(found[255]["gaussian"].bits_per_dimension, abs=0.01)  # Delta^2/24
    x, mu = grey(1)
    raw = rows(x.astype("uint8"), mu)["gaussian"]
    assert raw.bits_per_dimension == pytest.approx(found[255]["gaussian"].bits_per_dimension, rel=1e-9)


# The command.


def invoked(*words: str) -> Result:
    return CliRunner().invoke(main, ["calibrate", *words])


def tables(*words: str, code: int = 0) -> dict:
    """What the command writes as JSON."""
    result = invoked(*words, "--format", "json")
    assert result.exit_code == code, result.output
    found = json.loads(result.stdout)
    assert found["command"] == "calibrate"
    return found["tables"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Data and their reconstruction as files."""
    folder = tmp_path_factory.mktemp("pair")
    numpy.save(folder / "x.npy", MIXED)
    numpy.save(folder / "mu.npy", MEANS)
    return str(folder / "x.npy"), str(folder / "mu.npy")


def test_the_contract(pair: tuple[str, str]) -> None:
    found = tables("--data", pair[0], "--recon", pair[1], "--latent", "2", "--rate", "3")
    assert {"likelihood", "parameters", "nll", "nll_at_unit"} <= {*found["noise"][0]}
    assert {*found["spectrum"][0]} == {"sigma2", "active", "rate", "distortion", "log_likelihood"}
    assert {*found["ppca"][0]} == {"latent", "sigma2", "log_likelihood"}
    assert {"convention", "kl_weight"} <= {*found["weights"][0]}
    assert [row["latent"] for row in found["ppca"]] == [2]
    assert found["model"][0]["distance"] == pytest.approx(3 - found["model"][0]["bound"])
    sigma = next(row for row in found["noise"] if row["likelihood"] == "gaussian")["parameters"]["sigma"]
    first = found["weights"][0]
    assert (first["convention"], first["kl_weight"]) == ("mse sum + KL sum", pytest.approx(2 * sigma**2))
    laplace = next(row for row in found["noise"] if row["likelihood"] == "laplace")["parameters"]["scale"]
    assert {row["convention"]: row["kl_weight"] for row in found["weights"]}["l1 sum + KL sum"] == pytest.approx(laplace)


def test_without_a_reconstruction_there_is_a_spectrum_and_no_torch() -> None:
    code = (
        "import sys; from recon_cli import cli; "
        "cli.main('calibrate --data digits --sigma2 1,0.1 --latent 10 --format json'.split(), standalone_mode=False); "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["tables"]
    assert [(row["sigma2"], row["active"]) for row in found["spectrum"]] == [(1, 0), (0.1, 10)]
    assert found["ppca"][0]["log_likelihood"] == pytest.approx(17.45194702, abs=5e-9)
    assert "noise" not in found


def test_data_are_read_once(pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from recon_cli.sources.npy import Npy

    paths, read = [], Npy.read

    def counted(source: Npy) -> sources.Array:
        paths.append(source.argument)
        return read(source)

    monkeypatch.setattr(Npy, "read", counted)
    calibrate_sources(*pair, Choices(latent=2))
    assert sorted(paths) == sorted(pair)


def test_the_way_back_from_antixk_s_weight() -> None:
    words = "--loss mse --reduction mean --kl-weight 0.00025 --kl-reduction batch-mean --shape 3x64x64"
    result = invoked(*words.split(), "--keep", "sum")
    assert result.exit_code == 0
    assert "sigma = 1.23935" in result.stdout
    assert "set beta = 0.00025 D = 3.072" in " ".join(result.stdout.split())
    found = tables(*words.split())
    assert {row["convention"]: row["kl_weight"] for row in found["weights"]}["mse half-sum + KL sum"] == pytest.approx(1.536)


def test_a_collapse_is_predicted_and_is_no_success() -> None:
    result = invoked("--data", "digits", "--sigma", "1")
    assert result.exit_code == 1
    assert "predicted total posterior collapse" in result.stdout
    assert invoked("--data", "digits", "--sigma", "0.8").exit_code == 0
    assert invoked("--data", "digits", "--sigma2", "1").exit_code == 0  # looked at, not chosen


def test_fewer_samples_than_dimensions_names_the_rank(tmp_path: Path) -> None:
    numpy.save(tmp_path / "x.npy", numpy.random.default_rng(0).random((20, 50)))
    result = invoked("--data", str(tmp_path / "x.npy"))
    assert result.exit_code == 0
    assert "20 samples of 50 dimensions has rank 19" in " ".join(result.stdout.split())
    assert tables("--data", str(tmp_path / "x.npy"), "--latent", "19")["ppca"] == [
        {"latent": 19, "sigma2": None, "log_likelihood": None}
    ]


def test_a_reported_number() -> None:
    assert "possible under 3 of 14 conventions" in invoked("--reported", "-1200", "--dim", "784", "--beta", "0.01").stdout
    none = invoked("--reported", "-9000", "--dim", "784", "--beta", "0.01", "--rounding", "0.5")
    assert none.exit_code == 1
    assert "impossible under every convention" in none.stdout
    assert len(tables("--reported", "-1200", "--dim", "784", "--sigma", "0.1")["reported"]) == 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--data digits --latent 65", "more latents than dimensions: 65 of 64"),
        ("--data digits --latent 0", "--latent must be a whole number from 1 up; found 0"),
        ("--data digits --sigma 0", "--sigma must be a positive number; found 0.0"),
        ("--data digits --sigma -0.5", "--sigma must be a positive number"),
        ("--data digits --sigma2 0.1,0", "--sigma2 must be a positive number; found 0.0"),
        ("--data digits --sigma nan", "--sigma must be a positive number; found nan"),
        ("--data digits --shape 1x28x28", "--shape 1x28x28 has 784 elements, and a sample of the data 64"),
        ("--data digits --recon pca --rate -1", "--rate must be a number from 0 up"),
        ("--data digits --rate 3", "its reconstruction is missing"),
        ("--recon mu.npy", "a reconstruction, and no data"),
        ("--data digits --kl-weight 0.1", "missing: --loss, --reduction, --kl-reduction"),
        ("--data digits --loss mse --reduction mean --kl-weight 0.1 --kl-reduction avg", "no reduction of the KL named 'avg'"),
        ("--data digits --keep sum", "--keep keeps a trade-off"),
        ("--data digits --beta 0.1", "--beta means nothing beside data"),
        ("--reported 12", "not known"),
        ("--reported twelve --dim 2", "must be a finite number; found 'twelve'"),
        ("--data digits --plot x.bmp", "cannot draw 'x.bmp'"),
        ("--data digits --plot nowhere/x.png", "There is no folder 'nowhere'"),
        ("--shape 3x2 --sigma 1 --plot x.png", "there are none"),
    ],
)
def test_mistakes_are_sentences(words: str, said: str) -> None:
    if "--plot" in words:
        pytest.importorskip("matplotlib")
    result = invoked(*words.split())
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_constant_data_say_so(tmp_path: Path) -> None:
    numpy.save(tmp_path / "x.npy", numpy.full((9, 4), 0.7))
    result = invoked("--data", str(tmp_path / "x.npy"))
    assert result.exit_code == 2
    assert "no variance: all samples are alike" in result.stderr


def test_every_format_writes_it(pair: tuple[str, str]) -> None:
    found = calibrate_sources(*pair, Choices(latent=2))
    from recon_cli import formats

    for name in formats.names():
        file = io.StringIO()
        formats.write(found.report(), name, file)
        text = file.getvalue()
        assert ("█" in text) == (name == "table")
        if name == "csv":
            assert {row["table"] for row in csv.DictReader(io.StringIO(text))} >= {"noise", "spectrum", "ppca", "weights"}


def test_the_chart_in_ascii() -> None:
    from recon_cli.formats import Ascii, table

    file = Ascii()
    table.write(calibrate_sources("digits", choices=Choices(sigma=0.1)).report(), file)
    file.getvalue().encode("ascii")
    lines = file.getvalue().splitlines()
    assert any("sigma^2 0.01 +#" in line for line in lines)


# Pictures.


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_pictures_are_drawn(ending: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"picture.{ending}"
    found = calibrate(MIXED, latent=2, sigma=0.5)
    plot(
        replace(found, noise=tuple(mixed()[0].values()), model=ModelPoint(distortion=1.0, bound=2.0, rate=5.0, distance=3.0)),
        path,
    )
    first = path.read_bytes()
    assert first.startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending])
    plot(found, path)
    assert len(path.read_bytes()) != len(first)


def test_the_command_draws(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert invoked("--data", "digits", "--latent", "8", "--plot", str(tmp_path / "x.svg")).exit_code == 0
    assert (tmp_path / "x.svg").stat().st_size > 10_000


def test_without_matplotlib_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ReconError, match=r"pip install .recon-loss\[plot\]"):
        plottable("x.png")


# On real images; and against training.


@pytest.mark.slow
def test_mnist_s_ten_thousand(mnist: Path) -> None:
    found = calibrate_sources(str(mnist / "t10k-images-idx3-ubyte.gz"), choices=Choices(latent=32))
    x = sources.read(str(mnist / "t10k-images-idx3-ubyte.gz")).reshape(10000, 784).astype(float)
    wanted = numpy.linalg.eigvalsh(numpy.cov(x.T, bias=True))[::-1]
    assert found.eigenvalues.values[:200] == pytest.approx(wanted[:200], rel=1e-10)
    assert found.eigenvalues.rank < 784


def linear_vae(x: numpy.ndarray, sigma2: float, latent: int, steps: int) -> int:
    """How many latents of a trained linear VAE have a KL above 0.01 nats.

    Encoder z = V x + noise, decoder W z, Adam on the negative ELBO of all samples, its expectation over z exact.
    """
    generator = torch.Generator().manual_seed(0)
    centred = torch.from_numpy(x - x.mean(axis=0))
    s, d = centred.T @ centred / len(x), x.shape[1]
    v = (0.1 / s.trace().sqrt() * torch.randn(latent, d, generator=generator, dtype=torch.float64)).requires_grad_()
    w = (0.1 * torch.randn(d, latent, generator=generator, dtype=torch.float64)).requires_grad_()
    log_variance = torch.zeros(latent, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([v, w, log_variance], lr=0.02)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        vs = v @ s
        codes = vs @ v.T
        kl = (codes.diagonal() + log_variance.exp() - log_variance - 1) / 2
        error = s.trace() - 2 * (vs * w.T).sum() + (w.T @ w * codes).sum() + (w.square() @ log_variance.exp()).sum()
        adam.zero_grad()
        (error / (2 * sigma2) + kl.sum()).backward()
        adam.step()
        falling.step()
    return int((kl > 0.01).sum())


def between(values: numpy.ndarray, active: int) -> float:
    """A noise that so many eigenvalues are above: the geometric mean of two neighbours."""
    return float(1.3 * values[0]) if not active else float(math.sqrt(values[active - 1] * values[active]))


@pytest.mark.slow
@pytest.mark.parametrize("active", [0, 3, 9])
def test_the_prediction_is_what_training_finds(active: int) -> None:
    x = sources.read("digits").reshape(1797, 64).astype(float)
    sigma2 = between(calibrate(x).eigenvalues.values, active)
    assert calibrate(x, sigma=math.sqrt(sigma2), latent=12).predicted.active == active
    assert linear_vae(x, sigma2, 12, 1500) == active


@pytest.mark.trained
@pytest.mark.parametrize("active", [0, 1, 2, 3, 5, 8, 9, 12, 16, 23])  # where neighbours differ by 5 % and more
@pytest.mark.parametrize("data", ["digits", "mnist"])
def test_ten_noises_of_two_data_sets(data: str, active: int, request: pytest.FixtureRequest) -> None:
    word = data if data == "digits" else str(request.getfixturevalue("mnist") / "t10k-images-idx3-ubyte.gz")
    x = sources.read(word).astype(float)
    x = x.reshape(len(x), -1)
    sigma2 = between(calibrate(x).eigenvalues.values, active)
    assert calibrate(x, sigma=math.sqrt(sigma2), latent=24).predicted.active == active
    assert linear_vae(x, sigma2, 24, 4000) == active


def test_residuals_of_one_size_choose_no_power() -> None:
    found, left = rows(MIXED[:20], MIXED[:20] + 0.25)
    assert "generalized-gaussian" not in found
    assert "beyond the range of numbers" in left["generalized-gaussian"]
    assert found["laplace"].parameters["scale"] == pytest.approx(0.25)


def test_angles_are_ranked_with_the_lines_densities_within_one_turn_only() -> None:
    """Over several turns a density of angles adds up to more than 1 on the line: it would win without deserving it."""
    generator = numpy.random.default_rng(0)
    mu = generator.uniform(-2, 2, (60, 3))
    x = mu + generator.normal(0, 0.2, mu.shape)
    assert "von-mises" in {row.likelihood for row in calibrate(x, mu).noise}
    bytes_ = calibrate(40 * x, 40 * mu)
    assert "von-mises" not in {row.likelihood for row in bytes_.noise}
    turns = 40 * (x.max() - x.min()) / (2 * math.pi)
    assert dict(bytes_.left_out)["von-mises"].startswith(f"the data span {turns:.3g} turns")


def test_the_water_is_below_its_level_where_only_the_largest_eigenvalues_are_known() -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    from recon_cli.calibration import plots
    from recon_cli.calibration.result import Calibration
    from recon_cli.likelihoods.gaussian import Gaussian
    from recon_cli.numerics.spectrum import Eigenvalues

    def drawn(found: Eigenvalues, sigma2: float) -> tuple[numpy.ndarray, float, str]:
        axes = Figure().subplots()
        plots.spectrum(axes, Calibration(eigenvalues=found, likelihood=Gaussian(sigma=math.sqrt(sigma2))), found)
        water, baseline = (axes.patches[0].get_data()[key] for key in (0, 2))
        return water, baseline, axes.texts[0].get_text()

    water, baseline, words = drawn(Eigenvalues(numpy.array([9.0, 8.0]), 50, 90, 60.0, 0.1), 1.0)
    assert water == pytest.approx([1, 1])
    assert baseline < 1
    assert "2 or more active" in words
    water, _, words = drawn(Eigenvalues(numpy.array([9.0, 0.5]), 2, 90, 9.5), 1.0)
    assert water == pytest.approx([1, 0.5])
    assert words.endswith(" 1 active")


@pytest.mark.slow
def test_seconds_in_cells_and_one_by_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Prints, in one run, what the fits of the families of residuals take of the processor in cells, and one by one."""
    draw = numpy.random.default_rng(0)
    mu = draw.random((1000, 784), dtype=numpy.float32)
    x = (mu + 0.1 * draw.standard_t(5, mu.shape)).astype(numpy.float32)
    names = [kind.name for kind in map(likelihoods.find, likelihoods.names()) if kind().of_residual == ()]
    seconds = []
    for many in (0, 1 << 40):
        monkeypatch.setattr("recon_cli.calibration.noise.MANY", many)
        start = time.process_time()
        every_noise(x, lambda head: mu, False, lambda done, words: None, asked=names)
        seconds.append(time.process_time() - start)
    with capsys.disabled():
        print(
            f"\n[{len(names)} noises of {x.size:,} values: in cells {seconds[0]:.1f} s, one by one {seconds[1]:.1f} s]", end=" "
        )
    assert min(seconds) > 0
