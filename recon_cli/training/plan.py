"""A run before its first step: words read, data there, everything checked."""

from __future__ import annotations

import copy
import dataclasses
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import torch

from recon_cli import likelihoods, sources
from recon_cli.errors import ReconError, unknown
from recon_cli.identity.arrays import as_array
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.regions import check
from recon_cli.identity.shapes import spell
from recon_cli.likelihoods._by_decoder import floored
from recon_cli.models import user
from recon_cli.models.regression import Regression
from recon_cli.models.vae import Vae
from recon_cli.report import version
from recon_cli.runtime import devices, processes
from recon_cli.training import regressing
from recon_cli.training.loop import State
from recon_cli.training.noises import start
from recon_cli.training.settings import Settings, exactly, noise, number, of_its_kind, trained
from recon_cli.training.shared import Shared, shareable
from recon_cli.training.validation import Watch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Plan:
    """A run before its first step: what was asked for, checked, and the data.

    whose
        whose the noise is: ``fixed``, ``learned``, ``optimal`` or ``per-element``.
    kept, checked, back
        the training rows, those for validation and those held out, (N, D) each.
    config
        what ``config.json`` says.
    targets, names
        of a regression, the columns that it predicts; and what all of them are called.
    loss
        trained on instead of the nll; None where that is.
    own
        the user's own model as it begins, where there is one.
    remarks
        what the data may be instead of what they are taken for.
    """

    settings: Settings
    claim: Likelihood
    whose: str
    word: str
    described: str
    shape: tuple[int, ...]
    kept: Tensor
    checked: Tensor
    back: Tensor
    grey: float
    config: dict[str, Any]
    targets: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    loss: Loss | None = None
    own: user.Own | None = None
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, data: Any = "digits", likelihood: str | Likelihood = "gaussian", sigma: float | str | None = None,
        device: str = "auto", binarize: str | None = None, scale: float | None = None, **how: Any,
    ) -> Plan:  # fmt: skip
        """Everything read and checked, nothing made. As for ``train``."""
        sensible(likelihood, device, binarize, scale)
        made = how.get("model", "mlp")
        how["model"] = user.spelled(made)
        if isinstance(data, tuple) and how["model"] == "regression":
            data, how["target"] = regressing.joined(data, how.get("target"))
        settings = Settings.asked(**how)
        regressing.checked(settings)
        claim, whose = noise(likelihood, sigma)
        claim = claim.admitted()
        if claim.head and settings.sigma_floor:
            claim = floored(claim, settings.sigma_floor)
        loss = None
        if settings.loss:
            loss, whose = trained(settings.loss, claim, whose, sigma)
        if settings.exact and claim.name != "gaussian":
            raise ReconError(f"--exact is of the gaussian likelihood; {claim.name} has no closed form.", "Leave --exact out.")
        if settings.exact and whose == "per-element":
            raise ReconError("--exact is of one noise for all elements, and --sigma is per-element.", "Leave --exact out.")
        where = devices.device(device)
        word, described, values, names, remarks = samples(data, binarize, scale, settings.seed, settings.model == "regression")
        targets, events = (), torch.from_numpy(values)
        if settings.model == "regression":
            targets = regressing.target(settings.target, names, values, word)
            names = regressing.labels(names, values.shape[1])
            events = events[:, None, targets] if claim.event else events[:, targets]
            described += f"; {regressing.listed([names[at] for at in targets])} from {regressing.others(names, targets)}"
        grey = beyond(claim, events, word)
        if loss is not None:
            check(events, loss.support, f"the data ({word})", f"{loss.name} allows")
        parts = sources.split(values.reshape(len(values), -1), settings.holdout, word)
        parts = (*sources.split(parts[0], settings.validation, f"the training part of {word}"), parts[1])
        kept, checked, back = (torch.from_numpy(part).to(where) for part in parts)
        shape = values.shape[1:] or (1,)
        own, checksum = None, None
        if settings.own_model or not isinstance(made, str):
            if isinstance(made, str):
                made, checksum = user.find(made)
            own = user.own(
                made, settings.model, kept, claim, shape, settings.deterministic, latent=settings.latent,
                hidden=settings.hidden, seed=settings.seed, batch=settings.batch_size,
            )  # fmt: skip
            settings = dataclasses.replace(settings, latent=own.latent)
        fingerprint = f"{len(values)}:{zlib.crc32(numpy.ascontiguousarray(values)):08x}"
        config = {
            "version": version(), "data": word, "shape": shape, "rows": fingerprint,
            "binarize": binarize, "scale": scale,
            "likelihood": likelihood if isinstance(likelihood, str) else exactly(claim), "sigma": sigma, "noise": whose,
            **vars(settings), **({"model_sha256": checksum} if own else {}),
            "device": where.type if processes.is_distributed() else str(where),
        }  # fmt: skip
        shareable(settings, len(kept), config)
        return cls(
            settings, claim, whose, word, described, shape, kept, checked, back, grey, config, targets, (*names,), loss, own,
            remarks,
        )  # fmt: skip

    def state(self) -> State:
        """The model before its first step."""
        generator = torch.Generator().manual_seed(self.settings.seed)
        own = self.settings
        if own.model == "regression":
            vae: Any = Regression(self.kept, self.claim, self.targets, own.hidden, generator)
        else:
            vae = copy.deepcopy(self.own) or Vae(
                self.kept, self.claim, own.latent, own.hidden, generator, self.shape[-1], own.model, self.shape,
                own.deterministic,
            )  # fmt: skip
        source = start(self.claim, self.whose, vae.target(self.kept), self.settings.sigma_floor)
        kind = Shared if processes.is_distributed() else State
        state = kind(vae.to(self.kept.device), source.to(self.kept.device), self.kept, self.settings)
        state.watch = Watch(self.checked, self.settings.patience)
        return state


def sensible(likelihood: Any, device: Any, binarize: Any, scale: Any) -> None:
    """Raise ReconError for what is neither a word nor a number where it must be one."""
    if not isinstance(likelihood, (str, Likelihood)):
        raise ReconError(f"--likelihood must be a word, or in Python a Likelihood; found {likelihood!r}.", "Try gaussian.")
    if not isinstance(device, str):
        raise ReconError(f"--device must be a word; found {device!r}.", "Try --device auto.")
    if binarize not in (None, "threshold", "sample"):
        raise unknown("way to binarize", str(binarize), ["threshold", "sample"])
    if scale is not None:
        scale = of_its_kind("scale", "float", scale)
        number("scale", scale, 0 < scale < math.inf, "a positive number", "255")


def samples(
    data: Any, binarize: str | None, scale: float | None, seed: int, labels: bool = False
) -> tuple[str, str, sources.Array, Sequence[str], tuple[str, ...]]:  # fmt: skip
    """What to call the data, what they are, their values in float32, shape (N, ...), what a table calls its columns; remarks."""
    names: Sequence[str] = ()
    if isinstance(data, (str, Path)):
        word, source = str(data), sources.parse(str(data), seed)
        source.labels = labels
        values, about = sources.samples(source, word, scale)
        names, remarks = source.columns, source.remarks
    else:
        word, source = "data", sources.InMemory()
        source.labels = labels
        values, done = sources.observed(source, as_array(data, word), word, scale)
        remarks = source.remarks
        about = f"{word}: {len(values):,} samples of shape {spell(values.shape[1:])}{done and ', '}{done}"
    values = sources.binarized(numpy.asarray(values), binarize, seed, word)
    how = {None: "", "threshold": ", made 0 or 1 at one half", "sample": ", made 0 or 1 by chance"}[binarize]
    with numpy.errstate(over="ignore"):
        single = values.astype(numpy.float32, copy=not values.flags.writeable)
    if not numpy.isfinite(single).all():
        most = max(values.max(), -values.min())
        raise ReconError(f"{word} has values up to {most:g}, beyond the range of float32.", "Rescale the data.")
    return word, about + how, single, names, remarks


def beyond(claim: Likelihood, x: Tensor, word: str) -> float:
    """The share of ``x`` where ``claim`` is no density but its relaxation is; 0 where it is one of everything.

    Raises ReconError for values outside both.
    """
    outside = ~claim.support.contains(x)
    side = likelihoods.parse(claim.relaxation) if claim.relaxation and outside.any() else claim
    check(x, side.support, f"the data ({word})", f"{claim.name} allows")
    return outside.double().mean().item()
