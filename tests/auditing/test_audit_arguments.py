"""Arguments that an audit cannot fill: its words for what the function raised, whatever layouts it tried before."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch

from recon_cli.auditing import audit
from recon_cli.errors import ReconError


def refuses_sizes(recon, x, kl):
    raise ValueError("nothing of that size")


def pops_by_position(recon, x, mu, logvar, batch):
    return (recon - x).square().sum() + batch.pop(0)


def gets_by_number(recon, x, mu, logvar, **rest):
    return (recon - x).square().sum() + 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum() * rest.get(0, 1.0)


def test_a_kl_that_is_passed_as_a_list_is_no_fault_of_the_audit():
    with pytest.raises(ReconError, match="refuses_sizes raises ValueError: nothing of that size .passed: recon 4x1x28x28"):
        audit(refuses_sizes)


def test_a_position_is_no_key():
    with pytest.raises(ReconError, match="pops_by_position raises AttributeError: .*pop"):
        audit(pops_by_position)


def test_a_number_for_a_key_is_left_out():
    assert audit(gets_by_number).verdict == "elbo"


def squared(recon: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return (recon - x).square().sum()


def of_latents(mu: torch.Tensor, logvar: torch.Tensor, kld_weight: float = 1.0, **_rest: object) -> torch.Tensor:
    return kld_weight * 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum()


class Keyed(torch.nn.Module):
    """Losses that read keys of their keywords, none of which is an argument."""

    def numbered(self, *args: Any, **kwargs: Any) -> Any:
        recon, x, mu, logvar = args[0], args[1], args[2], args[3]
        if kwargs["batch_idx"] % 2 == 0 and self.training and kwargs["optimizer_idx"] == 0:
            return {"loss": squared(recon, x) + of_latents(mu, logvar, kwargs["M_N"])}
        return {"loss": squared(recon, x)}

    def aliased(self, recon: Any, x: Any, **kwargs: Any) -> Any:
        options = kwargs
        return squared(recon, x) + of_latents(options["mu"], options["logvar"])

    def handed_on(self, recon: Any, x: Any, **kwargs: Any) -> Any:
        return squared(recon, x) + of_latents(**kwargs)

    def looped(self, recon: Any, x: Any, **kwargs: Any) -> Any:
        mu, logvar = (kwargs[key] for key in ("mu", "logvar"))
        return squared(recon, x) + of_latents(mu, logvar)

    def weighed(self, recon: Any, x: Any, *, mu: Any, logvar: Any, **kwargs: Any) -> Any:
        return squared(recon, x) * kwargs["scale"] + of_latents(mu, logvar)

    def annealed(self, recon: Any, x: Any, mu: Any, logvar: Any, global_step: Any) -> Any:
        return squared(recon, x) + of_latents(mu, logvar, min(1.0, global_step / 1000))

    def chosen(self, recon: Any, x: Any, kind: Any) -> Any:
        return {"l2": torch.nn.functional.mse_loss, "l1": torch.nn.functional.l1_loss}[kind](recon, x)

    def configured(self, recon: Any, x: Any, mu: Any, logvar: Any, cfg: Any) -> Any:
        weight = cfg["loss"]["beta"] if cfg["use_kl"] else 0
        return torch.nn.functional.mse_loss(recon, x, reduction=cfg["reduction"]) + of_latents(mu, logvar, weight)


@pytest.mark.parametrize(("name", "bind", "tradeoff"), [
    ("numbered", {"M_N": 0.25}, 0.125), ("aliased", {}, 0.5), ("handed_on", {}, 0.5), ("handed_on", {"kld_weight": 3.0}, 1.5),
    ("looped", {}, 0.5), ("weighed", {"scale": 2.0}, 0.25), ("annealed", {"global_step": 500}, 0.25),
])  # fmt: skip
def test_what_is_read_of_keywords_is_filled_by_its_role(name: str, bind: dict[str, Any], tradeoff: float) -> None:
    (row,) = audit(getattr(Keyed(), name), shape=(5,), latent=3, bind=bind).rows
    assert (row.family, row.tradeoff) == ("gaussian", pytest.approx(tradeoff))


@pytest.mark.parametrize(("name", "words", "hint"), [
    ("numbered", "needs M_N, which", "--bind M_N=1"), ("weighed", "needs scale, which", "--bind scale=1"),
    ("annealed", "weighs its KL by global_step, which is not known", "--bind global_step=1000"),
    ("chosen", "needs kind, which", "--bind kind=WORD"),
    ("configured", "needs cfg['use_kl'], cfg['loss']['beta'] and cfg['reduction'], which",
     "--bind \"cfg['use_kl']=1\" --bind \"cfg['loss']['beta']=1\" --bind \"cfg['reduction']=sum\""),
])  # fmt: skip
def test_what_is_read_and_not_known_is_asked_for_at_once(name: str, words: str, hint: str) -> None:
    with pytest.raises(ReconError, match=re.escape(words)) as caught:
        audit(getattr(Keyed(), name), shape=(5,), latent=3)
    assert hint in caught.value.hint


def test_what_a_softmax_is_taken_of_beside_the_data_are_classes() -> None:
    def loss(*args: Any, **kwargs: Any) -> torch.Tensor:
        recon, x, q = args
        shares = q.softmax(-1)
        kl = (shares * (shares + 1e-12).log() + shares * math.log(4)).sum((1, 2)).mean()
        return 0.5 * (recon - x).square().sum() / len(x) + kl

    found = audit(loss, shape=(5,), latent=(3, 4))
    assert [role for _, role, _ in found.roles][:3] == ["recon", "target", "probs"]
    assert found.verdict == "elbo"


def test_numbers_stand_beside_the_shape_that_is_given_by_name() -> None:
    """As a masked autoencoder's patches are: the size that all is measured at is theirs."""

    def loss(imgs, pred):
        return ((pred - imgs.reshape(len(imgs), 4, 12)) ** 2).mean(dim=-1).mean()

    (row,) = audit(loss, {"imgs": (3, 4, 4), "pred": (4, 12)}, args="target,recon").rows
    assert (row.elements, row.batch) == (48, 4)
