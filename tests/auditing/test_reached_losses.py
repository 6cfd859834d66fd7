"""Losses as their authors write them: what a first audit says of them is true, and what a message asks for is enough."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributions import LogNormal, Normal, kl_divergence
from torch.nn import functional as F

from recon_cli.auditing import audit
from recon_cli.commands._options import NamedValue
from recon_cli.errors import ReconError

ROWS = {"shape": (6,), "latent": 3}


def decoder_and_prior(x, qz, pz, px):
    return (-px.log_prob(x).sum(-1) + kl_divergence(qz, pz).sum(-1)).mean()


def of_another_variance(x, x_hat, mu, std):
    return -Normal(x_hat, 0.5).log_prob(x).sum() + kl_divergence(Normal(mu, std), Normal(0.3, 2)).sum()


def prior_by_arguments(x, x_hat, mu, logvar, prior_mu, prior_logvar, halves=1):
    apart = (logvar.exp() + (mu - prior_mu) ** 2) / prior_logvar.exp()
    return -Normal(x_hat, 0.3).log_prob(x).sum() + 0.5 * (halves * (prior_logvar - logvar) + apart - 1).sum()


@pytest.mark.parametrize(("loss", "beta"), [(decoder_and_prior, 1), (of_another_variance, 0.25), (prior_by_arguments, 0.09)])
def test_a_prior_of_its_own_beside_a_normalised_likelihood(loss: Callable[..., Any], beta: float) -> None:
    result = audit(loss, **ROWS)
    assert result.verdict == "elbo"
    assert result.rows[0].tradeoff == pytest.approx(beta)


def test_a_misprinted_kl_beside_a_normalised_likelihood_is_none() -> None:
    def misprinted(x, x_hat, mu, logvar, prior_mu, prior_logvar):
        return prior_by_arguments(x, x_hat, mu, logvar, prior_mu, prior_logvar, halves=2)

    assert audit(misprinted, **ROWS).defects == ("kl-not-kl",)
    assert torch.is_grad_enabled()


def means_and_widths(params_out, target):
    means_out, sigmas_out = params_out
    return F.gaussian_nll_loss(means_out, target, sigmas_out**2, full=True)


def locations_and_scales(loc_out, scale_out, y):
    return -Normal(loc_out, scale_out).log_prob(y).mean()


@pytest.mark.parametrize("loss", [means_and_widths, locations_and_scales])
def test_of_two_outputs_that_lean_on_each_other_one_is_the_spread(loss: Callable[..., Any]) -> None:
    (row,) = audit(loss, **ROWS).rows
    assert (row.family, row.verdict) == ("heteroscedastic-gaussian", "reconstruction-only")


def hinge(real, logits_fake):
    return (F.relu(1 - real).mean() + F.relu(1 + logits_fake).mean()) / 2


def least_squares(disc_a, disc_b):
    return F.mse_loss(disc_a, torch.ones_like(disc_a)) + F.mse_loss(disc_b, torch.zeros_like(disc_b))


@pytest.mark.parametrize("loss", [lambda logits_real, logits_fake: hinge(logits_real, logits_fake), least_squares])
def test_scores_that_meet_nothing_are_no_reconstruction(loss: Callable[..., Any]) -> None:
    with pytest.raises(ReconError, match="compared with no argument, nor with one another"):
        audit(loss, **ROWS)


class Mode(Enum):
    """Which loss it is."""

    SQUARES = 1
    LINES = 2


class Settled:
    """Reads what nobody gave: sizes, tensors, a member of an enumeration, parts of arguments."""

    def __init__(self, beta):
        self.beta = beta

    def tensor(self, x, recon, a, b):
        self.level = self.level.to(x.dtype)
        return ((x - recon) ** 2).sum() + (self.level * (a * b).exp() + a**4).sum()

    def sizes(self, x, recon):
        return ((x.reshape(-1, self.width) - recon.reshape(-1, self.width)) ** 2).sum() / torch.zeros(self.count).numel()

    def enumerated(self, x, recon):
        if self.mode is Mode.SQUARES:
            return ((x - recon) ** 2).sum()
        return (x - recon).abs().sum()

    def parts(self, batch, out, options):
        mu, logvar = out["mu"], out["logvar"]
        kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()
        return ((batch["x"] - out["recon"]) ** 2).sum() + options.beta * kl + out["terms"]["coef"] * kl


@pytest.mark.parametrize(("method", "asked_for"), [
    ("tensor", '--self "level=torch.tensor(1.0)"'), ("sizes", "--self width=1 --self count=1"),
    ("enumerated", "--self mode=Mode.SQUARES"), ("parts", '--bind "out[\'terms\'][\'coef\']=1" --bind options.beta=1'),
])  # fmt: skip
def test_what_a_message_asks_for_is_enough_as_it_is_written(method: str, asked_for: str) -> None:
    word = f"{__file__}:Settled.{method}"
    with pytest.raises(ReconError) as caught:
        audit(word, **ROWS)
    assert asked_for in caught.value.hint
    words = shlex.split(asked_for)
    options: dict[str, dict[str, object]] = {"--bind": {}, "--self": {}}
    for option, text in zip(words[::2], words[1::2], strict=True):
        options[option] |= [NamedValue().read(text, option)]
    result = audit(word, **ROWS, bind=options["--bind"], attributes=options["--self"])
    assert result.verdict == {"parts": "elbo", "tensor": "unrecognised"}.get(method, "reconstruction-only")
    assert result.rows[0].family == "gaussian"


LACKING = """
from nowhere import Signal, helper, opt, tracker

def told(x: Signal, y):
    if isinstance(x, Signal):
        x, y = x.samples, y.samples
    tracker.add("mean", x.mean())
    return (x - y).abs().sum()

def options(x, y):
    return opt.weight * (x - y).abs().sum() + opt.rest.value

def calls(x, y):
    return helper(x, y)

def imports(x, y):
    import nowhere.deep
    return nowhere.deep.loss(x, y)
"""


def test_what_is_not_there_and_only_told_is_left_out_and_the_rest_is_named(tmp_path: Path) -> None:
    file = tmp_path / "lacking.py"
    file.write_text(LACKING)
    (row,) = audit(f"{file}:told", **ROWS).rows
    assert (row.family, row.verdict) == ("laplace", "reconstruction-only")
    for name, words in {
        "options": "--bind opt.rest.value=1 --bind opt.weight=1",
        "calls": 'calls helper, which is not there.*--bind "helper=EXPRESSION"',
        "imports": "imports when it is called, and cannot: ModuleNotFoundError: No module named 'nowhere'",
    }.items():
        with pytest.raises(ReconError, match=words):
            audit(f"{file}:{name}", **ROWS)


def test_folders_without_a_file_in_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages by their folders alone, in the folder where recon is called, one of whose files cannot be imported."""
    inner = tmp_path / "outer" / "middle" / "inner"
    inner.mkdir(parents=True)
    (inner / "broken.py").write_text("import nowhere\n")
    (inner / "own.py").write_text(
        "from outer.middle.inner.broken import Part\ndef f(x, recon):\n    return (x - recon).square().sum()\n"
    )
    monkeypatch.chdir(tmp_path)
    assert audit("outer/middle/inner/own.py:f", **ROWS).verdict == "reconstruction-only"


REGISTERED = """
import torch
from argparse import Namespace
from torch.nn import functional as F

torch.manual_seed(0)  # more than a definition
LOSSES = {}

class Table:
    def __init__(self):
        self.kept = {}
    def register(self, name):
        return lambda function: self.kept.setdefault(name, function)

TABLE = Table()

def register(name):
    def decorate(function):
        LOSSES[name] = function
        return function
    return decorate

@register("l1")
def lines(a, b):
    return (a - b).abs().sum()

@register("mse")
def squares(a, b):
    return ((a - b) ** 2).sum()

@TABLE.register("l1")
def tabled(a, b):
    return (a - b).abs().sum()

def by_name(recon, x, kind="l1"):
    return LOSSES[kind](recon, x)

def by_table(recon, x):
    return TABLE.kept["l1"](recon, x)

class Trainer:
    def __init__(self, model, options=Namespace(weight=3.0)):
        self.options = options
    def loss(self, recon, x):
        return self.options.weight * (recon - x).abs().sum()

class Weighted:
    def __init__(self, criterion):
        self.criterion = criterion
    def loss(self, shares, y_hat, y):
        return sum((shares[n] * self.criterion(y_hat[n], y)).mean() for n in range(2))

def answered(out, x):
    return (out.mean - x).abs().sum()

def sampled(output, x):
    return (output.sample - x).abs().sum()
"""


def test_what_decorators_and_defaults_hold_is_there(tmp_path: Path) -> None:
    file = tmp_path / "registered.py"
    file.write_text(REGISTERED)
    for name in ("by_name", "by_table", "Trainer.loss", "answered", "sampled"):
        assert audit(f"{file}:{name}", **ROWS).rows[0].family == "laplace", name
    with pytest.raises(ReconError, match=r"needs self.criterion.*--self \"criterion=nn.MSELoss"):
        audit(f"{file}:Weighted.loss", **ROWS)


DEFAULTS = """
from nowhere import CFG, beta, helper

def product(recon, x, scale_by=beta * 2):
    return scale_by * (recon - x).abs().sum()

def item(recon, x, scale_by=CFG["weights"]["l1"]):
    return scale_by * (recon - x).abs().sum()

def attribute(recon: helper.Image | None, x, scale_by=1 + CFG.weight):
    return scale_by * (recon - x).abs().sum()
"""


@pytest.mark.parametrize("name", ["product", "item", "attribute"])
def test_a_default_that_is_not_there_is_none(name: str, tmp_path: Path) -> None:
    (tmp_path / "defaults.py").write_text(DEFAULTS)
    with pytest.raises(ReconError, match=r"needs scale_by, which has no default.*--bind scale_by=1"):
        audit(f"{tmp_path / 'defaults.py'}:{name}", **ROWS)


def test_bytes_of_another_coding_in_a_comment(tmp_path: Path) -> None:
    (tmp_path / "coded.py").write_bytes(b"# \xff\xfe\ndef f(recon, x):\n    return (recon - x).abs().sum()\n")
    try:
        ast.parse((tmp_path / "coded.py").read_bytes())
    except SyntaxError:  # some Pythons from 3.12 on
        with pytest.raises(ReconError, match="does not parse"):
            audit(f"{tmp_path / 'coded.py'}:f", **ROWS)
    else:
        assert audit(f"{tmp_path / 'coded.py'}:f", **ROWS).rows[0].family == "laplace"


def by_columns(y_pred, y):
    return -Normal(y_pred[..., 0], F.softplus(y_pred[..., 1])).log_prob(y).mean()


def by_chunks(out, target):
    mean, log_var = out.chunk(2, dim=1)
    return 0.5 * ((target - mean) ** 2 / log_var.exp() + log_var).sum()


def unbound(prediction, y):
    mean, log_var = prediction.unbind(-1)
    return 0.5 * ((y - mean) ** 2 / log_var.exp() + log_var).sum()


@pytest.mark.parametrize(("loss", "shapes"), [
    (by_columns, {"y_pred": (6, 2), "": (6,)}), (by_columns, (6,)), (by_chunks, {"out": (12,), "target": (6,)}), (unbound, None),
])  # fmt: skip
def test_a_prediction_in_two_halves_is_a_mean_and_its_spread(loss: Callable[..., Any], shapes: Any) -> None:
    (row,) = audit(loss, shapes).rows
    assert (row.family, row.verdict) == ("heteroscedastic-gaussian", "reconstruction-only")


TUTORIAL = """
import torch
from argparse import Namespace
options = Namespace(weight=2.0)
print("a script")
for n, total in enumerate(open("nowhere")):
    values = nowhere(n)

def loss(recon, x):
    total = 0.0
    for n in range(2):
        total = total + options.weight * (recon[n] - x[n]).abs().sum()
    return total
"""


def test_names_of_a_functions_own_are_not_those_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "tutorial.py").write_text(TUTORIAL)
    result = audit(f"{tmp_path / 'tutorial.py'}:loss", **ROWS)
    assert {row.family for row in result.rows} == {"laplace"}
    assert not [
        note
        for note in result.notes
        if "not there" in note or "not run" in note.replace("without running", "") or "parser" in note
    ]


def test_codes_that_are_compared_with_one_another_are_no_reconstruction() -> None:
    def loss(z_e, z_q):
        return F.mse_loss(z_q, z_e.detach()) + 0.25 * F.mse_loss(z_e, z_q.detach())

    with pytest.raises(ReconError, match="could not be matched: z_e, z_q"):
        audit(loss, **ROWS)


OLD_STYLE = """
from nowhere import Base, Layer
from torch import nn

class Vae(Base):
    def __init__(self, width):
        super(Vae, self).__init__()
        self.layer = Layer(width)

    def loss(self, recon, x):
        return Vae.lines(recon, x) + again(self, 0)

    @staticmethod
    def lines(a, b):
        return (a - b).abs().sum()

def again(model, depth):
    return 0.0 if depth > 1 else again(model, depth + 1)
"""


def test_a_class_and_a_function_that_name_themselves(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text(OLD_STYLE)
    assert audit(f"{tmp_path / 'old.py'}:Vae.loss", **ROWS).rows[0].family == "laplace"


def test_a_log_normal_of_two_columns_is_a_likelihood() -> None:
    def loss(y_pred, y_actual):
        return -LogNormal(y_pred[..., 0], F.softplus(y_pred[..., 1])).log_prob(y_actual)

    (row,) = audit(loss, **ROWS).rows
    assert row.verdict == "reconstruction-only"
