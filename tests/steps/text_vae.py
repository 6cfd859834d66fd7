# TRUTH: {"family": "categorical", "beta": 0.5, "verdict": "beta-elbo", "defects": []}
# tokens after the end are padding (index 0) and left out; the KL weighs 1/2
import torch
from torch import nn


class TextVAE(nn.Module):
    def __init__(self, vocab=9, hidden=10, latent=3):
        super().__init__()
        self.embed = nn.Embedding(vocab, 6, padding_idx=0)
        self.encoder, self.decoder = nn.GRU(6, hidden, batch_first=True), nn.GRU(6, hidden, batch_first=True)
        self.mean, self.logvar, self.start = nn.Linear(hidden, latent), nn.Linear(hidden, latent), nn.Linear(latent, hidden)
        self.out = nn.Linear(hidden, vocab)

    def forward(self, tokens):
        _, h = self.encoder(self.embed(tokens))
        mean, logvar = self.mean(h[-1]), self.logvar(h[-1])
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)
        hidden, _ = self.decoder(self.embed(tokens[:, :-1]), self.start(z).unsqueeze(0).contiguous())
        return self.out(hidden), mean, logvar


model = TextVAE()
opt = torch.optim.Adam(model.parameters())
for _ in range(2):
    tokens = torch.randint(1, 9, (5, 8))
    for row, length in enumerate((8, 6, 5, 8, 7)):
        tokens[row, length:] = 0
    logits, mean, logvar = model(tokens)
    nll = nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], ignore_index=0, reduction="sum")
    kl = -0.5 * torch.sum(1 + logvar - mean.pow(2) - logvar.exp())
    loss = (nll + 0.5 * kl) / len(tokens)
    opt.zero_grad()
    loss.backward()
    opt.step()
