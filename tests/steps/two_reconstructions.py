# TRUTH: [{"family": "gaussian", "tradeoff": 1, "sigma": 1, "verdict": "elbo"}, {"family": "bernoulli", "beta": 1, "verdict": "elbo"}]
import torch
from torch import nn

trunk, to_real, to_binary = nn.Linear(3, 8), nn.Linear(8, 5), nn.Linear(8, 4)
encoder = nn.Linear(9, 6)
params = [p for m in (trunk, to_real, to_binary, encoder) for p in m.parameters()]
opt = torch.optim.Adam(params)
for _ in range(2):
    real, binary = torch.randn(8, 5), torch.randint(0, 2, (8, 4)).float()
    mu, logvar = encoder(torch.cat([real, binary], dim=1)).chunk(2, dim=1)
    h = torch.relu(trunk(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)))
    loss_real = 0.5 * nn.functional.mse_loss(to_real(h), real, reduction="sum")
    loss_binary = nn.functional.binary_cross_entropy_with_logits(to_binary(h), binary, reduction="sum")
    kl = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    loss = loss_real + loss_binary + kl
    opt.zero_grad()
    loss.backward()
    opt.step()
