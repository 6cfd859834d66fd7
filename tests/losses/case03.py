"""3: two parts, and the caller adds them."""

import torch


def loss_function(recon_x, x, mu, logvar):
    BCE = torch.mean((recon_x - x) ** 2)
    KLD = -0.5 * torch.mean(1 + logvar - mu.pow(2) - logvar.exp())
    return BCE, KLD * 0.1
