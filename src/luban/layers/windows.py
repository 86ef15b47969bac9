"""Windows of series as a model eats them. Letters: B windows, C series, L look-back, H horizon, F features.

    c0, c1, ...  (B, L) each series that is forecast, scaled and without gaps; the answer is (B, C * H), in the same scale
    known        (B, L + H, F): what is known of each moment, of the horizon's as well: the calendar, covariates planned ahead
    past         (B, L, F): covariates that only the past knows
    static       (B, F): what is the same at all times of an item

known, past and static are there only where the data have such; a model may leave them unread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from luban.core.batch import Batch, Examples
from luban.core.contract import Clock, Head, Model, Schema
from luban.layers.columns import of_kind

READS = frozenset({"series", "time", "item", "known", "past", "static"})
"""What a model of windows accepts: all that a forecast's table may have, whether the model makes something of it or not."""

BESIDE = frozenset({"known", "past", "static"})
"""What goes with a series."""


@dataclass(frozen=True)
class Windows:
    """The sizes of a batch of windows."""

    series: tuple[str, ...]
    """Their keys."""
    look_back: int
    horizon: int
    season: int
    known: int
    """Features a moment, of past and horizon; 0 where there are none, and so are the next two."""
    past: int
    static: int

    @classmethod
    def of(cls, schema: Schema, head: Head) -> Windows:
        series: Any = of_kind(schema, "series")
        first = next(iter(series.values())).config
        widths = {kind: sum(each.size for each in of_kind(schema, kind).values()) for kind in ("time", "known", "past", "static")}
        return cls(tuple(series), first.look_back, head.parts[0].size, first.season, widths["time"] + widths["known"],
                   widths["past"], widths["static"])  # fmt: skip

    def stacked(self, batch: Batch) -> Tensor:
        """The series side by side: (B, C, L)."""
        return torch.stack([batch[key] for key in self.series], 1)

    @property
    def width(self) -> int:
        """Numbers of a seen moment."""
        return len(self.series) + self.known + self.past + self.static

    def moments(self, batch: Batch) -> Tensor:
        """All that is seen, moment by moment, each series from its last value on: (B, L, width)."""
        x, beside = self.stacked(batch), self.beside(batch)
        x = (x - x[:, :, -1:]).transpose(1, 2)
        return x if beside is None else torch.cat([x, beside], 2)

    def beside(self, batch: Batch) -> Tensor | None:
        """What is known of each seen moment beside the series, static features at each again: (B, L, F); None where there is nothing."""
        found = [batch["known"][:, : self.look_back]] if self.known else []
        found += [batch["past"]] if self.past else []
        found += [batch["static"].unsqueeze(1).expand(-1, self.look_back, -1)] if self.static else []
        return torch.cat(found, 2) if found else None

    def ahead(self, batch: Batch) -> Tensor | None:
        """What is known of each moment of the horizon, static features at each again: (B, H, F); None where there is nothing."""
        found = [batch["known"][:, self.look_back : self.look_back + self.horizon]] if self.known else []
        found += [batch["static"].unsqueeze(1).expand(-1, self.horizon, -1)] if self.static else []
        return torch.cat(found, 2) if found else None

    def outlook(self, F: int) -> Outlook:
        return Outlook(F, self)


class Outlook(nn.Module):
    """What a network made of a window, (B, F), mapped to its horizon, (B, C * H): begins as the naive forecast.

    Beside it is one linear map from each series to its horizon, as LSTNet has it (Lai et al. 2018, arXiv 1703.07015), for a network finds
    slowly what is linear. ETTh1, two epochs: tcn by 336 hours .372 with it, .454 without (on validation .654, .700); lstm by 96 hours .379,
    .491 (.675, .713); nlinear .370, .383. Where something is known of the moments ahead, each has a hidden layer of that and of the
    features, besides.
    """

    def __init__(self, F: int, windows: Windows):
        super().__init__()
        self.windows = windows
        self.direct = nn.Linear(F, len(windows.series) * windows.horizon)
        self.straight = nn.Linear(windows.look_back, windows.horizon, bias=False)
        for each in (self.direct.weight, self.direct.bias, self.straight.weight):
            nn.init.zeros_(each)
        A = windows.known + windows.static
        self.there = nn.Linear(A, F) if A else None
        if A:
            self.here, self.step = nn.Linear(F, F, bias=False), nn.Linear(F, len(windows.series), bias=False)
            nn.init.zeros_(self.step.weight)

    def forward(self, features: Tensor, batch: Batch) -> Tensor:
        w = self.windows
        x = w.stacked(batch)  # (B, C, L)
        last = x[:, :, -1:]
        z = self.direct(features).view(len(features), -1, w.horizon) + self.straight(x - last) + last  # (B, C, H)
        ahead = w.ahead(batch)
        if ahead is not None:
            z = z + self.step(torch.relu(self.there(ahead) + self.here(features).unsqueeze(1))).transpose(1, 2)
        return z.flatten(1)


class Rule(Model):
    """A forecast that follows from each window by itself: nothing is learned, and it stands beside every forecast."""

    accepts, leaves = READS, BESIDE
    gives = frozenset({"series"})
    solves = True
    threads = 1  # a second one only waits at each small product
    baseline = True

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.windows = Windows.of(schema, head)

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        """There is nothing to learn."""
