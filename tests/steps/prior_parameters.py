# TRUTH: {"family": "gaussian", "tradeoff": 2.5, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
# The prior's mean and log variance are parameters; beta is 2.5.
import torch
from torch import nn

encoder, decoder = nn.Linear(8, 6), nn.Linear(3, 8)
prior_mean, prior_logvar = nn.Parameter(0.3 * torch.randn(3)), nn.Parameter(0.2 * torch.randn(3))
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), prior_mean, prior_logvar])
for _ in range(3):
    x = torch.randn(16, 8)
    mean, logvar = encoder(x).chunk(2, 1)
    z = mean + torch.randn_like(mean) * (logvar / 2).exp()
    reconstruction = 0.5 * (decoder(z) - x).pow(2).sum()
    kl = 0.5 * (prior_logvar - logvar + (logvar.exp() + (mean - prior_mean) ** 2) / prior_logvar.exp() - 1).sum()
    loss = reconstruction + 2.5 * kl
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
