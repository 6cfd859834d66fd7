"""Kernels made ahead of the comparison that takes them: because somebody asks for them, or for the next time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import recon_cli
from recon_cli.comparison.cases import admit
from recon_cli.comparison.kernels import Kind, is_kept, made_or_loaded
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.report import Report, Table, column
from recon_cli.runtime import devices, kernels, processes
from recon_cli.runtime.devices import Uncompiled

USUAL = ("gaussian", "laplace", "bernoulli", "poisson", "categorical")
LATER = 10  # how much a process in the background stands behind all others


@dataclass(frozen=True)
class KeptKernel:
    """A kernel in the cache: what it is for, whether it was made just now, and in how many seconds that is known."""

    likelihood: str = column("likelihood", brief=True)
    loss: str = column("loss", brief=True)
    dtype: str = column("data", brief=True)
    state: str = column("kernel", brief=True)
    seconds: float = column("seconds")


def warm(
    *noise_models: Likelihood,
    loss: Loss | None = None,
    dtype: str = "float32",
    length: int = 10,
    progress: Callable[[int, str], None] | None = None,
) -> Report:
    """Return a report on the kernels of likelihoods, each for any noise: those that are not kept yet are made, and kept.

    loss
        another than the likelihood's own.
    length
        that of vectors, where a likelihood is of vectors.

    Raises ReconError where the compiler fails, where a kernel cannot be kept, and for a loss of other shapes.
    """
    rows, notes = list[KeptKernel](), [f"Kept in {kernels.folder()}, for any noise."]
    for done, likelihood in enumerate(noise_models):
        kind = kind_of(likelihood, loss, dtype, length)
        words, start = list[str](), time.monotonic()

        def say(word: str, done: int = done, name: str = likelihood.name, words: list[str] = words) -> None:
            words.append(word)
            if progress is not None:
                progress(done, f"{name}, {word}")

        say("")
        try:
            _, remarks = made_or_loaded(kind, say)
        except Uncompiled as error:
            hint = "Kernels are made by a C++ compiler: install g++ or clang++. Without, --engine eager gives the same numbers."
            raise ReconError(error.message, hint) from error
        if not is_kept(kind):
            raise ReconError(remarks[-1], "Make room there, or name another folder: RECON_CACHE.")
        notes += remarks
        state = "made" if words[1:] else "was there"
        rows.append(KeptKernel(likelihood.name, kind.claim.loss.name, dtype, state, time.monotonic() - start))
    return Report("warm", [Table.of("kernels", KeptKernel, rows)], notes)


def kind_of(likelihood: Likelihood, loss: Loss | None, dtype: str, length: int) -> Kind:
    """Return what a comparison of a likelihood and a loss takes. Raises ReconError where they do not fit, or are not recon's."""
    import torch

    likelihood = likelihood.of_vectors(length)
    head, event = len(likelihood.head), (length,) * likelihood.event
    x, mu = torch.zeros(2, *event), torch.zeros(2, *event, *([head] if head else []))
    kind = Kind.of(admit(likelihood, loss, x, mu, torch.device("cpu"), devices.dtype(dtype), "data", False))
    if not kind.is_known:
        raise ReconError(f"No kernel of {likelihood} is kept: it is of a class of somebody's own.", "Leave it out.")
    return kind


def make_in_background(kind: Kind) -> tuple[str, ...]:
    """Have another process make a kernel for the next time, and return the sentence that says so; nothing where it cannot.

    For what is recon's own, and said in words; by one process, once a day at most, after everything else that runs here.
    """
    claim, description = kind.claim, kind.description
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))), None)
    in_words = kind.is_known and not description["fixed"] and claim.measured is claim.likelihood
    if not in_words or compiler is None or processes.count() > 1 or not kernels.first_today(description):
        return ()
    words = ["warm", claim.likelihood.name, "--dtype", str(kind.dtype)[6:]]
    words += [] if claim.own else ["--loss", claim.loss.name]
    words += [word for size in kind.event for word in ("--length", str(size))]
    path = os.pathsep.join([str(Path(recon_cli.__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])])
    nothing = subprocess.DEVNULL
    with suppress(OSError):
        child = subprocess.Popen(
            [sys.executable, "-m", "recon_cli", *words], stdin=nothing, stdout=nothing, stderr=nothing,
            start_new_session=True, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        with suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, child.pid, LATER)
        return (
            f"The next time it takes less: recon {' '.join(words)} makes a kernel, in the background (--engine eager: none).",
        )
    return ()
