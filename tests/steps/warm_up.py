# TRUTH: {"family": "gaussian", "tradeoff": 0.05, "sigma": 0.22360679775, "powers": [0, 0, 0], "verdict": "elbo", "defects": ["half-missing"]}
# in the first epoch the KL weighs 1/10, the squared error 1: sigma^2 = 0.1/2
import torch
from torch import nn

EPOCHS, WARMUP = 3, 10
encoder, decoder = nn.Linear(9, 4), nn.Linear(2, 9)
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()])
data = torch.randn(24, 9)
for epoch in range(EPOCHS):
    weight = min(1.0, (epoch + 1) / WARMUP)
    for x in data.split(8):
        mu, logvar = encoder(x).chunk(2, 1)
        z = mu + (logvar * 0.5).exp() * torch.randn_like(mu)
        rec = ((decoder(z) - x) ** 2).sum(-1).mean()
        kl = -0.5 * torch.mean(torch.sum(1 + logvar - mu**2 - logvar.exp(), dim=1))
        loss = rec + weight * kl
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
