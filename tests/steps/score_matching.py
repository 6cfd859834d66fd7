# TRUTH: {"family": "gaussian", "tradeoff": null, "verdict": "reconstruction-only", "defects": []}
# Denoising score matching: what is added to the output is what it comes to rest at, with its sign turned.
import torch
from torch import nn

net = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Linear(16, 8))
optimizer = torch.optim.Adam(net.parameters())
for _ in range(2):
    sigma = 0.3
    noise = torch.randn(12, 8) * sigma
    loss = 0.5 * (net(torch.randn(12, 8) + noise) + noise / sigma**2).square().sum(1).mean() * sigma**2
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
