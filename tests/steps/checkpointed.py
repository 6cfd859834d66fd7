# TRUTH: {"family": "gaussian", "tradeoff": 1, "sigma": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

enc = nn.Sequential(nn.Linear(10, 12), nn.ReLU(), nn.Linear(12, 4))
dec = nn.Sequential(nn.Linear(2, 12), nn.ReLU(), nn.Linear(12, 10))
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
for _ in range(2):
    x = torch.randn(8, 10)
    mu, logvar = checkpoint(enc, x, use_reentrant=False).chunk(2, dim=1)
    z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
    out = checkpoint(dec, z, use_reentrant=False)
    rec = nn.functional.mse_loss(out, x, reduction="none").flatten(1).sum(1).mean() / 2
    kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(1).mean()
    opt.zero_grad()
    (rec + kl).backward()
    opt.step()
