"""The last season, again and again: today is as yesterday, this December as the last. Hard to beat where a season is strong.

Letters: B windows, C series, L look-back, H horizon.
"""

from __future__ import annotations

import torch
from torch import Tensor

from luban.core.batch import Batch
from luban.layers.windows import Rule


class Seasonal(Rule):
    def forward(self, batch: Batch) -> Tensor:
        x, season = self.windows.stacked(batch), self.windows.season
        step = torch.arange(self.windows.horizon, device=x.device) % season
        return x[:, :, -season:][:, :, step].flatten(1)  # (B, C * H)
