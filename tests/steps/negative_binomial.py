# TRUTH: {"family": "negative-binomial|unrecognised", "verdict": "elbo|unrecognised"}
# Counts of cells: a mean by softmax times the library's size, a dispersion for each gene that is learned.
import torch
import torch.nn.functional as F
from torch import nn

encoder, decoder, log_theta = nn.Linear(8, 6), nn.Linear(3, 8), nn.Parameter(torch.zeros(8))
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), log_theta])
for _ in range(2):
    x = torch.poisson(torch.full((12, 8), 3.0))
    mean, logvar = encoder(torch.log1p(x)).chunk(2, 1)
    z = mean + torch.randn_like(mean) * (logvar / 2).exp()
    mu, theta = x.sum(1, keepdim=True) * F.softmax(decoder(z), -1), log_theta.exp()
    log_p = torch.lgamma(x + theta) - torch.lgamma(theta) - torch.lgamma(x + 1)
    log_p = log_p + theta * torch.log(theta / (theta + mu)) + x * torch.log(mu / (theta + mu))
    loss = (-log_p.sum(1) + 0.5 * (mean**2 + logvar.exp() - logvar - 1).sum(1)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
