"""The last value, again and again: the forecast that any other has to beat.

Letters: B windows, C series, L look-back, H horizon.
"""

from __future__ import annotations

from torch import Tensor

from luban.core.batch import Batch
from luban.layers.windows import Rule


class Naive(Rule):
    def forward(self, batch: Batch) -> Tensor:
        last = self.windows.stacked(batch)[:, :, -1]  # (B, C)
        return last.repeat_interleave(self.windows.horizon, 1)  # (B, C * H)
