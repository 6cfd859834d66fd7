# TRUTH: {"family": "gaussian", "tradeoff": null, "verdict": "reconstruction-only", "defects": []}
# Codes of images, behind an activation, compared channels last.
import torch
import torch.nn.functional as F
from torch import nn

encoder, decoder, book = nn.Conv2d(3, 4, 2, 2), nn.ConvTranspose2d(4, 3, 2, 2), nn.Embedding(6, 4)
optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters(), *book.parameters()])
for _ in range(2):
    x = torch.rand(5, 3, 6, 6) * 2 - 1
    codes = F.leaky_relu(encoder(x)).permute(0, 2, 3, 1).contiguous()
    flat = codes.view(-1, 4)
    distances = flat.pow(2).sum(1, keepdim=True) + book.weight.pow(2).sum(1) - 2 * flat @ book.weight.t()
    one_hot = F.one_hot(distances.argmin(1), 6).to(flat.dtype)
    quantized = (one_hot @ book.weight).view(codes.shape)
    vq = F.mse_loss(quantized, codes.detach()) + 0.25 * F.mse_loss(codes, quantized.detach())
    quantized = codes + (quantized - codes).detach()
    loss = F.mse_loss(decoder(quantized.permute(0, 3, 1, 2).contiguous()), x) + vq
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
