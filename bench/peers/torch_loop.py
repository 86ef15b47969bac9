"""The usual PyTorch loop: TensorDataset, DataLoader, eager steps, Adam as it comes. Run by bench/pictures.py in the peer's venv.

The pictures are floats in memory beforehand; with torchvision's transforms picture by picture it would be several times slower.
"""

from __future__ import annotations

import itertools
import time

import fashion
import spawned
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

args = fashion.words()
torch.manual_seed(args.seed)
if args.threads:
    torch.set_num_threads(args.threads)
x, y, x_valid, y_valid, x_test, y_test = [
    torch.from_numpy(part.copy()).float().div(255).unsqueeze(1) if part.ndim == 3 else torch.from_numpy(part.copy()).long()
    for part in fashion.parts()
]
loader = DataLoader(TensorDataset(x, y), batch_size=fashion.BATCH, shuffle=True)

if args.workload == "mlp":
    body = [nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU()]
else:
    body = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
    body += [nn.Flatten(), nn.Linear(64 * 5 * 5, 128), nn.ReLU()]
model = nn.Sequential(*body, nn.Linear(128, 10))
optimiser = torch.optim.Adam(model.parameters(), lr=fashion.LR)


@torch.no_grad()
def accuracy(x: torch.Tensor, y: torch.Tensor) -> float:
    model.eval()
    right = sum(int((model(a).argmax(1) == b).sum()) for a, b in zip(x.split(1000), y.split(1000), strict=True))
    model.train()
    return right / len(y)


marks, valid = [time.perf_counter()], []
for _ in range(args.epochs):
    for a, b in loader:
        optimiser.zero_grad()
        F.cross_entropy(model(a), b).backward()
        optimiser.step()
    valid.append(accuracy(x_valid, y_valid))
    marks.append(time.perf_counter())
total = spawned.since_spawn()
spawned.tell(
    epoch_seconds=[after - before for before, after in itertools.pairwise(marks)],
    total_seconds=total,
    valid=valid,
    test=accuracy(x_test, y_test),
    threads=torch.get_num_threads(),
    parameters=sum(p.numel() for p in model.parameters()),
)
