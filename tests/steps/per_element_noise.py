# TRUTH: {"family": "gaussian", "tradeoff": 0.25, "sigma": 0.5, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, features=5, latents=2):
        super().__init__()
        self.encoder = nn.Linear(features, 2 * latents)
        self.decoder = nn.Linear(latents, features)
        self.noise = nn.Parameter(torch.full((features,), 0.25).log())

    def training_loss(self, x):
        mean, logvar = self.encoder(x).chunk(2, dim=-1)
        posterior = torch.distributions.Normal(mean, (0.5 * logvar).exp())
        prior = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
        likelihood = torch.distributions.Normal(self.decoder(posterior.rsample()), (0.5 * self.noise).exp())
        log_p = likelihood.log_prob(x).sum(-1)
        kl = torch.distributions.kl_divergence(posterior, prior).sum(-1)
        return -(log_p - kl).mean()


model = Model()
opt = torch.optim.SGD(model.parameters(), lr=1e-3)
for _ in range(2):
    loss = model.training_loss(torch.randn(20, 5))
    opt.zero_grad()
    loss.backward()
    opt.step()
