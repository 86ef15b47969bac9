"""Long short-term memory (Hochreiter and Schmidhuber 1997): a recurrent network that keeps what it needs over hundreds of tokens."""

from __future__ import annotations

from torch import nn

from luban.layers.recurrent import Recurrent


class Lstm(Recurrent):
    cell = nn.LSTM
