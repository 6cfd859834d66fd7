# TRUTH: {"family": "bernoulli", "beta": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
import torch
from torch import nn

enc, dec = nn.Linear(8, 4), nn.Linear(2, 8)
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
for _ in range(2):
    x = (torch.rand(6, 8) < 0.5).float()
    mu, logvar = enc(x).chunk(2, 1)
    out = dec(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))
    bce = nn.functional.binary_cross_entropy_with_logits(out, x, reduction="sum") / 6
    loss = bce - 0.5 * (1 + logvar - mu**2 - logvar.exp()).sum(1).mean()
    opt.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(opt)
    scaler.update()
