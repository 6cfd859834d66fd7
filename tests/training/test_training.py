"""recon train: the measured ratio is the slope, the noise is the best one, collapse is explained, runs are kept."""

from __future__ import annotations

import csv
import functools
import inspect
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy
import points
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors import safe_open
from test_contract import KINDS

import recon_cli
from recon_cli import models, sources
from recon_cli.cli import main
from recon_cli.commands.train import command
from recon_cli.errors import ReconError
from recon_cli.likelihoods.bernoulli import Bernoulli
from recon_cli.likelihoods.gaussian import Gaussian
from recon_cli.likelihoods.laplace import Laplace
from recon_cli.models._vae import divergence, draw
from recon_cli.models.mlp import Mlp
from recon_cli.runtime.images import images
from recon_cli.runtime.optimizers import optimizers
from recon_cli.training import Training, resume, runs, saying, settings
from recon_cli.training.experiments.optimum import largest_eigenvalue
from recon_cli.training.figures import Epoch
from recon_cli.training.noises import Learned, Optimal, start
from recon_cli.training.plan import Plan

SHAPED = ("student-t", "huber", "logistic", "hyperbolic-secant", "asymmetric-laplace", "generalized-gaussian")

Run = Callable[..., Training]
DIGITS = sources.read("digits")
KEPT = DIGITS[~sources.held_out(len(DIGITS), 0.2)]
FEW = DIGITS[:200]
COMMAND = (sys.executable, "-m", "recon_cli", "train")
PLACE = {**os.environ, "PYTHONPATH": str(Path(recon_cli.__file__).parents[1]), "PYTHONIOENCODING": "utf-8"}


@pytest.fixture
def run(device: str) -> Run:
    """``train`` on the suite's device, two epochs if not told otherwise."""
    return functools.partial(recon_cli.train, device=device, epochs=2)


def cli(*words: str) -> Result:
    """``recon train`` with these words, in this process."""
    return CliRunner().invoke(main, ["train", *words])


def left(folder: Path) -> list[str]:
    """Everything below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# Both sides of the identity.


@pytest.mark.parametrize(
    ("likelihood", "binarize", "slope"),
    [
        ("gaussian:sigma=0.5", None, 2.0),
        ("gaussian:sigma=0.1", None, 50.0),
        ("laplace:scale=0.2", None, 5.0),
        ("bernoulli", "threshold", 1.0),
        ("bernoulli", None, 1.0),
    ],
)
def test_measured_ratio_is_the_slope(run: Run, likelihood: str, binarize: str | None, slope: float) -> None:
    found = run(likelihood=likelihood, binarize=binarize)
    assert len(found.epochs) == 2
    for seen in (*found.epochs, found.result):
        assert seen.predicted == pytest.approx(slope, rel=1e-12)
        assert seen.ratio == pytest.approx(slope, rel=1e-4)
        assert seen.cosine == pytest.approx(1, abs=1e-6)


def test_learned_noise_is_measured_where_it_is(run: Run) -> None:
    for epoch in run(likelihood="laplace", epochs=3).epochs:
        assert epoch.predicted == pytest.approx(1 / epoch.sigma, rel=1e-6)
        assert epoch.ratio == pytest.approx(epoch.predicted, rel=1e-4)


def test_what_the_loss_leaves_out_moves_the_gradient(run: Run) -> None:
    found = run(likelihood="continuous-bernoulli")
    assert found.result.predicted is None
    assert abs(found.result.ratio - 1) > 0.05
    assert found.result.cosine < 0.99
    assert any("leaves out a gap" in note for note in found.report().notes)


@pytest.mark.parametrize("sigma", [0.5, "learned", "optimal"])
def test_every_row_is_the_identity(run: Run, sigma: Any) -> None:
    found = run(sigma=sigma)
    for seen in (*found.epochs, found.result):
        offset = 64 * (math.log(seen.sigma) + math.log(2 * math.pi) / 2)
        assert seen.nll == pytest.approx(seen.loss / (2 * seen.sigma**2) + offset, rel=1e-5)
        assert seen.negative_elbo == pytest.approx(seen.nll + seen.kl, rel=1e-12)


def test_divergence_is_torchs() -> None:
    mean, log_variance = torch.randn(2, 50, 3, generator=torch.Generator().manual_seed(0)).unbind()
    q = torch.distributions.Normal(mean, (log_variance / 2).exp())
    torch.testing.assert_close(
        divergence(mean, log_variance), torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0))
    )


def test_a_draw_has_the_mean_and_the_variance_asked_for() -> None:
    mean, log_variance = torch.full((100_000,), 2.0), torch.full((100_000,), math.log(9.0))
    z = draw(mean, log_variance, torch.Generator().manual_seed(0))
    assert z.mean().item() == pytest.approx(2, abs=0.05)
    assert z.std().item() == pytest.approx(3, abs=0.05)


def test_a_step_is_down_the_negative_elbo() -> None:
    """One SGD step on one batch, against torch.distributions and a gradient of our own."""
    rows = torch.from_numpy(FEW.reshape(len(FEW), -1))
    how = {"sigma": 0.3, "beta": 2.0, "latent": 3, "hidden": 5, "lr": 0.01, "optimizer": "sgd"}
    found = recon_cli.train(FEW, holdout=0.0, epochs=1, batch_size=len(FEW), device="cpu", **how)
    vae = Mlp(rows, Gaussian(), 3, 5, torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(0)
    order = torch.randperm(len(rows), generator=generator)
    mean, log_variance = vae.encode(rows[order])
    q = torch.distributions.Normal(mean, (log_variance / 2).exp())
    z = mean + q.stddev * torch.randn(mean.shape, generator=generator)
    nll = -torch.distributions.Normal(vae.decode(z), 0.3).log_prob(rows[order]).sum(dim=1)
    kl = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).sum(dim=1)
    (nll + 2 * kl).mean().backward()
    for ours, theirs in zip(vae.parameters(), found.model.parameters(), strict=True):
        torch.testing.assert_close(theirs, ours - 0.01 * ours.grad, rtol=1e-5, atol=1e-6)
        assert not torch.equal(theirs, ours)


# The noise.


def test_learned_sigma_moves_to_the_root_of_the_error(run: Run) -> None:
    found = run(epochs=30, lr=0.006)
    sigmas = [epoch.sigma for epoch in found.epochs]
    assert found.whose == "learned"
    assert sigmas[-1] < sigmas[0] / 2
    last = found.epochs[-1]
    assert last.sigma == pytest.approx(math.sqrt(last.loss / 64), rel=0.1)
    assert found.best == pytest.approx(math.sqrt(last.loss / 64), rel=1e-6)
    assert found.result.negative_elbo < -25
    assert found.epochs[0].negative_elbo - last.negative_elbo > 30


def test_a_learned_noise_begins_at_the_best_for_the_mean() -> None:
    rows = torch.from_numpy(KEPT.reshape(len(KEPT), -1))
    begun = start(Gaussian(), "learned", rows)
    assert isinstance(begun, Learned)
    assert begun.noise().sigma.item() == pytest.approx(math.sqrt(KEPT.reshape(len(KEPT), -1).var(axis=0).mean()), rel=1e-5)


@pytest.mark.parametrize(("likelihood", "power"), [("gaussian", 2), ("laplace", 1)])
def test_optimal_noise_is_the_best_for_the_rows(run: Run, likelihood: str, power: int) -> None:
    for epoch in run(likelihood=likelihood, sigma="optimal").epochs:
        assert epoch.sigma == pytest.approx((epoch.loss / 64) ** (1 / power), rel=1e-5)


@pytest.mark.parametrize("claim", [Gaussian(), Laplace()])
def test_gradient_with_the_best_noise_held_is_the_gradient_through_it(claim: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    x, mu = torch.randn(2, 30, 5, generator=generator, dtype=torch.float64).unbind()
    held, through = mu.clone().requires_grad_(), mu.clone().requires_grad_()
    Optimal(claim)(x, held).nll(x, held).sum().backward()
    error = (x - through).square().mean().log() / 2 if isinstance(claim, Gaussian) else (x - through).abs().mean().log()
    (error * x.numel()).backward()  # the profiled nll, but for a constant
    torch.testing.assert_close(held.grad, through.grad, rtol=1e-12, atol=0)


def test_a_noise_spelled_out_stays_fixed(run: Run) -> None:
    spelled, short, given = run(likelihood="gaussian:sigma=0.3"), run(sigma=0.3), run(likelihood=Gaussian(sigma=0.3))
    assert spelled.whose == short.whose == given.whose == "fixed"
    assert spelled.epochs == short.epochs == given.epochs
    assert {epoch.sigma for epoch in spelled.epochs} == {0.3}
    assert spelled.best == pytest.approx(math.sqrt(spelled.epochs[-1].loss / 64), rel=1e-6)


def test_no_weight_decay_pulls_the_noise() -> None:
    rows = torch.from_numpy(KEPT.reshape(len(KEPT), -1))
    vae = Mlp(rows, Gaussian(), 2, 3, torch.Generator().manual_seed(0))
    asked = settings.Settings(0.2, 1, 8, 2, 3, 1e-3, "adamw", 1.0, 0)
    network, noise = asked.optimizer_of(vae, start(Gaussian(), "learned", rows)).param_groups
    assert network["weight_decay"] > 0
    assert noise["weight_decay"] == 0


# What a likelihood changes, and what it does not.


def test_sigma_squared_is_beta(run: Run) -> None:
    """Halving sigma, four times beta and a quarter of SGD's learning rate: the same model, step for step."""
    one = run(sigma=0.25, beta=1.0, optimizer="sgd", lr=0.001)
    other = run(sigma=0.125, beta=4.0, optimizer="sgd", lr=0.00025)
    for mine, theirs in zip(one.epochs, other.epochs, strict=True):
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-6)
        assert mine.kl == pytest.approx(theirs.kl, rel=1e-6)
        assert mine.nll != pytest.approx(theirs.nll, rel=0.01)


def test_units_change_the_nll_by_their_logarithm(run: Run) -> None:
    one, other = run(DIGITS), run(DIGITS * 4)
    for mine, theirs in zip(one.epochs, other.epochs, strict=True):
        assert theirs.kl == pytest.approx(mine.kl, rel=1e-5)
        assert theirs.sigma == pytest.approx(4 * mine.sigma, rel=1e-5)
        assert theirs.nll == pytest.approx(mine.nll + 64 * math.log(4), rel=1e-5)


def test_one_seed_one_result(run: Run) -> None:
    one, same, other = run(), run(), run(seed=1)
    assert one.epochs == same.epochs
    for mine, theirs in zip(one.model.parameters(), same.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert one.epochs != other.epochs


def test_the_callers_threads_stay(run: Run) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    during: list[int] = []
    try:
        for size in (64, 4096):
            run(FEW, device="cpu", batch_size=size, epochs=1, progress=lambda *now: during.append(torch.get_num_threads()))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert during == [1, 2]


def test_the_callers_state_stays(run: Run) -> None:
    torch.manual_seed(5)
    numpy.random.seed(5)
    before, legacy = torch.get_rng_state(), numpy.random.get_state()[1].tolist()
    run(binarize="sample", likelihood="bernoulli", epochs=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert numpy.random.get_state()[1].tolist() == legacy


@pytest.mark.parametrize("name", optimizers())
def test_every_optimizer_trains(run: Run, name: str) -> None:
    found = run(FEW, epochs=1, optimizer=name, lr=1e-3, hidden=8)
    assert math.isfinite(found.result.negative_elbo)


def test_words_arrays_and_tensors_are_the_same_data(run: Run) -> None:
    assert run("digits").epochs == run(DIGITS).epochs == run(torch.from_numpy(DIGITS)).epochs


def test_progress_is_told_of_every_epoch(run: Run) -> None:
    told: list[int] = []
    run(progress=lambda done, words: told.append(done), epochs=3)
    assert told == [1, 2, 3]


def test_on_epoch_is_given_the_numbers_of_every_epoch(run: Run, tmp_path: Path) -> None:
    epochs: list[Epoch] = []
    written: list[int] = []

    def keep(epoch: Epoch) -> None:
        epochs.append(epoch)
        written.append(len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()))

    found = run(out=tmp_path / "run", on_epoch=keep, epochs=2)
    assert tuple(epochs) == found.epochs
    assert written == [1, 2]
    with pytest.raises(ZeroDivisionError):
        run(out=tmp_path / "other", on_epoch=lambda epoch: 1 / 0, epochs=2)
    assert resume(tmp_path / "other").epochs == found.epochs


def test_nothing_held_out(run: Run) -> None:
    found = run(holdout=0.0)
    assert (found.result.rows_trained, found.result.rows_held_out) == (len(DIGITS), 0)
    last = found.epochs[-1]
    assert (found.result.nll, found.result.kl, found.result.loss) == pytest.approx((last.nll, last.kl, last.loss), rel=1e-6)
    assert "1,797 rows trained, none held out" in found.report().notes[0]
    assert "training sample" in found.verdict()


def test_held_out_rows_are_not_trained_on(run: Run) -> None:
    spoiled = DIGITS.copy()
    spoiled[sources.held_out(len(DIGITS), 0.2)] = 0.5
    one, other = run(DIGITS), run(spoiled)
    assert one.epochs == other.epochs
    assert one.result.nll != other.result.nll
    assert one.result.rows_trained + one.result.rows_held_out == len(DIGITS)


def test_grey_levels_are_no_coin_flips(run: Run) -> None:
    found = run(likelihood="bernoulli")
    assert found.grey == pytest.approx(((DIGITS != 0) & (DIGITS != 1)).mean(), rel=1e-6)
    (note,) = [note for note in found.report().notes if "no likelihood" in note]
    assert "42% of the values are neither 0 nor 1" in note
    assert "--likelihood continuous-bernoulli" in note
    assert "--binarize" in note
    assert "no ELBO" in found.verdict()
    assert not run(likelihood="bernoulli", binarize="threshold").grey


# Collapse.


def test_sigma_one_collapses_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli("--sigma", "1", "--epochs", "6", "--format", "json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    (row,) = found["tables"]["result"]
    assert row["active"] == 0
    assert row["ratio"] == pytest.approx(0.5, rel=1e-4)
    assert "collapse" in found["verdict"]
    (note,) = [note for note in found["notes"] if note.startswith("Posterior collapse")]
    assert "is 0.70, below sigma^2 = 1" in note
    assert "--sigma learned" in note


def test_largest_eigenvalue() -> None:
    everything = torch.from_numpy(DIGITS.reshape(len(DIGITS), -1))
    assert largest_eigenvalue(everything) == pytest.approx(0.6988567, abs=1e-7)  # numerics.md, section 4
    kept = KEPT.reshape(len(KEPT), -1).astype(numpy.float64)
    witness = numpy.linalg.eigvalsh(numpy.cov(kept.T, bias=True))[-1]
    assert largest_eigenvalue(torch.from_numpy(kept)) == pytest.approx(witness, rel=1e-7)


def test_beta_and_sigma_collapse_together(run: Run) -> None:
    found = run(sigma=0.5, beta=4.0, epochs=6)
    assert found.collapsed
    assert not found.report().holds
    assert "below beta sigma^2 = 1" in saying.why(found)
    assert "Use a smaller --beta" in saying.why(run(FEW, beta=100.0, epochs=20))
    assert "all alike" in saying.why(run(numpy.ones((20, 4)), sigma=1.0))


@pytest.mark.slow
def test_free_bits_cost_nothing_and_a_warmup_begins_at_0(run: Run) -> None:
    how = {"sigma": 1.0, "epochs": 15}
    plain, free, warm = run(**how), run(free_bits=0.25, **how), run(kl_warmup=100, **how)
    assert plain.collapsed
    assert free.result.kl == pytest.approx(24 * 0.25, rel=0.3)
    assert free.result.active == 24
    assert warm.epochs[0].kl > 10 * plain.epochs[0].kl
    unpaid, none = run(free_bits=1e6), run(beta=1e-300)
    assert [epoch.nll for epoch in unpaid.epochs] == [epoch.nll for epoch in none.epochs]


def test_active_latents_are_those_that_tell_something(run: Run) -> None:
    found = run(sigma=0.5, epochs=20)
    rows = torch.from_numpy(KEPT.reshape(len(KEPT), -1)).to(found.model.mean.device)
    mean, log_variance = found.model.encode(rows)
    q = torch.distributions.Normal(mean, (log_variance / 2).exp())
    rates = torch.distributions.kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).mean(dim=0)
    assert 0 < found.epochs[-1].active < 24
    assert found.epochs[-1].active == int((rates > 0.01).sum())
    assert found.epochs[-1].kl == pytest.approx(rates.sum().item(), rel=1e-4)


# The run folder.


def test_run_folder(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    found = run(out=folder, sigma=0.3, epochs=3)
    assert left(folder) == [
        "checkpoint.safetensors",
        "config.json",
        "curves.png",
        "metrics.jsonl",
        "model.safetensors",
        "reconstructions.png",
        "result.json",
        "samples.png",
        "traversal.png",
    ]
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert lines == [vars(epoch) for epoch in found.epochs]
    config = json.loads((folder / "config.json").read_text())
    assert config["version"] == recon_cli.__version__
    assert (config["data"], config["shape"], config["sigma"], config["likelihood"]) == ("digits", [8, 8], 0.3, "gaussian")
    assert set(vars(found.settings)) | {"device", "binarize"} <= set(config)
    assert json.loads((folder / "result.json").read_text())["nll"] == found.result.nll
    with safe_open(folder / "model.safetensors", "pt") as stored:
        assert stored.metadata()["likelihood"] == "gaussian:sigma=0.3"
        state = found.model.state_dict()
        assert set(stored.keys()) == set(state)
        assert all(torch.equal(stored.get_tensor(name), state[name].cpu()) for name in state)
    assert any(str(folder) in note for note in found.report().notes)


def test_picture_is_the_held_out_digits_above_their_means(run: Run, tmp_path: Path) -> None:
    found = run(out=tmp_path / "run")
    with Image.open(tmp_path / "run" / "reconstructions.png") as png:
        assert png.size == ((12 * 9 - 1) * 8, (2 * 9 - 1) * 8)  # 12 digits of 8 pixels, one between, eight times as large
        pixels = numpy.asarray(png) / 255
    held_out = DIGITS[sources.held_out(len(DIGITS), 0.2)]
    assert numpy.abs(pixels[4:64:8, 76:136:8] - held_out[1]).max() < 1 / 255
    below = pixels[76:136:8, 76:136:8]
    assert numpy.abs(below - held_out[1]).mean() < numpy.abs(below - held_out[0]).mean()
    picture = found.report().pictures[0]
    assert numpy.abs(numpy.array(picture.rows[0][1]) - held_out[:12]).max() < 1e-6


def test_samples_and_a_traversal(run: Run, tmp_path: Path) -> None:
    found = run(out=tmp_path / "run", sigma=0.3, epochs=3)
    for name in ("samples", "traversal"):
        with Image.open(tmp_path / "run" / f"{name}.png") as png:
            assert png.size == ((12 * 9 - 1) * 8, (4 * 9 - 1) * 8)
            pixels = numpy.asarray(png)[::8, ::8] / 255
    rows = torch.from_numpy(DIGITS[sources.held_out(len(DIGITS), 0.2)].reshape(-1, 64)).to(found.model.mean.device)
    with torch.no_grad():
        mean, log_variance = found.model.encode(rows)
        z = mean[:1].clone()
        z[0, divergence(mean, log_variance).mean(0).argmax()] = 3.0
        witness = found.model.mu(z).reshape(8, 8).cpu().numpy().clip(0, 1)
    assert numpy.abs(pixels[:8, 99:107] - witness).max() < 1 / 255


def test_a_run_has_its_curves(run: Run, tmp_path: Path) -> None:
    found = run(out=tmp_path / "run", epochs=3)
    with Image.open(tmp_path / "run" / "curves.png") as png:
        assert png.size == (2 * 460, 320)
        inks = numpy.unique(numpy.asarray(png.convert("RGB"), dtype=int).reshape(-1, 3), axis=0)
    for ink in ((31, 99, 176), (184, 80, 15), (22, 119, 74)):  # nll, KL and -ELBO; sigma and active latents
        assert abs(inks - ink).sum(axis=1).min() < 30
    assert [series.name for chart in found.curves() for series in chart.series] == [
        "nll",
        "KL",
        "−ELBO",
        "sigma",
        "active latents",
    ]
    assert [*found.curves()][0].series[0].values == [epoch.nll for epoch in found.epochs]


def test_tables_of_numbers_have_no_picture(run: Run, tmp_path: Path) -> None:
    rows = numpy.random.default_rng(0).normal(size=(100, 10))
    found = run(rows, out=tmp_path / "run")
    assert "reconstructions.png" not in left(tmp_path / "run")
    assert not found.report().pictures


@pytest.mark.parametrize(
    ("shape", "image"),
    [((64,), (8, 8)), ((8, 6), (8, 6)), ((3, 8, 6), (8, 6, 3)), ((8, 6, 3), (8, 6, 3)), ((4, 8, 6), (8, 6, 3)),
     ((8, 6, 4), (8, 6, 3)), ((1, 28, 28), (28, 28)), ((28, 28, 1), (28, 28)), ((10,), None), ((4,), None), ((2, 30), None),
     ((7, 8, 9), None), ((1,), None)],
)  # fmt: skip
def test_what_an_image_is(shape: tuple[int, ...], image: tuple[int, ...] | None) -> None:
    found = images(numpy.zeros((5, math.prod(shape))), shape)
    assert (None if found is None else found.shape[1:]) == image


def test_default_folders_never_overwrite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("laplace", "laplace-2"):
        result = cli("--likelihood", "laplace", "--epochs", "1")
        assert result.exit_code == 0, result.output
        assert f"Written to runs/{name}." in " ".join(result.stdout.split())
    assert [path.name for path in sorted((tmp_path / "runs").iterdir())] == ["laplace", "laplace-2"]


def test_python_writes_nothing_unless_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run().folder is None
    assert left(tmp_path) == []


def test_an_existing_run_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("precious")
    result = cli("--out", str(tmp_path))
    assert result.exit_code == 2
    assert "not empty" in result.stderr
    assert left(tmp_path) == ["metrics.jsonl"]
    assert (tmp_path / "metrics.jsonl").read_text() == "precious"


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    with runs.RunFolder(tmp_path / "run"), pytest.raises(ReconError, match="not empty"):
        runs.RunFolder(tmp_path / "run").__enter__()


def test_an_empty_folder_may_be_used(run: Run, tmp_path: Path) -> None:
    run(out=tmp_path)
    assert "model.safetensors" in left(tmp_path)


@pytest.mark.parametrize("out", ["file", "file/run", "null\0byte", "x" * 300])
def test_a_folder_that_cannot_be_is_noticed_before_the_work(run: Run, tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("here")
    told: list[int] = []
    with pytest.raises(ReconError, match="cannot be written"):
        run(out=tmp_path / out, progress=lambda done, words: told.append(done))
    assert not told
    assert left(tmp_path) == ["file"]


@pytest.mark.slow
def test_ctrl_c_keeps_the_metrics(tmp_path: Path) -> None:
    words = [*COMMAND, "--epochs", "20000", "--hidden", "8", "--out", "run"]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    listen = functools.partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # a job in the background does not
    with subprocess.Popen(words, cwd=tmp_path, env=PLACE, preexec_fn=listen, **how) as running:
        try:
            metrics = tmp_path / "run" / "metrics.jsonl"
            until = time.monotonic() + 60
            while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < until:
                time.sleep(0.05)
            running.send_signal(signal.SIGINT)
            out, error = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 130
    assert "Traceback" not in error
    assert out == ""
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [*range(1, len(lines) + 1)]


# The command.


@pytest.mark.slow
def test_a_default_run_does_not_collapse(tmp_path: Path) -> None:
    """As from a shell, into a pipe: the result alone on standard output, nothing on standard error."""
    words = [*COMMAND, "--format", "json"]
    done = subprocess.run(words, cwd=tmp_path, env=PLACE, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    (row,) = found["tables"]["result"]
    assert row["active"] > 10
    assert row["negative_elbo"] < -30  # 10 principal components reach -17.45 on their own training data: numerics.md
    assert row["seconds"] < 60
    assert "model.safetensors" in left(tmp_path / "runs" / "gaussian")


def test_formats_hold_the_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"nll", "loss", "kl", "negative_elbo", "sigma", "active", "ratio"}
    result = cli("--epochs", "3", "--likelihood", "bernoulli", "--binarize", "sample", "--format", "json")
    found = json.loads(result.stdout)
    assert list(found) == ["command", "version", "arguments", "environment", "tables", "notes", "verdict", "holds"]
    assert [row["epoch"] for row in found["tables"]["epochs"]] == [1, 2, 3]
    assert all(names <= set(row) for table in ("epochs", "result") for row in found["tables"][table])
    assert {"seconds", "samples_per_second", "rows_trained", "rows_held_out"} <= set(found["tables"]["result"][0])
    assert found["tables"]["result"][0]["sigma"] is None
    rows = [*csv.DictReader(io.StringIO(cli("--epochs", "3", "--format", "csv").stdout))]
    assert [row["table"] for row in rows] == ["epochs"] * 3 + ["result", "calibration"] + ["latents"] * 24
    assert all(math.isfinite(float(row[name])) for row in rows[:4] for name in names)


def test_a_terminal_of_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = cli("--epochs", "15", "--hidden", "16", "--sigma", "0.25", "-v").stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "12 of 15 rows" in shown
    flat = " ".join(shown.split())
    assert "gradient is 8 times that of the summed squared-error; predicted 8." in flat
    assert "sigma = 0.25, given" in flat


def test_the_command_has_the_engines_defaults() -> None:
    asked = {option.name: None if "UNSET" in str(option.default) else option.default for option in command.params}
    meant = {name: value.default for name, value in inspect.signature(recon_cli.train).parameters.items()}
    meant |= {name: value.default for name, value in inspect.signature(settings.Settings).parameters.items()}
    of_answers = {"format", "output", "verbose", "quiet", "color", "plot"}
    of_python = {"progress", "on_epoch", "settings"}
    assert set(asked) - of_answers - {"resume", "against", "sweep", "trust", "evaluate"} == set(meant) - of_python
    usual = {name: [meant[name], value] for name, value in models.kind("regression").usual.items()}
    for name in set(meant) - of_python - {"out", "sigma", "binarize", *usual}:
        assert asked[name] == meant[name], name
    shown = {option.name: str(option.show_default) for option in command.params if isinstance(option, click.Option)}
    for name, values in usual.items():
        assert asked[name] is None
        assert all(f"{value:g}" in shown[name] or not value for value in values), name


# Bad input.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--latent", "0"], "--latent must be a whole number from 1 up; found 0"),
        (["--hidden", "0"], "--hidden"),
        (["--epochs", "0"], "--epochs"),
        (["--batch-size", "0"], "--batch-size"),
        (["--batch-size", "-4"], "--batch-size"),
        (["--lr", "0"], "--lr must be a positive number"),
        (["--lr", "nan"], "--lr"),
        (["--lr", "inf"], "--lr"),
        (["--free-bits", "-1"], "--free-bits must be a number from 0 up"),
        (["--kl-warmup", "-1"], "--kl-warmup must be a whole number"),
        (["--beta", "-1"], "--beta must be a number from 0 up"),
        (["--holdout", "1"], "--holdout must be at least 0 and below 1"),
        (["--holdout", "-0.1"], "--holdout"),
        (["--optimizer", "admw"], "Did you mean 'adamw'?"),
        (["--optimizer", "lbfgs"], "no optimizer named 'lbfgs'"),
        (["--sigma", "0"], "--sigma must be a positive number, learned, optimal, per-element or network; found '0'"),
        (["--sigma", "-1"], "--sigma"),
        (["--sigma", "nan"], "--sigma"),
        (["--sigma", "inf"], "--sigma"),
        (["--sigma", "wide"], "--sigma"),
        (["--sigma", "learnd"], "Did you mean 'learned'?"),
        (["--sigma", "0.5", "--likelihood", "bernoulli"], "bernoulli has no noise parameter"),
        (["--sigma", "0.5", "--likelihood", "gaussian:sigma=0.5"], "given twice"),
        (["--sigma", "learned", "--likelihood", "laplace:scale=0.5"], "given twice"),
        (["--likelihood", "gausian"], "Did you mean 'gaussian'?"),
        (["--likelihood", "gaussian:scale=1"], "no parameter 'scale'"),
        (["--data", "missing.npy"], "missing.npy"),
        (["--data", "wide.npy", "--likelihood", "bernoulli"], "outside what bernoulli allows"),
        (["--data", "wide.npy", "--likelihood", "continuous-bernoulli"], "outside what continuous-bernoulli allows"),
        (["--data", "nan.npy"], "1 NaN"),
        (["--data", "one.npy"], "too few"),
        (["--data", "alike.npy"], "all alike"),
        (["--data", "pca"], "reconstructions"),
        (["--lr", "1e6", "--optimizer", "sgd"], "epoch 1, step 2: the KL is"),
        (["--sigma", "1e-30"], "at a noise of 1e-30"),
    ],
)  # fmt: skip
def test_refused_in_a_sentence_with_a_way_out(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    numpy.save("wide.npy", FEW * 2)
    numpy.save("alike.npy", numpy.ones((20, 4)))
    numpy.save("one.npy", FEW[:1])
    numpy.save("nan.npy", numpy.where(numpy.arange(FEW.size).reshape(FEW.shape) == 7, math.nan, FEW))
    before = left(tmp_path)
    result = cli(*words)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert said in result.stderr
    assert result.stdout == ""
    error, hint = result.stderr.splitlines()
    assert error.startswith("error: ")
    assert hint.startswith(" hint: ")
    assert left(tmp_path) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu_is_noticed_before_anything_is_made(tmp_path: Path) -> None:
    result = cli("--device", "cuda", "--out", str(tmp_path / "run"))
    assert result.exit_code == 2
    assert "no cuda" in result.stderr
    assert left(tmp_path) == []


def test_a_perfect_reconstruction_has_no_best_noise(run: Run) -> None:
    rows = torch.ones(4, 2)
    with pytest.raises(ReconError, match="cannot have sigma"):
        Optimal(Gaussian())(rows, rows)
    with pytest.raises(ReconError, match="all alike"):
        run(numpy.ones((20, 4)), sigma="optimal")


def test_the_engine_refuses_what_the_command_does(run: Run) -> None:
    for name, values in {"latent": (0, 2.0, True), "lr": (-1.0,), "sigma": (-1.0, [1]), "seed": (-1,)}.items():
        for value in values:
            with pytest.raises(ReconError, match=f"--{name}"):
                run(**{name: value})
    with pytest.raises(ReconError, match="no noise parameter"):
        run(likelihood=Bernoulli(), sigma=1.0)


@pytest.mark.parametrize("name", SHAPED)
def test_every_number_of_a_noise_is_learned(name: str) -> None:
    found = recon_cli.train(likelihood=name, epochs=3, device="cpu")
    side = found.likelihood
    assert all(math.isfinite(value) and value > 0 for value in side.parameters.values())
    assert all(value != dict(type(side)().parameters)[key] for key, value in side.parameters.items())
    assert found.result.predicted is not None
    assert found.result.ratio == pytest.approx(found.result.predicted, rel=1e-4)
    assert found.epochs[-1].nll < found.epochs[0].nll


def test_a_number_for_sigma_is_the_size_of_the_noise() -> None:
    assert recon_cli.train(likelihood="student-t", sigma=0.1, epochs=1, device="cpu").likelihood.parameters == {
        "df": 4.0,
        "scale": 0.1,
    }


def test_counts_train_on_the_logarithm_of_their_mean() -> None:
    generator = numpy.random.default_rng(0)
    found = recon_cli.train(
        generator.poisson(5.0, (60, 4)).astype(float), likelihood="poisson", epochs=3, device="cpu", beta=0.01
    )
    assert found.result.sigma is None
    assert found.epochs[-1].nll < found.epochs[0].nll


@pytest.mark.parametrize("side", [kind(**kind().design) for kind in KINDS], ids=lambda side: side.name)
def test_every_likelihood_of_the_registry_is_trained(side) -> None:
    mean = torch.tensor(points.mean(side, 0.4), dtype=torch.float64)
    x = side.sample(mean.expand(60, 6, *mean.shape).contiguous(), torch.Generator().manual_seed(1)).float()
    word = str(side) if len(side.parameters) == len(side.design) else side.name
    found = recon_cli.train(x, likelihood=word, epochs=2, latent=2, hidden=8, device="cpu")
    for figures in (*found.epochs, found.result):
        assert all(math.isfinite(value) for value in (figures.nll, figures.loss, figures.kl))
        if figures.predicted is not None:
            assert figures.ratio == pytest.approx(figures.predicted, rel=1e-4)
    assert found.model.reconstruct(x.reshape(60, -1)).shape == (60, x[0].numel())


@pytest.mark.parametrize(("shape", "count"), [((2048, 8), 1024), ((1500, 8), 1500), ((40, 1 << 16), 16), ((40, 1 << 15), 40)])
def test_the_figures_of_an_epoch_are_of_some_rows(shape: tuple[int, int], count: int) -> None:
    """A thousand; of samples so large that those would take as long as the steps, fewer."""
    rows = numpy.random.default_rng(0).random(shape, dtype=numpy.float32)
    state = Plan.of(rows, sigma=0.5, hidden=2, latent=1, holdout=0.0, device="cpu").state()
    assert len(state.some) == count
    assert state.some[0].equal(state.rows[0])
