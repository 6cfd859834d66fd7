# TRUTH: [{"family": "gaussian|unrecognised", "verdict": "unrecognised"}, {"family": "gaussian|unrecognised", "verdict": "unrecognised"}, {"family": "gaussian", "verdict": "defective", "defects": ["kl-not-kl"]}]
# An InfoVAE: no plain KL, and no mistake. Samples that weigh differently, in both terms. And a mistake: a deviation for a variance.
import torch
from torch import nn

encoder, decoder = nn.Linear(8, 6), nn.Linear(3, 8)
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()])


def kernel(a, b):
    return torch.exp(-(a[:, None] - b[None]).square().mean(2) / 3).mean()


def terms(x):
    mean, logvar = encoder(x).chunk(2, 1)
    z = mean + torch.randn_like(mean) * (logvar / 2).exp()
    return 0.5 * (decoder(z) - x).square().sum(1), 0.5 * (mean**2 + logvar.exp() - logvar - 1).sum(1), z, mean, logvar


for _ in range(2):
    x, weight = torch.randn(12, 8), torch.rand(12) + 0.5
    rec, kl, z, mean, logvar = terms(x)
    prior = torch.randn_like(z)
    mmd = kernel(z, z) + kernel(prior, prior) - 2 * kernel(z, prior)
    (rec.mean() + kl.mean() + 10 * mmd).backward()

    rec, kl, z, mean, logvar = terms(x)
    (weight * (rec + kl)).mean().backward()

    rec, kl, z, mean, logvar = terms(x)
    (rec.sum() + 0.5 * (mean**2 + (logvar / 2).exp() - logvar - 1).sum()).backward()
    optimizer.step()
    optimizer.zero_grad()
