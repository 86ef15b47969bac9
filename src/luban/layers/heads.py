"""Where outputs start: at the answer of the constant model, so that the first steps are not spent on learning the average."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from luban.core.contract import Head


def starting_bias(head: Head) -> Tensor:
    """(head.size,): the parts' own bias where they name one, else 0."""
    return torch.tensor([bias for part in head.parts for bias in part.bias or (0.0,) * part.size])


def output_layer(inputs: int, head: Head) -> nn.Linear:
    """The last layer: a plain nn.Linear that starts at `starting_bias`."""
    layer = nn.Linear(inputs, head.size)
    with torch.no_grad():
        layer.bias.copy_(starting_bias(head))
    return layer
