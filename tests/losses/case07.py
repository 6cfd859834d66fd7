"""7: the world model's VAE: log standard deviations, and a BCE that is none."""

import argparse

import a_package_that_is_not_there  # noqa: F401
import torch
import torch.nn.functional as F

options = argparse.ArgumentParser().parse_args()


def loss_function(recon_x, x, mu, logsigma):
    BCE = F.mse_loss(recon_x, x, size_average=False)
    KLD = -0.5 * torch.sum(1 + 2 * logsigma - mu.pow(2) - (2 * logsigma).exp())
    return BCE + KLD
