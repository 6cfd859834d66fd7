"""42: a factory of a loss; latents before data, what is called logvar used as a standard deviation."""

import torch


class VAE_KLDivergence:
    def _create_pytorch_loss(self):
        def loss(logvar, mu):
            return 0.5 * torch.mean(torch.square(mu) + torch.square(logvar) - torch.log(torch.square(logvar) + 1e-20) - 1, -1)

        return loss


class VAE_ELBO:
    def _create_pytorch_loss(self):
        def loss(logvar, mu, x, reconstruction_x, kl_scale=1):
            BCE = torch.nn.BCELoss(reduction="none")
            return torch.mean(BCE(reconstruction_x, x), dim=-1) + kl_scale * VAE_KLDivergence()._create_pytorch_loss()(logvar, mu)

        return loss
