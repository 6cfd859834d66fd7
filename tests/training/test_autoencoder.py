"""With nothing on the KL there is no VAE: a deterministic autoencoder, whose linear optimum is PCA."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import load_file
from test_interruption import outcome, stopped_at

import recon_cli
from recon_cli import sources
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.training import lockstep, resume, sweep
from recon_cli.training.figures import look
from recon_cli.training.noises import Fixed

DIGITS = sources.read("digits")
FLAT = torch.from_numpy(DIGITS.reshape(-1, 64))
HOW: dict[str, Any] = {"epochs": 2, "latent": 4, "hidden": 16, "device": "cpu"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, with data in it."""
    monkeypatch.chdir(tmp_path)
    numpy.save("few.npy", DIGITS[:200])
    return tmp_path


@pytest.mark.parametrize(
    ("words", "model"), [({"model": "ae"}, "ae"), ({"beta": 0.0}, "mlp"), ({"beta": 0.0, "model": "conv"}, "conv")]
)
def test_no_kl_is_measured_and_none_invented(words: dict[str, Any], model: str) -> None:
    found = recon_cli.train(**HOW, **words)
    assert (found.settings.model, found.settings.beta) == (model, 0.0)
    for seen in (*found.epochs, found.result):
        assert seen.kl is None
        assert seen.negative_elbo is None
        assert 0 < seen.active <= 4
        assert seen.ratio == pytest.approx(seen.predicted, rel=1e-4)
    assert "latents vary" in found.verdict()
    assert any("deterministic autoencoder" in note for note in found.report().notes)
    assert found.report().holds


def test_z_is_the_mean_and_the_encoder_gives_nothing_else() -> None:
    found = recon_cli.train(**HOW, model="ae").model
    code, log_variance = found.encode(FLAT)
    assert code.shape == (1797, 4)
    assert log_variance is None
    one, rates = found(FLAT, torch.randn(1797, 4))
    other, _ = found(FLAT, torch.zeros(1797, 4))
    assert torch.equal(one, other)
    assert rates.shape == (1797, 0)
    assert torch.equal(one, found.decode(code))


def test_the_first_step_is_down_the_nll_alone() -> None:
    few = DIGITS[:50]
    before, after = (
        recon_cli.train(
            few, model="ae", holdout=0.0, batch_size=50, sigma=0.3, optimizer="sgd", **{**HOW, "epochs": 1, "lr": lr}
        ).model
        for lr in (1e-30, 0.01)
    )
    rows = torch.from_numpy(few.reshape(50, -1))
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    nll = -torch.distributions.Normal(before.decode(before.encode(rows[order])[0]), 0.3).log_prob(rows[order]).sum(dim=1).mean()
    before.zero_grad()
    nll.backward()
    for mine, theirs in zip(before.parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(theirs, mine - 0.01 * mine.grad, rtol=1e-5, atol=1e-6)


def pca(latent: int) -> float:
    """The least squared error of a linear code, a mean over the digits: the sum of the other eigenvalues."""
    return float(numpy.linalg.eigvalsh(numpy.cov(FLAT.double().numpy().T, bias=True))[:-latent].sum())


@pytest.mark.slow
def test_the_linear_one_reaches_pca() -> None:
    exact = recon_cli.train(beta=0.0, model="linear", latent=4, holdout=0.0, exact=True, epochs=20, device="cpu")
    assert exact.result.loss == pytest.approx(pca(4), rel=1e-5)
    assert exact.pca[0] == pytest.approx(pca(4), rel=1e-6)
    assert exact.pca[1] == pytest.approx(exact.pca[0], rel=1e-6)
    assert any(
        f"(PCA) is a squared error of {pca(4):.6g} a sample; this one's is {pca(4):.6g}" in note for note in exact.report().notes
    )
    how = {"epochs": 150, "lr": 0.01, "schedule": "cosine", "sigma": 0.2, "latent": 4, "holdout": 0.0, "device": "cpu"}
    sampled = recon_cli.train(beta=0.0, model="linear", **how)
    assert pca(4) - 1e-5 < sampled.result.loss < 1.002 * pca(4)
    assert sampled.result.active == 4
    assert sampled.optimum is None
    assert sampled.pca[1] == pytest.approx(sampled.result.loss, rel=1e-4)
    assert recon_cli.train(**HOW, model="ae").pca is None


def test_active_are_the_latents_that_vary() -> None:
    """Of data on a line, an encoder whose other weights are nothing: one latent."""
    found = recon_cli.train(**HOW, model="ae")
    with torch.no_grad():
        last = found.model.encoder[-1]
        last.weight[1:] *= 1e-3
    assert look(found.model, Fixed(found.likelihood), FLAT, found.settings)[0].active == 1
    with torch.no_grad():
        last.weight *= 1e-3  # in other units of z, which nothing fixes, the same model
    assert look(found.model, Fixed(found.likelihood), FLAT, found.settings)[0].active == 1
    with torch.no_grad():
        last.weight[:] = 0
    assert look(found.model, Fixed(found.likelihood), FLAT, found.settings)[0].active == 0


def test_the_folder_has_no_samples_of_a_prior_that_is_none(here: Path) -> None:
    found = recon_cli.train(model="ae", out="run", **HOW)
    names = sorted(path.name for path in Path("run").iterdir())
    assert "samples.png" not in names
    assert json.loads(Path("run/result.json").read_text())["kl"] is None
    assert load_file("run/model.safetensors")["encoder.2.weight"].shape == (4, 16)
    rows = torch.from_numpy(DIGITS[sources.held_out(len(DIGITS), 0.2)].reshape(-1, 64))
    with torch.no_grad():
        code = found.model.encode(rows)[0]
        busiest = int(code.var(dim=0).argmax())
        z = code[:1].clone()
        z[0, busiest] = code[:, busiest].max()
        witness = found.model.mu(z).reshape(8, 8).numpy().clip(0, 1)
    with Image.open("run/traversal.png") as png:
        pixels = numpy.asarray(png)[::8, ::8] / 255
    assert numpy.abs(pixels[:8, 99:107] - witness).max() < 1 / 255


@pytest.mark.slow
@pytest.mark.parametrize("model", ["ae", "linear", "conv"])
def test_a_run_of_one_is_reconstructed_and_has_no_rate(model: str, here: Path) -> None:
    found = recon_cli.train(model=model, beta=0.0, out="run", **HOW)
    pair = sources.pair("digits", "run:run")
    with torch.no_grad():
        witness = found.model.reconstruct(torch.from_numpy(pair.x).flatten(1)).numpy()
    assert numpy.array_equal(pair.mu, witness.reshape(pair.x.shape))
    assert "reconstructed by the autoencoder of run" in pair.described
    assert pair.rate_and_distortion() is None
    done = CliRunner().invoke(main, ["calibrate", "--data", "digits", "--recon", "run:run", "--format", "json"])
    assert done.exit_code in (0, 1), done.stderr
    assert '"rate": null' in done.stdout or '"rate":null' in done.stdout


def test_it_goes_on_to_the_same_bits(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = {"model": "ae", "epochs": 3, "holdout": 0.1, "batch_size": 16, "latent": 3, "hidden": 8, "device": "cpu"}
    recon_cli.train("few.npy", out="whole", **how)
    stopped_at(17, monkeypatch, model="ae", epochs=3)
    resume("run")
    assert outcome("run") == outcome("whole")


def test_side_by_side_and_swept() -> None:
    found = lockstep("mse", sigma=0.5, model="ae", optimizer="sgd", epochs=1, device="cpu")
    assert found.word(found.variants[0]) == "bitwise"
    assert not any(" KL" in note and "+ 0" in note for note in found.report().notes)
    swept = sweep("beta=0,1", epochs=1, device="cpu")
    assert [run.result.kl is None for run in swept.runs] == [True, False]
    assert CliRunner().invoke(main, ["train", "--sweep", "kl-weight=0,1", "--epochs", "1"]).exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "ae", "--beta", "2"], "--model ae has nothing on the KL, and --beta (--kl-weight) 2 was given"),
        (["--model", "ae", "--kl-weight", "1"], "--model ae has nothing on the KL, and --beta (--kl-weight) 1 was given"),
        (["--kl-weight", "0", "--iwae", "4"], "so --iwae means nothing"),
        (["--model", "ae", "--free-bits", "0.1"], "so --free-bits means nothing"),
        (["--kl-weight", "0", "--kl-warmup", "3"], "so --kl-warmup means nothing"),
        (["--kl-weight", "-1"], "must be a number from 0 up"),
    ],
)
def test_what_an_autoencoder_has_not(words: list[str], said: str, here: Path) -> None:
    result = CliRunner().invoke(main, ["train", *words])
    assert result.exit_code == 2
    assert said in result.stderr
    assert not Path("runs").exists()


def test_no_sentence_is_of_a_kl_or_an_elbo() -> None:
    found = recon_cli.train(model="ae", likelihood="bernoulli", loss="bce", epochs=1)
    said = " ".join([*found.notes(), found.verdict()])
    assert "Trained on bce; nll is measured" in said
    assert "no likelihood of these data" in said
    assert "negative ELBO" not in said


def test_it_is_shown_in_every_format(here: Path) -> None:
    for format in ("table", "json", "csv", "markdown", "latex"):
        result = CliRunner().invoke(main, ["train", "--model", "ae", "--epochs", "1", "--format", format])
        assert result.exit_code == 0, result.output
    assert (
        json.loads(CliRunner().invoke(main, ["train", "--kl-weight", "0", "--epochs", "1", "--format", "json"]).stdout)["tables"][
            "result"
        ][0]["negative_elbo"]
        is None
    )


def test_the_engine_refuses_it_too() -> None:
    with pytest.raises(ReconError, match="--model ae"):
        recon_cli.train(model="ae", beta=1.0)
