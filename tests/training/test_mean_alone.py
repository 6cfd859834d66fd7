"""Default training on data of many kinds does not run away, and no result that the mean alone beats is called trained."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from click.testing import CliRunner

import recon_cli
from recon_cli import likelihoods
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.likelihoods._by_decoder import by_network, floored
from recon_cli.likelihoods.laplace import Laplace
from recon_cli.models._layers import FAR, MOST, Tempered, linear, mlp, near, tempered
from recon_cli.sources._split import split
from recon_cli.training.evaluation.mean_alone import Alone, constant

Array = numpy.ndarray
HOW = {"device": "cpu"}


def chance(seed: int = 0) -> numpy.random.Generator:
    """A generator."""
    return numpy.random.default_rng(seed)


# The data: 12 sorts.


def pictures(count: int, side: int, colours: int = 3) -> Array:
    """Smooth random fields in [0, 1], a brightness and a tint of their own: as even as a photograph's patches are."""
    seen = chance()
    at = numpy.linspace(0, 2, side)
    bump = numpy.stack([numpy.clip(1 - abs(at - k), 0, 1) for k in range(3)])
    field = numpy.einsum("nabc,ah,bw->nhwc", seen.normal(size=(count, 3, 3, colours)), bump, bump)
    level = seen.normal(size=(count, 1, 1, 1)) + 0.3 * seen.normal(size=(count, 1, 1, colours))
    made = level + field + 0.1 * seen.normal(size=(count, side, side, colours))
    return (1 / (1 + numpy.exp(-made))).astype(numpy.float32)


def table(rows: int, columns: int) -> Array:
    """Five factors, levels and noise."""
    seen = chance()
    made = seen.normal(size=(rows, 5)) @ seen.normal(size=(5, columns)) + 0.5 * seen.normal(size=(rows, columns))
    return (made + 3 * seen.normal(size=columns)).astype(numpy.float32)


def counts(rows: int, columns: int, mean: float, spread: float = 0.3) -> Array:
    """Poisson counts whose means two factors move."""
    seen = chance()
    factors = numpy.exp(spread * seen.normal(size=(rows, 2)) @ seen.normal(size=(2, columns)))
    return seen.poisson(mean * factors).astype(numpy.float32)


def constant_columns() -> Array:
    """A third of the columns never change, some of them far away."""
    made = table(600, 18)
    made[:, ::3] = 7.0
    made[:, 3] = 1e4
    return made


def wide_ranged() -> Array:
    """Log-normal columns, over many powers of ten."""
    seen = chance()
    return numpy.exp(3 * seen.normal(size=(600, 8)) + seen.normal(size=(600, 1))).astype(numpy.float32)


SMALL: dict[str, tuple[Callable[[], Array], dict[str, Any]]] = {
    "colour images, 32x32": (lambda: pictures(40, 32), {"epochs": 10}),
    "grey images": (lambda: pictures(100, 12, 1)[..., 0], {"epochs": 40}),
    "narrow table": (lambda: table(600, 3), {"epochs": 15}),
    "badly scaled columns": (lambda: table(600, 8) * numpy.logspace(-3, 4, 8, dtype=numpy.float32), {"epochs": 15}),
    "wide-ranged columns": (wide_ranged, {"epochs": 30}),
    "wide-ranged columns, network": (wide_ranged, {"epochs": 20, "sigma": "network"}),
    "constant columns": (constant_columns, {"epochs": 10}),
    "one-hot": (lambda: numpy.eye(12, dtype=numpy.float32)[chance().integers(0, 12, 600) // 2], {"epochs": 15}),
    "counts": (lambda: counts(600, 20, 2.0), {"likelihood": "poisson", "epochs": 15}),
    "counts of thousands": (lambda: counts(600, 20, 3000.0), {"likelihood": "poisson", "epochs": 20}),
}
LARGE: dict[str, tuple[Callable[[], Array], dict[str, Any]]] = {
    **{f"colour images, {side}x{side}": (lambda side=side: pictures(60, side), {"epochs": 30}) for side in (64, 96, 128)},
    "colour images, 256x256": (lambda: pictures(40, 256), {"epochs": 15}),
    "colour images of bytes": (lambda: (255 * pictures(60, 64)).astype(numpy.uint8), {"epochs": 30}),
    "colour images, convolutions": (lambda: pictures(60, 96), {"epochs": 15, "model": "conv"}),
    "colour images, coin flips": (lambda: (pictures(60, 64) > 0.5).astype(numpy.float32), {"likelihood": "bernoulli"}),
    "colour images, network": (lambda: pictures(60, 64), {"sigma": "network", "epochs": 40}),
    "colour images, autoencoder": (lambda: pictures(60, 64), {"model": "ae", "epochs": 30}),
    "wide table": (lambda: table(300, 10_000), {"epochs": 30}),
    "wide table, regression": (lambda: table(300, 10_000), {"epochs": 30, "model": "regression"}),
    "wide counts": (lambda: counts(300, 5000, 1000.0), {"likelihood": "poisson", "epochs": 60}),
    "wide one-hot": (lambda: numpy.eye(3000, dtype=numpy.float32)[chance().integers(0, 3000, 1000) // 200], {"epochs": 30}),
}
CASES = [
    *(pytest.param(*case, id=name) for name, case in SMALL.items()),
    *(pytest.param(*case, id=name, marks=pytest.mark.hostile) for name, case in LARGE.items()),
]


@pytest.mark.parametrize(("data", "how"), CASES)
def test_training_with_the_defaults_is_better_than_the_mean(data: Callable[[], Array], how: dict[str, Any]) -> None:
    found = recon_cli.train(data(), **HOW, **how)
    cost = found.alone.cost  # type: ignore[union-attr]
    assert math.isfinite(cost)
    assert cost < found.result.mean_alone  # type: ignore[operator]
    assert not found.worse
    if how.get("likelihood") == "poisson":  # whose nll is an exponential
        return
    later = [one.nll + (one.kl or 0.0) for one in found.epochs[1:]]
    first = found.epochs[0].nll + (found.epochs[0].kl or 0.0)
    assert max(later) <= first + 0.1 * abs(first)  # it never ran away on the way


# A layer of many inputs.


def test_a_layer_of_many_inputs_begins_as_the_same_function_and_steps_as_far_as_one_of_784() -> None:
    count, one = 10 * MOST, torch.Generator().manual_seed(0)
    plain = linear(count, 4, one)
    wide = tempered(linear(count, 4, torch.Generator().manual_seed(0)), count)
    x = torch.randn(3, count, generator=one)
    assert isinstance(wide, Tempered)
    torch.testing.assert_close(wide(x), plain(x))
    for layer, far in ((plain, 1e-3 * count), (wide, 1e-3 * MOST)):
        before = layer(torch.ones(1, count))
        step = torch.optim.Adam(layer.parameters(), lr=1e-3)
        layer(torch.ones(1, count)).sum().backward()
        step.step()
        torch.testing.assert_close((before - layer(torch.ones(1, count))).mean() - 1e-3, torch.tensor(far), rtol=1e-3, atol=0)


def test_a_layer_of_784_inputs_is_as_it_was() -> None:
    names = [type(part).__name__ for part in mlp(MOST, 8, 4, torch.Generator().manual_seed(0))]
    assert names == ["Linear", "SiLU", "Linear"]


def test_a_row_is_as_it_is_unless_it_is_far_off() -> None:
    x = (
        torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
        * torch.tensor([0.0, 1.0, 0.9 * FAR / 1.3, 1e4, 1e30])[:, None]
    )
    found = near(x)
    assert torch.equal(found[:3], x[:3])
    assert FAR < found[3].square().mean().sqrt() < found[4].square().mean().sqrt() < 100 * FAR
    torch.testing.assert_close(found[3] / found[3].norm(), x[3] / x[3].norm())


# The mean alone.


def test_the_mean_alone_of_a_gaussian_is_the_closed_form() -> None:
    x = table(200, 7)
    found = recon_cli.train(x, epochs=1, holdout=0.0, **HOW)
    variance = x.astype(float).var(axis=0).mean()
    assert found.result.mean_alone == pytest.approx(7 / 2 * (math.log(2 * math.pi * variance) + 1), rel=1e-9)
    back = recon_cli.train(x, epochs=1, sigma=2.0, **HOW)
    kept, held = split(x, 0.2, "data")
    given = 7 / 2 * math.log(8 * math.pi) + ((held.astype(float) - kept.astype(float).mean(axis=0)) ** 2).sum() / len(held) / 8
    assert back.result.mean_alone == pytest.approx(given, rel=1e-6)


@pytest.mark.parametrize("name", ["laplace", "logistic", "student-t", "asymmetric-laplace", "hyperbolic-secant", "huber"])
def test_no_constant_that_lies_about_is_better(name: str) -> None:
    x = torch.from_numpy(chance().exponential(size=(400, 3))) ** 1.5
    claim = likelihoods.parse(name)
    best = constant(claim, "fixed", x, x).mean()
    for level in torch.linspace(0.0, 3.0, 61, dtype=torch.float64):
        mu = level.expand(len(x), 3)
        assert best <= claim.nll(x, mu).sum(dim=1).mean() + 0.15  # median or mean, not the exact one between
    if name in ("laplace", "asymmetric-laplace"):
        assert torch.equal(constant(claim, "fixed", x, x), claim.nll(x, x.kthvalue(200, dim=0).values.expand(400, 3)).sum(dim=1))


def test_the_constant_of_grey_levels_has_their_mean() -> None:
    x = torch.from_numpy(chance().uniform(0.0, 0.3, size=(400, 1)))
    claim = likelihoods.parse("continuous-bernoulli")
    best = constant(claim, "fixed", x, x).mean()
    for level in torch.linspace(-20.0, 20.0, 401, dtype=torch.float64):
        assert best <= claim.nll_raw(x, level.expand(400, 1)).sum(dim=1).mean() + 1e-9
    assert constant(claim, "fixed", 0 * x, 0 * x).isfinite().all()


def test_a_count_that_was_never_seen_has_a_chance() -> None:
    x = torch.tensor([[0.0, 3.0], [0.0, 5.0]])
    seen = constant(likelihoods.parse("poisson"), "fixed", x, torch.tensor([[0.0, 4.0], [1.0, 4.0]]))
    assert seen.isfinite().all()


def test_angles_have_a_mean_direction() -> None:
    x = torch.tensor([[3.1], [-3.1], [3.0], [-3.0]], dtype=torch.float64)
    claim = likelihoods.parse("von-mises:kappa=4")
    assert constant(claim, "fixed", x, x).mean() < claim.nll(x, 0 * x).mean() - 7


def test_worse_is_by_more_than_chance() -> None:
    assert Alone(10.0, 10.5, 0.2).worse
    assert not Alone(10.0, 10.3, 0.2).worse
    assert Alone(500.0, 600.0, 1000.0).worse  # of a few rows that differ
    assert Alone(10.0, math.nan, 0.2).worse
    assert Alone(10.0, math.inf, 0.0).worse
    assert not Alone(math.inf, 5.0, 0.0).worse


def test_a_run_that_is_worse_than_the_mean_is_not_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    numpy.save("noise.npy", chance().normal(size=(60, 30)).astype(numpy.float32))
    asked = ["train", "--data", "noise.npy", "--epochs", "60", "--lr", "0.01", "--device", "cpu", "--out", "run"]
    made = CliRunner().invoke(main, [*asked, "--format", "json"])
    assert made.exit_code == 1
    found = json.loads(made.stdout)
    row = found["tables"]["result"][0]
    assert row["negative_elbo"] > row["mean_alone"]
    assert json.loads(Path("run/result.json").read_text())["mean_alone"] == row["mean_alone"]
    assert found["verdict"].startswith("defective: negative ELBO")
    assert "worse than the mean alone" in found["verdict"]
    assert any("learned those by heart" in note for note in found["notes"])
    for number in (row["negative_elbo"], row["mean_alone"]):
        assert f"{number:.2f}" in found["verdict"]


@pytest.mark.parametrize(
    "how", [{"model": "ae"}, {"beta": 0.01}, {"model": "regression"}, {"likelihood": "laplace", "sigma": "optimal"}], ids=str
)
def test_every_model_is_set_beside_the_mean(how: dict[str, Any]) -> None:
    found = recon_cli.train(chance().normal(size=(60, 20)), epochs=5, lr=0.1, **HOW, **how)
    report, word = found.report(), "nll" if how.get("beta") or "model" in how else "negative ELBO"
    assert found.worse
    assert not found.holds
    assert not report.holds
    assert report.verdict.startswith(f"defective: {word}")


def test_a_sweep_says_which_runs_are_worse_than_the_mean() -> None:
    found = recon_cli.training.sweep("lr=0.005,0.1", data=table(100, 12), epochs=30, **HOW)
    assert [*found.worse] == [0.1]
    report = found.report()
    assert not report.holds
    assert report.verdict == "defective: 1 of 2 runs are worse than the mean alone: lr = 0.1"


def test_sides_in_lockstep_that_run_away_together_say_so() -> None:
    how = {"data": table(60, 12), "sigma": 0.5, "epochs": 5, **HOW}
    found = recon_cli.training.lockstep("mse", lr=0.1, **how)
    said = [note for note in found.report().notes if "The mean of the training rows alone" in note]
    assert len(said) == 1
    assert found.objective[-1] > found.mean_alone
    assert not [note for note in recon_cli.training.lockstep("mse", **how).report().notes if "alone" in note]


# A noise that the network gives.


@pytest.mark.parametrize("name", ["gaussian", "laplace"])
def test_a_floor_under_the_noise_of_the_network(name: str, tmp_path: Path) -> None:
    x = constant_columns()
    how = {"likelihood": name, "sigma": "network", "epochs": 3, **HOW}
    found = recon_cli.train(x, sigma_floor=0.2, out=tmp_path / "run", **how)
    with torch.no_grad():
        level = found.model.outputs(torch.from_numpy(x[:50]))[..., 1]
    assert level.min() >= (0.04 if name == "gaussian" else 0.2)
    assert not found.still
    made = recon_cli.sources.parse(f"run:{tmp_path / 'run'}:all", 0)
    with torch.no_grad():
        again = made.model.outputs(torch.from_numpy(x[:50]))
        assert torch.equal(again, found.model.outputs(torch.from_numpy(x[:50])))
    free = recon_cli.train(x, **how)
    assert free.still.startswith("6 of the 18 elements are the same in every training row")
    assert free.still in free.report().notes


def test_a_floored_likelihood_is_its_family() -> None:
    claim = by_network(Laplace())
    above = floored(claim, 0.1)
    raw = torch.tensor([[0.5, -1.0], [0.2, -40.0]])
    mu = above.link.inverse(raw)
    assert mu[:, 1].tolist() == pytest.approx([0.1 + math.exp(-1), 0.1])
    torch.testing.assert_close(above.link.inverse(above.link.forward(mu[:1])), mu[:1])
    x = torch.tensor([0.1, 0.4])
    torch.testing.assert_close(above.nll_raw(x, raw), claim.nll(x, mu))


def test_the_hint_of_a_run_that_broke_off_names_what_never_changes() -> None:
    with pytest.raises(ReconError) as caught:
        recon_cli.train(constant_columns(), sigma="network", epochs=50, lr=1e3, **HOW)
    assert "--sigma-floor" in caught.value.hint
