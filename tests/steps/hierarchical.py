# TRUTH: {"family": "gaussian", "tradeoff": 1, "sigma": 1, "verdict": "elbo", "defects": []}
import torch
from torch import nn

bottom_up, top = nn.Linear(10, 8), nn.Linear(8, 4)
bottom, decoder = nn.Linear(8, 6), nn.Linear(5, 10)
opt = torch.optim.Adam([p for m in (bottom_up, top, bottom, decoder) for p in m.parameters()])


def draw(mean, logvar):
    return mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)


def kl(mean, logvar):
    return -0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp(), dim=1)


for _ in range(2):
    x = torch.randn(8, 10)
    h = torch.tanh(bottom_up(x))
    m2, v2 = top(h).chunk(2, 1)
    m1, v1 = bottom(h).chunk(2, 1)
    out = decoder(torch.cat([draw(m1, v1), draw(m2, v2)], dim=1))
    loss = (0.5 * (x - out).pow(2).sum(1) + kl(m1, v1) + kl(m2, v2)).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
