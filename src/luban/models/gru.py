"""Gated recurrent units (Cho et al. 2014, arXiv 1406.1078): nearly an LSTM, with a quarter fewer weights."""

from __future__ import annotations

from torch import nn

from luban.layers.recurrent import Recurrent


class Gru(Recurrent):
    cell = nn.GRU
