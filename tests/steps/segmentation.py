# TRUTH: {"family": "categorical", "tradeoff": null, "verdict": "reconstruction-only", "defects": []}
import torch
from torch import nn

net = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.ReLU(), nn.Conv2d(6, 4, 1))
opt = torch.optim.Adam(net.parameters())
for _ in range(2):
    image, label = torch.rand(3, 3, 6, 6), torch.randint(0, 4, (3, 6, 6))
    label[:, 0] = 255
    loss = nn.functional.cross_entropy(net(image), label, ignore_index=255)
    opt.zero_grad()
    loss.backward()
    opt.step()
