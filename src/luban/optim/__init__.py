"""How weights move: optimisers over one flat buffer, and learning-rate schedules as pure functions."""

from luban.optim.optimisers import NAMES, Optimiser, build

__all__ = ["NAMES", "Optimiser", "build"]
