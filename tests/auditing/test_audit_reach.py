"""How a loss is come by and bound: what it asks of its arguments, files whose parts are not there, and what is not run."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import distributions, nn
from torch.nn import functional as F

from recon_cli.auditing import audit
from recon_cli.auditing.reach import jax_bridge
from recon_cli.errors import ReconError

ROWS = {"shape": (6,), "latent": 3}
TOKENS = {"shape": (12, 30), "latent": 20}
KL = "0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()"
LOSS = f"def f(pred, x, mu, logvar):\n    return ((pred - x) ** 2).sum() + {KL}\n"


def kl(m: Any, s: Any) -> Any:
    """Summed over all."""
    return 0.5 * (m**2 + s.exp() - s - 1).sum()


def square(a: Any, b: Any) -> Any:
    """Summed over all."""
    return ((a - b) ** 2).sum()


def hostile(cases: list[Any], first: int) -> list[Any]:
    """The first few in the default run, all with hostile's."""
    return [pytest.param(*case, marks=[pytest.mark.hostile] * (i >= first)) for i, case in enumerate(cases)]


class Out(NamedTuple):
    """What a model returns."""

    recon: Any
    mu: Any
    logvar: Any


def helper(stats):
    mu, logvar = stats
    return kl(mu, logvar)


def by_index(counts, out, weight=1.0):
    nll = -(out[0].log_softmax(1) * counts).sum(-1).mean()
    return nll + weight * 0.5 * (out[1] ** 2 + out[2].exp() - out[2] - 1).sum(1).mean()


def nested(*parts):
    decoded, code, x = parts[0], parts[1], parts[2]
    mu, logvar = code
    return square(decoded, x) + kl(mu, logvar)


def in_a_helper(x, out):
    rec, stats = out
    return square(rec, x) + helper(stats)


def dictionaries(batch, output):
    return square(output["rec"]["img"], batch["img"]) + kl(output["latent"]["mu"], output["latent"]["logvar"])


def star(x, results):
    *_, mu, logvar = results
    return square(results[0], x) + kl(mu, logvar)


def sliced(predictions, x):
    mu, logvar, rec = predictions[:3]
    return square(rec, x) + kl(mu, logvar)


def encodes(x, model):
    mu, logvar = model.encode(x)
    z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
    return square(model.decode(z), x) + kl(mu, logvar)


def answered(x, model):
    h = model(x)
    return square(h["x_hat"], x) + kl(h["mu"], h["logvar"])


def unread(pred, x, mu, logvar, epoch):
    return square(pred, x) + kl(mu, logvar)


@pytest.mark.parametrize("loss", hostile([
    (by_index,), (in_a_helper,), (dictionaries,), (nested,), (encodes,), (unread,), (star,), (sliced,),
    (lambda out, x: square(out.recon, x) + kl(out.mu, out.logvar),),
    (lambda *args: square(args[0], args[1]) + kl(args[2], args[3]),),
    (lambda out, x: square(out[0], x) + kl(out[1][0], out[1][1]),),
    (answered,),
    (lambda x, out: square(out.sample, x) + out.posterior.kl().sum(),),
], 5))  # fmt: skip
def test_what_is_taken_apart_is_passed_so(loss: Callable[..., Any]) -> None:
    found = audit(loss, **ROWS)
    assert found.verdict == "elbo"
    assert found.rows[0].beta == pytest.approx(1 if loss is by_index else 0.5)


def looped(outs, goals):
    return sum(((outs[k] - goals[k]) ** 2).mean() for k in outs.keys()) / len(outs)  # noqa: SIM118


def over_keys(outs, targets):
    return sum(square(outs[k], targets[k]) for k in outs)


@pytest.mark.parametrize("loss", [
    looped, over_keys, lambda outs, targets: sum(square(o, t) for o, t in zip(outs, targets, strict=True)),
])  # fmt: skip
def test_what_is_looped_over_is_a_term_each(loss: Callable[..., Any]) -> None:
    found = audit(loss, **ROWS)
    assert [row.family for row in found.rows] == ["gaussian", "gaussian"]


class Holder:
    """Has attributes that nobody set."""

    def loss(self, pred, x, mu, logvar, epoch):
        return square(pred, x) + self.beta * min(1, epoch / self.warmup) * kl(mu, logvar)


def asks(pred, x, mu, logvar, epoch, kind):
    weight = 1.0 if epoch > 10 else 0.1
    return square(pred, x) + (weight * kl(mu, logvar) if kind == "kl" else 0)


def test_numbers_that_are_read_are_asked_for_all_at_once() -> None:
    with pytest.raises(ReconError, match=r"needs epoch, self.beta and self.warmup.*--bind epoch=1 --self beta=1 --self warmup=1"):
        audit(Holder().loss)
    with pytest.raises(ReconError, match=r"needs epoch and kind.*--bind epoch=1 --bind kind=kl"):
        audit(asks)
    with pytest.raises(ReconError, match=r"needs beta, gamma and n, which"):
        audit(lambda pred, x, mu, logvar, beta, gamma, n: gamma * square(pred, x) / n + beta * kl(mu, logvar))
    with pytest.raises(ReconError, match=r"needs config\['beta'\].*--bind \"config\['beta'\]=1\""):
        audit(lambda pred, x, mu, logvar, config: square(pred, x) + config["beta"] * kl(mu, logvar))
    with pytest.raises(ReconError, match=r"needs criterion.*--bind \"criterion=nn.MSELoss"):
        audit(lambda pred, x, mu, logvar, criterion: criterion(pred, x) + kl(mu, logvar))
    with pytest.raises(ReconError, match=r"needs reduction.*--bind reduction=sum"):
        audit(lambda pred, x, reduction: F.mse_loss(pred, x, reduction=reduction))
    assert audit(asks, bind={"epoch": 3, "kind": "kl"}, **ROWS).rows[0].tradeoff == pytest.approx(0.05)


@pytest.mark.parametrize(("loss", "family"), hostile([
    (lambda pred, target, mask: (pred[mask] - target[mask]).abs().mean(), "laplace"),
    (lambda pred, x, idx: square(pred[:, idx], x[:, idx]), "gaussian"),
    (lambda pred, x, loss_mask: (((pred - x) ** 2) * loss_mask).sum() / loss_mask.sum(), "gaussian"),
    (lambda pred, x, keep: ((pred - x) ** 2).masked_fill(~keep, 0.0).sum(), "gaussian"),
    (lambda pred, x, padding_mask: ((pred - x) ** 2)[~padding_mask].sum(), "gaussian"),
    (lambda pred, x, valid: square(torch.masked_select(pred, valid), torch.masked_select(x, valid)), "gaussian"),
    (lambda pred, x, mask: torch.where(mask, (pred - x) ** 2, torch.zeros_like(x)).sum(), "gaussian"),
    (lambda pred, x, mask: ((pred - x) ** 2)[mask == 1].sum(), "gaussian"),
    (lambda pred, x, index: square(pred.index_select(1, index), x.index_select(1, index)), "gaussian"),
], 3))  # fmt: skip
def test_masks_that_index_or_multiply(loss: Callable[..., Any], family: str) -> None:
    found = audit(loss, **ROWS)
    assert (found.rows[0].family, found.verdict) == (family, "reconstruction-only")


def ignoring(logits, target, mu, logvar, pad=0):
    nll = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), target.reshape(-1), ignore_index=pad)
    return nll + 0.5 * (mu**2 + logvar.exp() - logvar - 1).mean()


def by_hand(logits, target, mu, logvar, pad=3):
    losses = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
    counts = (target.flatten() != pad).double()
    return (losses * counts).sum() / counts.sum() + 0.5 * (mu**2 + logvar.exp() - logvar - 1).mean()


@pytest.mark.parametrize("shape", [(12, 30), {"logits": (12, 30), "target": (12,)}])
@pytest.mark.parametrize("loss", [ignoring, by_hand])
def test_labels_that_are_left_out(loss: Callable[..., Any], shape: Any) -> None:
    row = audit(loss, shape, 20).rows[0]
    assert row.family == "categorical"
    assert row.beta == pytest.approx(12 / 20)
    assert (row.tradeoff_dim, row.tradeoff_latent) == (1, -1)


def codes(inner, inner_again, x, fake, pred_true, pred_made):
    return 50 * F.l1_loss(fake, x) + F.smooth_l1_loss(inner, inner_again) + F.mse_loss(pred_true, pred_made)


def scored(x, fake, d_fake):
    return F.l1_loss(fake, x) + F.binary_cross_entropy_with_logits(d_fake, torch.ones_like(d_fake))


@pytest.mark.parametrize(("loss", "others"), [(codes, 4), (scored, 1)])
def test_what_is_compared_with_no_data_is_a_term_of_its_own(loss: Callable[..., Any], others: int) -> None:
    found = audit(loss, **ROWS)
    assert (found.verdict, [row.family for row in found.rows]) == ("reconstruction-only", ["laplace"])
    assert [role for _, role, _ in found.roles].count("compared") == others


def rows(pred, x, mu, logvar):
    return F.binary_cross_entropy(pred, x, reduction="none").sum(1).mean() + kl(mu, logvar) / len(x)


def test_axes_that_are_counted_mean_two_things() -> None:
    with pytest.raises(ReconError, match="rows of 784: elbo.*images of 1x28x28: shape-dependent.*--shape 784 or --shape 1x28x28"):
        audit(rows)
    assert audit(rows, (784,)).verdict == "elbo"
    assert audit(rows, (1, 28, 28)).verdict == "shape-dependent"


def sized(pred, x, mu, logvar):
    return (torch.arange(6) * (pred - x) ** 2).sum() + kl(mu, logvar)


def test_a_size_of_the_code_s_own_is_hinted_at() -> None:
    with pytest.raises(ReconError, match="a fixed size, 6: .*--shape 6"):
        audit(sized)


def between(mu_q, logvar_q, mu_p, logvar_p):
    return 0.5 * (logvar_p - logvar_q + (logvar_q.exp() + (mu_q - mu_p) ** 2) / logvar_p.exp() - 1).sum()


def between_but_for_a_mean(mu_q, logvar_q, mu_p, logvar_p):
    return 0.5 * (logvar_p - logvar_q + logvar_q.exp() / logvar_p.exp() + (mu_q - mu_p) ** 2 - 1).sum()


def of_a_diffusion(mu_pred, logvar_pred, mu_true, logvar_true):
    off, ratio = (mu_true - mu_pred) ** 2 / logvar_pred.exp(), logvar_true - logvar_pred
    return 0.5 * (ratio.exp() - 1 - ratio + off).sum()


def of_laplaces(mu, scale):
    return (mu.abs() + scale * (-mu.abs() / scale).exp() - 1 - scale.log()).sum()


@pytest.mark.parametrize(("loss", "verdict", "defects", "said"), [
    (lambda mu, logvar: kl(mu, logvar), "kl-only", (), "the KL to a standard normal alone, whose scale logvar"),
    (lambda m, s: -0.5 * (1 + s - m**2 - s.exp()).sum(1).mean(), "kl-only", (), "averaged over the batch, summed"),
    (between, "kl-only", (), "the KL to the normal that mu_p and logvar_p give alone"),
    (of_a_diffusion, "kl-only", (), "the KL to the normal that mu_pred and logvar_pred give alone, whose scale logvar_true"),
    (of_laplaces, "kl-only", (), "the KL to a Laplace of location 0 and scale 1 alone"),
    (between_but_for_a_mean, "defective", ("kl-not-kl",), "to a prior of mean 0.4 and variance 1.7 it is no KL"),
    (lambda q: torch.distributions.kl_divergence(q, torch.distributions.Normal(0, 1)).sum(), "kl-only", (), "the KL to"),
    (lambda mean, std: 0.5 * (mean**2 + std**2 - 2 * std.log() - 1).mean(), "shape-dependent", ("kl-mean-latents",),
     "averaged over the batch, averaged over the latents"),
    (lambda mu, logvar: 2 * kl(mu, logvar), "defective", ("kl-not-kl",), "2 times the KL"),
    (lambda mu, logvar: -kl(mu, logvar), "defective", ("kl-sign",), "minus the KL"),
    (lambda mu, logvar: (mu**2 + logvar).sum(), "defective", ("kl-not-kl",), "no KL"),
])  # fmt: skip
def test_is_this_a_kl(loss: Callable[..., Any], verdict: str, defects: tuple[str, ...], said: str) -> None:
    found = audit(loss)
    assert (found.verdict, found.defects, found.holds) == (verdict, defects, verdict == "kl-only")
    assert said in found.sentence
    assert found.formula.startswith("L = ")


def per_sample(a, b, c, d):
    return (((a - b) ** 2).flatten(1).sum(1) + 0.5 * (c**2 + d.exp() - d - 1).sum(1)).mean()


@pytest.mark.parametrize(("loss", "roles", "families"), hostile([
    (lambda a, b, c, d: square(a, c) + 0.1 * (b - d).abs().sum(), "recon recon target target", ["gaussian", "laplace"]),
    (lambda a, b, c, d: F.binary_cross_entropy(b, a, reduction="sum") + kl(d, c), "target recon scale mu", ["bernoulli"]),
    (lambda mean, var, x: 0.5 * (var.log() + (x - mean) ** 2 / var).sum(), "recon spread target", ["heteroscedastic-gaussian"]),
    (lambda a, b, m: (m * (a - b) ** 2).sum(), "recon target mask", ["gaussian"]),
    (per_sample, "recon target mu scale", ["gaussian"]),
    (lambda rec, x, a, b: square(rec, x) + square(a.detach(), b) + 0.25 * square(a, b.detach()), "recon target compared compared",
     ["gaussian"]),
    (lambda x, y: F.binary_cross_entropy(x, y), "recon target", ["bernoulli"]),
    (lambda x, mu: square(x, mu), "target recon", ["gaussian"]),
    (lambda a, b, c, d, e, f: square(a, b) + (c - d).abs().sum() + kl(e, f), "recon target recon target mu scale",
     ["gaussian", "laplace"]),
    (lambda gen, real, d: F.l1_loss(gen, real) - d.mean(), "recon target compared", ["laplace"]),
], 6))  # fmt: skip
def test_structure_decides_where_names_do_not(loss: Callable[..., Any], roles: str, families: list[str]) -> None:
    found = audit(loss)
    assert [role for _, role, _ in found.roles[:-1]] == roles.split()
    assert [row.family for row in found.rows] == families
    assert found.holds


@pytest.mark.parametrize("loss", [
    lambda a, b, c, d: square(a, b) / 2 - 0.5 * (1 + d - c**2 - (0.5 * d).exp()).sum(),
    lambda recon, x, logvar, mu: square(recon, x) + kl(logvar, mu),
])  # fmt: skip
def test_what_is_no_kl_is_no_other_term_and_names_are_not_turned(loss: Callable[..., Any]) -> None:
    assert audit(loss).defects == ("kl-not-kl",)


class Elbo(nn.Module):
    """Takes its reconstruction."""

    def __init__(self, rec: nn.Module, beta: float) -> None:
        super().__init__()
        self.rec, self.beta = rec, beta

    def forward(self, pred, x, mu, logvar):
        return self.rec(pred, x) + self.beta * kl(mu, logvar)


def weighted(pred, x, mu, logvar, criterion, mask):
    return criterion(pred[mask], x[mask]) + kl(mu, logvar)


def test_values_may_be_expressions(tmp_path: Path) -> None:
    bind = {"criterion": "nn.L1Loss(reduction='sum')", "mask": "torch.ones_like(x).bool()"}
    assert audit(weighted, bind=bind, **ROWS).rows[0].family == "laplace"
    with pytest.raises(ReconError, match="speaks of y, which is not there"):
        audit(weighted, bind={**bind, "mask": "torch.ones_like(y)"})
    with pytest.raises(ReconError, match="cannot be evaluated: AttributeError"):
        audit(weighted, bind={**bind, "criterion": "nn.L1Los()"})
    where = __file__ + ":Elbo"
    assert audit(where, make="Elbo(nn.BCELoss(reduction='sum'), 4)", **ROWS).rows[0].beta == pytest.approx(4)
    assert audit(where, attributes={"rec": "nn.MSELoss(reduction='sum')", "beta": 2}, **ROWS).rows[0].beta == pytest.approx(1)
    with pytest.raises(ReconError, match="makes a L1Loss"):
        audit(where, make="nn.L1Loss()")


HEAD = "import argparse, functools\nimport torch\nfrom torch import nn\nprint('hello')\n"
FILES = {
    "attribute": ("crit = nn.MSELoss()\ncrit.reduction = 'sum'\n" + LOSS.replace("((pred - x) ** 2)", "crit(pred, x)"), 0.5),
    "augmented": ("W = 4\nW *= 4\n" + LOSS.replace("+ 0.5", "+ W * 0.5"), 8),
    "parser": ("p = argparse.ArgumentParser()\np.add_argument('--beta', type=float, default=4)\nargs = p.parse_args()\n"
               + LOSS.replace("+ 0.5", "+ args.beta * 0.5"), 2),
    "key": ("W = {}\nW['kl'] = 2\nW.update(rec=1)\n" + LOSS.replace("+ 0.5", "+ W['kl'] * 0.5"), 1),
    "loop": ("W = 1\nfor _ in range(3):\n    W *= 2\n" + LOSS.replace("+ 0.5", "+ W * 0.5"), 4),
    "closure": ("def make(w):\n    def g(pred, x, mu, logvar):\n        return ((pred - x) ** 2).sum() + w * " + KL + "\n"
                "    return g\nf = make(3)\n", 1.5),
    "partial": (LOSS.replace("def f(pred, x, mu, logvar)", "def g(pred, x, mu, logvar, w)").replace("+ 0.5", "+ w * 0.5")
                + "f = functools.partial(g, w=6)\n", 3),
    "lambda": (f"f = lambda pred, x, mu, logvar: ((pred - x) ** 2).sum() + {KL}\n", 0.5),
    "default": ("from not_there import Mode\n" + LOSS.replace("logvar)", "logvar, mode=Mode.FAST)", 1), 0.5),
}  # fmt: skip


@pytest.mark.parametrize("case", [pytest.param(name, marks=[pytest.mark.hostile] * (i >= 4)) for i, name in enumerate(FILES)])
def test_statements_that_make_what_is_kept_are_run(case: str, tmp_path: Path) -> None:
    text, tradeoff = FILES[case]
    (tmp_path / "loss.py").write_text(HEAD + text)
    assert audit(f"{tmp_path / 'loss.py'}:f", **ROWS).rows[0].tradeoff == pytest.approx(tradeoff)


def test_statements_that_are_not_run_are_said(tmp_path: Path) -> None:
    (tmp_path / "loss.py").write_text("W = 1\nwhile W < 9:\n    W *= 2\n" + LOSS.replace("+ 0.5", "+ W * 0.5"))
    assert "line 2, which may change W, was not run" in " ".join(audit(f"{tmp_path / 'loss.py'}:f", **ROWS).notes)


def test_a_base_that_is_not_there(tmp_path: Path) -> None:
    text = f"""from absent import Base, Mode, functional as F
class Net(Base, Mode.Mixin):
    size: Mode.Int = Mode.field(3)
    def __init__(self, mode: Mode = Mode.FAST):
        self.mode = mode
    def objective(self, pred, x, mu, logvar):
        loss = ((pred - x) ** 2).sum() + {KL}
        self.log("loss", loss)
        return loss
def g(pred, x):
    return F.mse_loss(pred, x)
"""
    (tmp_path / "loss.py").write_text(text)
    assert audit(f"{tmp_path / 'loss.py'}:Net.objective", **ROWS).rows[0].tradeoff == pytest.approx(0.5)
    with pytest.raises(ReconError, match="g calls F, which is not there"):
        audit(f"{tmp_path / 'loss.py'}:g")


TRAINING = """import torch
def train(steps=3):
    w = torch.zeros(4, requires_grad=True)
    for _ in range(steps):
        loss = (w ** 2).sum()
        loss.backward()
    open("RAN", "w").write("x")
def main(model, loader, optimizer):
    for batch in loader:
        loss = model(batch)
        optimizer.zero_grad()
        loss.backward()
    open("RAN", "w").write("x")
def start():
    return train()
"""


@pytest.mark.parametrize("name", ["train", "main", "start"])
def test_a_training_loop_is_never_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop.py").write_text(TRAINING)
    with pytest.raises(ReconError, match=f"{name} is a training loop.*Give the function that takes the tensors"):
        audit(f"loop.py:{name}")
    assert not (tmp_path / "RAN").exists()


@pytest.mark.parametrize(("text", "word", "said"), [
    ("import jax.numpy as jnp\ndef f(recon, x):\n    return jnp.sum((recon - x) ** 2)\n", ":f", r"written in JAX \(line 1"),
    ("from tensorflow import keras as k\ndef g(a, b):\n    return k.sum(a - b)\ndef f(recon, x):\n    return g(recon, x)\n", ":f",
     "written in TensorFlow"),
    ("import torch\nloss = torch.ones(2, requires_grad=True).sum()\nloss.backward()\n", "", "computed inline at line 2"),
    ("def f(recon, x):\n    return recon - x\n", "", r"Which function of .*loss.py:f"),
    ("def f(schedule):\n    def g(net, x):\n        return (net(x) - x).sum() * schedule\n    return g\n", ":f",
     "f needs schedule to make the function g"),
    ("class A:\n    @property\n    def b(self):\n        return self.cfg.b\n    def f(self, recon, x):\n"
     "        return self.b * (recon - x).sum()\n", ":A.f", "A.f needs self.cfg.b"),
])  # fmt: skip
def test_what_is_not_run_is_a_sentence(text: str, word: str, said: str, tmp_path: Path) -> None:
    if "jax" in text and jax_bridge.installed():
        pytest.skip("here it is audited")
    (tmp_path / "loss.py").write_text(text)
    with pytest.raises(ReconError, match=said):
        audit(f"{tmp_path / 'loss.py'}{word}")


@pytest.mark.parametrize(("line", "library"), [
    ("import mlx.core as m", "MLX"), ("from keras import ops as m", "Keras"), ("import paddle as m", "PaddlePaddle"),
    ("import theano.tensor as m", "Theano"), ("import pytensor.tensor as m", "PyTensor"), ("import cupy as m", "CuPy"),
    ("import tensorflow_probability as m", "TensorFlow"),
])  # fmt: skip
@pytest.mark.parametrize("inside", [False, True])
def test_a_loss_of_another_library_is_a_sentence(line: str, library: str, inside: bool, tmp_path: Path) -> None:
    top, body = ("", f"    {line}\n") if inside else (f"{line}\n", "")
    (tmp_path / "loss.py").write_text(f"{top}def f(recon, x):\n{body}    return m.sum(m.square(recon - x))\n")
    with pytest.raises(
        ReconError, match=f"f is written in {library} .line {1 + inside}: {line}.; recon audits functions of torch"
    ):
        audit(f"{tmp_path / 'loss.py'}:f")


CRITERIA = """import torch
from torch import nn
from torch.nn import HuberLoss
import torch.nn.functional as F

def loss(recon, x, criterion, beta):
    return beta * criterion(recon, x)

class Trainer:
    def __init__(self, net, crit):
        self.c = crit
    def loss(self, recon, x):
        return self.c(recon, x)

def named(recon, x, bce_with_logits):
    return bce_with_logits(recon, x)

def plain(recon, x, measure):
    return measure(recon, x)

if __name__ == "__main__":
    crit = HuberLoss(reduction="sum").to("cuda")
    trainer = Trainer(nn.Linear(1, 1), crit)
    loss(torch.ones(2), torch.ones(2), nn.BCELoss(reduction="sum"), beta=0.25)
"""


@pytest.mark.parametrize(("name", "options", "family"), [
    ("loss", "--bind \"criterion=nn.BCELoss(reduction='sum')\" --bind beta=0.25, as line 24 has it", "bernoulli"),
    ("Trainer.loss", "--self \"c=nn.HuberLoss(reduction='sum')\", as line 22 has it", "huber"),
    ("named", "--bind \"bce_with_logits=nn.BCEWithLogitsLoss(reduction='sum')\", say", "bernoulli"),
    ("plain", "--bind \"measure=nn.MSELoss(reduction='sum')\", say", "gaussian"),
])  # fmt: skip
def test_a_criterion_that_its_file_passes_or_names_is_the_one_to_pass(
    name: str, options: str, family: str, tmp_path: Path
) -> None:
    (tmp_path / "loss.py").write_text(CRITERIA)
    with pytest.raises(ReconError) as refusal:
        audit(f"{tmp_path / 'loss.py'}:{name}")
    assert refusal.value.hint.endswith(f": {options}.")
    given = [word.partition("=")[::2] for word in shlex.split(options.rpartition(", ")[0]) if "=" in word]
    values = {key: float(value) if key == "beta" else value for key, value in given}
    how = "attributes" if "--self" in options else "bind"
    assert audit(f"{tmp_path / 'loss.py'}:{name}", **{how: values}, **ROWS).rows[0].family == family


def test_a_wrong_role_is_told_them_all() -> None:
    with pytest.raises(ReconError, match="'nothing' is no role.*recon: the reconstruction.*compared: .*skip: nothing"):
        audit(lambda a, b: square(a, b), args="nothing,target")


def detached(recon, logvar_x, x, mu, logvar):
    return 0.5 * ((recon.detach() - x) ** 2 / logvar_x.exp() + logvar_x).sum() + kl(mu, logvar)


def test_names_that_tell_are_not_turned_where_the_loss_is_wrong() -> None:
    found = audit(detached, **ROWS)
    assert [role for _, role, _ in found.roles][:3] == ["recon", "spread", "target"]
    assert "value-gradient-mismatch" in found.defects


@pytest.mark.parametrize(("loss", "roles", "meaning"), [
    (lambda a, b, c, d: ((d / b).log() + (b**2 + (a - c)**2) / (2 * d**2) - 0.5).sum(), "mu scale prior prior", "std"),
    (lambda a, b, c, d: ((d / c).log() + (c**2 + (a - b)**2) / (2 * d**2) - 0.5).sum(), "mu prior scale prior", "std"),
    (lambda a, b, c, d: (0.5 * ((d / b).log() + (b + (a - c)**2) / d - 1)).sum(), "mu scale prior prior", "variance"),
    (lambda a, b, c, d: (0.5 * (d - b + (b.exp() + (a - c)**2) / d.exp() - 1)).sum(), "mu scale prior prior", "log_variance"),
    (lambda a, b, c, d: (d.log() - b + ((2 * b).exp() + (a - c)**2) / (2 * d**2) - 0.5).sum(), "mu scale prior prior", "log_std"),
])  # fmt: skip
def test_a_nameless_kl_of_two_gaussians_is_read_off_its_gradients(loss: Callable[..., Any], roles: str, meaning: str) -> None:
    found = audit(loss, shape=(5,), latent=3)
    assert [role for _, role, _ in found.roles[:-1]] == roles.split()
    assert (found.verdict, found.rows[0].latent_scale) == ("kl-only", meaning)

    def beside(recon: Any, x: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        return 0.5 * (recon - x).square().sum() + 2 * loss(a, b, c, d)

    found = audit(beside, shape=(5,), latent=3)
    assert (found.rows[0].family, found.rows[0].beta) == ("gaussian", pytest.approx(2))


@pytest.mark.parametrize("loss", [
    lambda a, b, c, d: ((d / b).log() + (b**2 + (a - c)**2) / (2 * b**2) - 0.5).sum(),
    lambda a, b, c, d: ((b / d).log() + (b**2 + (a - c)**2) / (2 * d**2) - 0.5).sum(),
    lambda a, b, c, d: ((d / b).log() + (b**2 + (a + c)**2) / (2 * d**2) - 0.5).sum(),
])  # fmt: skip
def test_what_is_no_kl_of_two_gaussians_is_asked_about(loss: Callable[..., Any]) -> None:
    with pytest.raises(ReconError, match="could not be matched: a, b, c, d"):
        audit(loss, shape=(5,), latent=3)


def whole(recon: Any, x: Any) -> Any:
    return 0.5 * (recon - x).square().sum()


def normal(*_: Any) -> torch.distributions.Normal:
    return torch.distributions.Normal(0.0, 1.0)


between = torch.distributions.kl_divergence


def of_pair(recon: Any, x: Any, posterior: Any) -> Any:
    mean, level = posterior
    return whole(recon, x) + 0.5 * (mean.square() + level.exp() - level - 1).sum()


@pytest.mark.parametrize(("loss", "line"), [
    (lambda recon, x, posterior: whole(recon, x) + posterior.kl().sum(), "posterior.kl().sum()"),
    (lambda recon, x, q_z, p_z: whole(recon, x) + between(q_z, p_z).sum(), "torch.distributions.kl_divergence(q_z, "),
    (lambda recon, x, dist: whole(recon, x) + between(dist, normal()).sum(), "torch.distributions.kl_divergence(dist, "),
    (lambda out, x: whole(out.recon, x) + between(out.posterior, out.prior).sum(),
     "torch.distributions.kl_divergence(out.posterior, "),
    (lambda px, x, qz, pz, z: -px.log_prob(x).sum() - pz.log_prob(z).sum() + qz.log_prob(z).sum(), ""),
    (lambda recon, x, qs, ps: whole(recon, x) + sum(between(q, p).sum() for q, p in zip(qs, ps, strict=True)),
     "(torch.distributions.kl_divergence(qs[0], torch.distributions.Normal(0.0, 1.0)).sum() + "),
    (of_pair, "0.5 * (posterior[0]**2 + posterior[1].exp() - posterior[1] - 1).sum()"),
])  # fmt: skip
def test_distributions_are_arguments_and_their_kl_is_written_by_their_names(loss: Callable[..., Any], line: str) -> None:
    found = audit(loss, shape=(5,), latent=3)
    assert (found.verdict, found.rows[0].tradeoff) == ("elbo", pytest.approx(1))
    assert all(line in write for _, write in found.conversions)


def kl_of(mu: Any, logvar: Any) -> Any:
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum()


@pytest.mark.parametrize(("loss", "wrong"), [
    (lambda recon, x, mu1, logvar1, mu2, logvar2: whole(recon, x) + kl_of(mu1, logvar1) + kl_of(mu2, logvar2), ""),
    (lambda recon, x, mu1, logvar1, mu2, logvar2: whole(recon, x) + kl_of(mu1, logvar1) + 3 * kl_of(mu2, logvar2),
     "the latents weigh differently: mu1 1, mu2 3"),
    (lambda recon, x, mu1, logvar1, mu2, logvar2: whole(recon, x) + kl_of(mu1, logvar1) + mu2.pow(4).sum(), "of mu2, "),
    (lambda recon, x, mu_1, logvar_1, mu_2, logvar_2: whole(recon, x) + kl_of(mu_1, logvar_1) + kl_of(mu_2, 2 * logvar_2),
     "of mu_2, its scale is named a log variance and used as a log std"),
    (lambda recon, x, q, q_z: whole(recon, x) + between(q, normal()).sum() + 2 * between(q_z, normal()).sum(),
     "weigh differently: q 1, q_z 2"),
])  # fmt: skip
def test_every_set_of_latents_has_its_kl_of_one_weight(loss: Callable[..., Any], wrong: str) -> None:
    found = audit(loss, shape=(5,), latent=3)
    assert found.verdict == ("defective" if wrong else "elbo")
    assert wrong in " ".join(finding.evidence for finding in found.findings)


def noise_predicted(eps_hat, eps):
    return (eps_hat - eps).square().sum()


def noise_of_a_model(epsilon, eps_theta):
    return torch.nn.functional.mse_loss(eps_theta, epsilon)


def noise_by_time(eps_pred, eps, t):
    return ((eps_pred - eps) ** 2 / (1 + t.float())[:, None]).mean()


def small_number(recon, x, eps):
    return ((recon - x) ** 2 + eps).sqrt().mean()


@pytest.mark.parametrize(("loss", "target"), [(noise_predicted, "eps"), (noise_of_a_model, "epsilon"), (noise_by_time, "eps")])
def test_the_noise_of_a_diffusion_is_data(loss: Any, target: str) -> None:
    report = audit(loss)
    assert (report.rows[0].family, report.verdict) == ("gaussian", "reconstruction-only")
    assert (target, "target") in [(key, role) for key, role, _ in report.roles]


def test_and_a_small_number_is_asked_for() -> None:
    with pytest.raises(ReconError, match=r"needs eps, which has no default"):
        audit(small_number)


def of_data_and_latents(mu_x, logvar_x, x, mu, logvar):
    of_x, of_z = distributions.Normal(mu_x, (0.5 * logvar_x).exp()), distributions.Normal(mu, (0.5 * logvar).exp())
    return (distributions.kl_divergence(of_z, distributions.Normal(0.0, 1.0)).sum() - of_x.log_prob(x).sum()) / len(x)


def laplace_vae(recon, x, mu, log_b):
    return (recon - x).abs().sum() + of_laplaces(mu, log_b.exp())


@pytest.mark.parametrize(("loss", "family"), [(of_data_and_latents, "heteroscedastic-gaussian"), (laplace_vae, "laplace")])
def test_the_noise_of_x_and_other_posteriors_are_known_for_what_they_are(loss: Any, family: str) -> None:
    report = audit(loss)
    assert (report.rows[0].family, report.verdict, report.rows[0].beta) == (family, "elbo", pytest.approx(1.0))
