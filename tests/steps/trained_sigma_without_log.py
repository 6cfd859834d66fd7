# TRUTH: {"family": "gaussian", "powers": [0, 0, 0], "verdict": "defective", "defects": ["log-scale-missing"]}
import torch
from torch import nn


class SigmaVAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode = nn.Linear(8, 4), nn.Linear(2, 8)
        self.log_sigma = nn.Parameter(torch.full((), -0.5))

    def forward(self, x):
        mu, logvar = self.encode(x).chunk(2, 1)
        z = mu + torch.exp(logvar / 2) * torch.randn_like(mu)
        nll = ((x - self.decode(z)) / self.log_sigma.exp()) ** 2 / 2
        kl = -0.5 * (1 + logvar - mu**2 - logvar.exp())
        return (nll.sum() + kl.sum()) / len(x) + self.log_sigma  # once, not for each element


model = SigmaVAE()
opt = torch.optim.Adam(model.parameters(), lr=1e-2)
for _ in range(3):
    loss = model(torch.randn(16, 8))
    opt.zero_grad()
    loss.backward()
    opt.step()
