"""A network that sees one picture and reads the other columns beside it: what the picture models have in common.

    picture -> Pixels -> trunk (the model's own) -> features (B, D)  \
                                                                      -> hidden, where there are other columns -> output
    other columns -> Flat (B, F)                                     /

A picture model gives its trunk; this is where the picture is found, moved, mirrored, joined with the rest, shown and counted.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from luban.core.batch import Batch, Examples
from luban.core.contract import Field, Head, Model, Schema
from luban.core.errors import UserError, listed
from luban.layers.columns import Beside, of_kind
from luban.layers.heads import output_layer
from luban.layers.pictures import Pixels, flops

SHOWN = 32
"""Pictures, or filters, that are shown."""


def has_picture(schema: Schema) -> bool:
    """Is there a picture in a row, and no more than one?"""
    return len(of_kind(schema, "grid")) == 1


def the_picture(schema: Schema) -> tuple[str, Field]:
    """(key, field) of the one column of pictures. Raises UserError where there is none, or more than one."""
    found = of_kind(schema, "grid")
    if len(found) != 1:
        names = [repr(field.columns[0]) for field in found.values()]
        have = f"there are {len(names)}: {listed(names)}; leave all but one out (--drop), or take --model mlp" if names else "there is none"
        raise UserError(f"this model looks at one column of pictures, and {have}.")
    return next(iter(found.items()))


class PictureModel(Model):
    """A trunk of the subclass's making, made by `network`, with the rest of the table beside its features."""

    accepts = frozenset({"grid", "scalar", "id", "tokens"})
    rate = 6e10
    mixes: ClassVar[bool] = True
    """Is there a hidden layer where other columns meet the features? Without it the output is linear in both, and can be solved."""

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.key, field = the_picture(schema)
        self.pixels = self.eyes(config, field)
        self.trunk, width = self.network(config, field.shape)
        # Weights stay in the order of their rows, though pictures are channels last: torch reorders them in each step, which costs 2 %,
        # and optimisers, checkpoints and bundles see plain tensors.
        self.beside = Beside(schema, self.key, width, self.mixes)
        self.output = output_layer(self.beside.size, head)
        with torch.no_grad():
            self.output.weight.mul_(0.3)  # features of a picture network are not z-scored; so the first answers are near the constant
        self._cost = self._counted(field.shape)

    def network(self, config: Any, shape: tuple[int, ...]) -> tuple[nn.Module, int]:
        """(floats (B, C, H, W) -> features (B, D), D)."""
        raise NotImplementedError

    def eyes(self, config: Any, field: Field) -> Pixels:
        """What makes floats of the bytes."""
        return Pixels(field, config.augment)

    def look(self, train: Examples) -> None:
        self.pixels.look(train, self.key, self.head)

    def features(self, batch: Batch) -> Tensor:
        return self.beside(self.trunk(self.pixels(batch[self.key])), batch)  # (B, D)

    def forward(self, batch: Batch) -> Tensor:
        return self.output(self.features(batch))

    # ---- for people

    @torch.no_grad()
    def show(self, batch: Batch) -> dict[str, Tensor]:
        x = batch[self.key][:SHOWN]
        with torch.random.fork_rng():  # looking changes nothing
            shown = {"as the network sees them in training": self.pixels.augmented(x).cpu()} if self.pixels.augment else {}
        return {**shown, "first filters": as_pictures(self.filters()[:SHOWN])}

    def filters(self) -> Tensor:
        """The weights that meet the pixels: (n, C, h, w)."""
        return next(module.weight for module in self.trunk.modules() if isinstance(module, nn.Conv2d))

    # ---- what it costs

    def flops(self) -> float:
        return self._cost

    def _counted(self, shape: tuple[int, ...]) -> float:
        """Of the trunk by running it once on an empty picture; of the rest as any model."""
        rest = [*self.beside.joined.parameters(), *self.output.parameters()]
        return float(flops(self.trunk, torch.zeros(1, *shape)) + 2 * sum(p.numel() for p in rest if p.dim() > 1))


def as_pictures(weights: Tensor) -> Tensor:
    """(n, C, h, w) floats, each stretched to 0..255; of neither 1 nor 3 channels, their mean."""
    w = weights.detach().float().cpu()
    w = w if w.shape[1] in (1, 3) else w.mean(1, keepdim=True)
    low, high = w.amin((1, 2, 3), keepdim=True), w.amax((1, 2, 3), keepdim=True)
    return ((w - low) / (high - low).clamp(min=1e-12) * 255).round().to(torch.uint8)
