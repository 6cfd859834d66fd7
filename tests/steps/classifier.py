# TRUTH: {"family": "categorical", "tradeoff": null, "verdict": "reconstruction-only", "defects": []}
import torch
from torch import nn

model = nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Dropout(0.1), nn.Linear(12, 5))
opt = torch.optim.SGD(model.parameters(), lr=0.1)
criterion = nn.CrossEntropyLoss(label_smoothing=0.0)
scheduler = torch.optim.lr_scheduler.StepLR(opt, 1)
for _ in range(3):
    images, labels = torch.rand(8, 1, 4, 4), torch.randint(0, 5, (8,))
    outputs = model(images)
    loss = criterion(outputs, labels)
    opt.zero_grad()
    loss.backward()
    opt.step()
    scheduler.step()
