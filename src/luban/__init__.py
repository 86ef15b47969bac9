"""Luban: one tool for a model's whole life on your own data.

    import luban
    run = luban.train("data.csv", target="label")
    luban.predict(run.path, "new.csv")

The whole public API is on this page. Each name is imported when it is first used, so `import luban` loads neither torch nor polars.
"""

import importlib
from typing import Any

_WHERE = {
    "train": "luban.stages.train",
    "Run": "luban.stages.train",
    "evaluate": "luban.stages.evaluate",
    "predict": "luban.stages.predict",
    "compare": "luban.stages.compare",
    "LubanClassifier": "luban.estimators",
    "LubanRegressor": "luban.estimators",
    "load": "luban.bundle",
    "Bundle": "luban.bundle",
    "Model": "luban.core.contract",
    "Field": "luban.core.contract",
    "Task": "luban.core.contract",
    "Batch": "luban.core.contract",
    "UserError": "luban.core.errors",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("luban")
    if name not in _WHERE:
        raise AttributeError(f"module 'luban' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
