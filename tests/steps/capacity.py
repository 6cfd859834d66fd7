# TRUTH: {"family": "bernoulli", "beta": 30, "verdict": "beta-elbo", "defects": []}
import torch
from torch import nn

gamma, C_max, C_stop = 30.0, 25.0, 1000
enc, dec = nn.Linear(14, 8), nn.Sequential(nn.Linear(4, 14), nn.Sigmoid())
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
for it in range(2):
    x = (torch.rand(6, 14) < 0.5).float()
    mu, logvar = enc(x)[:, :4], enc(x)[:, 4:]
    recon = dec(mu + torch.randn_like(mu) * (logvar / 2).exp())
    bce = torch.nn.functional.binary_cross_entropy(recon, x, reduction="sum") / len(x)
    kld = (-0.5 * (1 + logvar - mu**2 - logvar.exp())).sum(1).mean()
    C = min(C_max / C_stop * (it + 20), C_max)
    loss = bce + gamma * (kld - C).abs()
    opt.zero_grad()
    loss.backward()
    opt.step()
