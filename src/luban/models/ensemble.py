"""The mean of models that were trained apart: each is wrong in its own way, so their mean is wrong less.

Every model counts the same. Weights chosen on the validation rows were measured to be no better than the plain mean (dev/LOG.md).
The outputs are laid side by side as members of one ensemble, (B, K, size), so that the task averages probabilities, not logits, as it
does for any ensemble. `auto` tries the mean of the best two; config.members names others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from luban.core import config as configs
from luban.core.batch import Batch
from luban.core.contract import Head, Model, Schema
from luban.core.errors import UserError
from luban.core.registry import MODELS
from luban.layers.windows import READS


class Ensemble(Model):
    joins = True
    accepts = Model.accepts | {"grid"} | READS
    gives = Model.gives | {"series"}

    @dataclass(frozen=True)
    class Config:
        members: tuple[dict[str, Any], ...] | None = None
        """The models, each by its name and settings. Unset: tabm and trees, of series nlinear and lags; what is fitted and what is grown
        err most differently."""

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        if len(config.members) < 2:
            raise UserError("an ensemble needs at least two models: --set 'model.members=[{name: tabm}, {name: trees}]'.")
        self.members: Any = nn.ModuleList(_empty(member, schema, head) for member in config.members)

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        planned = []
        usual = ("nlinear", "lags") if any(part.kind == "series" for part in head.parts) else ("tabm", "trees")
        for member in [{"name": name} for name in usual] if config.members is None else config.members:
            model_class, options = _options(member)
            own, _, _ = model_class.plan(options, schema, head, n_rows, size)
            planned.append({"name": member["name"], **configs.to_dict(own)})
        return replace(config, members=tuple(planned)), {}, {}

    def adopt(self, members: Sequence[Model]) -> None:
        self.members = nn.ModuleList(members)

    def forward(self, batch: Batch) -> Tensor:
        outputs = [output.unsqueeze(1) if output.dim() == 2 else output for output in (member(batch) for member in self.members)]
        K = math.lcm(*(output.shape[1] for output in outputs))  # every model takes K places, whatever members it has itself
        return torch.cat([output.repeat_interleave(K // output.shape[1], 1) for output in outputs], 1)  # (B, K * models, size)

    def files(self) -> dict[str, str]:
        return {f"{i}.{name}": content for i, member in enumerate(self.members) for name, content in member.files().items()}

    def restore(self, files: dict[str, str]) -> None:
        for i, member in enumerate(self.members):
            member.restore({name.partition(".")[2]: content for name, content in files.items() if name.partition(".")[0] == str(i)})

    def flops(self) -> float:
        return sum(member.flops() for member in self.members)


def _empty(member: dict[str, Any], schema: Schema, head: Head) -> Model:
    model_class, options = _options(member)
    return model_class(options, schema, head)


def _options(member: dict[str, Any]) -> tuple[type[Model], Any]:
    """A member's class and its configuration."""
    if "name" not in member:
        raise UserError(f"each of model.members needs a name, as in {{name: mlp, hidden: [64]}}, not {member!r}.")
    if ".py:" in str(member["name"]):
        raise UserError(
            f"{member['name']!r} cannot be a member of an ensemble: its members are models of `luban list models`; "
            "a network of your own is trained alone."
        )
    model_class = MODELS[str(member["name"])]
    options = {key: value for key, value in member.items() if key != "name"}
    return model_class, configs.build(model_class.Config, options, f"model.members ({member['name']})")
