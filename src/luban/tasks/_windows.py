"""Windows of series as tensors: where each item begins and ends, gaps filled, each window scaled by what it sees.

Letters as in forecast.py."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def before(which: Tensor) -> Tensor:
    """(N + 1,): how many of the rows before each are so, or what they add up to."""
    return F.pad(which.cumsum(0), (1, 0))


def runs(item: Tensor | None, n: int) -> tuple[Tensor, Tensor]:
    """(first row, row behind the last) of the item of each row, (N,) int64 each; one item without `item` (N,)."""
    if item is None:
        return torch.zeros(n, dtype=torch.int64), torch.full((n,), n)
    new = torch.ones(n, dtype=torch.bool)
    new[1:] = item[1:] != item[:-1]
    of, starts = new.cumsum(0) - 1, new.nonzero().squeeze(1)
    ends = torch.cat([starts[1:], torch.tensor([n])])
    return starts[of], ends[of]


def cut(column: Tensor, start: Tensor, end: Tensor, length: int) -> tuple[Tensor, Tensor | None]:
    """(the `length` rows before `end` (B,) of a column (N, ...), (B, length, ...); which of them lie before `start` (B, length), where row
    `start` stands for them, or None where none does)."""
    if column.dim() == 1 and (end - start >= length).all():
        return column.unfold(0, length, 1)[end - length], None  # a third of the time
    rows = end.unsqueeze(1) + torch.arange(-length, 0)
    short = rows < start.unsqueeze(1)
    rows = rows.maximum(start.unsqueeze(1))
    return column.index_select(0, rows.flatten()).unflatten(0, rows.shape), short if short.any() else None


def filled(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """(windows (B, L) without gaps, which of them knew nothing at all (B, 1), None where there is no gap).

    A gap takes the value before it; at the start of a window the first known, which is past as well, whatever lies before the window, so
    that training sees what a question shows. Where nothing is known it is 0, the mean.
    """
    gap = x.isnan()
    if not gap.any():
        return x, None
    known = torch.where(gap, 0, torch.arange(x.shape[1])).cummax(1).values
    first = (~gap).int().argmax(1, keepdim=True)
    return x.gather(1, known.maximum(first)).nan_to_num(0.0), gap.all(1, keepdim=True)


def scale_of(x: Tensor) -> tuple[Tensor, Tensor]:
    """(mean, spread) of what each window (B, L) knows, (B, 1) each; of a constant, its size, so that no spread is 0."""
    x, known = x.double(), ~x.isnan()
    if known.all():  # a quarter of the time
        mean = x.mean(1, keepdim=True)
        spread = (x - mean).square().mean(1, keepdim=True).sqrt()
    else:
        n = known.sum(1, keepdim=True).clamp(min=1)
        x = x.nan_to_num(0.0)
        mean = x.sum(1, keepdim=True) / n
        spread = ((x - mean).square() * known).sum(1, keepdim=True).div(n).sqrt()
    size = torch.where(mean.abs() > 0, mean.abs(), 1.0)
    return mean.float(), torch.where(spread > 1e-9 * size, spread, size).float()


def naive_errors(x: Tensor, first: Tensor, season: int) -> tuple[Tensor, Tensor]:
    """(sums (N + 1,), numbers (N + 1,)) of how far the values (N,) are off from those a season before in the same item; sums to row i are
    of the rows before it."""
    n = len(x)
    earlier = torch.arange(n) - season
    off = torch.where(earlier >= first, (x - x[earlier.clamp(min=0)]).abs(), torch.nan)
    known = ~off.isnan()
    return before(off.nan_to_num(0.0).double()), before(known.long())


def quantiles(off: Tensor, levels: Tensor) -> Tensor:
    """Of how far the forecasts of B windows were off, (B, C, H) with NaN for gaps: (Q, C, H). Where windows are few, a step is judged with
    its neighbours."""
    B, _, H = off.shape
    off = off[torch.arange(min(B, 2_000)) * B // min(B, 2_000)]  # sorting is what costs
    near = -(-100 // max(len(off), 1)) // 2
    if near:
        around = (torch.arange(H).unsqueeze(1) + torch.arange(-near, near + 1)).clamp(0, H - 1)
        off = off[:, :, around].permute(0, 3, 1, 2).flatten(0, 1)  # (B * steps, C, H)
    return off.nanquantile(levels.to(off.dtype), 0).nan_to_num(0.0)


def widened(bands: Tensor, steps: int) -> Tensor:
    """Quantiles (Q, C, H) of a forecast that is rolled on: its errors add up as if each round's were independent of the last's, those of
    either sign against each other, so that a larger quantile stays the larger."""
    H = bands.shape[2]
    at = torch.arange(steps, device=bands.device)
    own, whole = bands[:, :, at % H], bands[:, :, -1:]
    total = own * own.abs() + whole * whole.abs() * (at // H)
    return total.sign() * total.abs().sqrt()


def usual_season(moment: Any) -> int:
    """Steps of a year of months or quarters, of a week of days, of a day of anything shorter; else 1."""
    day = 86_400_000_000
    if moment.form == "number" or moment.months:
        return {1: 12, 3: 4}.get(moment.months, 1)
    if moment.step == day:
        return 7
    return day // moment.step if day % moment.step == 0 else 1


def words(moment: Any, stamps: Tensor) -> list:
    """As users write them: ISO dates, with a time of day where there was one, or whole numbers."""
    return [each if isinstance(each, int) else str(each) for each in moment.decode(stamps)]
