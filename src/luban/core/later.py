"""Modules that are loaded at their first use: scikit-learn takes a second, and neither `predict` nor `serve` needs it."""

from __future__ import annotations

import importlib
from typing import Any


class Later:
    """Stands for the module `name`: `sk = Later("sklearn.metrics")`, then `sk.f1_score` as ever."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self._name), name)
