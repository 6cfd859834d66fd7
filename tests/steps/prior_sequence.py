# TRUTH: [{"family": "bernoulli", "beta": 1, "verdict": "elbo", "defects": []}, {"family": "bernoulli", "beta": 1, "verdict": "elbo", "defects": []}, {"family": "bernoulli", "beta": 1, "verdict": "elbo", "defects": []}]
# A variational RNN: at each of three steps a prior of the state before it.
import torch
import torch.nn.functional as F
from torch import nn


class VRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc, self.prior, self.dec, self.cell = nn.Linear(15, 6), nn.Linear(7, 6), nn.Linear(10, 8), nn.GRUCell(11, 7)

    def forward(self, x):
        h, loss = x.new_zeros(x.shape[1], 7), 0
        for x_t in x:
            mean, logvar = self.enc(torch.cat([x_t, h], 1)).chunk(2, 1)
            prior_mean, prior_logvar = self.prior(h).chunk(2, 1)
            z = mean + torch.randn_like(mean) * (logvar / 2).exp()
            out = torch.sigmoid(self.dec(torch.cat([z, h], 1)))
            h = self.cell(torch.cat([x_t, z], 1), h)
            kl = 0.5 * (prior_logvar - logvar + (logvar.exp() + (mean - prior_mean) ** 2) / prior_logvar.exp() - 1)
            loss = loss + kl.sum() + F.binary_cross_entropy(out, x_t, reduction="sum")
        return loss


model = VRNN()
optimizer = torch.optim.Adam(model.parameters())
for _ in range(3):
    optimizer.zero_grad()
    model(torch.rand(3, 16, 8).round()).backward()
    optimizer.step()
