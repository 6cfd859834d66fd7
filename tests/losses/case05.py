"""5: sigma-VAE, its Gaussian of sigma about 1 (a soft clip moves it)."""

import math

import torch
from torch import nn
from torch.nn import functional as F


def softclip(tensor, min):
    return min + F.softplus(tensor - min)


def gaussian_nll(mu, log_sigma, x):
    return 0.5 * torch.pow((x - mu) / log_sigma.exp(), 2) + log_sigma + 0.5 * math.log(2 * math.pi)


class ConvVAE(nn.Module):
    def __init__(self, device, args):
        super().__init__()
        self.model = args.model
        self.log_sigma = 0

    def reconstruction_loss(self, x_hat, x):
        if self.model == "gaussian_vae":
            log_sigma = torch.zeros([], device=x_hat.device)
        elif self.model == "sigma_vae":
            log_sigma = self.log_sigma
        else:
            log_sigma = ((x - x_hat) ** 2).mean([0, 1, 2, 3], keepdim=True).sqrt().log()
            self.log_sigma = log_sigma.item()
        return gaussian_nll(x_hat, softclip(log_sigma, -6), x).sum()

    def loss_function(self, recon_x, x, mu, logvar):
        rec = self.reconstruction_loss(recon_x, x)
        kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
        return rec, kl
