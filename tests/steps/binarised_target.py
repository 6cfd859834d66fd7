# TRUTH: {"family": "bernoulli", "beta": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
import torch
from torch import nn

enc, dec = nn.Linear(10, 6), nn.Linear(3, 10)
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
for _ in range(2):
    grey = torch.randint(0, 256, (6, 10), dtype=torch.uint8)
    x = grey.float().div(255.0)
    target = (x > 0.5).to(x.dtype)
    m, v = enc(x).chunk(2, 1)
    z = m + torch.randn(m.shape) * torch.exp(v / 2)
    bce = nn.functional.binary_cross_entropy_with_logits(dec(z), target, reduction="sum") / x.shape[0]
    kl = -0.5 * (1 + v - m**2 - v.exp()).sum() / x.shape[0]
    loss = bce + kl
    opt.zero_grad()
    loss.backward()
    opt.step()
