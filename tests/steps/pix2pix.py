# TRUTH: [{"family": "bernoulli|unrecognised", "verdict": "reconstruction-only|unrecognised"}, {"family": "laplace", "tradeoff": null, "verdict": "reconstruction-only", "defects": []}]
import torch
from torch import nn

netG = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 3, padding=1), nn.Tanh())
netD = nn.Sequential(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3, stride=2, padding=1))
optG = torch.optim.Adam(netG.parameters(), lr=2e-4, betas=(0.5, 0.999))
optD = torch.optim.Adam(netD.parameters(), lr=2e-4, betas=(0.5, 0.999))
gan, l1 = nn.BCEWithLogitsLoss(), nn.L1Loss()
for _ in range(2):
    A, B = torch.rand(3, 1, 8, 8) * 2 - 1, torch.rand(3, 1, 8, 8) * 2 - 1
    fake = netG(A)
    optD.zero_grad()
    on_fake, on_real = netD(torch.cat([A, fake.detach()], 1)), netD(torch.cat([A, B], 1))
    loss_D = 0.5 * (gan(on_fake, torch.zeros_like(on_fake)) + gan(on_real, torch.ones_like(on_real)))
    loss_D.backward()
    optD.step()
    optG.zero_grad()
    judged = netD(torch.cat([A, fake], 1))
    loss_G = gan(judged, torch.ones_like(judged)) + 100 * l1(fake, B)
    loss_G.backward()
    optG.step()
