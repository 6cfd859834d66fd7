# TRUTH: {"family": "bernoulli", "beta": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
import torch
from torch import nn
from torch.nn import functional as nnf

enc = nn.Linear(10, 4)
dec = nn.Linear(2, 10)
params = list(enc.parameters()) + list(dec.parameters())
optim = torch.optim.RMSprop(params, lr=1e-2)
batches = torch.bernoulli(torch.full((5, 6, 10), 0.4))
for batch in batches:
    mean, logvar = torch.split(enc(batch), 2, dim=-1)
    z = torch.distributions.Normal(mean, (logvar / 2).exp()).rsample()
    logits = dec(z)
    rec = nnf.binary_cross_entropy_with_logits(logits, batch, reduction="none").sum(dim=1)
    kl = 0.5 * (mean.square() + logvar.exp() - logvar - 1).sum(dim=1)
    elbo = -(rec + kl)
    loss = -elbo.mean()
    optim.zero_grad(set_to_none=True)
    loss.backward()
    optim.step()
