# TRUTH: [{"family": "gaussian", "tradeoff": null, "verdict": "reconstruction-only"}, {"family": "categorical", "tradeoff": null, "verdict": "reconstruction-only"}]
import torch
from torch import nn

ae = nn.Sequential(nn.Linear(8, 3), nn.ReLU(), nn.Linear(3, 8))
head = nn.Linear(8, 4)
first, second = torch.optim.Adam(ae.parameters()), torch.optim.Adam(head.parameters())
for _ in range(2):
    x, y = torch.randn(10, 8), torch.randint(0, 4, (10,))
    first.zero_grad()
    nn.MSELoss()(ae(x), x).backward()
    first.step()
    second.zero_grad()
    log_p = head(x).log_softmax(1)
    nn.NLLLoss()(log_p, y).backward()
    second.step()
