# TRUTH: {"family": "poisson", "beta": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
import torch
from torch import nn

enc, dec = nn.Sequential(nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 4)), nn.Linear(2, 9)
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
for _ in range(2):
    counts = torch.poisson(torch.full((7, 9), 3.0))
    mu, logvar = enc(torch.log1p(counts)).chunk(2, dim=1)
    log_rate = dec(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))
    nll = nn.functional.poisson_nll_loss(log_rate, counts, log_input=True, reduction="sum") / 7
    kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum() / 7
    opt.zero_grad()
    (nll + kl).backward()
    opt.step()
