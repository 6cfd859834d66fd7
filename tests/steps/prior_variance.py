# TRUTH: {"family": "laplace", "tradeoff": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
# Of the prior the variance alone is learned.
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

encoder, decoder, prior = nn.Linear(8, 6), nn.Linear(3, 8), nn.Linear(4, 3)
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), *prior.parameters()])
for _ in range(3):
    x = torch.randn(16, 8)
    mean, logvar = encoder(x).chunk(2, 1)
    q, p = Normal(mean, (logvar / 2).exp()), Normal(torch.zeros_like(mean), prior(torch.randn(16, 4)).exp())
    loss = (decoder(q.rsample()) - x).abs().sum() + kl_divergence(q, p).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
