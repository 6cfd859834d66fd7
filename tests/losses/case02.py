"""2: the same in 2017, in a script that parses arguments, downloads and trains when imported."""

import argparse

import torch
from torch.nn import functional as F

parser = argparse.ArgumentParser()
parser.add_argument("--batch-size", type=int, default=128)
args = parser.parse_args(["--no-such-option"])
raise SystemExit("imported")


def loss_function(recon_x, x, mu, logvar):
    BCE = F.binary_cross_entropy(recon_x, x.view(-1, 784))
    KLD = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    KLD /= args.batch_size * 784
    return BCE + KLD
