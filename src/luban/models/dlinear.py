"""DLinear (Zeng et al. 2022, arXiv 2205.13504): a moving average and what it leaves, a linear map of each, added up.

Both are linear in the window, so that the two maps could be one; the ridge alone tells them apart: it lets the map of the trend, where the
variance lies, go further than that of the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from luban.core.batch import Batch
from luban.core.contract import Head, Schema
from luban.layers.direct import Direct
from luban.layers.rules import within


class DLinear(Direct):
    views = 2

    @dataclass(frozen=True)
    class Config(Direct.Config):
        kernel: int = 25
        """Steps of the moving average, as in the paper; an even number is taken one longer."""
        ridge: float = 1_000.0
        """solve: the price of squared weights, on the scale of the sum over all windows. ETTh1 at 96 and 720 steps, still
        with a constant: .3702 and .4714 with 1, .3695 and .4707 with 1,000, .3694 and .4693 with 10,000 (at 96 worse on validation), .3871
        and .4805 with 100,000."""

        def __post_init__(self) -> None:
            super().__post_init__()
            within(self, {"kernel": (1, 100_001)})

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.7

    def view(self, batch: Batch) -> tuple[Tensor, Tensor]:
        x = self.windows.stacked(batch)
        half = self.config.kernel // 2
        trend = F.avg_pool1d(F.pad(x, (half, half), mode="replicate"), 2 * half + 1, 1)  # the ends are repeated, as in the paper
        return torch.cat([trend, x - trend], 2), x.new_zeros(1)
