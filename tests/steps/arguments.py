# TRUTH: {"family": "gaussian", "tradeoff": 2, "sigma": 1.41421356, "powers": [0, 0, 0], "verdict": "elbo", "defects": []}
# ARGUMENTS: --beta 2 --epochs 1
import argparse

import torch
from torch import nn


def parse():
    parser = argparse.ArgumentParser()
    parser.add_argument("--beta", type=float, required=True)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=10)
    return parser.parse_args()


def train(args):
    enc, dec = nn.Linear(6, 4), nn.Linear(2, 6)
    opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
    for epoch in range(args.epochs):
        x = torch.randn(args.batch_size, 6)
        mu, logvar = enc(x).chunk(2, 1)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        rec = 0.5 * ((dec(z) - x) ** 2).sum(dim=1).mean()
        kl = torch.mean(0.5 * torch.sum(mu**2 + logvar.exp() - logvar - 1, dim=1))
        loss = rec + args.beta * kl
        opt.zero_grad()
        loss.backward()
        opt.step()
        print(f"epoch {epoch}: {loss.item():.3f}")


if __name__ == "__main__":
    train(parse())
