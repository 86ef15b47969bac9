"""Gated recurrent units (Cho et al. 2014, arXiv 1406.1078): nearly an LSTM, with a quarter fewer weights."""

from __future__ import annotations

from typing import Any

from torch import nn

from luban.core.contract import Head, Schema
from luban.layers import recurrent
from luban.layers.sequences import SequenceModel


class Gru(SequenceModel):
    Config = recurrent.Config
    accepts = SequenceModel.accepts | {"curve"}
    needs = SequenceModel.needs | {"curve"}
    threads = recurrent.THREADS
    gives = SequenceModel.gives | {"tags", "masked"}

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        return recurrent.planned(config, size, head, n_rows)

    def network(self, config: Any) -> tuple[nn.Module, int]:
        trunk = recurrent.Runs(nn.GRU, config)
        return trunk, trunk.size
