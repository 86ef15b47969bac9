"""The other columns beside what a network made of one: features (B, D) and a Batch become features of both.

    features (B, D)               \
                                    -> hidden (B, min(D, 1024)), where there are other columns
    other columns -> Flat (B, F)  /
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from luban.core.batch import Batch
from luban.core.contract import Schema
from luban.layers.columns import Flat

JOINED = 1024
"""Width of the layer where other columns meet the features, at most."""


class Beside(nn.Module):
    """Without other columns the features stay as they are. With `mixes` False there is no hidden layer: an output on top is linear in both."""

    def __init__(self, schema: Schema, key: str, width: int, mixes: bool = True):
        super().__init__()
        rest = {other: field for other, field in schema.inputs.items() if other != key}
        self.others = Flat(Schema(rest, {}), embed=mixes) if rest else None
        both = width + (self.others.size if self.others is not None else 0)
        wide = min(width, JOINED)
        self.joined = nn.Sequential(nn.Linear(both, wide), nn.ReLU()) if rest and mixes else nn.Identity()
        self.size = wide if rest and mixes else both

    def forward(self, features: Tensor, batch: Batch) -> Tensor:
        return self.joined(torch.cat([features, self.others(batch)], 1) if self.others is not None else features)
