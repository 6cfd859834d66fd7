# TRUTH: {"family": "gaussian", "tradeoff": 0.5, "sigma": 0.70710678, "verdict": "elbo", "defects": ["half-missing"]}
import torch
from torch import nn

enc, dec = nn.Linear(8, 4), nn.Linear(2, 8)
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
x = torch.empty(6, 8)
for _ in range(2):
    x.normal_()
    mu, logvar = enc(x).chunk(2, 1)
    z = torch.randn_like(mu).mul_(torch.exp(0.5 * logvar)).add_(mu)
    residual = dec(z)
    residual.sub_(x)
    total = residual.pow(2).sum(1)
    total += 0.5 * (mu.pow(2) + logvar.exp() - 1 - logvar).sum(1)
    loss = total.mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
