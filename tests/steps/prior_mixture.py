# TRUTH: {"family": "gaussian|unrecognised", "verdict": "elbo|unrecognised"}
# The prior is a mixture of Gaussians that is learned.
import torch
from torch import distributions, nn

encoder, decoder = nn.Linear(8, 6), nn.Linear(3, 8)
means, scales, weights = (nn.Parameter(torch.randn(4, 3)), nn.Parameter(torch.zeros(4, 3)), nn.Parameter(torch.zeros(4)))
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), means, scales, weights])
for _ in range(3):
    x = torch.randn(16, 8)
    mean, logvar = encoder(x).chunk(2, 1)
    q = distributions.Independent(distributions.Normal(mean, (logvar / 2).exp()), 1)
    parts = distributions.Independent(distributions.Normal(means, scales.exp()), 1)
    p = distributions.MixtureSameFamily(distributions.Categorical(logits=weights), parts)
    z = q.rsample()
    log_likelihood = distributions.Independent(distributions.Normal(decoder(z), 1.0), 1).log_prob(x)
    loss = -(log_likelihood - q.log_prob(z) + p.log_prob(z)).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
