"""The Theta method (Assimakopoulos and Nikolopoulos 2000), which won the M3 competition: half a trend, half exponential smoothing.

Each window by itself, and nothing is learned: where its season is significant it is taken off (classical decomposition, added again at the
end); the line of least squares is one half, and simple exponential smoothing of twice the series less that line the other. All windows are
smoothed at once, for a grid of alphas, each with the level to start from that serves it best. It is statsforecast's
AutoTheta(model="STM", decomposition_type="additive") to within .007 standard deviations on 28 windows of ETTh1. Letters: S windows of a
series, L look-back, H horizon, m season, A alphas.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from luban.core.batch import Batch
from luban.layers.windows import Rule

SURE = 1.645
"""Standard errors from which a season is one (Fiorucci et al. 2016): 90 % two-sided."""
GRID = 12
"""Alphas that are tried, and again between the neighbours of the best."""
PIECE = 4_096
"""Windows of a series at a time."""


class Theta(Rule):
    def forward(self, batch: Batch) -> Tensor:
        x = self.windows.stacked(batch)  # (B, C, L)
        w = self.windows
        pieces = [continued(piece.double(), w.horizon, w.season) for piece in x.flatten(0, 1).split(PIECE)]
        return torch.cat(pieces).float().view(len(x), -1)  # (B, C * H)


def continued(x: Tensor, H: int, m: int) -> Tensor:
    """x (S, L) by the method: (S, H)."""
    L = x.shape[1]
    t, ahead = torch.arange(L, device=x.device), torch.arange(L, L + H, device=x.device)
    season = seasonal(x, m) if 1 < m <= L // 2 else x.new_zeros(len(x), 1)
    x = x - season[:, t % season.shape[1]]
    mean, middle = x.mean(1, keepdim=True), (L - 1) / 2
    slope = ((t - middle) * (x - mean)).sum(1, keepdim=True) / (t - middle).square().sum()
    line = mean + slope * (torch.cat([t, ahead]) - middle)  # (S, L + H)
    level = smoothed(2 * x - line[:, :L])
    return (line[:, L:] + level) / 2 + season[:, ahead % season.shape[1]]


def smoothed(z: Tensor) -> Tensor:
    """The last level of simple exponential smoothing of z (S, L), by the alpha and first level of the least squared errors: (S, 1)."""
    alpha = torch.linspace(0.02, 0.98, GRID, dtype=z.dtype, device=z.device).expand(len(z), -1)
    step = 0.96 / (GRID - 1)
    for _ in range(2):
        errors, level = _swept(z, alpha)
        best = errors.argmin(1, keepdim=True)
        found, alpha = level.gather(1, best), alpha.gather(1, best)
        alpha = (alpha + torch.linspace(-step, step, GRID, dtype=z.dtype, device=z.device)).clamp(0.01, 0.99)
    return found


def _swept(z: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """(sum of squared errors, last level), (S, A) each. Errors are linear in the first level, so that its best value is a quotient."""
    level, left = torch.zeros_like(alpha), torch.ones_like(alpha)  # from 0; what of the first level is left
    squares, cross, weight = torch.zeros_like(alpha), torch.zeros_like(alpha), torch.zeros_like(alpha)
    for each in z.unbind(1):
        error = each.unsqueeze(1) - level
        squares.addcmul_(error, error)
        cross.addcmul_(error, left)
        weight.addcmul_(left, left)
        level.addcmul_(alpha, error)
        left = left * (1 - alpha)
    first = cross / weight
    return squares - cross * first, level + left * first


def seasonal(x: Tensor, m: int) -> Tensor:
    """What each of m seasons adds, (S, m), on average 0; 0 throughout where autocorrelation says that there is no season."""
    L, half = x.shape[1], m // 2
    centred = x - x.mean(1, keepdim=True)
    r = torch.stack([(centred[:, lag:] * centred[:, : L - lag]).sum(1) for lag in range(m + 1)], 1)
    r = r[:, 1:] / r[:, :1]
    sure = r[:, -1].abs() > SURE * ((1 + 2 * r[:, :-1].square().sum(1)) / L).sqrt()  # Bartlett's formula
    kernel = x.new_full((1, 1, 2 * half + 1), 1 / m)
    if m % 2 == 0:
        kernel[..., [0, -1]] /= 2
    rest = x[:, half : L - half] - F.conv1d(x.unsqueeze(1), kernel).squeeze(1)
    phase = F.one_hot(torch.arange(half, L - half, device=x.device) % m, m).to(x.dtype)
    means = rest @ (phase / phase.sum(0))
    return (means - means.mean(1, keepdim=True)) * sure.unsqueeze(1)
