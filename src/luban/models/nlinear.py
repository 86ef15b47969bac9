"""NLinear (Zeng et al. 2022, arXiv 2205.13504): subtract the last value, one linear map from look-back to horizon, add it back.

Untrained it is the naive forecast.
"""

from __future__ import annotations

from torch import Tensor

from luban.core.batch import Batch
from luban.core.contract import Head, Schema
from luban.layers.direct import Direct


class NLinear(Direct):
    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.8

    def view(self, batch: Batch) -> tuple[Tensor, Tensor]:
        x = self.windows.stacked(batch)
        return x - x[:, :, -1:], x[:, :, -1:]
