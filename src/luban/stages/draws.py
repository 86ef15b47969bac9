"""How sure a figure is: the bootstrap (Efron 1979). The same examples are drawn again, with replacement, and the metric of each draw is
computed; between the 2.5th and the 97.5th percentile of these values lie 95 %. Two models on the same draws are compared in pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy import ndarray as Array

DRAWS = 200
"""The ends of an interval then move by 5 % of its width from seed to seed (accuracy of 6,500 rows, 40 seeds)."""
MOST = 20_000
"""Examples that are drawn from. Of more, a sample: its draws scatter sqrt(N / MOST) times as far, and are drawn in by as much."""
FEWEST = 10
"""Fewer examples, or runs or groups of them that are drawn together, say nothing of how they scatter."""
LEVEL = 0.95


@dataclass(frozen=True)
class Draws:
    """The same for every model that is judged on n examples."""

    n: int
    """Examples in all."""
    numbers: Array
    """(m,): the examples that are drawn from, in order."""
    counts: Array
    """(m, D): how often each is in each draw."""
    shrink: float
    """How far a metric of all examples scatters, of how far the draws do."""
    block: int = 1
    """How many neighbours among `numbers` are drawn together."""
    grouped: bool = False
    """Are whole groups drawn?"""

    def of_sample(self) -> Draws:
        """The same draws for who judges those examples alone that are drawn from."""
        return replace(self, n=len(self.numbers), numbers=np.arange(len(self.numbers)), shrink=1.0)

    def interval(self, draws: Array, of_sample: float, of_all: float, flat: bool = False) -> tuple[float, float] | None:
        """The percentile interval of a metric; None where half of the draws have no value. draws: (D,).

        Where all draws are alike (18 of 18 are right), there are too few errors to tell how sure a figure is: None, too, unless `flat`.
        """
        if np.isfinite(draws).mean() < 0.5 or not math.isfinite(of_all):
            return None
        tail = (1 - LEVEL) / 2
        low, high = np.quantile(draws[np.isfinite(draws)], [tail, 1 - tail])
        if high - low < 1e-12 and not flat:
            return None
        return tuple(float(of_all + (each - of_sample) * self.shrink) for each in (low, high))  # type: ignore[return-value]


def draw(n: int, block: int = 1, groups: Array | None = None, seed: int = 0) -> Draws | None:
    """200 draws of n examples. What is nearly the same is drawn together: circular runs of `block` neighbours (moving blocks, Künsch 1989;
    Politis and Romano 1992), or whole groups (Davison and Hinkley 1997, section 3.8). None where there are too few of them.

    groups: (n,), equal for examples of one group; they stand by themselves without it.
    """
    if n < FEWEST * block:
        return None
    rng = np.random.default_rng(seed)
    numbers = np.arange(n) if n <= MOST else np.sort(rng.choice(n, MOST, replace=False))
    m = len(numbers)
    if groups is not None:
        _, group = np.unique(groups[numbers], return_inverse=True)
        if (G := group.max() + 1) < FEWEST:
            return None
        return Draws(n, numbers, np.ascontiguousarray(_counts(rng, G, G)[group]), 1.0, grouped=True)
    shrink = min(1.0, math.sqrt(block * m / n))
    block = max(1, round(block * m / n))
    counts = _counts(rng, m, -(-m // block))
    if block > 1:
        total = np.cumsum(np.concatenate([np.zeros((1, DRAWS)), counts[-block + 1 :], counts]), 0)
        counts = total[block:] - total[:-block]  # how many runs cover each example
    return Draws(n, numbers, np.ascontiguousarray(counts), shrink, block)


def _counts(rng: np.random.Generator, n: int, drawn: int) -> Array:
    """How often each of n is among so many that are drawn, in each draw: (n, D)."""
    cells = rng.integers(0, n, (DRAWS, drawn)) + n * np.arange(DRAWS)[:, None]
    return np.bincount(cells.reshape(-1), minlength=n * DRAWS).reshape(DRAWS, n).T.astype(np.float64)
