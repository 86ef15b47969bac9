"""Long short-term memory (Hochreiter and Schmidhuber 1997): a recurrent network that keeps what it needs over hundreds of tokens."""

from __future__ import annotations

from typing import Any

from torch import nn

from luban.core.contract import Head, Schema
from luban.layers import recurrent
from luban.layers.sequences import SequenceModel, tags_asked


class Lstm(SequenceModel):
    Config = recurrent.Config
    gives = SequenceModel.gives | {"tags"}

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.7 if tags_asked(head) else 0.0

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        return recurrent.planned(config, size, head)

    def network(self, config: Any) -> tuple[nn.Module, int]:
        trunk = recurrent.Runs(nn.LSTM, config)
        return trunk, trunk.size
