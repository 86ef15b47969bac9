"""Columns of curves, and the rest of a table beside them: what the models of whole series have in common.

    curves -> (B, T, C) and which steps are there -> the model's own -> features (B, D)  \
                                                                                          side by side
    other columns -> Flat (B, F)                                                         /
"""

from __future__ import annotations

from luban.core.contract import Field, Schema
from luban.layers.columns import of_kind


def the_curves(schema: Schema) -> tuple[dict[str, Field], Schema]:
    """(the columns of curves, all others)."""
    curves = of_kind(schema, "curve")
    return curves, Schema({key: each for key, each in schema.inputs.items() if key not in curves}, {})
