# TRUTH: {"family": "gaussian", "tradeoff": null, "verdict": "reconstruction-only", "defects": []}
import torch
import torch.nn.functional as F
from torch import nn


class VQ(nn.Module):
    def __init__(self, codes=8, width=4):
        super().__init__()
        self.codebook = nn.Embedding(codes, width)

    def forward(self, z):
        index = torch.cdist(z, self.codebook.weight).argmin(-1)
        q = self.codebook(index)
        loss = F.mse_loss(q, z.detach()) + 0.25 * F.mse_loss(z, q.detach())
        return z + (q - z).detach(), loss


enc, vq, dec = nn.Linear(10, 4), VQ(), nn.Linear(4, 10)
opt = torch.optim.Adam([*enc.parameters(), *vq.parameters(), *dec.parameters()])
for _ in range(2):
    x = torch.rand(8, 10)
    q, vq_loss = vq(enc(x))
    loss = F.mse_loss(dec(q), x) + vq_loss
    opt.zero_grad()
    loss.backward()
    opt.step()
