"""64: Keras's closures, the latents from around them: a vector [B] back."""

import torch


def compile_(r_loss_factor, mu=None, log_var=None):
    def vae_r_loss(y_true, y_pred):
        return r_loss_factor * torch.mean(torch.square(y_true - y_pred), dim=(1, 2, 3))

    def vae_kl_loss(mu, log_var):
        return -0.5 * torch.sum(1 + log_var - torch.square(mu) - torch.exp(log_var), dim=1)

    def vae_loss(y_true, y_pred):
        return vae_r_loss(y_true, y_pred) + vae_kl_loss(mu, log_var)

    return vae_loss
