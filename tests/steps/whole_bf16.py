# TRUTH: {"family": "gaussian", "tradeoff": 1, "sigma": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
# A model in bfloat16, its loss in float32: what it gives is converted where it is used, twice.
import torch
from torch import nn

encoder, decoder = nn.Linear(8, 6).bfloat16(), nn.Linear(3, 8).bfloat16()
optimizer = torch.optim.SGD([*encoder.parameters(), *decoder.parameters()], 1e-3)
for _ in range(2):
    x = torch.randn(12, 8)
    mean, logvar = encoder(x.bfloat16()).chunk(2, 1)
    z = mean + torch.randn_like(mean) * (logvar / 2).exp()
    kl = 0.5 * (mean.float() ** 2 + logvar.float().exp() - logvar.float() - 1).sum()
    loss = 0.5 * (decoder(z).float() - x).square().sum() + kl
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
