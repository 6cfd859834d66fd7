"""The registry of defects: every one is found where it is, at its line, explained, and its fix does what it says."""

from __future__ import annotations

import inspect
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional as F

from recon_cli import audit
from recon_cli.auditing import calling, defects
from recon_cli.auditing.result import audit_of
from recon_cli.cli import main

SMALL: dict[str, Any] = {"shape": (7,), "latent": 3}


def kl(mu, logvar):
    return 0.5 * (mu**2 + logvar.exp() - logvar - 1)


class Annealed:
    def __init__(self):
        self.calls = 0

    def __call__(self, recon, x, mu, logvar):
        self.calls += 1
        return (recon - x).square().sum() + min(1.0, self.calls / 10) * kl(mu, logvar).sum()


def not_additive(recon, x):
    return (
        (recon - x).norm() * (recon - x).abs().max()  # here
    )


def recon_mean(recon, x, mu, logvar):
    rec = F.mse_loss(recon, x)  # here
    return rec + kl(mu, logvar).sum(1).mean()


def kl_mean_latents(recon, x, mu, logvar):
    pull = kl(mu, logvar).mean()  # here
    return 0.5 * (recon - x).square().sum(1).mean() + pull


def kl_sum_batch(recon, x, mu, logvar):
    pull = kl(mu, logvar).sum()  # here
    return 0.5 * (recon - x).square().sum(1).mean() + pull


def batch_dependent(recon, x, mu, logvar):
    rec = 0.5 * (recon - x).square().sum()  # here
    return rec + kl(mu, logvar).sum(1).mean()


def half_missing(recon, x, mu, logvar):
    rec = (recon - x).square().sum()  # here
    return rec + kl(mu, logvar).sum()


def kl_not_kl(recon, x, mu, logvar):
    rec = 0.5 * (recon - x).square().sum()
    return rec + 0.5 * (mu**2 + (0.5 * logvar).exp() - logvar - 1).sum()  # here


def latent_scale_misread(recon, x, mu, logvar):
    rec = 0.5 * (recon - x).square().sum()
    return rec + (0.5 * (mu**2 + (2 * logvar).exp() - 1) - logvar).sum()  # here


def kl_sign(recon, x, mu, logvar):
    rec = 0.5 * (recon - x).square().sum()
    return rec - kl(mu, logvar).sum()  # here


def recon_sign(recon, x, mu, logvar):
    rec = 0.5 * (recon - x).square().sum()  # here
    return kl(mu, logvar).sum() - rec


def value_gradient_mismatch(recon, x, mu, logvar):
    rec = 0.5 * (recon - x).square().sum()
    still = logvar.detach()  # here
    return rec + 0.5 * (mu**2 + still.exp() - logvar - 1).sum()


def stochastic(recon, x, mu, logvar):
    z = mu + torch.randn_like(mu) * (logvar / 2).exp()
    log_q = -0.5 * (logvar + (z - mu) ** 2 / logvar.exp())
    return 0.5 * (recon - x).square().sum() + (log_q + 0.5 * z**2).sum()


def overflow(recon, x):
    return -(x * recon.log() + (1 - x) * (1 - recon).log()).sum()  # here


def hard_coded_shape(recon, x, mu, logvar):
    flat = x.view(-1, 7)  # here
    return 0.5 * (recon - flat).square().sum() + kl(mu, logvar).sum()


def broadcast(recon, x, mu, logvar):
    rec = (recon - x).square().sum(1, keepdim=True)
    return (rec + kl(mu, logvar).sum(1)).mean()


def target_unused(recon, x):
    return (recon.square() - x).mean()  # here


def no_density(recon, x, mu, logvar):
    rec = (1 - (-0.5 * (recon - x) ** 2).exp()).sum()  # here
    return rec + kl(mu, logvar).sum()


def double_link(recon, x):
    squashed = recon.sigmoid()
    return F.binary_cross_entropy_with_logits(squashed, x, reduction="sum")  # here


def draw_not_posterior(model, x):
    mu, logvar = model.encode(x)
    z = mu + logvar.exp() * torch.randn_like(mu)
    return 0.5 * (model.decode(z) - x).square().sum() + kl(mu, logvar).sum()


EXAMPLES = {
    "stateful": Annealed,
    **{
        f.__name__.replace("_", "-"): f
        for f in (
            not_additive, recon_mean, kl_mean_latents, kl_sum_batch, batch_dependent, half_missing, kl_not_kl,
            latent_scale_misread, kl_sign, recon_sign, value_gradient_mismatch, stochastic, overflow, hard_coded_shape,
            broadcast, target_unused, no_density, double_link, draw_not_posterior,
        )
    },
}  # fmt: skip
OTHERS = {"bce-on-nonbinary", "gap", "log-scale-missing"}  # with --data; with the identity itself; of a module that trains one


@pytest.mark.parametrize("code", EXAMPLES)
def test_each_defect_is_found_at_its_line(code: str) -> None:
    loss = EXAMPLES[code]
    found = audit(loss() if inspect.isclass(loss) else loss, **SMALL)
    finding = next(finding for finding in found.findings if finding.code == code)
    assert finding.evidence
    assert finding.fix
    lines, first = inspect.getsourcelines(loss.__call__ if inspect.isclass(loss) else loss)
    marked = [first + i for i, line in enumerate(lines) if line.rstrip().endswith("# here")]
    file, _, line = finding.site.rpartition(":")
    assert Path(file).name == Path(__file__).name
    assert int(line) in (marked or range(first, first + len(lines)))


def test_every_defect_has_an_example_a_gravity_and_an_explanation() -> None:
    assert {*EXAMPLES} | OTHERS >= {*defects.codes()}
    for code in defects.codes():
        assert defects.gravity(code) in defects.GRAVITIES
        assert len(defects.explanation(code).split("\n\n")) >= 3, code  # what it is, what comes of it, what mends it


def test_explaining_a_code() -> None:
    result = CliRunner().invoke(main, ["explain", "recon-mean"])
    assert result.exit_code == 0
    assert "grows with the image" in " ".join(result.stdout.split())
    every = CliRunner().invoke(main, ["explain", "--format", "json"])
    assert [row["word"] for row in json.loads(every.stdout)["tables"]["words"]] == defects.codes()
    wrong = CliRunner().invoke(main, ["explain", "recn-mean"])
    assert wrong.exit_code == 2
    assert "'recon-mean'" in wrong.stderr


def test_nothing_is_called_for_judging_and_saying(monkeypatch: pytest.MonkeyPatch) -> None:
    from recon_cli.auditing import measurements

    kept: list[Any] = []
    measure = measurements.measure
    monkeypatch.setattr(measurements, "measure", lambda *args: kept.append(measure(*args)) or kept[-1])
    for loss in [*EXAMPLES.values()][::3]:
        first = audit(loss() if inspect.isclass(loss) else loss, **SMALL)
        with monkeypatch.context() as patch:
            patch.setattr(calling.Problem, "raw", None)
            assert audit_of(kept[-1]).report().notes == first.report().notes


RECS = {
    "0.5 * (pred - data).square().sum()": 0, "0.5 * (pred - data).square().mean()": 1,
    "0.5 * (pred - data).square().sum(1).mean()": 1, "torch.nn.functional.l1_loss(pred, data)": 1,
    "torch.nn.functional.binary_cross_entropy(pred, data)": 1,
    "torch.nn.functional.binary_cross_entropy_with_logits(pred, data)": 1,
    "torch.nn.functional.poisson_nll_loss(pred, data)": 1,
}  # fmt: skip
KLS = ["{}.sum()", "{}.mean()", "{}.sum(1).mean()", "{}.mean(1).sum()"]
WHOLE = "0.5 * (m**2 + s.exp() - s - 1)"


def written(rec: str, pull: str) -> Any:
    names: dict[str, Any] = {"torch": torch}
    exec(f"def written(pred, data, m, s):\n    return {rec} + {pull}", names)
    return names["written"]


@pytest.mark.parametrize("rec", RECS)
def test_fixes_done_literally_hold(rec: str) -> None:
    """Each fix of a weight is a line in the function's own names: put in its place, the loss has one trade-off at every size."""
    for form in KLS:
        pull = f"({WHOLE}){form[2:]}"
        how: dict[str, Any] = {"shape": (6,), "latent": 3, "args": "recon,target,mu,logvar"}
        found = audit(written(rec, pull), **how)
        fixes = {finding.code: finding.fix.rpartition(": ")[2] for finding in found.findings}
        mended = {"rec": rec, "kl": pull}
        for code, line in fixes.items():
            if code in ("recon-mean", "kl-mean-latents", "kl-sum-batch", "batch-dependent"):
                mended["rec" if "pred" in line.partition(" / ")[0] else "kl"] = line
        again = audit(written(mended["rec"], mended["kl"]), **how)
        assert again.holds, (rec, pull, fixes, again.sentence)
        assert not set(fixes) & {"recon-mean", "kl-mean-latents"} & set(again.defects)


def test_programs_read_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vae.py").write_text(
        "def loss(pred, x, mu, logvar):\n    rec = ((pred - x) ** 2).mean()\n"
        "    return rec + 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()\n"
    )
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(main, ["audit", "vae.py:loss", "--shape", "6", "--format", "github"])
    assert run.exit_code == 1
    assert "::error file=vae.py,line=2,title=recon recon-mean::" in run.stdout
    assert "::notice file=vae.py,line=2,title=recon half-missing::" in run.stdout
    assert all("%" not in line or "%25" in line or "%0A" in line for line in run.stdout.splitlines())
    run = CliRunner().invoke(main, ["audit", "vae.py:loss", "--shape", "6", "--format", "sarif"])
    (scan,) = json.loads(run.stdout)["runs"]
    assert {rule["id"] for rule in scan["tool"]["driver"]["rules"]} == {each["ruleId"] for each in scan["results"]}
    levels = {each["ruleId"]: each["level"] for each in scan["results"]}
    assert (levels["recon-mean"], levels["half-missing"]) == ("error", "note")
    for each in scan["results"]:
        (place,) = each["locations"]
        assert place["physicalLocation"]["artifactLocation"]["uri"] == "vae.py"
        assert 1 <= place["physicalLocation"]["region"]["startLine"] <= 3
    run = CliRunner().invoke(main, ["audit", "vae.py:loss", "--shape", "6", "--format", "json"])
    (row,) = json.loads(run.stdout)["tables"]["objective"]
    assert (row["batch"], row["elements"], row["latents"], row["site"]) == (4, 6, 20, "vae.py:1")


def test_a_failure_without_a_defect_is_annotated_too() -> None:
    run = CliRunner().invoke(main, ["audit", "--loss", "mse", "--kl-weight", "0", "--expect", "beta=2", "--format", "github"])
    assert run.exit_code == 1
    assert run.stdout.startswith("::error title=recon audit::")
    assert "FAILED" in run.stdout


def test_texts_of_workflow_commands_are_escaped() -> None:
    from recon_cli.formats.github import escaped

    for text, more in itertools.product(["100%", "a\nb", "a\r\nb"], [(), (":", ",")]):
        assert not {"\n", "\r"} & {*escaped(text, *more)}
    assert escaped("a:b,c%", ":", ",") == "a%3Ab%2Cc%25"
