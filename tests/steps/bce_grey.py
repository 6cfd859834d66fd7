# TRUTH: {"family": "bernoulli", "beta": 1, "powers": [0, 0, 0], "verdict": "defective", "defects": ["bce-on-nonbinary"]}
# Cross-entropy on grey levels, as of MNIST.
import torch
from torch import nn

enc, dec = nn.Linear(12, 6), nn.Linear(3, 12)
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
for _ in range(2):
    x = torch.rand(8, 12)
    mu, logvar = enc(x).chunk(2, 1)
    out = torch.sigmoid(dec(mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)))
    loss = nn.functional.binary_cross_entropy(out, x, reduction="sum") - 0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()
    opt.zero_grad()
    loss.backward()
    opt.step()
