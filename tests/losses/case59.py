"""59: the decoder is a distribution; KLs are passed in as groups, their weights detached."""

import torch


def reconstruction_loss(decoder, x, crop=False):
    recon = decoder.log_prob(x)
    if crop:
        recon = recon[:, :, 2:30, 2:30]
    return -torch.sum(recon, dim=[1, 2, 3])


def kl_balancer(kl_all, kl_coeff=1.0, kl_balance=False, alpha_i=None):
    if kl_balance and kl_coeff < 1.0:
        alpha_i = alpha_i.unsqueeze(0)
        kl_all = torch.stack(kl_all, dim=1)
        kl_coeff_i = torch.mean(torch.abs(kl_all), dim=0, keepdim=True) + 0.01
        total_kl = torch.sum(kl_coeff_i)
        kl_coeff_i = kl_coeff_i / alpha_i * total_kl
        kl_coeff_i = kl_coeff_i / torch.mean(kl_coeff_i, dim=1, keepdim=True)
        kl = torch.sum(kl_all * kl_coeff_i.detach(), dim=1)
        return kl_coeff * kl, kl_coeff_i.squeeze(0)
    kl_all = torch.stack(kl_all, dim=1)
    return kl_coeff * torch.sum(kl_all, dim=1), torch.ones(kl_all.size(1))


def train_loss(decoder, x, kl_1, kl_2, kl_coeff=0.7):
    recon = reconstruction_loss(decoder, x)
    balanced, _ = kl_balancer([kl_1, kl_2], kl_coeff, kl_balance=True, alpha_i=torch.ones(2))
    return torch.mean(recon + balanced)
