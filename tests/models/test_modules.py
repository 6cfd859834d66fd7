"""A user's own nn.Module as the model: trained like recon's own, resumed to the same bits, refused in a sentence."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from click.testing import CliRunner
from test_interruption import outcome, stopped_at
from torch import nn

import recon_cli
from recon_cli import sources
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.models._user import Own, seeded
from recon_cli.runtime.user_classes import find
from recon_cli.training import lockstep, resume

DIGITS = sources.read("digits")
HOW: dict[str, Any] = {"epochs": 2, "holdout": 0.1, "batch_size": 16, "device": "cpu"}
CODE = """
    import torch
    from torch import nn

    class Small(nn.Module):
        def __init__(self, latent=3, hidden=8, shape=(8, 8)):
            super().__init__()
            self.shape, size = shape, torch.Size(shape).numel()
            self.body = nn.Sequential(
                nn.Flatten(), nn.Linear(size, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(0.2),
                nn.Linear(hidden, 2 * latent),
            )
            self.head = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Dropout(0.2), nn.Linear(hidden, size))

        def encode(self, x):
            assert x.shape[1:] == self.shape
            return self.body(x).chunk(2, dim=1)

        def decode(self, z):
            return self.head(z).reshape(-1, *self.shape)
"""


class Plain(nn.Module):
    """Made in Python, of five latents and nothing asked of recon."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(64, 10), nn.Linear(5, 64)

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean, log_variance = self.down(x.flatten(1)).chunk(2, dim=1)
        return mean, log_variance

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return self.up(z)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, with data and a module in it."""
    monkeypatch.chdir(tmp_path)
    numpy.save("few.npy", DIGITS[:200])
    Path("small.py").write_text(textwrap.dedent(CODE))
    return tmp_path


def begin(out: str | None = "run", **how: Any) -> Any:
    """A run of the file's class."""
    return recon_cli.train("few.npy", out=out, model="small.py:Small", **{**HOW, "latent": 3, "hidden": 8, **how})


@pytest.mark.slow
def test_it_is_trained_as_recons_own(here: Path) -> None:
    found = begin(epochs=30, lr=0.01)
    assert isinstance(found.model, Own)
    assert found.epochs[-1].negative_elbo < found.epochs[0].negative_elbo - 10
    for seen in (*found.epochs, found.result):
        assert seen.ratio == pytest.approx(seen.predicted, rel=1e-4)
        assert seen.negative_elbo == pytest.approx(seen.nll + seen.kl)
    assert any("small.py:Small: " in note and "3 latents" in note for note in found.report().notes)
    assert {path.name for path in Path("run").iterdir()} >= {"samples.png", "traversal.png", "reconstructions.png"}


def test_its_weights_are_the_seeds_and_the_callers_generator_stays(here: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one = begin(None)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    same, other = begin(None), begin(None, seed=1)
    assert one.epochs == same.epochs
    assert one.epochs != other.epochs


def test_dropout_is_on_in_steps_and_off_in_measurements(here: Path) -> None:
    found = begin()
    assert not found.model.training
    rows = torch.from_numpy(DIGITS[:5].reshape(5, 64))
    assert torch.equal(found.model.reconstruct(rows), found.model.reconstruct(rows))
    seen = int(found.model.module.body[2].num_batches_tracked)
    assert seen == 2 * 12  # the steps', and no measurement's
    with found.model.stepping(5):
        one = found.model.decode(torch.ones(4, 3))
        assert found.model.training
    with found.model.stepping(5):
        assert torch.equal(found.model.decode(torch.ones(4, 3)), one)
    with found.model.stepping(6):
        assert not torch.equal(found.model.decode(torch.ones(4, 3)), one)


@pytest.mark.parametrize("how", [{}, {"beta": 0.0}, {"sigma": "optimal", "optimizer": "sgd", "lr": 1e-4}], ids=str)
def test_interrupted_it_goes_on_to_the_same_bits(how: dict[str, Any], here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin("whole", epochs=3, **how)
    stopped_at(17, monkeypatch, model="small.py:Small", latent=3, hidden=8, epochs=3, **how)
    resume("run", trust=True)
    assert outcome("run") == outcome("whole")


def test_it_is_reconstructed_from_the_folder(here: Path) -> None:
    found = begin()
    pair = sources.pair("few.npy", "run:run", trust=True)
    with torch.no_grad():
        witness = found.model.reconstruct(torch.from_numpy(pair.x).flatten(1)).numpy()
    assert numpy.array_equal(pair.mu, witness.reshape(pair.x.shape))
    assert pair.rate_and_distortion()[0] > 0
    assert json.loads(Path("run/config.json").read_text())["model_sha256"] == find("small.py:Small")[1]


@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_the_file_is_needed_again_as_it_was(harm: str, here: Path) -> None:
    begin()
    path = Path("small.py")
    path.unlink() if harm == "gone" else path.write_text(path.read_text() + "\n# another\n")
    said = "cannot be read" if harm == "gone" else "has changed since the run was trained"
    with pytest.raises(ReconError, match=said):
        resume("run")
    with pytest.raises(ReconError, match=said):
        sources.pair("few.npy", "run:run")


def test_a_module_of_python_is_copied_and_given_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    mine = Plain()
    before = mine.up.weight.detach().clone()
    found = recon_cli.train(DIGITS, model=mine, out="run", **HOW)
    assert torch.equal(mine.up.weight, before)
    assert mine.training
    assert not torch.equal(found.model.module.up.weight, before)
    assert found.settings.latent == 5
    assert resume("run", data=DIGITS, model=mine).epochs == found.epochs
    with pytest.raises(ReconError, match="given from Python as an object"):
        resume("run", data=DIGITS)
    with pytest.raises(ReconError, match="given from Python as an object"):
        sources.pair("digits", "run:run")
    assert recon_cli.train(DIGITS, model=Plain, **HOW).epochs == recon_cli.train(DIGITS, model=Plain, **HOW).epochs


def test_it_is_trained_side_by_side_and_swept(here: Path) -> None:
    found = lockstep("mse", data="few.npy", model="small.py:Small", latent=3, sigma=0.5, optimizer="sgd", epochs=1, device="cpu")
    assert found.word(found.variants[0]) == "bitwise"
    done = CliRunner().invoke(
        main, ["train", "--model", "small.py:Small", "--latent", "3", "--sweep", "sigma=0.3,0.5", "--epochs", "1"]
    )
    assert done.exit_code in (0, 1), done.output


def test_parameters_that_decode_shares_with_encode_are_measured_and_stored(here: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.spread = nn.Linear(4, 64), nn.Parameter(torch.zeros(4))
            self.again = self.up

        def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            mean = (x.flatten(1) - self.up.bias) @ self.up.weight
            return mean, self.spread.expand_as(mean)

        def decode(self, z: torch.Tensor) -> torch.Tensor:
            return self.again(z)

    found = recon_cli.train(DIGITS, model=Tied(), out="run", **HOW)
    assert sum(part.numel() for part in found.model.decoder_parameters()) == 5 * 64
    assert found.result.ratio == pytest.approx(found.result.predicted, rel=1e-4)


def test_many_kinds_of_output(here: Path) -> None:
    class Two(Plain):
        def __init__(self, latent: int = 5) -> None:
            super().__init__()
            self.up = nn.Linear(5, 128)

    found = recon_cli.train(DIGITS, likelihood="heteroscedastic-gaussian", model=Two(), **HOW)
    assert found.model.outputs(torch.zeros(3, 64)).shape == (3, 64, 2)
    with pytest.raises(ReconError, match=r"takes 128 numbers for each sample of shape 8x8 \(mu and var of each element"):
        recon_cli.train(DIGITS, likelihood="heteroscedastic-gaussian", model=Plain(), **HOW)


def test_the_generator_is_seeded_and_put_back() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    with seeded(7, torch.device("cpu")):
        one = torch.rand(3)
    with seeded(7, torch.device("cpu")):
        assert torch.equal(torch.rand(3), one)
    assert torch.equal(torch.get_rng_state(), before)


BAD = {
    "NoModule": ("class NoModule: pass", "is no torch.nn.Module"),
    "number": ("number = 3", "is no torch.nn.Module"),
    "maker": ("def maker(latent): return 3", "makes a int, which is no torch.nn.Module"),
    "Needy": ("class Needy(Small):\n    def __init__(self, depth): pass", "cannot be made without depth"),
    "Broken": ("class Broken(Small):\n    def __init__(self): raise ValueError('no')", r"Broken\(\) raised ValueError: no"),
    "Encoder": ("class Encoder(nn.Module):\n    def encoder(self, x): pass", "has no method encode"),
    "Alone": ("class Alone(Small):\n    def encode(self, x): return self.body(x)", "gives a Tensor, and must give"),
    "Three": ("class Three(Small):\n    def encode(self, x): return 1, 2, 3", "gives a tuple of 3"),
    "Scalar": ("class Scalar(Small):\n    def encode(self, x): return x.mean(), x.mean()", "a mean of shape"),
    "Uneven": ("class Uneven(Small):\n    def encode(self, x): return self.body(x).split([2, 4], 1)", "a log_variance of shape"),
    "Wide": (
        "class Wide(Small):\n    def encode(self, x): return self.body(x), self.body(x)",
        "latent=3, and its encode gives 6",
    ),
    "Nan": ("class Nan(Small):\n    def encode(self, x): return 2 * (self.body(x)[:, :3] / 0 * 0,)", "a mean that is not finite"),
    "Short": (
        "class Short(Small):\n    def decode(self, z): return self.head(z)[:, 1:]",
        "gives 3x63 for 3 codes, and gaussian takes 64",
    ),
    "Fails": (
        "class Fails(Small):\n    def decode(self, z): return z @ self.head[0].weight.T[:2]",
        "Fails.decode raised RuntimeError",
    ),
    "Constant": ("class Constant(Small):\n    def decode(self, z): return torch.zeros(len(z), 64)", "depends on no parameter"),
    "Shifts": ("class Shifts(Small):\n    def encode(self, x): return self.body(x.sub_(1)).chunk(2, 1)", "changes the x"),
    "number.x": ("number = 3", "There is no 'x' in small.py"),
    "Linear": (
        "class Linear(Small):\n    def encode(self, x): return self.body[1](x), x",
        r"Linear.encode raised RuntimeError: mat1",
    ),
    "Smal": ("", "There is no 'Smal' in small.py"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_model_is_refused_before_anything_is_made(name: str, here: Path) -> None:
    with Path("small.py").open("a") as file:
        file.write(f"\n{BAD[name][0]}\n")
    with pytest.raises(ReconError, match=BAD[name][1]) as caught:
        recon_cli.train("few.npy", model=f"small.py:{name}", out="run", **HOW, latent=3, hidden=8)
    assert caught.value.message.endswith(".")
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("gone.py:Small", "'gone.py', of which --model takes Small, cannot be read"),
        ("small.py", "'small.py' names no class"),
        ("package_of_nobody.models:Vae", "cannot be imported"),
        ("package_of_nobody:Vae", "no module 'package_of_nobody'"),
        ("broken.py:Vae", "broken.py cannot be imported: SyntaxError"),
        ("exits.py:Vae", "exits.py cannot be imported: SystemExit"),
        ("mlpp", "no model named 'mlpp'"),
    ],
)
def test_what_is_not_there(word: str, said: str, here: Path) -> None:
    Path("broken.py").write_text("def (")
    Path("exits.py").write_text("raise SystemExit(3)")
    result = CliRunner().invoke(main, ["train", "--model", word, "--data", "few.npy", "--out", "run"])
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert not Path("run").exists()
    assert "Did you mean 'Small'" in CliRunner().invoke(main, ["train", "--model", "small.py:Smal", "--data", "few.npy"]).stderr


def test_a_sigmoid_is_no_logit(here: Path) -> None:
    class Squashed(Plain):
        def decode(self, z: torch.Tensor) -> torch.Tensor:
            return super().decode(z).sigmoid()

    with pytest.raises(ReconError, match="ends in a sigmoid or softmax") as caught:
        recon_cli.train(DIGITS, likelihood="bernoulli", binarize="threshold", model=Squashed(), **HOW)
    assert "logits" in caught.value.hint
    for likelihood, model in (("gaussian", Squashed()), ("bernoulli", Plain())):
        recon_cli.train(DIGITS, likelihood=likelihood, binarize="threshold", model=model, **HOW)


def test_a_last_batch_of_one_is_noticed_before_the_first_step(here: Path) -> None:
    with pytest.raises(ReconError, match="in training mode, raised ValueError.*on a batch of 1") as caught:
        begin(holdout=0.0, batch_size=199)
    assert "--batch-size" in caught.value.hint
    assert not Path("run").exists()


def test_bounds_warmup_and_vectors_too(here: Path) -> None:
    found = begin(None, iwae=4, kl_warmup=1, free_bits=0.01)
    values = [value for _, value in found.bounds]
    assert values == sorted(values)
    hot = numpy.eye(4, dtype="f4")[numpy.random.default_rng(0).integers(0, 4, (60, 6))]

    class Classes(Plain):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Linear(24, 10), nn.Linear(5, 24)

    seen = recon_cli.train(hot, likelihood="categorical", model=Classes(), **HOW).result
    assert seen.ratio == pytest.approx(seen.predicted, rel=1e-4)


def test_a_package_is_found_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine_alone").mkdir()
    Path("mine_alone/__init__.py").write_text("")
    Path("mine_alone/nets.py").write_text(textwrap.dedent(CODE))
    monkeypatch.syspath_prepend(str(here))
    found = recon_cli.train("few.npy", model="mine_alone.nets:Small", out="run", latent=3, **HOW)
    assert resume("run", trust=True).epochs == found.epochs


@pytest.mark.inductor
def test_compiled_it_is_the_same_but_for_rounding(here: Path) -> None:
    class Bare(Plain):
        pass

    plain, compiled = (recon_cli.train(DIGITS, model=Bare, compile=how, **HOW) for how in (False, True))
    assert compiled.result.nll == pytest.approx(plain.result.nll, rel=1e-4)


@pytest.mark.parametrize("size", [(8, 10), (7, 9), (8, 9)])
def test_a_convolution_of_a_doubled_image(size: tuple[int, int]) -> None:
    """As torch's own of the image taken to twice the size by nearest, odd sizes too: values and gradients."""
    from recon_cli.models.conv import of_doubled

    generator = torch.Generator().manual_seed(0)
    layer = torch.nn.Conv2d(3, 2, 3, padding=1).double()
    with torch.no_grad():
        for part in layer.parameters():
            part.normal_(generator=generator)
    x = torch.randn(2, 3, (size[0] + 1) // 2, (size[1] + 1) // 2, dtype=torch.float64, generator=generator, requires_grad=True)
    usual = layer(torch.nn.functional.interpolate(x, size=size))
    ours = of_doubled(layer, x, size)
    torch.testing.assert_close(ours, usual, rtol=1e-12, atol=1e-12)
    for parts in ((x,), tuple(layer.parameters())):
        for a, b in zip(
            *(torch.autograd.grad(value.square().sum(), parts, retain_graph=True) for value in (ours, usual)), strict=True
        ):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)
