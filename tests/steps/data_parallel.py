# TRUTH: {"family": "laplace", "tradeoff": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
import torch
from torch import nn


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc, self.dec = nn.Linear(8, 6), nn.Linear(3, 8)

    def forward(self, x):
        mu, logvar = self.enc(x).chunk(2, 1)
        return self.dec(mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)), mu, logvar


model = nn.DataParallel(VAE())
opt = torch.optim.Adam(model.module.parameters())
for _ in range(2):
    x = torch.randn(6, 8)
    out, mu, logvar = model(x)
    loss = nn.L1Loss(reduction="sum")(out, x) + 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum()
    opt.zero_grad()
    loss.backward()
    opt.step()
