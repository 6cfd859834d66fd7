"""27: a library's VAE and beta-VAE, with the half; the family from a configuration, z asked for and not used."""

import torch
import torch.nn.functional as F
from torch import nn


class VAE(nn.Module):
    def __init__(self, model_config):
        super().__init__()
        self.model_config = model_config

    def loss_function(self, recon_x, x, mu, log_var, z):
        if self.model_config.reconstruction_loss == "mse":
            recon_loss = 0.5 * F.mse_loss(recon_x.reshape(x.shape[0], -1), x.reshape(x.shape[0], -1), reduction="none").sum(
                dim=-1
            )
        elif self.model_config.reconstruction_loss == "bce":
            recon_loss = F.binary_cross_entropy(recon_x.reshape(x.shape[0], -1), x.reshape(x.shape[0], -1), reduction="none").sum(
                dim=-1
            )
        KLD = -0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp(), dim=-1)
        return (recon_loss + KLD).mean(dim=0), recon_loss.mean(dim=0), KLD.mean(dim=0)


class BetaVAE(VAE):
    def __init__(self, model_config):
        super().__init__(model_config)
        self.beta = model_config.beta

    def loss_function(self, recon_x, x, mu, log_var, z):
        total, recon_loss, KLD = super().loss_function(recon_x, x, mu, log_var, z)
        return recon_loss + self.beta * KLD, recon_loss, KLD
