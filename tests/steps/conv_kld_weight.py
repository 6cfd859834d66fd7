# TRUTH: {"family": "gaussian", "tradeoff": 0.008, "sigma": 0.0894427191, "powers": [0, 1, 0], "verdict": "shape-dependent", "defects": ["recon-mean", "half-missing"]}
# mse_loss is a mean over B and the 64 pixels, the KL a mean over B times 0.00025: sigma^2 = 0.00025 * 64 / 2
import torch
from torch import nn
from torch.nn import functional as F


class ConvVAE(nn.Module):
    def __init__(self, latent=4):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.LeakyReLU(), nn.Flatten())
        self.fc_mu, self.fc_var = nn.Linear(64, latent), nn.Linear(64, latent)
        self.decoder_input = nn.Linear(latent, 64)
        self.final = nn.Sequential(nn.ConvTranspose2d(4, 4, 3, 2, 1, 1), nn.LeakyReLU(), nn.Conv2d(4, 1, 3, padding=1), nn.Tanh())

    def forward(self, x):
        h = self.encoder(x)
        mu, log_var = self.fc_mu(h), self.fc_var(h)
        z = torch.randn_like(mu) * torch.exp(0.5 * log_var) + mu
        return self.final(self.decoder_input(z).view(-1, 4, 4, 4)), x, mu, log_var

    def loss_function(self, recons, inputs, mu, log_var, M_N):
        recons_loss = F.mse_loss(recons, inputs)
        kld_loss = torch.mean(-0.5 * torch.sum(1 + log_var - mu**2 - log_var.exp(), dim=1), dim=0)
        return {"loss": recons_loss + M_N * kld_loss, "KLD": -kld_loss.detach()}


model = ConvVAE()
optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
for _ in range(2):
    losses = model.loss_function(*model(torch.rand(6, 1, 8, 8) * 2 - 1), M_N=0.00025)
    optimizer.zero_grad()
    losses["loss"].backward()
    optimizer.step()
