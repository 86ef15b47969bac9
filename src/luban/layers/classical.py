"""Statistical models of one series, by statsforecast: fitted anew to each window that is answered, and nothing is learned before.

They are asked for by name, for a window takes .02 to 2 s: right for hundreds of series, not for every hour of a long one.
"""

from __future__ import annotations

import importlib.util
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from luban.core.batch import Batch, Examples
from luban.core.contract import Clock, Head, Model, Schema
from luban.core.errors import UserError
from luban.core.registry import Later, how_to_install
from luban.layers.windows import BESIDE, READS, Windows

models = Later("statsforecast.models")

MOST = 5_000
"""Windows of a series that the validation part may hold."""


class Classical(Model):
    accepts, leaves = READS, BESIDE
    gives = frozenset({"series"})
    solves = True
    called: ClassVar[str]
    """Its class in statsforecast.models."""

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.windows = Windows.of(schema, head)

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        if not importlib.util.find_spec("statsforecast"):
            raise UserError(f"{cls.called} is fitted by the package statsforecast, which is not installed: "
                            f"{how_to_install('statsforecast')}. Or take --model theta.")  # fmt: skip
        return config, {}, {}

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        """Nothing is learned; what could not be answered in hours is refused."""
        asked = len(valid) * len(self.windows.series) if valid is not None else 0
        if asked > MOST:
            raise UserError(f"{self.called} is fitted to each window by itself, and the validation part alone has {asked:,} of them, more "
                            f"than {MOST:,}: give smaller data.shares, fewer series (--target), or take --model theta.")  # fmt: skip

    def forward(self, batch: Batch) -> Tensor:
        w, x = self.windows, self.windows.stacked(batch)
        made = [self._continued(series) for series in x.flatten(0, 1).double().cpu().numpy()]
        return torch.tensor(np.array(made), dtype=x.dtype, device=x.device).view(len(x), len(w.series) * w.horizon)

    def _continued(self, y: np.ndarray) -> np.ndarray:
        """y (L,) -> (H,); a series that never changes goes on so."""
        if np.ptp(y) == 0:
            return np.full(self.windows.horizon, y[-1])
        try:
            return getattr(models, self.called)(season_length=self.windows.season).forecast(y=y, h=self.windows.horizon)["mean"]
        except NotImplementedError as error:
            raise UserError(f"{self.called} cannot be fitted to windows of {len(y):,} steps: give a larger task.look_back.") from error
