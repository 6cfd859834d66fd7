# TRUTH: {"family": "gaussian", "tradeoff": 0.01, "sigma": 0.1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
import torch
from torch import nn
from torch.distributions import Independent, Normal, kl_divergence

enc, dec = nn.Linear(10, 8), nn.Linear(4, 10)
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
prior = Independent(Normal(torch.zeros(4), torch.ones(4)), 1)
for _ in range(2):
    x = torch.rand(8, 10)
    loc, raw = enc(x).split(4, -1)
    q = Independent(Normal(loc, nn.functional.softplus(raw) + 1e-6), 1)
    z = q.rsample()
    p = Independent(Normal(dec(z), 0.1), 1)
    loss = (kl_divergence(q, prior) - p.log_prob(x)).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
