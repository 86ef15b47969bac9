"""The multilayer perceptron: any depth, width and activation. `hidden: [10], activation: relu` is the textbook's two-layer network.

x -> (Linear -> norm -> activation -> dropout) for each hidden width -> Linear. Numbers enter z-scored as they are, ids one-hot or, where
there are many, embedded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn

from luban.core.contract import Batch, Head, Model, Schema
from luban.layers.columns import Flat
from luban.layers.heads import output_layer
from luban.models._rules import rhythm, within

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU,
               "selu": nn.SELU, "sigmoid": nn.Sigmoid, "softplus": nn.Softplus, "identity": nn.Identity}  # fmt: skip
NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class MLP(Model):
    @dataclass(frozen=True)
    class Config:
        hidden: tuple[int, ...] | None = None
        """Width of each hidden layer, first to last; [] is logistic regression by gradient descent."""
        activation: Literal["relu", "gelu", "silu", "tanh", "leaky_relu", "elu", "selu", "sigmoid", "softplus", "identity"] = "relu"
        """relu is quick and hard to beat at this size; gelu and silu are smoother, tanh and sigmoid are for comparison with old books."""
        dropout: float = 0.0
        """Share of the hidden units silenced in training; .1 to .5 where a wide network overfits."""
        norm: Literal["none", "batch", "layer"] = "none"
        """Normalise before the activation: for deep networks. batch needs batches of 16 or more."""

        def __post_init__(self) -> None:
            within(self, {"hidden": (1, 65_536), "dropout": (0.0, 0.95)})

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.flat = Flat(schema)
        layers, width = [], self.flat.size
        for wide in config.hidden:
            layers.append(nn.Linear(width, wide))
            if config.norm != "none":
                layers.append(NORMS[config.norm](wide))
            layers.append(ACTIVATIONS[config.activation]())
            if config.dropout:
                layers.append(nn.Dropout(config.dropout))
            width = wide
        self.hidden = nn.Sequential(*layers)
        self.output = output_layer(width, head)

    def features(self, batch: Batch) -> Tensor:
        return self.hidden(self.flat(batch))  # (B, D)

    def forward(self, batch: Batch) -> Tensor:
        return self.output(self.features(batch))

    @classmethod
    def plan(cls, config, schema, head, n_rows, size):
        return replace(config, hidden=config.hidden if config.hidden is not None else (128, 128)), {}, {}
