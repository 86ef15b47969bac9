"""How weights move: optimisers over one flat buffer, and learning-rate schedules as pure functions."""

from luban.optim.optimisers import FUSED, NAMES, Optimiser, build

__all__ = ["FUSED", "NAMES", "Optimiser", "build"]
