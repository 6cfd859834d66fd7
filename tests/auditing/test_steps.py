"""Losses cut out of live training steps: scripts of many styles in tests/steps, each with its truth in its first line."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import re
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch import distributions as D

import recon_cli
from recon_cli.auditing.reach import script
from recon_cli.auditing.reach.step import respelled
from recon_cli.auditing.reach.watch import audited
from recon_cli.auditing.result import Audit
from recon_cli.errors import ReconError

STEPS = Path(__file__).parents[1] / "steps"
SCRIPTS = sorted(file for file in STEPS.rglob("*.py") if file.read_text().startswith("# TRUTH: "))
# of every kind one, in a second or two; the others under -m hostile
QUICK = (
    "learned_log_sigma",
    "trained_sigma_without_log",
    "decoder_log_variance",
    "monte_carlo_kl",
    "text_vae",
    "pix2pix",
    "in_place",
    "prior_network",
    "prior_balanced",
)


def comments(file: Path, word: str) -> str:
    """What the comments after ``# WORD:`` at the top of a script say, in one line."""
    lines = file.read_text().splitlines()
    at = next((i for i, line in enumerate(lines) if line.startswith(f"# {word}: ")), None)
    return "" if at is None else lines[at].removeprefix(f"# {word}: ")


def truths(file: Path) -> list[dict[str, Any]]:
    truth = json.loads(comments(file, "TRUTH"))
    return truth if isinstance(truth, list) else [truth]


def words(file: Path) -> list[str]:
    own = comments(file, "ARGUMENTS").split()
    return own if own[:1] == ["-m"] else [str(file), *own]


@contextlib.contextmanager
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The modules that a script imports of its own folder are forgotten afterwards; a fixed seed, for what it draws."""
    before = set(sys.modules)
    monkeypatch.chdir(STEPS)
    torch.manual_seed(0)
    yield
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "tiny":
            del sys.modules[name]


def found(audit: Audit) -> list[dict[str, Any]]:
    columns = ("family", "tradeoff", "beta", "sigma", "verdict")
    rows = [{key: getattr(row, key) for key in columns} for row in audit.rows]
    for row, each in zip(rows, audit.rows, strict=True):
        row["powers"] = [each.tradeoff_batch, each.tradeoff_dim, each.tradeoff_latent]
        row["defects"] = sorted(each.defects)
    return rows


def same(truth: Any, value: Any) -> bool:
    """Whether a value is the true one; words may be one of several, set apart by bars; null in powers is not known."""
    if isinstance(truth, list):
        return len(truth) == len(value) and all(map(same, sorted(truth) if truth and isinstance(truth[0], str) else truth, value))
    if isinstance(truth, str):
        return str(value) in truth.split("|") or (value is None and "unrecognised" in truth.split("|"))
    return value is None if truth is None else value is not None and math.isclose(value, truth, rel_tol=1e-6, abs_tol=1e-9)


def judged(file: Path) -> str:
    """``right``, ``unrecognised``, or what is wrong."""
    audit, truth = audited(script.run(words(file))), truths(file)
    assert "fault of recon's" not in audit.sentence
    rows = found(audit)
    wrong = [f"{len(rows)} rows, not {len(truth)}"] if len(rows) != len(truth) else []
    unknown = 0
    for row, true in zip(rows, truth, strict=False):
        if row["verdict"] == "unrecognised" and "unrecognised" not in true["verdict"]:
            unknown += 1
            continue
        wrong += [f"{key} is {row[key]}, not {value}" for key, value in true.items() if not same(value, row[key])]
    return "; ".join(wrong) or ("unrecognised" if unknown else "right")


@pytest.mark.parametrize("name", QUICK)
def test_a_script_of_a_kind(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with undisturbed(monkeypatch):
        assert judged(STEPS / f"{name}.py") == "right"


@pytest.mark.slow
def test_of_all_scripts_most_are_right_and_none_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {}
    for file in SCRIPTS:
        with undisturbed(monkeypatch):
            answers[file.stem] = judged(file)
    assert len(answers) >= 40
    assert {name: answer for name, answer in answers.items() if answer not in ("right", "unrecognised")} == {}
    assert list(answers.values()).count("right") >= 0.9 * len(answers)


STEP = """
import torch
enc, dec = torch.nn.Linear(6, 4), torch.nn.Linear(2, 6)
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
def step():
    x = torch.randn(5, 6)
    mu, logvar = enc(x).chunk(2, 1)
    out = dec(mu + torch.randn_like(mu) * torch.exp(0.5 * logvar))
    loss = 0.5 * (out - x).pow(2).sum() + 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()
    opt.zero_grad()
    loss.backward()
    opt.step()
"""
BAD = {  # what a script does, a part of the sentence
    "import os\nraise ValueError('its own')": "failed by itself, with the ValueError above",
    "def f(:": "failed by itself, with the SyntaxError above",
    "name = input('which? ')": "reads from the keyboard",
    "import sys\nsys.exit(3)": "ended by itself with exit code 3",
    "import sys\nsys.exit('give me a file')": "saying: give me a file",
    "import argparse\np = argparse.ArgumentParser()\np.add_argument('--data', required=True)\np.parse_args()": "exit code 2",
    "print('nothing')": "ended without deriving a loss",
    "import tensorflow_is_no_module": "failed by itself, with the ModuleNotFoundError above",
    "raise ModuleNotFoundError('No module', name='tensorflow.keras')": "is a TensorFlow script",
    "import sys, types\nsys.modules['jax'] = types.ModuleType('jax')": "is a JAX script",
    "while True: pass": "derived no loss within 0.5 seconds",
    "import os, sys\nif not os.fork():\n    os._exit(0)\nos.wait()": "ended without deriving a loss",
    "import torch\nwith torch.inference_mode():\n    torch.zeros(3).sum()": "ended without deriving a loss",
}


@pytest.mark.parametrize("code", BAD)
def test_a_script_that_derives_nothing_is_told_so_in_a_sentence(code: str, tmp_path: Path, capfd: Any) -> None:
    file = tmp_path / "bad.py"
    file.write_text(code)
    before = torch.Tensor.backward, torch.autograd.grad, torch.autograd.backward, torch.compile, [*sys.path], [*sys.argv]
    with pytest.raises(ReconError, match=BAD[code]) as raised:
        script.run([str(file)], timeout=0.5 if "while" in code else None)
    sys.modules.pop("jax", None)
    assert str(file) in raised.value.message
    assert raised.value.message.count(". ") == 0
    assert raised.value.hint
    assert ("Error" in capfd.readouterr().err) == ("above" in BAD[code] or "keyboard" in BAD[code])
    assert before == (
        torch.Tensor.backward, torch.autograd.grad, torch.autograd.backward, torch.compile, sys.path, sys.argv,
    )  # fmt: skip


def test_a_script_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    for what, sentence in (
        ([], "names no script"),
        (["-m"], "names no script"),
        (["nowhere.py"], "There is no script 'nowhere.py'"),
        (["-m", "nowhere.train"], "There is no module 'nowhere.train'"),
    ):
        with pytest.raises(ReconError, match=sentence):
            script.run(what)


GOOD = {  # what it does around its steps, all to no effect
    "swallowing every exception": "while True:\n    try:\n        step()\n    except BaseException:\n        pass",
    "swallowing in a function": "def train():"
    "\n    for _ in range(10**9):\n        try:\n            step()\n        except:\n            continue\ntrain()",
    "printing": "print('x' * 1_000_000)\nfor _ in range(3):\n    step()",
    "changing directory": "import os\nos.chdir('/')\nfor _ in range(3):\n    step()",
    "failing afterwards": "step()\nraise ValueError('later')",
    "exiting afterwards": "import sys\nstep()\nsys.exit(4)",
    "forking": "import os\nif not os.fork():\n    step()\n    step()\n    os._exit(0)\nos.wait()\nstep()\nstep()",
    "an exception group": "for _ in range(3):\n    try:\n        step()\n    finally:\n        done = True",
    "another thread": "import threading\nstep()\nt = threading.Thread(target=step)\nt.start()\nt.join()\nstep()",
}


@pytest.mark.parametrize("how", GOOD)
def test_whatever_a_script_does_around_its_steps(how: str, tmp_path: Path) -> None:
    file, here = tmp_path / "good.py", Path.cwd()
    file.write_text(STEP + GOOD[how])
    losses = script.run([str(file)], timeout=30)
    assert Path.cwd() == here
    assert [loss.site.rpartition(":")[2] for loss in losses] == ["11"]
    if how == "printing":
        assert [row["verdict"] for row in found(audited(losses))] == ["elbo"]


def test_a_site_that_comes_often_before_another() -> None:
    """A critic's five steps before one of its generator: both are seen, the critic once."""
    watching = script.Watching(stop=True)
    critic, generator = nn.Linear(4, 1), nn.Linear(2, 4)

    def train() -> None:
        for _ in range(3):
            for _ in range(5):
                critic(generator(torch.randn(6, 2)).detach()).mean().backward()
            (critic(generator(torch.randn(6, 2))) - 1).square().mean().backward()

    with pytest.raises(script.Finished), watching:
        train()
    assert len(watching.losses) == 2


class Vae(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(12, 6), nn.Linear(3, 12)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = self.encoder(x).chunk(2, 1)
        return self.decoder(mean + torch.randn_like(mean) * (logvar / 2).exp()), mean, logvar


def loss_of(x: Tensor, out: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (out - x).square().sum() + 0.5 * (mean.square() + logvar.exp() - logvar - 1).sum()


def test_one_added_line() -> None:
    model, x = Vae(), torch.rand(8, 12)
    with recon_cli.watch() as step:
        loss_of(x, *model(x)).backward()
        (7 * loss_of(x, *model(x))).backward()
    audit = step.audit()
    assert [row.verdict for row in audit.rows] == ["elbo", "elbo"]
    assert [row.sigma for row in audit.rows] == pytest.approx([1, 1])
    assert "multiplied by 7" in " ".join(audit.notes)
    assert model.encoder.weight.grad is not None


def test_a_second_step_is_not_looked_at_and_runs() -> None:
    model, x = Vae(), torch.rand(8, 12)
    with recon_cli.watch() as step:
        for factor in (1, 0):  # the second would have no gradient
            loss = factor * loss_of(x, *model(x))
            model.zero_grad()
            loss.backward()
    assert [row.verdict for row in step.audit().rows] == ["elbo"]
    assert not model.encoder.weight.grad.any()


def test_what_was_computed_before_is_an_output_all_the_same() -> None:
    model, x = Vae(), torch.rand(8, 12)
    parts = model(x)
    with recon_cli.watch() as step:
        loss_of(x, *parts).backward()
    assert [row.verdict for row in step.audit().rows] == ["elbo"]
    out, mean, logvar = model(x)
    divergence = 0.5 * (mean.square() + logvar.exp() - logvar - 1).sum()
    with recon_cli.watch() as step:
        (0.5 * (out - x).square().sum() + divergence).backward()
    assert [row.verdict for row in step.audit().rows] == ["unrecognised"]  # not "reconstruction-only"
    assert "before watch() began" in step.audit().sentence


def test_watching_wrongly_is_told_in_a_sentence() -> None:
    model, x = Vae(), torch.rand(8, 12)
    with recon_cli.watch() as step:
        model(x)
        with pytest.raises(ReconError, match="watched already"), recon_cli.watch():
            pass
        with pytest.raises(ReconError, match="not over"):
            step.audit()
    with pytest.raises(ReconError, match=r"No loss was derived within watch\(\)\."):
        step.audit()
    with pytest.raises(ReconError, match="is over"), step:
        pass
    with torch.inference_mode(), pytest.raises(ReconError, match="inference mode"), recon_cli.watch():
        pass

    def train() -> None:
        loss_of(x, *model(x)).backward()

    with recon_cli.watch() as step:
        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
    with pytest.raises(ReconError, match="on the thread that entered it"):
        step.audit()


def test_everything_is_put_back_after_an_exception() -> None:
    before = torch.Tensor.backward, torch.autograd.grad, torch.autograd.backward, torch.compile
    with pytest.raises(KeyError), recon_cli.watch():
        raise KeyError("its own")
    assert before == (torch.Tensor.backward, torch.autograd.grad, torch.autograd.backward, torch.compile)
    with recon_cli.watch() as step:  # and another may begin
        model, x = Vae(), torch.rand(8, 12)
        loss_of(x, *model(x)).backward()
    assert step.audit().holds


def test_nothing_of_a_step_is_kept() -> None:
    model, x = Vae(), torch.rand(8, 12)
    with recon_cli.watch() as step:
        out = model(x)
        hidden = out[0].square()
        loss = loss_of(x, *out)
        loss.backward()
    dead = [weakref.ref(each) for each in (model.encoder.weight, out[0], hidden, loss, x)]
    del model, x, out, hidden, loss
    gc.collect()
    assert [each() for each in dead] == [None] * 5
    assert step.audit().verdict == "elbo"


def test_data_are_the_step_s_own_but_for_what_is_masked() -> None:
    out, x = torch.randn(8, 12, requires_grad=True), (torch.rand(8, 12) < 0.5).float()
    counted = torch.rand(8, 12) < 0.7
    x[~counted] = -1.0
    for grey, word in ((0.0, ()), (0.25, ("bce-on-nonbinary",))):
        x[0, 0], counted[0, 0] = grey, True
        with recon_cli.watch() as step:
            (nn.functional.binary_cross_entropy_with_logits(out, x, reduction="none") * counted).sum().backward()
        audit = step.audit()
        assert audit.defects == word
        assert not any("--data" in note for note in audit.notes)
    rate = torch.randn(8, 12, requires_grad=True)
    with recon_cli.watch() as step:
        nn.functional.poisson_nll_loss(rate, torch.full((8, 12), 0.5) + torch.eye(8, 12), reduction="sum").backward()
    assert "100.0% of the values of the batch are outside what poisson allows" in " ".join(step.audit().notes)


def test_a_kl_that_is_derived_apart_is_told_so() -> None:
    model, x = Vae(), torch.rand(8, 12)
    with recon_cli.watch() as step:
        out, mean, logvar = model(x)
        (out - x).square().sum().backward(retain_graph=True)
        (mean.square() + logvar.exp() - logvar - 1).sum().backward()
    assert [row.verdict for row in step.audit().rows] == ["reconstruction-only", "unrecognised"]
    assert "a term in latents alone (8x3), derived apart" in step.audit().sentence


def test_what_torch_func_derives_is_told_so() -> None:
    x, weight = torch.rand(8, 12), torch.rand(12, 12)
    with recon_cli.watch() as step:
        torch.func.grad(lambda weight: (x @ weight - x).square().sum())(weight)
    assert "is derived by torch.func" in step.audit().sentence


def test_a_step_that_overflows_is_told_so() -> None:
    out, x = torch.full((4, 3), 200.0, requires_grad=True), torch.zeros(4, 3)
    with recon_cli.watch() as step:
        (out - x).exp().add((x - out).exp()).log().sum().backward()
    assert "is inf in the step, and 2400 in float64: float32 overflows" in step.audit().sentence


def test_half_precision_is_told() -> None:
    model, x = Vae(), torch.rand(8, 12)
    with recon_cli.watch() as step, torch.autocast("cpu", dtype=torch.bfloat16):
        loss_of(x, *model(x)).backward()
    assert any("bfloat16" in note for note in step.audit().notes)


@pytest.mark.parametrize(
    ("weigh", "powers", "words"),
    [
        (lambda rec, kl: rec.mean() + kl.mean(), (0, 1, -1), ""),
        (lambda rec, kl: rec.sum() + kl.sum() / 32, (-1, 0, 0), "the KL is divided by 32, which is the batch size"),
        (lambda rec, kl: rec.sum() / 32 + kl.sum() / 32, (0, 0, 0), ""),
        (lambda rec, kl: torch.add(rec.sum(), kl.sum(), alpha=1 / 32), (-1, 0, 0), "the KL is divided by 32"),
        (lambda rec, kl: 24 * rec.mean(1).sum() + kl.sum(), (0, 0, 0), "multiplied by 24, which is the number of elements"),
        (lambda rec, kl: rec.sum() + kl.sum() / 6, (0, 0, None), "divided by 6, which is the number of latents, or a weight"),
        (lambda rec, kl: rec.sum() + 0.25 * kl.sum(), (0, 0, 0), ""),
        (lambda rec, kl: (rec.sum() + kl.sum()) / 6, (0, 0, 0), "all of the loss is multiplied by 0.166667"),
        (lambda rec, kl: rec.sum() / torch.tensor(200.0) + kl.sum() / 32, (0, 1, 0), "200, which the data decide"),
    ],
)
def test_exponents_are_of_recorded_reductions_and_of_literals_that_are_sizes(weigh: Any, powers: Any, words: str) -> None:
    x, out = torch.rand(32, 24), torch.rand(32, 24, requires_grad=True)
    mean, logvar = (torch.randn(32, 6, requires_grad=True) for _ in "ab")
    with recon_cli.watch() as step:
        weigh(0.5 * (out - x).square(), 0.5 * (mean.square() + logvar.exp() - logvar - 1)).backward()
    audit = step.audit()
    (row,) = audit.rows
    assert (row.tradeoff_batch, row.tradeoff_dim, row.tradeoff_latent) == powers
    assert words.lower() in " ".join(audit.notes).lower()


@pytest.mark.parametrize(
    ("reconstruction", "powers"),
    [
        (lambda out, x: (out.square() / 2 - out * x + x.square() / 2).mean(), (0, 1, 0)),  # several ways to the loss
        (lambda out, x: torch.where((out - x).abs() < 9, (out - x).square(), (out - x).abs()).sum() / 32, (0, 0, 0)),
        (lambda out, x: out.square().sum() / 32 - 2 * (out * x).sum() / 32, (None, 0, 0)),  # a size on each of them
        (lambda out, x: (out - x).square().sum(1).mean() + (out - x).square().mean(), (0, None, 0)),
        (lambda out, x: (out - x).square().view(32, 4, 6).mean(2).sum(1).mean(), (0, None, 0)),  # of an axis, which may grow
        (lambda out, x: ((out - x).square().mean(1) * (x[:, 0] > 0.5)).sum() / (x[:, 0] > 0.5).sum(), (0, 1, 0)),
        (lambda out, x: torch.stack([row.square().sum() for row in out - x]).mean(), (0, 0, 0)),
    ],
)
def test_exponents_that_are_measured_on_part_of_the_step(reconstruction: Any, powers: Any) -> None:
    x, out = torch.rand(32, 24), torch.rand(32, 24, requires_grad=True)
    mean, logvar = (torch.randn(32, 6, requires_grad=True) for _ in "ab")
    with recon_cli.watch() as step:
        (reconstruction(out, x) + 0.5 * (mean.square() + logvar.exp() - logvar - 1).sum(1).mean()).backward()
    (row,) = step.audit().rows
    assert (row.family, row.tradeoff_batch, row.tradeoff_dim, row.tradeoff_latent) == ("gaussian", *powers)


def command(*words: str, **options: Any) -> Any:
    return subprocess.run(
        [sys.executable, "-m", "recon_cli", "audit", *words], capture_output=True, text=True, timeout=120, **options
    )


def test_the_command_runs_a_script_and_leaves_nothing(tmp_path: Path) -> None:
    run = command("--format", "json", "--run", str(STEPS / "loader_workers.py"), cwd=STEPS)
    (row,) = json.loads(run.stdout)["tables"]["objective"]
    assert (run.returncode, row["verdict"], row["site"]) == (1, "shape-dependent", "loader_workers.py:29")
    assert row["tradeoff"] == pytest.approx(6)
    assert "Traceback" not in run.stderr


@pytest.mark.hostile
def test_the_command_by_its_exit_codes(tmp_path: Path) -> None:
    for code, exit_code, sentence in (
        (STEP + "print('y' * 3_000_000)\nstep()\nstep()", 0, ""),
        ("import os\nos._exit(5)", 2, "ended its process with code 5"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", 2, "SIGKILL"),
        ("while True:\n    try:\n        while True: pass\n    except BaseException: pass", 2, "within 6 seconds"),
        ("raise ValueError", 2, "failed by itself"),
        (STEP + "while True:\n    try:\n        step()\n    except BaseException:\n        pass", 0, ""),
    ):
        file = tmp_path / "train.py"
        file.write_text(code)
        run = command("--timeout", "6", "--run", str(file))
        assert (run.returncode, sentence in " ".join(run.stderr.split())) == (exit_code, True), (code, run.stderr[-500:])
        assert "The function" not in run.stderr
        assert len(run.stdout) < 100_000
    run = command("--format", "json", "--run", "-m", "tiny.train", "3", cwd=STEPS)
    assert json.loads(run.stdout)["tables"]["objective"][0]["family"] == "huber"


def test_another_step_than_the_first(tmp_path: Path) -> None:
    """A weight that warms up is another at the third step."""
    file = tmp_path / "train.py"
    file.write_text(
        STEP.replace("def step():", "def step(w):").replace("+ 0.5 * (mu", "+ w * 0.5 * (mu")
        + "for i in range(9):\n    step(i + 1)"
    )
    assert audited(script.run([str(file)])).rows[0].tradeoff == pytest.approx(1)
    assert audited(script.run([str(file)], iteration=3)).rows[0].tradeoff == pytest.approx(3)


def test_elements_that_meet_many_are_no_pair() -> None:
    net, x, y = nn.Linear(5, 1), torch.rand(7, 5), torch.rand(7)
    with pytest.warns(UserWarning, match="target size"), recon_cli.watch() as step:
        nn.functional.mse_loss(net(x), y).backward()
    audit = step.audit()
    assert (audit.verdict, audit.holds) == ("unrecognised", False)
    assert "7x1, meets data of 7x7" in audit.sentence


def test_data_that_are_written_to_are_what_they_were_at_each_loss() -> None:
    net, x, y = nn.Linear(5, 3), torch.rand(7, 5), torch.zeros(7, 3)
    with recon_cli.watch() as step:
        y.copy_(torch.rand(7, 3))
        nn.functional.mse_loss(net(x), y).backward()
        y.uniform_(3, 4)
        nn.functional.l1_loss(net(x), y).backward()
        y.fill_(0)
    assert [(row.family, row.verdict) for row in step.audit().rows] == [
        ("gaussian", "reconstruction-only"),
        ("laplace", "reconstruction-only"),
    ]


def test_one_line_that_derives_several_losses() -> None:
    trunk, heads, x = nn.Linear(5, 4), nn.ModuleList(nn.Linear(4, 3) for _ in range(2)), torch.rand(7, 5)
    with recon_cli.watch() as step:
        h = trunk(x)
        losses = [nn.functional.mse_loss(heads[0](h), torch.rand(7, 3)), nn.functional.l1_loss(heads[1](h), torch.rand(7, 3))]
        for loss in losses:
            loss.backward(retain_graph=True)
    assert [row.family for row in step.audit().rows] == ["gaussian", "laplace"]


def test_lines_of_code_are_in_the_names_of_the_step_s_own_code() -> None:
    network, data = nn.Linear(12, 16), torch.rand(8, 12)
    decoder = nn.Linear(4, 12)
    kept = locals()
    with recon_cli.watch() as step:
        z_mean, z_logvar = network(data)[:, :8].chunk(2, dim=1)
        reconstruction = decoder(z_mean + (0.5 * z_logvar).exp() * torch.randn(8, 4)).sigmoid()
        kl = -0.5 * (1 + z_logvar - z_mean**2 - z_logvar.exp()).sum()
        (((reconstruction - data) ** 2).sum() + kl).backward()
    audit = step.audit()
    assert {"network", "data"} <= {*kept}
    assert audit.findings[0].fix == "Write its half: 0.5 * (reconstruction - data)**2"
    for _, code in audit.conversions:
        assert "(reconstruction - data)" in code
        assert "(z_mean**2 + z_logvar.exp() - z_logvar - 1)" in code
        assert not {"output", "mu", "scale", "x"} & {*re.findall(r"\w+", code)}


def test_an_expression_is_respelled_where_it_stands_whole() -> None:
    said = {"out.sigmoid()": "recon", "binary_cross_entropy_with_logits(out": "binary_cross_entropy(recon"}
    assert respelled("out.sigmoid() - layout.sigmoid()", said) == "recon - layout.sigmoid()"
    for name, wanted in (("out", "binary_cross_entropy(recon, x)"), ("output", "binary_cross_entropy_with_logits(output, x)")):
        assert respelled(f"binary_cross_entropy_with_logits({name}, x)", said) == wanted


def test_a_name_that_the_code_has_for_something_else_is_not_taken() -> None:
    model, mu = Vae(), torch.rand(8, 12)  # mu is the data here
    with recon_cli.watch() as step:
        loss_of(mu, *model(mu)).backward()
    code = step.audit().conversions[0][1]
    assert "- mu)" in code
    assert "mu_**2" in code


@pytest.mark.parametrize("how", ["a loop", pytest.param("one line", marks=pytest.mark.hostile)])
def test_several_losses_of_one_line_are_rows_of_their_own(how: str) -> None:
    with recon_cli.watch() as step:
        for _ in range(2):  # another iteration's are the same
            net, x = nn.Linear(6, 6), torch.rand(5, 6)
            y = net(x)
            squares, sizes = 0.5 * (y - x).square().sum(), (y - x).abs().sum()
            if how == "a loop":
                for loss in (squares, sizes):
                    loss.backward(retain_graph=True)
            else:
                squares.backward(retain_graph=True), sizes.backward()
    assert [row.family for row in step.audit().rows][:2] == ["gaussian", "laplace"]


@pytest.mark.parametrize("at_once", [False, pytest.param(True, marks=pytest.mark.hostile)])
def test_a_kl_that_is_derived_apart_is_no_pass(at_once: bool) -> None:
    with recon_cli.watch() as step:
        encoder, decoder, x = nn.Linear(6, 6), nn.Linear(3, 6), torch.rand(5, 6)
        mu, logvar = encoder(x).chunk(2, 1)
        y = decoder(mu + torch.randn_like(mu) * (logvar / 2).exp())
        losses = [0.5 * (y - x).square().sum(), 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()]
        if at_once:
            torch.autograd.backward(losses)
        for loss in () if at_once else losses:
            loss.backward(retain_graph=True)
    assert (len(step.audit().rows), step.audit().holds) == (2, False)


class Laws(torch.nn.Module):
    """A network whose outputs are a mean, a factor and a positive number of each sample; and a factor of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(3, n) for n in (6, 12, 6))
        self.encoder = torch.nn.Linear(6, 6)
        self.factor = torch.nn.Parameter(0.1 * torch.randn(6, 2))

    def forward(self, h: torch.Tensor) -> tuple[torch.Tensor, ...]:
        mean, factor, scale = (layer(h) for layer in self.layers)
        return mean, factor.view(-1, 6, 2), torch.nn.functional.softplus(scale) + 0.1


LAWS: dict[str, tuple[Any, str | None]] = {
    "low rank of each sample": (lambda own, m, w, s: D.LowRankMultivariateNormal(m, w, s), "multivariate-gaussian"),
    "low rank": (lambda own, m, w, s: D.LowRankMultivariateNormal(m, own, torch.ones(6)), "multivariate-gaussian"),
    "covariance": (lambda own, m, w, s: D.MultivariateNormal(m, torch.eye(6) + own @ own.T), "multivariate-gaussian"),
    "shape and rate": (lambda own, m, w, s: D.Independent(D.Gamma(m.exp(), s), 1), None),
    "kumaraswamy": (lambda own, m, w, s: D.Independent(D.Kumaraswamy(m.exp(), s, validate_args=False), 1), None),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.hostile] * (i > 1)) for i, name in enumerate(LAWS)])
def test_a_law_of_torch_s_is_the_likelihood_that_it_is(name: str) -> None:
    law, family = LAWS[name]
    net, x = Laws(), torch.rand(8, 6) * 0.9 + 0.05
    with recon_cli.watch() as step:
        mean, logvar = net.encoder(x).chunk(2, -1)
        kl = 0.5 * (mean.square() + logvar.exp() - logvar - 1).sum(1)
        z = mean + torch.randn_like(mean) * (logvar / 2).exp()
        (kl - law(net.factor, *net(z)).log_prob(x)).mean().backward()
    (row,) = step.audit().rows
    assert (row.family, row.verdict, row.beta) == (family, "elbo", pytest.approx(1))


def test_what_is_written_to_by_way_of_a_view_is_written_to() -> None:
    x, weight = torch.rand(8, 6), torch.nn.Linear(6, 6)
    mean, logvar = (torch.randn(8, 3, requires_grad=True) for _ in "ab")
    with recon_cli.watch() as step:
        out = weight(x)
        residual = out - x
        residual.view(-1)[::2].mul_(3)
        (residual.square().sum() / 2 + 0.5 * (mean.square() + logvar.exp() - logvar - 1).sum()).backward()
    assert "changed in place" not in step.audit().sentence


def test_a_condition_on_data_that_is_fixed_in_a_step_makes_no_defect() -> None:
    net, x = Laws(), torch.poisson(torch.rand(128, 6))  # one call gives many points
    with recon_cli.watch() as step:
        mean, logvar = net.encoder(x).chunk(2, -1)
        out, _, _ = net(mean + torch.randn_like(mean) * (logvar / 2).exp())
        counted = (0.6 + 0.4 * (-out.exp()).exp()).log()
        nll = -torch.where(x == 0, counted, x * out - out.exp() - torch.lgamma(x + 1))
        (nll.sum() + 0.5 * (mean.square() + logvar.exp() - logvar - 1).sum()).backward()
    assert step.audit().verdict == "unrecognised"


@pytest.mark.parametrize("first", [True, False])
def test_what_is_filled_row_by_row_is_one_output(first: bool) -> None:
    net, x = Laws(), torch.rand(8, 6, 6)
    with recon_cli.watch() as step:
        mean, logvar = net.encoder(x.mean(1)).chunk(2, -1)
        out = torch.zeros(8, 6, 6)
        for i in range(6):
            (out[:, i] if first else out.transpose(0, 1)[i])[:] = net(mean)[0]
        kl = 0.5 * (mean.square() + logvar.exp() - logvar - 1)
        ((out - x).square().sum() / 2 + kl.sum()).backward()
    (row,) = step.audit().rows
    assert (row.family, row.beta, step.audit().verdict) == ("gaussian", pytest.approx(1), "elbo")
