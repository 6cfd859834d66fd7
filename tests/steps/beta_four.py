# TRUTH: {"family": "bernoulli", "beta": 4, "powers": [0, 0, 0], "verdict": "beta-elbo", "defects": []}
import torch
from torch import nn, optim

BETA = 4.0
BATCH = 9
f = nn.Sequential(nn.Linear(11, 14), nn.GELU(), nn.LayerNorm(14), nn.Linear(14, 6))
g = nn.Sequential(nn.Linear(3, 14), nn.GELU(), nn.Linear(14, 11))
opt = optim.AdamW([{"params": f.parameters()}, {"params": g.parameters(), "lr": 1e-4}])


def step(x):
    stats = f(x)
    mu, logvar = stats[:, :3], stats[:, 3:]
    z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
    recon = torch.nn.functional.binary_cross_entropy_with_logits(g(z), x, reduction="sum").div(BATCH)
    kld = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(1).mean(0)
    return recon + BETA * kld


for _ in range(3):
    opt.zero_grad()
    step(torch.randint(0, 2, (BATCH, 11)).float()).backward()
    opt.step()
