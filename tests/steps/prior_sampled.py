# TRUTH: {"family": "gaussian", "tradeoff": 1, "sigma": 1, "verdict": "elbo", "defects": ["stochastic"]}
# log q - log p at the sample, p a network's own; both deviations by softplus.
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal

encoder, decoder, prior = nn.Linear(8, 6), nn.Linear(3, 8), nn.Linear(4, 6)
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), *prior.parameters()])
for _ in range(3):
    x, c = torch.randn(16, 8), torch.randn(16, 4)
    mean, raw = encoder(x).chunk(2, 1)
    prior_mean, prior_raw = prior(c).chunk(2, 1)
    q, p = Normal(mean, F.softplus(raw)), Normal(prior_mean, F.softplus(prior_raw))
    z = q.rsample()
    loss = 0.5 * (decoder(z) - x).pow(2).sum() + (q.log_prob(z) - p.log_prob(z)).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
