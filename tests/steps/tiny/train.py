# TRUTH: {"family": "huber", "tradeoff": null, "verdict": "reconstruction-only", "defects": []}
# ARGUMENTS: -m tiny.train 3
import sys

import torch
from torch import nn

from .model import Autoencoder

model = Autoencoder(int(sys.argv[1]))
opt = torch.optim.Adam(model.parameters())
for _ in range(2):
    x = 2 * torch.randn(10, 8)
    loss = nn.functional.smooth_l1_loss(model(x), x)
    opt.zero_grad()
    loss.backward()
    opt.step()
