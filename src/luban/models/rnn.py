"""A plain recurrent network (Elman 1990): cheap, and forgets within some ten tokens."""

from __future__ import annotations

from typing import Any

from torch import nn

from luban.core.contract import Head, Schema
from luban.layers import recurrent
from luban.layers.sequences import SequenceModel


class Rnn(SequenceModel):
    Config = recurrent.Config
    accepts = SequenceModel.accepts | {"curve"}
    needs = SequenceModel.needs | {"curve"}
    threads = recurrent.THREADS
    gives = SequenceModel.gives | {"tags", "masked"}

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        return recurrent.planned(config, size, head, n_rows)

    def network(self, config: Any) -> tuple[nn.Module, int]:
        trunk = recurrent.Runs(nn.RNN, config)
        return trunk, trunk.size
