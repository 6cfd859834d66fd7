"""46, 47: categorical latents, right and wrong."""

import torch
from torch.nn import functional as F

latent_dim = 20
categorical_dim = 10


def loss_function(recon_x, x, qy):
    BCE = F.binary_cross_entropy(recon_x, x.view(-1, 784), reduction="sum") / x.shape[0]
    log_ratio = torch.log(qy * categorical_dim + 1e-20)
    KLD = torch.sum(qy * log_ratio, dim=-1).mean()
    return BCE + KLD


def joined(recon_x, x, qy):
    BCE = F.binary_cross_entropy(recon_x, x.view(-1, 784), reduction="sum")
    qy_softmax = F.softmax(qy, dim=1)
    log_qy = torch.log(qy_softmax + 1e-20)
    g = torch.log(torch.tensor([1.0 / categorical_dim])).cuda()
    KLD = torch.sum(qy_softmax * (log_qy - g), dim=-1).mean()
    return BCE + KLD
