"""50: an autoencoder's loss module: a posterior object, a learned scale, an adversary that starts later."""

import torch
from torch import nn


class Perceptual(nn.Module):
    """Stands for a network that nobody has at hand: no difference between any two images."""

    def forward(self, a, b):
        return torch.zeros(len(a), 1, 1, 1)


class LPIPSWithDiscriminator(nn.Module):
    def __init__(self, disc_start=50001, logvar_init=0.0, kl_weight=0.000001, disc_weight=1.0, perceptual_weight=1.0):
        super().__init__()
        self.kl_weight = kl_weight
        self.perceptual_loss = Perceptual()
        self.perceptual_weight = perceptual_weight
        self.logvar = nn.Parameter(torch.ones(size=()) * logvar_init)
        self.discriminator = nn.Conv2d(3, 1, 4, stride=2)
        self.discriminator_iter_start = disc_start
        self.discriminator_weight = disc_weight

    def calculate_adaptive_weight(self, nll_loss, g_loss, last_layer):
        nll_grads = torch.autograd.grad(nll_loss, last_layer, retain_graph=True)[0]
        g_grads = torch.autograd.grad(g_loss, last_layer, retain_graph=True)[0]
        return torch.clamp(torch.norm(nll_grads) / (torch.norm(g_grads) + 1e-4), 0.0, 1e4).detach() * self.discriminator_weight

    def forward(
        self,
        inputs,
        reconstructions,
        posteriors,
        optimizer_idx,
        global_step,
        last_layer=None,
        cond=None,
        split="train",
        weights=None,
    ):
        rec_loss = torch.abs(inputs.contiguous() - reconstructions.contiguous())
        if self.perceptual_weight > 0:
            p_loss = self.perceptual_loss(inputs.contiguous(), reconstructions.contiguous())
            rec_loss = rec_loss + self.perceptual_weight * p_loss
        nll_loss = rec_loss / torch.exp(self.logvar) + self.logvar
        weighted_nll_loss = nll_loss
        if weights is not None:
            weighted_nll_loss = weights * nll_loss
        weighted_nll_loss = torch.sum(weighted_nll_loss) / weighted_nll_loss.shape[0]
        nll_loss = torch.sum(nll_loss) / nll_loss.shape[0]
        kl_loss = posteriors.kl()
        kl_loss = torch.sum(kl_loss) / kl_loss.shape[0]
        if optimizer_idx == 0:
            logits_fake = self.discriminator(reconstructions.contiguous())
            g_loss = -torch.mean(logits_fake)
            disc_factor = 1.0 if global_step >= self.discriminator_iter_start else 0.0
            d_weight = torch.tensor(0.0)
            if last_layer is not None:
                d_weight = self.calculate_adaptive_weight(nll_loss, g_loss, last_layer=last_layer)
            loss = weighted_nll_loss + self.kl_weight * kl_loss + d_weight * disc_factor * g_loss
            log = {f"{split}/total_loss": loss.clone().detach().mean(), f"{split}/logvar": self.logvar.detach()}
            return loss, log
        return torch.relu(1 - self.discriminator(inputs)).mean(), {}
