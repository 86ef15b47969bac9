"""The multilayer perceptron: any depth, width and activation. `hidden: [10], activation: relu` is the textbook's two-layer network.

x -> (Linear -> norm -> activation -> dropout) for each hidden width -> Linear. Numbers enter z-scored as they are, ids one-hot or, where
there are many, embedded; a picture as its pixels, one beside the other, brightness normalised.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn

from luban.core.batch import Batch
from luban.core.contract import Head, Model, Schema
from luban.layers.columns import Flat, of_kind
from luban.layers.heads import output_layer
from luban.layers.rules import training, within

ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "tanh": nn.Tanh, "leaky_relu": nn.LeakyReLU, "elu": nn.ELU,
               "selu": nn.SELU, "sigmoid": nn.Sigmoid, "softplus": nn.Softplus, "identity": nn.Identity}  # fmt: skip
NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}

SIZES = {"small": (64,), "base": (128, 128), "large": (512, 512, 512)}


class MLP(Model):
    traceable = True

    accepts = frozenset({"scalar", "id", "tokens", "grid"})

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
        layers: list[nn.Module] = []
        width = self.flat.size
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

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        return 0.3 if len(of_kind(schema, "grid")) > 1 else 0.0  # several pictures a row, which no other model here reads

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        train, why = training(n_rows)
        if config.hidden is not None:
            return config, train, why
        hidden = (32,) if n_rows < 2_000 else SIZES[size]
        return replace(config, hidden=hidden), train, {**why, "model.hidden": f"by size {size} and {n_rows:,} rows"}

    def features(self, batch: Batch) -> Tensor:
        return self.hidden(self.flat(batch))  # (B, D)

    def forward(self, batch: Batch) -> Tensor:
        return self.output(self.features(batch))
