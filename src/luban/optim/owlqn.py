"""L-BFGS that can carry an L1 penalty, for losses over all rows at once (OWL-QN; Andrew and Gao 2007, "Scalable training of L1-regularized
log-linear models"). A step stays among the signs in which it began, so that weights come to rest at exactly 0."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

MEMORY = 6
"""Moves that the curvature is guessed from."""
CLOSE, OVER = 1e-4, 10
"""It ends where so many steps together gained less than this share of the loss."""


def least(
    f: Callable[[Tensor], tuple[float, Tensor]], x: Tensor, l1: float, steps: int, ends: Callable[[], bool] = lambda: False
) -> tuple[Tensor, int]:
    """(where f(x) + l1 |x| is about least, steps taken). f: (loss, gradient) of x (n,), convex; ends: asked before each step."""
    moves: list[tuple[Tensor, Tensor, float]] = []  # (move, how the gradient changed, their product)
    (loss, g), losses = f(x), []
    loss += l1 * float(x.abs().sum())
    for step in range(steps):
        losses.append(loss)
        if ends() or (step >= OVER and losses[-1 - OVER] - loss <= CLOSE * abs(loss)):
            return x, step
        slope = _steepest(x, g, l1)
        d = _bent(slope, moves)
        d = torch.where(d * slope < 0, d, 0.0) if l1 else d
        signs = torch.where(x != 0, x, -slope).sign() if l1 else x
        size = 1.0 if moves else 1 / max(float(slope.norm()), 1e-12)
        for _ in itertools.repeat(None, 20):
            there = x + size * d
            there = torch.where(there * signs > 0, there, 0.0) if l1 else there
            found, after = f(there)
            found += l1 * float(there.abs().sum())
            if found <= loss + 1e-4 * float((there - x) @ slope):
                break
            size /= 2
        else:
            return x, step
        move, change = there - x, after - g
        if (product := float(move @ change)) > 1e-10:
            moves = [*moves[1 - MEMORY :], (move, change, product)]
        x, g, loss = there, after, found
    return x, steps


def _steepest(x: Tensor, g: Tensor, l1: float) -> Tensor:
    """The gradient of the penalised loss; where x is 0, the side on which it falls, if there is one (eq. 4 there)."""
    at_rest = g.sign() * (g.abs() - l1).clamp(min=0)
    return torch.where(x == 0, at_rest, g + l1 * x.sign()) if l1 else g


def _bent(slope: Tensor, moves: list[tuple[Tensor, Tensor, float]]) -> Tensor:
    """Against the slope, by the curvature of the moves (Nocedal and Wright 2006, algorithm 7.4)."""
    d, shares = -slope, []
    for move, change, product in reversed(moves):
        shares.append(float(move @ d) / product)
        d = d - shares[-1] * change
    if moves:
        _, change, product = moves[-1]
        d = d * (product / float(change @ change))
    for (move, change, product), share in zip(moves, reversed(shares), strict=True):
        d = d + (share - float(change @ d) / product) * move
    return d
