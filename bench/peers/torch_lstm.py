"""The usual PyTorch loop over an LSTM: DataLoader, padded ids, eager steps, Adam as it comes. Run by bench/text.py in the peer's venv."""

from __future__ import annotations

import itertools
import time

import reviews
import spawned
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

args = reviews.words()
torch.manual_seed(args.seed)
if args.threads:
    torch.set_num_threads(args.threads)
train, valid, test = [tuple(map(torch.from_numpy, part)) for part in reviews.parts(args.folder)]
loader = DataLoader(TensorDataset(*train), batch_size=reviews.BATCH, shuffle=True)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(reviews.VOCABULARY, reviews.WIDTH)
        self.lstm = nn.LSTM(reviews.WIDTH, reviews.HIDDEN, batch_first=True)
        self.out = nn.Linear(reviews.HIDDEN, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.lstm(self.embed(x))[0][:, -1])


model = Net()
optimiser = torch.optim.Adam(model.parameters(), lr=reviews.LR)


@torch.no_grad()
def accuracy(x: torch.Tensor, y: torch.Tensor) -> float:
    model.eval()
    right = sum(int((model(a).argmax(1) == b).sum()) for a, b in zip(x.split(500), y.split(500), strict=True))
    model.train()
    return right / len(y)


marks, judged = [time.perf_counter()], []
for _ in range(args.epochs):
    for a, b in loader:
        optimiser.zero_grad()
        F.cross_entropy(model(a), b).backward()
        optimiser.step()
    judged.append(accuracy(*valid))
    marks.append(time.perf_counter())
total = spawned.since_spawn()
spawned.tell(
    epoch_seconds=[after - before for before, after in itertools.pairwise(marks)],
    total_seconds=total,
    valid=judged,
    test=accuracy(*test),
    threads=torch.get_num_threads(),
    parameters=sum(p.numel() for p in model.parameters()),
)
