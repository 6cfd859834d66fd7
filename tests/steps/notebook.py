# TRUTH: {"family": "bernoulli", "beta": 10, "powers": [0, 1, 0], "verdict": "shape-dependent", "defects": ["recon-mean"]}
# %% [markdown]
# A mean over 8 images and 10 pixels beside a KL that is a mean over the images: beta = 10.
# %%
import torch
from torch import nn

print(torch.__version__)
# %%
encoder = nn.Linear(10, 4)
decoder = nn.Sequential(nn.Linear(2, 10), nn.Sigmoid())
print(encoder, decoder)
# %%
history = []
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()])
for step in range(3):
    x = (torch.rand(8, 10) < 0.5).float()
    m, lv = encoder(x).chunk(2, 1)
    x_hat = decoder(m + torch.randn_like(m) * torch.exp(lv / 2))
    recon_loss = nn.BCELoss()(x_hat, x)
    kl_loss = -0.5 * torch.sum(1 + lv - m**2 - torch.exp(lv), dim=1).mean()
    print("step", step, "shapes", x_hat.shape, m.shape, "first", x_hat[0, 0].item())
    loss = recon_loss + kl_loss
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append(loss.item())
print("last", history[-1])
