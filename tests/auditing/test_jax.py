"""Losses of JAX arrays, audited as torch's are (skipped where JAX is not installed)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recon_cli import audit

pytest.importorskip("jax")

FILE = """
import functools
import jax
import jax.numpy as jnp

def kl(mu, logvar):
    return 0.5 * jnp.sum(mu**2 + jnp.exp(logvar) - logvar - 1)

def elbo(recon, x, mu, logvar):
    return 0.5 * jnp.sum((recon - x) ** 2) + kl(mu, logvar)

@functools.partial(jax.jit, static_argnames=("reduce",))
def jitted(recon, x, mu, logvar, reduce="mean"):
    return getattr(jnp, reduce)((recon - x) ** 2) + kl(mu, logvar)

def labels(logits, labels):
    return -jnp.sum(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[..., None], -1))

def apart(out, batch):
    rec = jnp.sum((out["recon"] - batch["image"]) ** 2)
    return {"loss": rec + kl(*out["stats"]), "rec": rec}

def nameless(a, b, c, d):
    return jnp.sum(jax.vmap(lambda r, t: jnp.sum(jnp.abs(r - t)))(a, b)) + kl(c, d)

def drawn(recon, x, mu, logvar, key):
    z = mu + jnp.exp(logvar / 2) * jax.random.normal(key, mu.shape)
    return jnp.sum((recon - x) ** 2) + kl(mu, logvar) + 0 * z.sum()

def misprinted(recon, x, mu, logvar):
    return jnp.sum((recon - x) ** 2) + 0.5 * jnp.sum(mu**2 + jnp.exp(0.5 * logvar) - logvar - 1)

def only(mu, logvar):
    return kl(mu, logvar)

class Loss:
    def __init__(self, beta=2.0):
        self.beta = beta

    def loss(self, recon, x, mu, logvar):
        return 0.5 * jnp.sum((recon - x) ** 2) + self.beta * kl(mu, logvar)
"""


@pytest.mark.parametrize(("name", "truth"), [
    ("elbo", {"family": "gaussian", "verdict": "elbo", "tradeoff": 1.0, "latent_scale": "log_variance"}),
    ("jitted", {"family": "gaussian", "verdict": "shape-dependent", "tradeoff": 4 * 6 / 2}),
    ("labels", {"family": "categorical", "verdict": "reconstruction-only"}),
    ("apart", {"family": "gaussian", "verdict": "elbo", "tradeoff": 0.5}),
    ("nameless", {"family": "laplace", "verdict": "elbo", "tradeoff": 1.0}),
    ("drawn", {"family": "gaussian", "verdict": "elbo", "tradeoff": 0.5}),
    ("misprinted", {"verdict": "defective", "defects": ("kl-not-kl",)}),
    ("only", {"verdict": "kl-only", "latent_scale": "log_variance"}),
    ("Loss.loss", {"family": "gaussian", "verdict": "elbo", "tradeoff": 2.0}),
])  # fmt: skip
def test_functions_of_jax_arrays(name: str, truth: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "losses.py").write_text(FILE)
    found = audit(f"{tmp_path / 'losses.py'}:{name}", (6,), 3)
    row = found.rows[0]
    for key, value in truth.items():
        assert getattr(row, key) == (pytest.approx(value, rel=1e-9) if isinstance(value, float) else value), key
    assert any("through a bridge" in note for note in found.notes)
