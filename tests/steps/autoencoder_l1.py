# TRUTH: {"family": "laplace", "tradeoff": null, "verdict": "reconstruction-only", "defects": []}
import torch
from torch import nn

ae = nn.Sequential(
    nn.Conv1d(2, 4, 3, stride=2, padding=1), nn.ReLU(), nn.ConvTranspose1d(4, 2, 3, stride=2, padding=1, output_padding=1)
)
opt = torch.optim.SGD(ae.parameters(), lr=0.01, momentum=0.9)
for _ in range(3):
    signal = torch.randn(5, 2, 16)
    opt.zero_grad()
    nn.functional.l1_loss(ae(signal), signal).backward()
    nn.utils.clip_grad_norm_(ae.parameters(), 1.0)
    opt.step()
