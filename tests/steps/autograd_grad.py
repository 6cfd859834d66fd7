# TRUTH: {"family": "gaussian", "tradeoff": 1, "sigma": 1, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
import torch

torch.manual_seed(1)
W, b = torch.randn(7, 4) * 0.3, torch.zeros(4)
V, c = torch.randn(2, 7) * 0.3, torch.zeros(7)
parameters = [p.requires_grad_() for p in (W, b, V, c)]
for _ in range(3):
    x = torch.randn(9, 7)
    mean, logvar = (x @ W + b).chunk(2, 1)
    z = mean + (0.5 * logvar).exp() * torch.randn(9, 2)
    nll = 0.5 * ((z @ V + c - x) ** 2).sum() / 9
    kl = 0.5 * (mean**2 + logvar.exp() - logvar - 1).sum() / 9
    grads = torch.autograd.grad(nll + kl, parameters)
    with torch.no_grad():
        for p, g in zip(parameters, grads, strict=True):
            p -= 0.01 * g
