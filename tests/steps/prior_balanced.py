# TRUTH: {"family": "gaussian|unrecognised", "verdict": "unrecognised"}
# A KL of two halves, each with the other side detached: in the gradient no multiple of a KL.
import torch
from torch import nn
from torch.distributions import Normal, kl_divergence

encoder, decoder, prior = nn.Linear(8, 6), nn.Linear(3, 8), nn.Linear(4, 6)
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), *prior.parameters()])


def normal(mean, logvar):
    return Normal(mean, (logvar / 2).exp())


for _ in range(3):
    x = torch.randn(16, 8)
    q, p = encoder(x).chunk(2, 1), prior(torch.randn(16, 4)).chunk(2, 1)
    fixed_q, fixed_p = [part.detach() for part in q], [part.detach() for part in p]
    kl = 0.8 * kl_divergence(normal(*fixed_q), normal(*p)) + 0.2 * kl_divergence(normal(*q), normal(*fixed_p))
    loss = 0.5 * (decoder(normal(*q).rsample()) - x).pow(2).sum() + kl.sum()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
