# TRUTH: {"family": "bernoulli|unrecognised", "verdict": "elbo|unrecognised"}
# VampPrior: the prior is a mixture of the posteriors of inputs that are learned.
import math

import torch
import torch.nn.functional as F
from torch import nn

encoder, decoder, inputs = nn.Linear(8, 6), nn.Linear(3, 8), nn.Parameter(torch.rand(5, 8))
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), inputs])


def log_normal(z, mean, logvar):
    return (-0.5 * (logvar + (z - mean) ** 2 / logvar.exp() + math.log(2 * math.pi))).sum(-1)


for _ in range(3):
    x = torch.rand(16, 8).round()
    mean, logvar = encoder(x).chunk(2, 1)
    z = mean + torch.randn_like(mean) * (logvar / 2).exp()
    components = log_normal(z[:, None], *(part[None] for part in encoder(inputs).chunk(2, 1)))
    reconstruction = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="none").sum(1)
    loss = (reconstruction + log_normal(z, mean, logvar) - components.logsumexp(1) + math.log(5)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
