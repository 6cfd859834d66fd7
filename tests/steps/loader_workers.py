# TRUTH: {"family": "gaussian", "tradeoff": 6, "sigma": 2.44948974, "powers": [0, 1, 0], "verdict": "shape-dependent", "defects": ["recon-mean", "half-missing"]}
# a mean over B and 12 features beside a KL that is a mean over B: sigma^2 = 12/2
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Rows(Dataset):
    def __init__(self):
        self.rows = torch.randn(64, 12)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index], index


def main():
    enc, dec = nn.Linear(12, 6), nn.Linear(3, 12)
    opt = torch.optim.Adam([*enc.parameters(), *dec.parameters()])
    loader = DataLoader(Rows(), batch_size=16, shuffle=True, num_workers=2)
    for x, _ in loader:
        mu, logvar = enc(x).chunk(2, 1)
        out = dec(mu + torch.exp(0.5 * logvar) * torch.randn_like(mu))
        kl = (-0.5 * (1 + logvar - mu.pow(2) - logvar.exp())).sum(-1).mean()
        loss = nn.functional.mse_loss(out, x) + kl
        opt.zero_grad()
        loss.backward()
        opt.step()


if __name__ == "__main__":
    main()
