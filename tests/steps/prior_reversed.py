# TRUTH: {"family": "gaussian|unrecognised", "verdict": "defective|unrecognised"}
# The KL of the prior to the posterior, the wrong way round: no ELBO.
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

encoder, decoder, prior = nn.Linear(8, 6), nn.Linear(3, 8), nn.Linear(4, 6)
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), *prior.parameters()])
for _ in range(3):
    x = torch.randn(16, 8)
    mean, logvar = encoder(x).chunk(2, 1)
    prior_mean, prior_logvar = prior(torch.randn(16, 4)).chunk(2, 1)
    q, p = Normal(mean, (logvar / 2).exp()), Normal(prior_mean, (prior_logvar / 2).exp())
    loss = 0.5 * (decoder(q.rsample()) - x).pow(2).sum() + kl_divergence(p, q).sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
