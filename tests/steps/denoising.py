# TRUTH: {"family": "gaussian", "tradeoff": null, "verdict": "reconstruction-only", "defects": []}
import torch
from torch import nn

net = nn.Sequential(nn.Linear(12, 6), nn.ReLU(), nn.Linear(6, 12))
loss_fn = nn.MSELoss()
opt = torch.optim.Adam(net.parameters())
for _ in range(3):
    clean = torch.rand(8, 12)
    clean = (clean - 0.5) / 0.5
    noisy = clean + 0.3 * torch.randn_like(clean)
    opt.zero_grad()
    loss = loss_fn(net(noisy), clean)
    loss.backward()
    opt.step()
