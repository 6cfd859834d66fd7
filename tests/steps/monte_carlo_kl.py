# TRUTH: {"family": "bernoulli", "beta": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": ["stochastic"]}
import math

import torch
from torch import nn


def log_normal_pdf(sample, mean, logvar):
    return (-0.5 * ((sample - mean) ** 2 * torch.exp(-logvar) + logvar + math.log(2 * math.pi))).sum(1)


enc, dec = nn.Linear(10, 4), nn.Linear(2, 10)
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()], 1e-4)
for _ in range(2):
    x = (torch.rand(7, 10) > 0.5).float()
    mean, logvar = torch.split(enc(x), 2, dim=1)
    eps = torch.randn_like(mean)
    z = eps * torch.exp(logvar * 0.5) + mean
    x_logit = dec(z)
    cross_ent = nn.functional.binary_cross_entropy_with_logits(x_logit, x, reduction="none")
    logpx_z = -cross_ent.sum(1)
    logpz = log_normal_pdf(z, torch.tensor(0.0), torch.tensor(0.0))
    logqz_x = log_normal_pdf(z, mean, logvar)
    loss = -torch.mean(logpx_z + logpz - logqz_x)
    opt.zero_grad()
    loss.backward()
    opt.step()
