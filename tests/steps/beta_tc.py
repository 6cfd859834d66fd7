# TRUTH: {"family": "gaussian|unrecognised", "verdict": "unrecognised"}
# The total correlation of a batch weighs more than the rest of the KL: no reconstruction alone, and no ELBO.
import math

import torch
from torch import nn

encoder, decoder = nn.Linear(8, 6), nn.Linear(3, 8)
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()])


def log_normal(z, mean, logvar):
    return -0.5 * (logvar + math.log(2 * math.pi) + (z - mean) ** 2 * torch.exp(-logvar))


for _ in range(2):
    x = torch.randn(16, 8)
    mean, logvar = encoder(x).chunk(2, 1)
    z = mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)
    zeros = torch.zeros_like(z)
    pairwise = log_normal(z[:, None], mean[None], logvar[None]) - math.log(16 * 100)
    log_q, log_q_each = torch.logsumexp(pairwise.sum(2), 1), torch.logsumexp(pairwise, 1).sum(1)
    mutual = (log_normal(z, mean, logvar).sum(1) - log_q).mean()
    total_correlation = (log_q - log_q_each).mean()
    dimension_wise = (log_q_each - log_normal(z, zeros, zeros).sum(1)).mean()
    loss = (decoder(z) - x).square().sum() / 16 + mutual + 6 * total_correlation + dimension_wise
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
