# TRUTH: {"family": "bernoulli", "beta": 4, "powers": [0, 1, -1], "verdict": "shape-dependent", "defects": ["recon-mean", "kl-mean-latents"]}
# both are means over all there is: (1/96) BCE + (1/24) KL of the sums, so beta = 96/24
import torch
from torch import nn

torch.manual_seed(3)
encoder = nn.Sequential(nn.Linear(12, 10), nn.Tanh(), nn.Linear(10, 6))
decoder = nn.Sequential(nn.Linear(3, 10), nn.Tanh(), nn.Linear(10, 12), nn.Sigmoid())
opt = torch.optim.SGD([*encoder.parameters(), *decoder.parameters()], lr=0.1)
criterion = nn.BCELoss()
for _ in range(4):
    x = torch.rand(8, 12).round()
    m, s = encoder(x).chunk(2, dim=1)
    out = decoder(m + s.mul(0.5).exp() * torch.randn(8, 3))
    kl = torch.mean(-0.5 * (1 + s - m**2 - torch.exp(s)))
    total = criterion(out, x) + kl
    opt.zero_grad()
    total.backward()
    opt.step()
