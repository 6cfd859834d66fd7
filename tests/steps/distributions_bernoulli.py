# TRUTH: {"family": "bernoulli", "beta": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
import torch
from torch import distributions as D
from torch import nn

enc, dec = nn.Linear(9, 4), nn.Linear(2, 9)
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
for _ in range(2):
    x = torch.randint(2, (5, 9)).float()
    mu, log_sigma = enc(x).tensor_split(2, dim=1)
    q = D.Normal(mu, log_sigma.exp())
    log_px = D.Bernoulli(logits=dec(q.rsample())).log_prob(x).sum()
    kl = D.kl_divergence(q, D.Normal(0.0, 1.0)).sum()
    opt.zero_grad()
    (kl - log_px).backward()
    opt.step()
