# TRUTH: {"family": "categorical", "tradeoff": null, "verdict": "reconstruction-only", "defects": []}
import torch
from torch import nn


class LM(nn.Module):
    def __init__(self, vocab=11):
        super().__init__()
        self.emb = nn.Embedding(vocab, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, vocab)

    def forward(self, tokens):
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        return self.head(self.block(self.emb(tokens), src_mask=mask, is_causal=True))


model = LM()
opt = torch.optim.AdamW(model.parameters())
for _ in range(2):
    tokens = torch.randint(0, 11, (4, 7))
    logits = model(tokens[:, :-1])
    loss = nn.functional.cross_entropy(logits.reshape(-1, 11), tokens[:, 1:].reshape(-1))
    opt.zero_grad()
    loss.backward()
    opt.step()
