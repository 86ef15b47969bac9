"""One linear map from what a window shows to its horizon, the same for all series: nlinear and dlinear are this with another view of it.

It is least squares with a small ridge: solved exactly in seconds, or, to see the difference, stepped.
Letters: B windows, C series, L look-back, H horizon, F features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from luban.core.batch import Batch, Examples
from luban.core.contract import Clock, Head, Model, Schema
from luban.core.errors import UserError
from luban.layers.columns import of_kind
from luban.layers.rules import rhythm, within
from luban.layers.windows import BESIDE, READS, Windows

PIECE = 512
"""Windows taken at a time while solving: some 30 MB in float64 for seven series."""


class Direct(Model):
    """What the subclass makes of a window by `view`, mapped."""

    accepts, leaves = READS, BESIDE
    gives = frozenset({"series"})
    solves = True
    threads = 1  # a second one only waits at each small product
    traceable = True
    views = 1
    """Features of each seen moment."""

    @dataclass(frozen=True)
    class Config:
        fit: Literal["solve", "steps"] | None = None
        """solve: the exact least squares, which is what the loss mse asks for. steps: gradient descent, for mae or for comparison."""
        ridge: float = 1.0
        """solve: the price of squared weights, on the scale of the sum over all windows; 1 only steadies what the data leave open."""

        def __post_init__(self) -> None:
            within(self, {"ridge": (1e-9, 1e12)})  # above 0, for x - x_last has a column of zeros

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.solves = config.fit == "solve"  # type: ignore[misc]
        self.windows = Windows.of(schema, head)
        self.linear = nn.Linear(self.views * self.windows.look_back, self.windows.horizon)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        why = {}
        if config.fit is None:
            # a gap spoils `size` windows at most, so that half of them at least are whole where gaps are no more than this
            series: Any = of_kind(schema, "series").values()
            gaps = max(each.missing for each in series) * head.parts[0].size > 0.5
            config = replace(config, fit="solve" if head.parts[0].loss == "mse" and not gaps else "steps")
            exact = "squared errors have an exact solution" if config.fit == "solve" else "absolute errors have none"
            why["model.fit"] = "gaps leave too few windows whole for the exact solution" if gaps else exact
        train, reasons = rhythm(n_rows, 1_000)  # a linear map is learned soon
        return config, {**train, "lr": 2e-3, "schedule": "cosine", "weight_decay": 0.0}, {**why, **reasons}

    def view(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(what is mapped (B, C, F), what is added to the answer (B, C, 1))."""
        raise NotImplementedError

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        """The normal equations, summed up in float64. A series' window with a gap in its answer stays out: each step would need equations
        of its own. Without a constant, which would be the drift of the training part, and goes on nowhere: ETTh1's mse at 720 hours is .434
        with it and .422 without for nlinear, .471 and .459 for dlinear."""
        H, F = self.linear.weight.shape
        gram, cross, n = torch.zeros(F, F, dtype=torch.float64), torch.zeros(F, H, dtype=torch.float64), 0
        for batch in train.pieces(PIECE):
            if clock.stopped():
                return
            x, base = self.view(batch)
            y = torch.stack([batch[part.key] for part in self.head.parts], 1) - base  # (B, C, H)
            x, y = x.flatten(0, 1), y.flatten(0, 1)  # (B * C, F), (B * C, H)
            whole = ~y.isnan().any(1)
            if not whole.all():
                x, y = x[whole], y[whole]
            x, n = x.double(), n + len(x)
            gram += x.T @ x
            cross += x.T @ y.double()
        if not n:
            raise UserError("each training window has a gap in its answers, so that there is no exact solution: --set model.fit=steps, or "
                            "a smaller task.horizon.")  # fmt: skip
        gram.diagonal().add_(self.config.ridge)
        with torch.no_grad():
            self.linear.weight.copy_(torch.linalg.solve(gram, cross).T)

    def forward(self, batch: Batch) -> Tensor:
        x, base = self.view(batch)
        return (self.linear(x) + base).flatten(1)  # (B, C * H)

    def flops(self) -> float:
        return super().flops() * len(self.head.parts)
