# TRUTH: {"family": "bernoulli", "beta": 0.125, "verdict": "shape-dependent", "defects": ["batch-dependent"]}
# the KL alone is divided by the batch size, 8
import torch
from torch import nn

enc, dec = nn.Linear(10, 4), nn.Sequential(nn.Linear(2, 10), nn.Sigmoid())
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
for _ in range(3):
    x = (torch.rand(8, 10) < 0.5).float()
    mu, logvar = enc(x).chunk(2, dim=1)
    out = dec(mu + torch.randn_like(mu) * torch.exp(0.5 * logvar))
    bce = nn.functional.binary_cross_entropy(out, x, reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    kld /= 8
    opt.zero_grad()
    (bce + kld).backward()
    opt.step()
