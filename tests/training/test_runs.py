"""``run:FOLDER``: what a trained model makes of samples, from the folder alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import forging
import numpy
import pytest
import torch
from click.testing import CliRunner
from test_formats_in import refused

import recon_cli
from recon_cli import likelihoods, sources
from recon_cli.cli import main
from recon_cli.comparison import compare_sources
from recon_cli.errors import ReconError
from recon_cli.models.mlp import Mlp
from recon_cli.sources.run import Run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(likelihood: str = "gaussian", data: str = "digits", **how: Any) -> Any:
    """A run of one epoch, left in ``run``."""
    how = {"holdout": 0.2, "epochs": 1, "latent": 3, "hidden": 7, "device": "cpu", "out": "run", **how}
    return recon_cli.train(data, likelihood=likelihood, **how)


def changed(**how: Any) -> None:
    """Other settings in the run's config.json."""
    forging.settings("run", **how)


def reshaped(**tensors: torch.Tensor | None) -> None:
    """Other weights in the run; None takes one away."""

    def change(found: dict[str, Any]) -> None:
        for name, value in tensors.items():
            found.pop(name.replace("_", ".", 2), None)
            if value is not None:
                found[name.replace("_", ".", 2)] = value

    forging.tensors("run", "model.safetensors", change)


@pytest.mark.parametrize("holdout", [0.05, 0.2, 0.5])
def test_the_held_out_samples_are_reconstructed_as_the_trained_model_does(holdout: float, here: Path) -> None:
    found = trained(holdout=holdout)
    pair = sources.pair("digits", "run:run")
    kept = sources.split(sources.read("digits"), holdout, "digits")[1]
    assert numpy.array_equal(pair.x, kept)
    with torch.no_grad():
        witness = found.model.reconstruct(torch.from_numpy(kept).flatten(1)).numpy()
    assert numpy.array_equal(pair.mu, witness.reshape(kept.shape))
    assert pair.fitted
    assert f"{len(kept):,} held out, reconstructed by the VAE of run, gaussian:sigma=" in pair.described
    assert pair.described.endswith("trained on digits.")


def test_all_samples_where_it_is_said_none_were_held_out_or_the_data_are_others(here: Path) -> None:
    trained(holdout=0.3)
    numpy.save("other.npy", sources.read("digits")[:50])
    assert len(sources.pair("digits", "run:run:all").x) == 1797
    assert "all of them, reconstructed by" in sources.pair("other.npy", "run:run").described
    assert len(sources.pair("other.npy", "run:run").mu) == 50
    changed(holdout=0.0)
    assert len(sources.pair("digits", "run:run").x) == 1797


def test_pieces_of_any_size_give_the_same(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained()
    whole = sources.pair("digits", "run:run").mu
    monkeypatch.setattr("recon_cli.sources._trained.CHUNK", 64 * 13)
    assert numpy.allclose(sources.pair("digits", "run:run").mu, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("gaussian", {}),
        ("bernoulli", {"binarize": "threshold"}),
        ("continuous-bernoulli", {}),
        ("discretized-logistic:levels=17", {}),
        ("poisson", {"scale": 1 / 16}),
        ("negative-binomial", {"scale": 1 / 16}),
        ("heteroscedastic-gaussian", {}),
        ("categorical", {"data": "hot.npy"}),
        ("von-mises-fisher", {"data": "unit.npy"}),
    ],
)
def test_every_kind_of_decoder_is_compared_with_its_own_likelihood(name: str, how: dict[str, Any], here: Path) -> None:
    numpy.save("hot.npy", numpy.eye(5, dtype="f4")[numpy.random.default_rng(0).integers(0, 5, (200, 6))])
    unit = numpy.random.default_rng(1).standard_normal((200, 6, 3))
    numpy.save("unit.npy", (unit / numpy.linalg.norm(unit, axis=-1, keepdims=True)).astype("f4"))
    found = trained(name, **how)
    with_settings = {"binarize": how.get("binarize"), "scale": how.get("scale"), "device": "cpu"}
    row = compare_sources(how.get("data", "digits"), "run:run", [found.likelihood], **with_settings).rows[0]
    assert row.worst < 4


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("laplace", {"sigma": "network"}),
        ("gaussian-mixture:components=2", {}),
        ("laplace-mixture:components=2", {"sigma_floor": 0.1}),
    ],
)
def test_what_a_decoder_gives_is_compared_whole(name: str, how: dict[str, Any], here: Path) -> None:
    """Not the means with a variance in the place of a scale: the nll is that of the held-out rows, to what float32 keeps."""
    found = trained(name, beta=0, **how)
    (row,) = compare_sources("digits", "run:run", device="cpu").rows
    assert row.nll * 64 == pytest.approx(found.result.nll, rel=1e-3)


def test_a_mean_and_a_variance_of_each_element_are_the_models_own(here: Path) -> None:
    found = trained("heteroscedastic-gaussian")
    pair = sources.pair("digits", "run:run")
    with torch.no_grad():
        witness = found.model.outputs(torch.from_numpy(pair.x).flatten(1)).numpy().reshape(*pair.x.shape, 2)
    assert numpy.array_equal(pair.outputs(("mu", "var")), witness)
    assert numpy.array_equal(pair.outputs(()), witness[..., 0])
    assert witness[..., 1].std() > 0
    trained("gaussian", out="plain")
    plain = sources.pair("digits", "run:plain").outputs(("mu", "var"))
    assert numpy.array_equal(plain[0, ..., 1], plain[1, ..., 1])


def test_a_folder_that_is_no_run_is_refused(here: Path) -> None:
    trained()
    assert "'nowhere' does not exist" in refused("digits", "run:nowhere").message
    assert "'run/config.json' is a file" in refused("digits", "run:run/config.json").message
    assert "'' does not exist" in refused("digits", "run").message
    assert "'most'" in refused("digits", "run:run:most").message
    assert "has none of its own" in refused("run:run").message
    Path("run/model.safetensors").rename("run/weights")
    assert refused("digits", "run:run").message == "run holds no model.safetensors, so it is no run, or one that did not end."
    Path("run/model.safetensors").write_bytes(b"no weights")
    assert "run/model.safetensors cannot be read" in refused("digits", "run:run").message
    Path("run/config.json").unlink()
    assert "run holds no config.json" in refused("digits", "run:run").message


@pytest.mark.parametrize(
    "how",
    [
        *({"shape": shape} for shape in ([], [8, -8], "8x8", 8, None)),
        *({"holdout": 2}, {"holdout": "a"}, {"data": 3}, {"version": 1}),
    ],
)
def test_settings_that_recon_does_not_write_are_refused(how: dict[str, Any], here: Path) -> None:
    trained()
    changed(**how)
    assert f"run/config.json has {[*how][0]} " in refused("digits", "run:run").message


@pytest.mark.parametrize("text", ["[]", "3", "{}", "null"])
def test_settings_that_are_none_are_refused(text: str, here: Path) -> None:
    trained()
    Path("run/config.json").write_text(text)
    assert "run/config.json cannot be read: it has no checksum" in refused("digits", "run:run").message
    Path("run/config.json").write_text("{")
    assert "run/config.json cannot be read" in refused("digits", "run:run").message


def test_another_version_is_refused_by_its_number(here: Path) -> None:
    trained()
    changed(version=f"{recon_cli.__version__}.post1")
    sources.pair("digits", "run:run")
    changed(version="99.1.0")
    assert f"run is a run of recon 99.1.0, and this is {recon_cli.__version__}" in refused("digits", "run:run").message


def test_samples_of_another_shape_are_refused_with_what_it_was_trained_on(here: Path) -> None:
    numpy.save("x.npy", sources.read("digits").reshape(-1, 64) * 16)
    trained(data="x.npy", scale=16.0)
    error = refused("digits", "run:run")
    assert error.message == "run reconstructs samples of shape 64, and those of digits have 8x8."
    assert error.hint == "It was trained on x.npy: --data x.npy --scale 16.0."
    assert sources.pair("x.npy", "run:run", scale=16).described.endswith("trained on x.npy scale 16.0.")


def test_weights_that_do_not_fit_are_named(here: Path) -> None:
    trained()
    whole = Path("run/model.safetensors").read_bytes()
    reshaped(decoder_2_weight=torch.zeros(32, 7))
    assert (
        "run/model.safetensors cannot be used: decoder.2.weight is 32x7, and must be 64x7" in refused("digits", "run:run").message
    )
    reshaped(decoder_2_weight=None)
    assert "decoder.2.weight is missing" in refused("digits", "run:run").message
    reshaped(encoder_0_weight=None)
    assert "no weights of recon's network" in refused("digits", "run:run").message
    reshaped(encoder_0_weight=torch.zeros(()))
    assert "no weights of recon's network" in refused("digits", "run:run").message
    Path("run/model.safetensors").write_bytes(whole)
    changed(shape=[4, 4])
    numpy.save("x.npy", numpy.ones((9, 4, 4)))
    assert "its network is of 64 elements, and config.json says 4x4" in refused("x.npy", "run:run").message


def test_weights_that_are_not_finite_are_refused(here: Path) -> None:
    trained()
    reshaped(decoder_2_bias=torch.full((64,), torch.nan))
    assert "makes values of these samples that are not finite" in refused("digits", "run:run").message


def test_a_network_that_was_saved_is_the_same_again() -> None:
    rows = torch.rand(20, 12, generator=torch.Generator().manual_seed(0))
    for word, last in (("gaussian", 1), ("heteroscedastic-gaussian", 1), ("categorical", 4)):
        claim = likelihoods.parse(word)
        config = {"shape": (12 // last, last), "beta": 1.0}
        vae = Mlp(rows, claim, 2, 3, torch.Generator().manual_seed(1), config["shape"])
        again = Mlp.from_saved({name: tensor.clone() for name, tensor in vae.state_dict().items()}, claim, config)
        assert torch.equal(vae.outputs(rows), again.outputs(rows))
        with pytest.raises(ReconError, match=r"spread is "):
            Mlp.from_saved({**vae.state_dict(), "spread": torch.ones(2, 3)}, claim, config)


def test_on_the_command_line(here: Path) -> None:
    trained()
    shown = CliRunner().invoke(main, ["compare", "--recon", "run:run", "--sigma", "0.2", "--format", "json"])
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["tables"]["identity"][0]["elements"] == 352 * 64
    wrong = CliRunner().invoke(main, ["compare", "--recon", "run:nowhere"])
    assert wrong.exit_code == 2
    assert "Traceback" not in wrong.output


def test_a_run_is_never_taken_for_a_file() -> None:
    assert not Run.reads("x.run")


def test_the_rate_and_the_distortion_of_its_draws_are_those_that_training_measured(here: Path) -> None:
    found = trained(sigma="0.15", epochs=30, hidden=64)
    pair = sources.pair("digits", "run:run")
    rate, distortion = pair.rate_and_distortion()
    rows = torch.from_numpy(pair.x).flatten(1)
    with torch.no_grad():
        mean, log_variance = found.model.encode(rows)
        posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
        witness = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum(dim=1).mean().item()
        draws = [(found.model.decode(posterior.sample()) - rows).square().sum(dim=1).mean().item() for _ in range(100)]
    assert rate == pytest.approx(witness, rel=1e-5)
    assert rate == pytest.approx(found.result.kl, rel=1e-5)
    assert distortion == pytest.approx(numpy.mean(draws), rel=0.01)
    assert distortion > 1.02 * numpy.square(pair.x - pair.mu).sum(axis=(1, 2)).mean()
    assert sources.pair("digits", "pca:2").rate_and_distortion() is None


@pytest.mark.slow
def test_calibrate_sets_its_point_against_the_gaussian_bound(here: Path) -> None:
    trained(sigma="0.15", epochs=5)

    def point(*words: str) -> tuple[dict[str, float], str]:
        shown = CliRunner().invoke(main, ["calibrate", "--data", "digits", "--format", "json", *words])
        assert shown.exit_code == 0, shown.output
        found = json.loads(shown.stdout)
        return found["tables"]["model"][0], " ".join(found["notes"])

    own, notes = point("--recon", "run:run")
    rate, distortion = sources.pair("digits", "run:run").rate_and_distortion()
    assert (own["rate"], own["distortion"]) == (rate, distortion)
    assert own["distance"] == pytest.approx(rate - own["bound"])
    assert "on average over its draws" in notes
    given, notes = point("--recon", "run:run", "--rate", "3")
    assert given["rate"] == 3
    assert given["distortion"] < distortion
    assert "draws" not in notes.replace("than the draws do", "")
