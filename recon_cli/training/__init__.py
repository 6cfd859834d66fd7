"""What does it change? The same model trained under a likelihood of your choice.

A small variational autoencoder whose reconstruction term is ``likelihood.nll_raw``: each epoch it
reports both sides of -log p = slope * loss + offset + gap, and the ratio of their gradients at the
decoder's parameters, measured by autograd beside the slope that predicts it.
"""

from recon_cli.models._vae import Vae
from recon_cli.training.checkpoints import Interrupted
from recon_cli.training.experiments.lockstep import Lockstep, lockstep
from recon_cli.training.experiments.sweep import Sweep, sweep
from recon_cli.training.figures import Epoch, Figures
from recon_cli.training.result import Result, Training
from recon_cli.training.runs import fresh
from recon_cli.training.settings import Settings
from recon_cli.training.trained import Evaluated, evaluate
from recon_cli.training.trainer import epochs_of, resume, train

__all__ = [
    "Epoch", "Evaluated", "Figures", "Interrupted", "Lockstep", "Result", "Settings", "Sweep", "Training", "Vae",
    "epochs_of", "evaluate", "fresh", "lockstep", "resume", "sweep", "train",
]  # fmt: skip
