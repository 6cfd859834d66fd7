# TRUTH: [{"family": "bernoulli", "beta": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}, {"family": "gaussian", "tradeoff": 1, "sigma": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}, {"family": "bernoulli", "beta": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}]
# Five draws of the latents for each sample, averaged: stacked first, row by row, and side by side.
import torch
import torch.nn.functional as F
from torch import nn

encoder, decoder = nn.Linear(8, 6), nn.Linear(3, 8)
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()])


def posterior(x):
    mean, logvar = encoder(x).chunk(2, 1)
    return mean, logvar, 0.5 * (mean**2 + logvar.exp() - logvar - 1).sum(1)


def bernoulli(logits, x):
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


for _ in range(2):
    x = torch.rand(12, 8).round()

    mean, logvar, kl = posterior(x)
    z = mean + torch.randn(5, 12, 3) * (logvar / 2).exp()
    (bernoulli(decoder(z), x.expand(5, -1, -1)).mean(0) + kl).mean().backward()

    mean, logvar, kl = posterior(x)
    z = mean.repeat_interleave(5, 0) + torch.randn(60, 3) * (logvar / 2).exp().repeat_interleave(5, 0)
    (0.5 * (decoder(z) - x.repeat_interleave(5, 0)).square().sum(1).view(12, 5).mean(1) + kl).sum().backward()

    mean, logvar, kl = posterior(x)
    z = mean[:, None] + torch.randn(12, 5, 3) * (logvar[:, None] / 2).exp()
    (bernoulli(decoder(z), x[:, None].expand(-1, 5, -1)).mean(1) + kl).mean().backward()

    optimizer.step()
    optimizer.zero_grad()
