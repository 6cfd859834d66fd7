"""From x to y: columns by name, the network's law, closed forms (RMSE, least squares), and what a run of it does elsewhere."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forging
import numpy
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file
from scipy import stats
from test_formats_in import refused

import recon_cli
from recon_cli import sources
from recon_cli.cli import main
from recon_cli.comparison import compare_sources
from recon_cli.errors import ReconError
from recon_cli.models.regression import Regression
from recon_cli.training import Training, lockstep, resume, sweep

Train = Callable[..., Training]
CHANCE = numpy.random.default_rng(0)
X = CHANCE.normal([0.0, 50.0, 3.0], [1.0, 20.0, 0.1], (300, 3))
MEAN = 1000 + 200 * numpy.sin(X[:, 0]) + 3 * X[:, 1]
Y = MEAN + 20 * CHANCE.normal(size=300)
TABLE = numpy.column_stack([X, Y])
NAMES = "angle,weight,nothing,price"


@pytest.fixture
def run() -> Train:
    """A regression, two epochs if not told otherwise."""
    return functools.partial(recon_cli.train, model="regression", device="cpu", epochs=2)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, with tables in it."""
    monkeypatch.chdir(tmp_path)
    numpy.savetxt("table.csv", TABLE, delimiter=",", header=NAMES, comments="")
    numpy.savetxt("bare.csv", TABLE, delimiter=",")
    numpy.save("table.npy", TABLE)
    return tmp_path


def cli(*words: str) -> Result:
    """``recon train --model regression`` with these words, in this process."""
    return CliRunner().invoke(main, ["train", "--model", "regression", "--device", "cpu", *words])


def tables(result: Result) -> dict[str, Any]:
    """What a command printed as JSON."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


# Which columns.


@pytest.mark.parametrize(
    ("target", "places"),
    [(None, [3]), ("price", [3]), ("angle", [0]), ("nothing,angle", [2, 0]), ("1", [1]), ("0, price", [0, 3])],
)
def test_columns_are_named_or_numbered(target: str | None, places: list[int], run: Train, here: Path) -> None:
    found = run("table.csv", target=target)
    assert found.model.y_columns.tolist() == places
    assert [one.target for one in found.answers] == [NAMES.split(",")[place] for place in places]
    left = [name for place, name in enumerate(NAMES.split(",")) if place not in places]
    assert f"from {', '.join(left)};" in next(iter(found.notes()))


def test_a_header_that_chooses_columns_renumbers_them(run: Train, here: Path) -> None:
    found = run("table.csv:price,weight,angle", target="angle")
    assert (found.model.y_columns.tolist(), found.answers[0].target) == ([2], "angle")


def test_every_source_gives_rows(run: Train, here: Path) -> None:
    numpy.savez("table.npz", rows=TABLE)
    for word in ("bare.csv", "table.npy", "table.npz"):
        found = run(word, target="3")
        assert found.answers[0].target == "column 3"
        assert found.result.nll == run("table.csv").result.nll
    wide = run("synthetic:gaussian:sigma=0.2", target="5,6")
    assert [one.target for one in wide.answers] == ["column 5", "column 6"]


def test_parquets_columns_have_names(run: Train, here: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(dict(zip(NAMES.split(","), TABLE.T, strict=True))), "table.parquet")
    assert run("table.parquet", target="weight").answers[0].target == "weight"


def test_x_and_y_apart_are_one_table(run: Train) -> None:
    apart, whole = run((X, Y)), run(TABLE, target="3")
    assert vars(apart.result) | {"seconds": 0, "samples_per_second": 0} == vars(whole.result) | {
        "seconds": 0, "samples_per_second": 0
    }  # fmt: skip
    assert run((torch.from_numpy(X), torch.from_numpy(Y)[:, None])).result.nll == whole.result.nll
    assert len(run((X[:, :1], X[:, 1:])).answers) == 2


# The network.


def test_the_raw_output_is_that_of_the_weights(run: Train) -> None:
    """Every layer by hand, in float64, units taken out and put back."""
    found = run((X, Y), likelihood="heteroscedastic-gaussian")
    rows = torch.from_numpy(TABLE).float()
    known = (X - X[found_kept()].mean(axis=0)) / X[found_kept()].std(axis=0)
    y, expected = Y[found_kept()], []
    for part, shift, scale in zip(
        found.model.decoder, (y.mean(), math.log(y.var())), (y.std(), 1.0), strict=True
    ):  # fmt: skip
        made = torch.from_numpy(known)
        for layer in part:
            linear = isinstance(layer, torch.nn.Linear)
            made = made @ layer.weight.double().T + layer.bias.double() if linear else torch.nn.functional.silu(made)
        expected.append(shift + scale * made[:, 0])
    raw, rates = found.model(rows, torch.empty(len(rows), 0))
    assert raw.shape == (300, 1, 2)
    assert rates.shape == (300, 0)
    torch.testing.assert_close(raw[:, 0].double(), torch.stack(expected, dim=-1), rtol=1e-5, atol=1e-4)


def found_kept() -> numpy.ndarray:
    """The training rows of the table."""
    return ~sources.held_out(300, 0.2)


def test_units_of_x_and_y_change_nothing_but_the_nll(run: Train) -> None:
    """Scales that are powers of two: to the last bit, but for log sigma."""
    plain, other = run((X, Y), sigma=16.0), run((X * [0.25, 1024, 2], Y * 8), sigma=128.0)
    for one, two in zip(plain.epochs, other.epochs, strict=True):
        assert two.nll - one.nll == pytest.approx(math.log(8), rel=1e-6)
    assert other.result.rmse == pytest.approx(8 * plain.result.rmse, rel=1e-6)
    assert other.result.r2 == pytest.approx(plain.result.r2, rel=1e-6)


# What is found, against closed forms.


@pytest.mark.slow
def test_a_few_hundred_rows_are_fitted_with_the_defaults(here: Path) -> None:
    """To the noise that they were drawn with: 20 (22.6 of the rows held out)."""
    found = tables(cli("--data", "table.csv", "--format", "json"))
    row = found["tables"]["result"][0]
    assert 15 < row["rmse"] < 1.5 * 22.6
    assert 15 < row["sigma"] < 26
    assert row["r2"] > 0.95
    assert [row[name] for name in ("kl", "negative_elbo", "active")] == [None] * 3
    assert found["tables"]["targets"][0]["target"] == "price"
    assert found["verdict"].startswith("trained: nll ")
    assert "ELBO" not in cli("--data", "table.csv", "--epochs", "1", "--out", "again").stdout


@pytest.mark.slow
@pytest.mark.parametrize("sigma", ["optimal", "learned"])
def test_the_best_sigma_is_the_rmse_and_the_nll_follows(sigma: str, run: Train) -> None:
    """At the maximum-likelihood sigma nll = log sigma + (1 + log 2 pi)/2, sigma being the RMSE."""
    found = run((X, Y), sigma=sigma, holdout=0.0, epochs=60)
    assert found.best == pytest.approx(found.result.rmse, rel=1e-6)
    assert found.result.sigma == pytest.approx(found.result.rmse, rel=1e-6 if sigma == "optimal" else 0.15)
    if sigma == "optimal":
        assert found.result.nll == pytest.approx(math.log(found.result.rmse) + (1 + math.log(2 * math.pi)) / 2, rel=1e-6)


def test_a_sigma_of_each_is_not_called_one_for_all(run: Train) -> None:
    one, each = (" ".join(run((X, Y), sigma=sigma, epochs=1).notes()) for sigma in ("learned", "per-element"))
    assert "sigma is one for all of them" in one
    assert "sigma is one for all of them" not in each
    assert "in the units of y." in each


def test_what_it_leaves_is_of_y_given_x(run: Train) -> None:
    panels = [column.panel for table in run((X, Y), epochs=1).report().tables for column in table.columns]
    assert "standardised residuals (y − E[y|x])/sd[y|x]" in panels
    assert not any("E[x|z]" in panel for panel in panels if panel)


def test_the_answers_are_those_of_the_predictions(run: Train) -> None:
    found = run((X, numpy.column_stack([Y, 3 * Y])))
    back = sources.held_out(300, 0.2)
    with torch.no_grad():
        mu = found.model.reconstruct(torch.from_numpy(numpy.column_stack([X, Y, 3 * Y])[back]).float()).double().numpy()
    for at, one in enumerate(found.answers):
        y = (1 + 2 * at) * Y[back]
        assert one.rmse == pytest.approx(math.sqrt(((y - mu[:, at]) ** 2).mean()), rel=1e-5)
        assert one.r2 == pytest.approx(1 - ((y - mu[:, at]) ** 2).mean() / y.var(), rel=1e-5)
        assert one.spread == pytest.approx(y.std(), rel=1e-5)
        design = numpy.column_stack([numpy.ones(300), X])
        weights = numpy.linalg.lstsq(design[~back], ((1 + 2 * at) * Y)[~back])[0]
        assert one.linear == pytest.approx(math.sqrt(((y - design[back] @ weights) ** 2).mean()), rel=1e-5)
    assert found.result.rmse == pytest.approx(math.sqrt(sum(one.rmse**2 for one in found.answers) / 2))
    assert found.result.r2 == pytest.approx(sum(one.r2 for one in found.answers) / 2)


@pytest.mark.parametrize("sigma", ["learned", "optimal"])
def test_linear_regression_reaches_least_squares(sigma: str, run: Train) -> None:
    """No hidden layer: the optimum is ordinary least squares, sigma its RMSE (1/N); scipy and numpy are the witnesses."""
    x, y = X[:100], 2 * X[:100, 0] - 0.05 * X[:100, 1] + CHANCE_Y
    how = {"hidden": 0, "holdout": 0.0, "batch_size": 100, "lr": 0.05, "schedule": "cosine", "epochs": 500}
    found = run((x, y), sigma=sigma, **how)
    design = numpy.column_stack([numpy.ones(100), x])
    weights, (error,), _, _ = numpy.linalg.lstsq(design, y)
    best = math.sqrt(error / 100)
    witness = -stats.norm.logpdf(y, design @ weights, best).mean()
    assert found.result.sigma == pytest.approx(best, rel=1e-4)
    assert found.result.nll == pytest.approx(witness, abs=1e-5)
    assert found.result.nll > witness - 1e-6
    assert found.line.best == pytest.approx(witness, abs=1e-6)
    assert found.line.sigma == pytest.approx(best, rel=1e-6)
    assert -1e-8 < found.line.gap < 1e-5
    assert found.answers[0].linear == pytest.approx(best, rel=1e-6)
    assert any(f"is an nll of {found.line.best:.6f}, at sigma = {best:.4g}; this one is" in note for note in found.notes())
    with torch.no_grad():
        made = found.model.reconstruct(torch.from_numpy(numpy.column_stack([x, y])).float())[:, 0].numpy()
    assert numpy.allclose(made, design @ weights, atol=2e-3)


CHANCE_Y = numpy.random.default_rng(1).normal(size=100)


@pytest.mark.parametrize(
    "name", ["laplace", "student-t", "poisson", "negative-binomial", "bernoulli", "categorical", "heteroscedastic-gaussian"]
)
def test_any_likelihood_of_the_registry(name: str, run: Train) -> None:
    """The nll of the held-out rows, from the predictions themselves."""
    score = numpy.sin(X[:, 0])
    counts = numpy.random.default_rng(2).poisson(numpy.exp(score + 1))
    classes = numpy.eye(3)[numpy.digitize(score, [-0.3, 0.3])]
    y = {"poisson": counts, "negative-binomial": counts, "bernoulli": score > 0, "categorical": classes}.get(name, Y)
    found, back = run((X, y), likelihood=name, epochs=8), sources.held_out(300, 0.2)
    rows = torch.from_numpy(numpy.column_stack([X, y]).astype("f4")[back])
    with torch.no_grad():
        claim, mu = found.likelihood, found.model.outputs(rows)
        witness = claim.nll(found.model.target(rows).double(), mu.double()).sum() / len(rows)
    assert found.result.nll == pytest.approx(witness.item(), rel=1e-4)
    assert found.result.nll < found.epochs[0].nll
    assert (found.result.rmse is None) == (name == "categorical")
    assert found.result.active is None
    if found.result.predicted is not None:
        assert found.result.ratio == pytest.approx(found.result.predicted, rel=1e-3)


# What a run of it does elsewhere.


def test_against_a_loss_it_is_one_trajectory(run: Train) -> None:
    how = {"model": "regression", "sigma": 0.5, "optimizer": "sgd", "lr": 1e-4, "device": "cpu", "epochs": 2}
    found = lockstep("mse", data=(X, Y / 100), **how)
    assert [found.word(variant) for variant in found.variants] == ["bitwise", "no"]
    assert "KL" not in " ".join(found.report().notes)
    assert found.report().tables[1].rows[0]["kl_weight"] is None


def test_resumed_it_ends_in_the_same_bits(run: Train, here: Path) -> None:
    how = {"likelihood": "heteroscedastic-gaussian", "loss": "beta-nll", "target": "price", "checkpoint_every": 1e9}
    run("table.csv", out="whole", epochs=4, **how)
    run("table.csv", out="part", **how)
    resume("part", epochs=4)
    assert Path("part/metrics.jsonl").read_bytes() == Path("whole/metrics.jsonl").read_bytes()
    part, whole = (load_file(f"{folder}/model.safetensors") for folder in ("part", "whole"))
    assert all(torch.equal(part[name], value) for name, value in whole.items())
    with pytest.raises(ReconError, match="has --target price, and angle was asked for"):
        resume("part", target="angle")
    with pytest.raises(ReconError, match="has --loss beta-nll, and faithful was asked for"):
        resume("part", loss="faithful")


@pytest.mark.parametrize("name", ["gaussian", "heteroscedastic-gaussian", "categorical"])
def test_a_run_predicts_the_rows_that_it_held_out(name: str, run: Train, here: Path) -> None:
    classes = numpy.eye(3)[numpy.digitize(X[:, 0], [-0.3, 0.3])]
    numpy.save("rows.npy", TABLE if name != "categorical" else numpy.column_stack([X, classes]))
    target = "3,4,5" if name == "categorical" else "3"
    found = run("rows.npy", likelihood=name, target=target, out="run", epochs=5)
    pair = sources.pair("rows.npy", "run:run")
    back = numpy.load("rows.npy")[sources.held_out(300, 0.2)]
    assert numpy.array_equal(pair.x, back[:, 3:])
    with torch.no_grad():
        witness = found.model.reconstruct(torch.from_numpy(back).float()).numpy()
    assert numpy.array_equal(pair.mu, witness)
    if name == "heteroscedastic-gaussian":
        with torch.no_grad():
            own = found.model.outputs(torch.from_numpy(back).float()).numpy()
        assert numpy.array_equal(pair.outputs(("mu", "var")), own)
    assert "reconstructed by the regression of run" in pair.described
    assert pair.rate_and_distortion() is None
    row = compare_sources("rows.npy", "run:run", [found.likelihood], device="cpu").rows[0]
    assert row.worst < 4
    loaded = sources.parse("run:run").model
    assert isinstance(loaded, Regression)


def test_calibrate_reads_a_run(run: Train, here: Path) -> None:
    found = run("table.csv", out="run", epochs=5)
    result = CliRunner().invoke(main, ["calibrate", "--recon", "run:run", "--data", "table.csv", "--format", "json"])
    assert result.exit_code == 0, result.output
    noise = {row["likelihood"]: row for row in json.loads(result.stdout)["tables"]["noise"]}
    assert noise["gaussian"]["parameters"]["sigma"] == pytest.approx(found.result.rmse, rel=1e-5)


def test_weights_that_do_not_fit_are_refused(run: Train, here: Path) -> None:
    run("table.csv", out="run")
    forging.settings("run", model="mlp")
    assert "no weights of recon's network" in refused("table.csv", "run:run").message
    forging.settings("run", model="regression", shape=[7])
    numpy.save("seven.npy", numpy.zeros((5, 7)))
    assert "its network is of 4 elements, and config.json says 7" in refused("seven.npy", "run:run").message
    forging.settings("run", shape=[4])
    assert "reconstructs samples of shape 4" in refused("seven.npy", "run:run").message


def test_validation_is_of_the_nll(run: Train, here: Path) -> None:
    how = {"validation": 0.2, "patience": 1, "epochs": 30}
    found = run("table.csv", out="run", **how)
    assert found.chosen <= len(found.epochs) < 30
    assert found.result.validation == min(epoch.validation for epoch in found.epochs)
    columns = {column.key: column for column in found.report().tables[0].columns}
    assert columns["validation"].panel == "nll of the validation rows, nats per sample"
    assert columns["negative_elbo"].panel is None


def test_a_sweep_of_regressions(here: Path) -> None:
    found = tables(cli("--data", "table.csv", "--sweep", "hidden=0,8", "--epochs", "2", "--format", "json"))
    assert [row["hidden"] for row in found["tables"]["sweep"]] == [0, 8]
    assert all(row["active"] is None and row["rmse"] > 0 for row in found["tables"]["sweep"])
    assert sweep("lr=0.01,0.02", data=TABLE, model="regression", epochs=1, device="cpu").report().holds


def test_what_is_only_of_linear_models(run: Train) -> None:
    assert run((X, Y)).line is None
    assert run((X, Y), hidden=0, likelihood="laplace").line is None
    assert run((X, X @ [1.0, 2.0, 3.0]), hidden=0).line is None  # no error, no sigma
    given = run((X, Y), hidden=0, sigma=300.0).line
    design = numpy.column_stack([numpy.ones(300), X])[found_kept()]
    weights = numpy.linalg.lstsq(design, Y[found_kept()])[0]
    assert given.best == pytest.approx(-stats.norm.logpdf(Y[found_kept()], design @ weights, 300.0).mean(), rel=1e-6)
    assert given.gap > 0
    repeated = numpy.column_stack([X, X[:, 0], numpy.ones(300)])  # collinear, and constant
    assert run((repeated, Y), hidden=0).answers[0].linear == pytest.approx(run((X, Y)).answers[0].linear, rel=1e-6)


# What a user can get wrong.


@pytest.mark.parametrize(
    ("words", "said", "hint"),
    [
        (["--target", "prize"], "There is no column of table.csv named 'prize'", "Did you mean 'price'?"),
        (["--target", "7"], "There is no column of table.csv named '7'", "Known: "),
        (["--data", "bare.csv", "--target", "price"], "bare.csv has no column 'price': it has 4", "Count them from 0 to 3"),
        (["--target", "price,3"], "--target price,3 names a column twice", "once"),
        (["--target", "0,1,2,3"], "takes all 4 columns", "Leave a column"),
        (["--data", "table.csv:price"], "takes a table, x and y in each row", "at least two columns"),
        (["--data", "digits"], "digits has samples of shape 8x8", "at least two columns"),
        (["--data", "words.csv"], "has 'red' in line 3, column 'b'", "leave the column out: words.csv:-b"),
        (["--data", "holes.csv"], "has 'nan' in line 3, column 'b'", "Mend or drop"),
        (["--data", "one.csv"], "too few", "more samples"),
        (["--data", "same.csv"], "have the same x", "Give rows that differ"),
        (["--data", "flat.csv"], "are all alike, so no gaussian noise", "fix the noise"),
        (["--likelihood", "poisson"], "are outside what poisson allows", "round them"),
        (["--likelihood", "bernoulli"], "are outside what bernoulli allows", "Scale the values"),
        (["--latent", "8"], "A regression has no latents, so --latent", "Leave --latent out"),
        (["--beta", "2"], "A regression has no latents, so --beta", "Leave --beta out"),
        (["--iwae", "4"], "A regression has no latents, so --iwae", "Leave --iwae out"),
        (["--hidden", "-1"], "--hidden must be a whole number from 0 up", ""),
        (["--exact"], "--exact", ""),
    ],
    ids=str,
)  # fmt: skip
def test_refused(words: list[str], said: str, hint: str, here: Path) -> None:
    Path("words.csv").write_text("a,b\n1,2\n2,red\n")
    Path("holes.csv").write_text("a,b\n1,2\n2,nan\n")
    Path("one.csv").write_text("a,b\n1,2\n")
    Path("same.csv").write_text("a,b\n" + "".join(f"1,{i}\n" for i in range(30)))
    Path("flat.csv").write_text("a,b\n" + "".join(f"{i},1\n" for i in range(30)))
    result = cli(*([] if "--data" in words else ["--data", "table.csv"]), *words)
    assert result.exit_code == 2, result.output
    assert said in result.stderr.replace("\n", " ")
    assert hint in result.stderr.replace("\n", " ")
    assert not Path("runs").exists()


def test_a_target_is_of_a_regression(here: Path) -> None:
    result = CliRunner().invoke(main, ["train", "--data", "table.csv", "--target", "price"])
    assert (result.exit_code, "mlp is none" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("data", "how", "said"),
    [
        ((X, Y[:5]), {}, "x has 300 samples and y 5"),
        ((X, Y, Y), {}, "this tuple has 3 parts"),
        ((X, Y), {"target": "0"}, "y is given, and --target 0 too"),
        ((X, Y + numpy.nan), {}, "NaN"),
        (Y, {}, "takes a table"),
    ],
)
def test_arrays_are_refused(data: Any, how: dict[str, Any], said: str, run: Train) -> None:
    with pytest.raises(ReconError, match=said):
        run(data, **how)
