# TRUTH: {"family": "gaussian", "tradeoff": 1, "sigma": null, "verdict": "defective", "defects": ["kl-sign"]}
import torch
from torch import nn

enc, dec = nn.Linear(8, 4), nn.Linear(2, 8)
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
for _ in range(3):
    x = torch.randn(6, 8)
    mu, logvar = enc(x).chunk(2, dim=1)
    out = dec(mu + torch.randn_like(mu) * torch.exp(0.5 * logvar))
    rec = 0.5 * (out - x).pow(2).sum(1).mean()
    kl = 0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(1).mean()
    opt.zero_grad()
    (rec + kl).backward()
    opt.step()
