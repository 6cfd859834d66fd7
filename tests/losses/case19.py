"""19, 21, 23, 26: the family of methods on ``*args`` and ``**kwargs`` with a required key."""

import lightning_that_is_not_there as pl
import torch
from torch import nn
from torch.nn import functional as F


class VanillaVAE(pl.BaseVAE):
    def __init__(self, in_channels, latent_dim, hidden_dims=None, **kwargs):
        super().__init__()

    def loss_function(self, *args, **kwargs) -> dict:
        recons = args[0]
        input = args[1]
        mu = args[2]
        log_var = args[3]
        kld_weight = kwargs["M_N"]  # Account for the minibatch samples from the dataset
        recons_loss = F.mse_loss(recons, input)
        kld_loss = torch.mean(-0.5 * torch.sum(1 + log_var - mu**2 - log_var.exp(), dim=1), dim=0)
        loss = recons_loss + kld_weight * kld_loss
        return {"loss": loss, "Reconstruction_Loss": recons_loss.detach(), "KLD": -kld_loss.detach()}


class LogCoshVAE(pl.BaseVAE):
    def __init__(self, in_channels, latent_dim, hidden_dims=None, alpha=100.0, beta=10.0, **kwargs):
        super().__init__()
        self.alpha = alpha
        self.beta = beta

    def loss_function(self, *args, **kwargs) -> dict:
        recons = args[0]
        input = args[1]
        mu = args[2]
        log_var = args[3]
        t = recons - input
        recons_loss = self.alpha * t + torch.log(1.0 + torch.exp(-2 * self.alpha * t)) - torch.log(torch.tensor(2.0))
        recons_loss = (1.0 / self.alpha) * recons_loss.mean()
        kld_weight = kwargs["M_N"]
        kld_loss = torch.mean(-0.5 * torch.sum(1 + log_var - mu**2 - log_var.exp(), dim=1), dim=0)
        loss = recons_loss + self.beta * kld_weight * kld_loss
        return {"loss": loss, "Reconstruction_Loss": recons_loss, "KLD": -kld_loss}


class VampVAE(pl.BaseVAE):
    def __init__(self, in_channels, latent_dim, num_components=50, **kwargs):
        super().__init__()
        self.pseudo_input = torch.eye(num_components)
        self.num_components = num_components

    def encode(self, input):
        result = self.encoder(input)
        return [self.fc_mu(result), self.fc_var(result)]

    def loss_function(self, *args, **kwargs) -> dict:
        recons = args[0]
        input = args[1]
        mu = args[2]
        log_var = args[3]
        z = args[4]
        kld_weight = kwargs["M_N"]
        recons_loss = F.mse_loss(recons, input)
        E_log_q_z = torch.mean(torch.sum(-0.5 * (log_var + (z - mu) ** 2) / log_var.exp(), dim=1), dim=0)
        M, C = z.shape[0], self.num_components
        x = torch.eye(C).cuda()
        x = self.embed_pseudo(x)
        prior_mu, prior_log_var = self.encode(x)
        z_expand, prior_mu, prior_log_var = z.unsqueeze(1), prior_mu.unsqueeze(0), prior_log_var.unsqueeze(0)
        E_log_p_z = torch.sum(-0.5 * (prior_log_var + (z_expand - prior_mu) ** 2) / prior_log_var.exp(), dim=2)
        E_log_p_z = torch.logsumexp(E_log_p_z - torch.log(torch.tensor(float(C))), dim=1)
        assert E_log_p_z.shape == (M,)
        kld_loss = -(E_log_p_z.mean() - E_log_q_z)
        loss = recons_loss + kld_weight * kld_loss
        return {"loss": loss, "Reconstruction_Loss": recons_loss, "KLD": -kld_loss}


class Pseudo(nn.Module):
    """What VampVAE runs inside: an encoder of pseudo-inputs."""

    def forward(self, x):
        return x


def window(size, sigma=1.5):
    line = torch.exp(-((torch.arange(size, dtype=torch.float32) - size // 2) ** 2) / (2 * sigma**2))
    line = line / line.sum()
    return line[:, None] @ line[None, :]


class MSSIM(nn.Module):
    """A pyramid of two levels, from its formula."""

    def __init__(self, channels=3, size=7):
        super().__init__()
        self.channels, self.size = channels, size

    def ssim(self, a, b):
        kernel = window(self.size).expand(self.channels, 1, self.size, self.size)

        def smooth(v):
            return F.conv2d(v, kernel, groups=self.channels)

        ma, mb = smooth(a), smooth(b)
        va, vb, cov = smooth(a * a) - ma**2, smooth(b * b) - mb**2, smooth(a * b) - ma * mb
        contrast = (2 * cov + 9e-4) / (va + vb + 9e-4)
        return ((2 * ma * mb + 1e-4) / (ma**2 + mb**2 + 1e-4) * contrast).mean(), contrast.mean()

    def forward(self, a, b):
        _, contrast = self.ssim(a, b)
        whole, _ = self.ssim(F.avg_pool2d(a, 2), F.avg_pool2d(b, 2))
        return 1 - whole * contrast


class MSSIMVAE(pl.BaseVAE):
    def __init__(self, in_channels, latent_dim, **kwargs):
        super().__init__()
        self.mssim_loss = MSSIM(in_channels)

    def loss_function(self, *args, **kwargs) -> dict:
        recons = args[0]
        input = args[1]
        mu = args[2]
        log_var = args[3]
        kld_weight = kwargs["M_N"]
        recons_loss = self.mssim_loss(recons, input)
        kld_loss = torch.mean(-0.5 * torch.sum(1 + log_var - mu**2 - log_var.exp(), dim=1), dim=0)
        loss = recons_loss + kld_weight * kld_loss
        return {"loss": loss, "Reconstruction_Loss": recons_loss, "KLD": -kld_loss}
