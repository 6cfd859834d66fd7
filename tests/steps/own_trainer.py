# TRUTH: {"family": "bernoulli", "beta": 0.2, "powers": [0, 0, 0], "verdict": "beta-elbo", "defects": []}
import torch
from torch import nn


class Module(nn.Module):
    def __init__(self, kl_coeff=0.2):
        super().__init__()
        self.kl_coeff = kl_coeff
        self.encoder, self.decoder = nn.Linear(10, 8), nn.Linear(4, 10)

    def training_step(self, batch, batch_idx):
        x, _ = batch
        mu, log_var = self.encoder(x).chunk(2, -1)
        std = torch.exp(log_var / 2)
        p = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(std))
        q = torch.distributions.Normal(mu, std)
        x_hat = torch.sigmoid(self.decoder(q.rsample()))
        recon = nn.functional.binary_cross_entropy(x_hat, x, reduction="none").sum(-1).mean()
        kl = torch.distributions.kl_divergence(q, p).sum(-1).mean()
        return {"loss": recon + self.kl_coeff * kl, "recon": recon.detach()}

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Trainer:
    def __init__(self, max_epochs):
        self.max_epochs = max_epochs

    def fit(self, module, batches):
        optimizer = module.configure_optimizers()
        for _ in range(self.max_epochs):
            for i, batch in enumerate(batches):
                optimizer.zero_grad()
                module.training_step(batch, i)["loss"].backward()
                optimizer.step()


Trainer(max_epochs=2).fit(Module(), [((torch.rand(8, 10) < 0.5).float(), torch.zeros(8)) for _ in range(3)])
