# TRUTH: {"family": "bernoulli", "beta": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
import torch
from torch import nn


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc, self.dec = nn.Linear(8, 6), nn.Linear(3, 8)

    def forward(self, x):
        mu, logvar = self.enc(x).chunk(2, 1)
        return self.dec(mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)), mu, logvar


@torch.compile(dynamic=False)
def objective(logits, x, mu, logvar):
    bce = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    return (bce - 0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())) / x.shape[0]


model = VAE()
model = torch.compile(model)
opt = torch.optim.Adam(model.parameters())
for _ in range(2):
    x = (torch.rand(6, 8) < 0.5).float()
    loss = objective(*[(out := model(x))[0], x, *out[1:]])
    opt.zero_grad()
    loss.backward()
    opt.step()
