# TRUTH: {"family": "huber|unrecognised", "verdict": "reconstruction-only|unrecognised"}
# Q-learning: an action picks the output that is compared with what another network says.
import torch
import torch.nn.functional as F
from torch import nn

value, target = nn.Linear(4, 3), nn.Linear(4, 3)
optimizer = torch.optim.Adam(value.parameters())
for _ in range(2):
    state, following, action, reward = torch.randn(12, 4), torch.randn(12, 4), torch.randint(0, 3, (12, 1)), torch.rand(12, 1)
    with torch.no_grad():
        best = reward + 0.9 * target(following).max(1, keepdim=True)[0]
    loss = F.smooth_l1_loss(value(state).gather(1, action), best)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
