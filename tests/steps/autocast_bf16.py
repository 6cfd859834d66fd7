# TRUTH: {"family": "gaussian", "tradeoff": 0.5, "sigma": 0.70710678, "powers": [0, 0, 0], "verdict": "elbo", "defects": ["half-missing"]}
import torch
from torch import nn

enc = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4))
dec = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 12))
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
for _ in range(2):
    x = torch.rand(8, 12)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mu, logvar = enc(x).chunk(2, dim=1)
        out = dec(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))
        rec = (out - x).pow(2).sum(1)
        kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(1)
        loss = (rec + kl).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
