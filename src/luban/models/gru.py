"""Gated recurrent units (Cho et al. 2014, arXiv 1406.1078): nearly an LSTM, with a quarter fewer weights."""

from __future__ import annotations

from typing import Any

from torch import nn

from luban.core.contract import Head, Schema
from luban.layers import recurrent
from luban.layers.sequences import SequenceModel


class Gru(SequenceModel):
    Config = recurrent.Config
    threads = recurrent.THREADS
    accepts, needs, gives, over = recurrent.ACCEPTS, recurrent.NEEDS, recurrent.GIVES, recurrent.OVER

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        return recurrent.planned(config, size, schema, head, n_rows)

    def network(self, config: Any) -> tuple[nn.Module, int]:
        trunk = recurrent.Runs(nn.GRU, config)
        return trunk, trunk.size
