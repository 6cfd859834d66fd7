# TRUTH: {"family": "gaussian", "tradeoff": null, "verdict": "reconstruction-only", "defects": []}
import torch
from torch import nn

SIGMA_DATA = 0.5
net = nn.Sequential(nn.Linear(9, 16), nn.SiLU(), nn.Linear(16, 8))
opt = torch.optim.Adam(net.parameters())
for _ in range(2):
    y = torch.randn(12, 8) * SIGMA_DATA
    sigma = (torch.randn(12, 1) * 1.2 - 1.2).exp()
    weight = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
    x = y + torch.randn_like(y) * sigma
    c_skip = SIGMA_DATA**2 / (sigma**2 + SIGMA_DATA**2)
    c_out = sigma * SIGMA_DATA / (sigma**2 + SIGMA_DATA**2).sqrt()
    c_in = 1 / (SIGMA_DATA**2 + sigma**2).sqrt()
    denoised = c_skip * x + c_out * net(torch.cat([c_in * x, sigma.log() / 4], dim=1))
    loss = (weight * (denoised - y) ** 2).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
