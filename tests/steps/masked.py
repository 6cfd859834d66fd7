# TRUTH: {"family": "gaussian", "tradeoff": 1, "sigma": 1, "verdict": "elbo", "defects": []}
import torch
from torch import nn

enc, dec = nn.Linear(12, 6), nn.Linear(3, 12)
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
for _ in range(2):
    x = torch.randn(9, 12)
    observed = (torch.rand(9, 12) > 0.25).float()
    mu, logvar = enc(x * observed).chunk(2, dim=1)
    out = dec(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))
    rec = (0.5 * (out - x) ** 2 * observed).sum(1)
    kl = 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum(1)
    opt.zero_grad()
    (rec + kl).mean().backward()
    opt.step()
