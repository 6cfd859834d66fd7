# TRUTH: {"family": "gaussian", "tradeoff": null, "verdict": "reconstruction-only", "defects": []}
import torch
from torch import nn

T = 50
betas = torch.linspace(1e-4, 0.02, T)
alphas_bar = torch.cumprod(1 - betas, 0)


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.time = nn.Embedding(T, 8)
        self.net = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 1, 3, padding=1))
        self.shift = nn.Linear(8, 1)

    def forward(self, x, t):
        return self.net(x) + self.shift(self.time(t))[:, :, None, None]


model = Denoiser()
opt = torch.optim.Adam(model.parameters())
for _ in range(2):
    x0 = torch.rand(6, 1, 8, 8) * 2 - 1
    t = torch.randint(0, T, (6,))
    noise = torch.randn_like(x0)
    a = alphas_bar[t].view(-1, 1, 1, 1)
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * noise
    loss = nn.functional.mse_loss(model(x_t, t), noise)
    opt.zero_grad()
    loss.backward()
    opt.step()
