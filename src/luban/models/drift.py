"""The line through the first and the last value seen, continued: the naive forecast of what grows.

Letters: B windows, C series, L look-back, H horizon.
"""

from __future__ import annotations

import torch
from torch import Tensor

from luban.core.batch import Batch
from luban.layers.windows import Rule


class Drift(Rule):
    def forward(self, batch: Batch) -> Tensor:
        x = self.windows.stacked(batch)
        slope = (x[:, :, -1:] - x[:, :, :1]) / (x.shape[2] - 1)
        ahead = torch.arange(1, self.windows.horizon + 1, device=x.device)
        return (x[:, :, -1:] + slope * ahead).flatten(1)  # (B, C * H)
