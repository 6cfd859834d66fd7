# TRUTH: {"family": "gaussian", "tradeoff": 1, "sigma": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Sequential(nn.Flatten(), nn.Linear(16, 20), nn.ELU())
        self.to_mean, self.to_scale = nn.Linear(20, 2), nn.Linear(20, 2)
        self.dec = nn.Sequential(nn.Linear(2, 20), nn.ELU(), nn.Linear(20, 16), nn.Unflatten(1, (1, 4, 4)))

    def forward(self, images):
        h = self.enc(images)
        mean, log_std = self.to_mean(h), self.to_scale(h)
        code = mean + log_std.exp() * torch.randn_like(log_std)
        return self.dec(code), mean, log_std


net = Net()
adam = torch.optim.Adam(net.parameters())
images = torch.rand(7, 1, 4, 4)
for _ in range(3):
    fake, mean, log_std = net(images)
    reconstruction = 0.5 * (fake - images).pow(2).sum(dim=(1, 2, 3))
    divergence = (0.5 * (mean**2 + (2 * log_std).exp()) - log_std - 0.5).sum(1)
    (reconstruction + divergence).mean().backward()
    adam.step()
    adam.zero_grad()
