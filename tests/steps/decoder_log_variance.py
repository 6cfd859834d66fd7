# TRUTH: {"family": "heteroscedastic-gaussian", "beta": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
import torch
from torch import nn

enc = nn.Sequential(nn.Linear(7, 12), nn.ReLU(), nn.Linear(12, 6))
dec = nn.Sequential(nn.Linear(3, 12), nn.ReLU(), nn.Linear(12, 14))
opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
for _ in range(3):
    x = torch.randn(12, 7)
    mu, logvar = enc(x).chunk(2, dim=1)
    z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
    loc, log_var_x = dec(z).chunk(2, dim=1)
    nll = 0.5 * (log_var_x + (x - loc) ** 2 / log_var_x.exp()).sum(1)
    kl = -0.5 * (1 + logvar - mu.pow(2) - logvar.exp()).sum(1)
    loss = (nll + kl).mean()
    opt.zero_grad()
    loss.backward()
    opt.step()
