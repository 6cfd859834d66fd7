# TRUTH: {"family": "gaussian", "tradeoff": 1, "sigma": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
import torch
from torch import nn

ACCUMULATE = 4
enc, dec = nn.Linear(8, 4), nn.Linear(2, 8)
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
for i in range(8):
    x = torch.randn(6, 8)
    mu, logvar = enc(x).chunk(2, 1)
    out = dec(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))
    loss = 0.5 * (out - x).pow(2).sum() + 0.5 * (mu.pow(2) + logvar.exp() - logvar - 1).sum()
    loss = loss / len(x) / ACCUMULATE
    loss.backward()
    if (i + 1) % ACCUMULATE == 0:
        opt.step()
        opt.zero_grad()
