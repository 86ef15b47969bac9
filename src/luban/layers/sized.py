"""Buffers of which the size is known from the data only: they come to it when a bundle is loaded."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def take_sizes(model: nn.Module, saved: dict[str, Tensor], prefix: str, *rest: Any) -> None:
    """For `register_load_state_dict_pre_hook`: each buffer of the model is made as large as the one that was saved."""
    for name in model._buffers:
        model._buffers[name] = torch.empty_like(saved[prefix + name])
