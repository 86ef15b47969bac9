"""An output solved at once on the features of a network that stays as it is (a linear probe), by L-BFGS."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from luban.core.batch import Examples, to_device
from luban.core.contract import Clock, Head, Model, Part
from luban.core.notes import say
from luban.layers.heads import starting_bias, truth


def probe(model: Model, train: Examples, clock: Clock | None, strength: float, piece: int, name: str, low: bool = False) -> None:
    """Puts into model.output (a Linear) the best answer to `model.features`; of as many examples as half of the time allows.

    piece: examples that go through the network at once, in bf16 where `low`. Rows of unequal length go together by length.
    """
    output: Any = model.output
    training, device = model.training, output.weight.device
    model.eval()
    found: list[Tensor] = []
    answers = []
    until = clock.seconds_left() / 2 if clock else 0
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))  # so that a part of them is a fair one
    if model.ragged and not (clock and clock.seconds_left() < float("inf")):
        order = train.lengths.argsort(stable=True)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=low):
        for numbers in order.split(piece):
            if clock and found and (clock.stopped() or clock.seconds_left() < until):
                say(f"{name}: half of the time is over; learned on {sum(len(each) for each in found):,} of them")
                break
            batch = train[numbers]
            answers.append([truth(batch, part) for part in model.head.parts])
            found.append(model.features(to_device(batch, device)).float().cpu())
    x = torch.cat(found)
    starts = np.cumsum([0, *map(len, found)])
    truths = [(torch.from_numpy(np.concatenate([piece[i][0] for piece in answers])),
               torch.from_numpy(np.concatenate([piece[i][1] + start for piece, start in zip(answers, starts, strict=False)])))
              for i in range(len(model.head.parts))]  # fmt: skip
    weight, bias = solved(x, truths, model.head, strength)
    with torch.no_grad():
        output.weight.copy_(weight)
        output.bias.copy_(bias)
    model.train(training)


def solved(x: Tensor, truths: list[tuple[Tensor, Tensor]], head: Head, strength: float) -> tuple[Tensor, Tensor]:
    """(weight (size, D), bias (size,)) with the least loss on features x (N, D), and a penalty as in ridge and logistic regression.

    truths: (answers, the rows of x that have one) of each part. Features are z-scored for this, so that all are penalised alike.
    """
    mean, std = x.mean(0), x.std(0, correction=0)
    std = torch.where(std > 1e-6, std, 1.0)
    z = (x - mean) / std
    weight = torch.zeros(head.size, x.shape[1], requires_grad=True)
    bias = starting_bias(head).requires_grad_()
    search = torch.optim.LBFGS([weight, bias], max_iter=300, tolerance_grad=1e-5, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        total = weight.square().sum() / (2 * strength * len(x))
        out = head.split(z @ weight.T + bias)
        for part, (y, rows) in zip(head.parts, truths, strict=True):
            total = total + part_loss(out[part.key][rows, 0], y, part)
        total.backward()
        return total

    search.step(loss)
    weight, bias = weight.detach(), bias.detach()
    return weight / std, bias - (weight / std) @ mean


def part_loss(out: Tensor, y: Tensor, part: Part) -> Tensor:
    """The mean loss of out (N, size)."""
    if part.kind == "classes":
        return F.cross_entropy(out, y, torch.tensor(part.weights) if part.weights else None)
    if part.kind == "value":
        distance = F.l1_loss if part.loss == "mae" else F.huber_loss if part.loss == "huber" else F.mse_loss
        return distance(out[:, 0], y.float())
    weights = torch.tensor(part.weights)[y].unsqueeze(1) if part.kind == "binary" and part.weights else None
    return F.binary_cross_entropy_with_logits(out, y.reshape(len(y), -1).float(), weights)
