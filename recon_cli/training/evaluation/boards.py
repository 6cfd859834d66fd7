"""TensorBoard's event files, beside the metrics."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy

from recon_cli.errors import ReconError, not_installed
from recon_cli.report import Picture
from recon_cli.runtime.images import pixels, png
from recon_cli.training.figures import Epoch, Figures

FOLDER = "tensorboard"


def available(out: object) -> None:
    """Raise ReconError where no event files can be written: no run folder, or the library is not installed."""
    if out is None:
        raise ReconError("--tensorboard writes into the run folder, and there is none.", "Give --out.")
    if importlib.util.find_spec("tensorboard") is None:
        raise not_installed("--tensorboard writes with", "tensorboard", "tensorboard")


class Board:
    """Writes into ``folder``; with None nowhere.

    history
        the epochs that are there from before: what was written after them, by a process that was killed, no longer counts.
    ended
        whether none will follow: then the last is written again, with what belongs to the end.
    """

    def __init__(self, folder: Path | None, history: Sequence[Epoch] = (), ended: bool = False, lr: float = 0.0) -> None:
        self.folder, self.writer = folder, None
        if folder is None:
            return
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(folder / FOLDER, purge_step=len(history) + (not ended))
        if ended and history:
            self.epoch(history[-1], lr)

    def epoch(self, figures: Epoch, lr: float) -> None:
        """Write the figures of an epoch that are numbers, each under ``train/``; and what the validation rows say."""
        if self.writer is None:
            return
        scalars = {f"train/{name}": value for name, value in vars(figures).items() if name not in ("epoch", "validation")}
        figure = "nll" if figures.negative_elbo is None else "negative_elbo"
        self.scalars({**scalars, "train/lr": lr, f"validation/{figure}": figures.validation}, figures.epoch)

    def scalars(self, figures: Mapping[str, float | None], epoch: int) -> None:
        """Write those that are numbers; on disk when this returns."""
        for name, value in figures.items():
            if isinstance(value, (int, float)) and self.writer is not None:
                self.writer.add_scalar(name, value, epoch)
        if self.writer is not None:
            self.writer.flush()

    def finish(self, result: Figures, where: str, pictures: Mapping[str, Picture], epoch: int) -> None:
        """Write the result under ``where``, the pictures, and no more."""
        if self.writer is None:
            return
        names = ("nll", "loss", "kl", "negative_elbo", "active")
        self.scalars({f"{where}/{name}": getattr(result, name) for name in names}, epoch)
        for name, picture in pictures.items():
            image = numpy.array(pixels(io.BytesIO(png(picture)))[0])
            self.writer.add_image(name, image, epoch, dataformats="HW" if image.ndim == 2 else "HWC")
        self.writer.close()
