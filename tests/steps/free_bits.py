# TRUTH: {"family": "gaussian", "tradeoff": 1, "sigma": 1, "verdict": "beta-elbo", "defects": []}
import torch
from torch import nn

FREE = 0.1
enc, dec = nn.Linear(6, 6), nn.Linear(3, 6)
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
for _ in range(2):
    x = torch.randn(10, 6)
    mu, logvar = enc(x).chunk(2, -1)
    z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
    nll = 0.5 * (dec(z) - x).pow(2).sum() / x.size(0)
    kl = 0.5 * (mu.pow(2) + logvar.exp() - 1 - logvar)
    kl = torch.clamp(kl, min=FREE).sum() / x.size(0)
    opt.zero_grad()
    (nll + kl).backward()
    opt.step()
