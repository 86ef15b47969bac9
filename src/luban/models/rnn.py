"""A plain recurrent network (Elman 1990): cheap, and forgets within some ten tokens."""

from __future__ import annotations

from torch import nn

from luban.layers.recurrent import Recurrent


class Rnn(Recurrent):
    cell = nn.RNN
