"""Gradient-boosted trees on lags: one booster for all series, items and steps, as winners of the M5 competition had it.

A row is a step of a window: what the series was lately and at the same point of the seasons before, what is known of the step itself, and
which step it is. So each step is answered at once and no error is rolled on. All is taken from the mean of the last season on, for trees
cannot leave the range they saw. Letters: B windows, C series, S = B * C, L look-back, H horizon, m season, R rows, F features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from luban.core.batch import Batch, Examples
from luban.core.contract import Clock, Head, Model, Schema
from luban.core.registry import Later
from luban.layers import boosted
from luban.layers.boosted import LOSSES
from luban.layers.windows import READS, Windows

if TYPE_CHECKING:
    import lightgbm as lgb
else:
    lgb = Later("lightgbm")

ROWS, STEPS = 100_000, 8
"""Rows that are learned from at most, and how many steps of a window where its windows have more rows than that: windows overlap."""
RECENT = 24
"""Last values that are features, at most."""
SEASONS = (1, 2, 3, 7)
"""How many seasons back the same point is looked at."""
PIECE = 100_000
"""Rows answered at a time."""


class Lags(Model):
    accepts, leaves = READS, frozenset({"past"})
    gives = frozenset({"series"})
    solves = True

    @dataclass(frozen=True)
    class Config(boosted.Config):
        rounds: int = 500
        """Most trees; early stopping ends before."""
        learning_rate: float = 0.1
        """Smaller is slower."""
        patience: int = 25
        """Rounds without improvement on the validation part before it stops."""

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.windows = Windows.of(schema, head)
        self.booster: lgb.Booster | None = None

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        """Hours of M4: MASE 1.04, nlinear 1.17, seasonal 1.19; ETTh1, 96 steps: level with nlinear."""
        return 0.75

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        parts = [(train, ROWS), *([(valid, ROWS // 3)] if valid is not None else [])]
        made = [self._rows(examples, most, clock.seed) for examples, most in parts]
        sets = [lgb.Dataset(x, y, categorical_feature=[0], params={"verbosity": -1}) for x, y in made if len(y)]
        self.restore({"lags.txt": boosted.boosted(self.config, {"objective": LOSSES[self.head.parts[0].loss]}, sets, clock)})

    def _rows(self, examples: Examples, most: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(features (R, F), answers (R,)) of evenly spaced windows, of each some steps where all would be too many."""
        w, dice = self.windows, torch.Generator().manual_seed(seed)
        few = min(w.horizon, STEPS) if len(examples) * len(w.series) * w.horizon > most else w.horizon
        x, y = [], []
        for batch in examples.thinned(max(1, most // (few * len(w.series)))).pieces(512):
            B, answers = len(batch[w.series[0]]), torch.stack([batch[part.key] for part in self.head.parts], 1)  # (B, C, H)
            steps = torch.rand(B, w.horizon, generator=dice).argsort(1)[:, :few]  # (B, few)
            features, base = self._features(batch, steps)
            truth = answers.gather(2, steps.unsqueeze(1).expand(-1, len(w.series), -1)) - base
            known = ~truth.isnan()
            x.append(features[known])
            y.append(truth[known])
        return torch.cat(x).numpy(), torch.cat(y).numpy()

    def _features(self, batch: Batch, steps: Tensor) -> tuple[Tensor, Tensor]:
        """(features (B, C, K, F) of steps (B, K) from 0, the number of the series first; what answers are counted from (B, C, 1))."""
        w, x = self.windows, self.windows.stacked(batch).cpu()
        (B, C, L), K, m = x.shape, steps.shape[1], w.season
        base = x[:, :, -m:].mean(2, keepdim=True)
        x = x - base
        spans = sorted({min(L, n * m) for n in (2, 7, L // m)})
        window = [x[:, :, -min(L, RECENT) :], *(x[:, :, -n:].mean(2, keepdim=True) for n in spans),
                  *(x[:, :, -n:].std(2, keepdim=True, unbiased=False) for n in (m, L))]  # fmt: skip
        back = [n for n in SEASONS if n * m <= L]
        first = L + steps - m * (steps // m + 1)  # the same point of the last season
        nearby = [(first + by).clamp(0, L - 1) for by in (-1, 1)]
        at = torch.stack([*(first - m * (n - 1) for n in back), *nearby], 2).view(B, 1, -1).expand(-1, C, -1)
        phase = torch.arange(m) + L - m * (L // m)
        usual = x[:, :, phase[0] :].unflatten(2, (L // m, m)).mean(2)  # (B, C, m): of each point of the season, the last L // m of them
        usual = usual.gather(2, (steps % m).unsqueeze(1).expand(-1, C, -1))
        ahead = w.ahead(batch)
        step = [torch.arange(C).view(1, C, 1, 1).expand(B, -1, K, -1), x.gather(2, at).view(B, C, K, -1), usual.unsqueeze(3),
                steps.view(B, 1, K, 1).expand(-1, C, -1, -1)]  # fmt: skip
        if ahead is not None:
            ahead = ahead.cpu().gather(1, steps.unsqueeze(2).expand(-1, -1, ahead.shape[2]))
            step.append(ahead.unsqueeze(1).expand(-1, C, -1, -1))
        each = torch.cat(window, 2).unsqueeze(2).expand(-1, -1, K, -1)
        return torch.cat([*(part.float() for part in step), each], 3), base

    def forward(self, batch: Batch) -> Tensor:
        w, made = self.windows, []
        B = len(batch[w.series[0]])
        for rows in torch.arange(B).split(max(1, PIECE // (len(w.series) * w.horizon))):
            piece = {key: value[rows.to(value.device)] for key, value in batch.items()}
            x, base = self._features(piece, torch.arange(w.horizon).expand(len(rows), -1))
            raw = np.asarray(self.booster.predict(x.flatten(0, 2).numpy(), num_threads=torch.get_num_threads()))
            made.append((torch.from_numpy(raw).float().view(x.shape[:3]) + base).flatten(1))
        return torch.cat(made)

    def files(self) -> dict[str, str]:
        return {"lags.txt": self.booster.model_to_string()} if self.booster else {}

    def restore(self, files: dict[str, str]) -> None:
        self.booster = lgb.Booster(model_str=files["lags.txt"])
