# TRUTH: [{"family": "gaussian|unrecognised", "verdict": "defective|unrecognised"}, {"family": "gaussian|unrecognised", "verdict": "not-factorised|unrecognised"}]
# A KL whose variance is detached: in the value an ELBO, in the gradient none. And a norm of each sample, not squared.
import torch
from torch import nn

encoder, decoder = nn.Linear(8, 6), nn.Linear(3, 8)
optimizer = torch.optim.SGD([*encoder.parameters(), *decoder.parameters()], 1e-3)
for _ in range(2):
    x = torch.randn(12, 8)
    mean, logvar = encoder(x).chunk(2, 1)
    out = decoder(mean + torch.randn_like(mean) * (logvar / 2).exp())
    kl = 0.5 * (mean**2 + logvar.detach().exp() - logvar.detach() - 1).sum()
    (0.5 * (out - x).square().sum() + kl).backward()

    mean, logvar = encoder(x).chunk(2, 1)
    out = decoder(mean + torch.randn_like(mean) * (logvar / 2).exp())
    (torch.norm(out - x, dim=1).sum() + 0.5 * (mean**2 + logvar.exp() - logvar - 1).sum()).backward()
    optimizer.step()
    optimizer.zero_grad()
