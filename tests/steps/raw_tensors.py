# TRUTH: {"family": "gaussian", "tradeoff": 0.5, "sigma": 0.70710678, "verdict": "elbo", "defects": ["half-missing"]}
# no network: what is trained is the posterior of one sample itself
import torch

w = torch.zeros(6, requires_grad=True)
x = torch.tensor([0.4, -1.0, 0.7])
for _ in range(3):
    mu, logvar = w[:3], w[3:]
    loss = ((mu - x) ** 2).sum() + 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()
    loss.backward()
    with torch.no_grad():
        w -= 0.1 * w.grad
        w.grad = None
