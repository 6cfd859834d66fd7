# TRUTH: {"family": "gaussian", "tradeoff": 1, "sigma": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
# A conditional VAE: the prior is a network's own, and the KL is that of two Gaussians.
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence


class ConditionalVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder, self.prior = nn.Linear(12, 6), nn.Linear(7, 8), nn.Linear(4, 6)

    def forward(self, x, c):
        mean, logvar = self.encoder(torch.cat([x, c], 1)).chunk(2, 1)
        prior_mean, prior_logvar = self.prior(c).chunk(2, 1)
        posterior = Normal(mean, (logvar / 2).exp())
        prior = Normal(prior_mean, (prior_logvar / 2).exp())
        out = self.decoder(torch.cat([posterior.rsample(), c], 1))
        return (0.5 * (out - x).pow(2).sum(1) + kl_divergence(posterior, prior).sum(1)).mean()


model = ConditionalVAE()
optimizer = torch.optim.Adam(model.parameters())
for _ in range(3):
    loss = model(torch.randn(16, 8), torch.randn(16, 4))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
