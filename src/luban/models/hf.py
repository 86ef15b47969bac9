"""A Transformer that has read before: any encoder of Hugging Face's `transformers`, put to the user's own rows. `--model hf:PATH`.

    tokens (its own tokenizer's) -> backbone (frozen, tuned, or tuned by LoRA) -> mean of the last states (B, D) -> Beside -> output

`tune: head` solves the output on frozen features, once. `tune: all` starts from that and moves everything at a low rate (Kumar et al.
2022, arXiv 2202.10054). `tune: lora` moves a low-rank part of each matrix (Hu et al. 2021, arXiv 2106.09685; by peft), which is added to
it at the end: the bundle holds a plain model, whose folder `transformers` opens as well, and needs neither peft nor the weights it came
from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from luban.core.batch import Batch, Examples, Ragged, cut
from luban.core.contract import Clock, Head, Model, Schema
from luban.core.device import fast_bf16
from luban.core.errors import UserError
from luban.core.hub import folder_of, read
from luban.core.notes import say
from luban.core.registry import Later
from luban.layers.columns import Beside
from luban.layers.encoders import quickened
from luban.layers.heads import output_layer
from luban.layers.probe import probe
from luban.layers.sequences import padded, pooled, steps, tags_asked, the_tokens

transformers, peft = Later("transformers"), Later("peft")

PIECE = 32
"""Rows that go through the backbone at once when features are made."""
FIRST = 10_000
"""Rows of which the output is solved before everything moves, at most, and in bf16 where that is fast: it is where training starts only."""


class Hf(Model):
    accepts = frozenset({"tokens", "words", "scalar", "id"})
    needs = frozenset({"tokens", "words"})
    gives = Model.gives | {"vectors", "tags"}
    ragged = True
    argument = "path"
    rate = 6e10

    @dataclass(frozen=True)
    class Config:
        path: str | None = None
        """A folder with config.json, tokenizer.json and *.safetensors, or an id of the hub such as BAAI/bge-small-zh-v1.5."""
        tune: Literal["head", "all", "lora"] = "all"
        """all: everything is trained at a low rate. lora: a low-rank part of each matrix, with a tenth of the optimiser's memory. head: the
        backbone stays as it is and the answer is solved on its features: seconds."""
        rank: int = 8
        """For tune: lora. The rank of what is learned."""
        pooling: Literal["mean", "first", "max"] = "mean"
        """What stands for the row: of all tokens the mean or the largest of each feature, or the state of the first (BERT's [CLS])."""
        strength: float = 1.0
        """Of the solved output: the larger, the freer its weights; scikit-learn's C."""
        about: dict[str, Any] | None = None
        """config.json of the model, found by the plan and kept, so that the bundle is enough."""

        def __post_init__(self) -> None:
            if self.rank < 1 or not self.strength > 0:
                raise UserError(f"model.rank must be 1 or more and model.strength above 0, not {self.rank} and {self.strength:g}.")

    @classmethod
    def reads(cls, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        its = f"hf:{options.get('path')}"
        return {"text": {"tokenizer": its}, "words": {"pieces": its}} if options.get("path") else {}

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        if not config.path:
            raise UserError("which pretrained model? --model hf:PATH names a folder or an id of the hub.")
        _, field = the_tokens(schema)
        tagging = tags_asked(head)
        if tagging and config.tune == "head":
            raise UserError("tune: head solves one answer a row, and tags are one a token: take tune: lora, or all.")
        if getattr(field.config, "pieces" if tagging else "tokenizer", None) != f"hf:{config.path}":
            raise UserError(f"the column {field.columns[0]!r} must be cut by the model's own tokenizer: "
                            f"--set 'fields.{field.columns[0]}={{field: text, tokenizer: hf:{config.path}}}'.")  # fmt: skip
        planned = replace(config, about=config.about or read(folder_of(config.path), "config.json"))
        epochs = 10 if tagging else 3
        train = {"batch_size": min(32, n_rows), "epochs": epochs, "lr": 5e-5 if config.tune == "all" else 5e-4, "optimizer": "adamw",
                 "ema": 0.0, "weight_decay": 0.01, "schedule": "cosine", "warmup": 0.1, "clip": 1.0, "patience": 0}  # fmt: skip
        why = {"train.lr": "low, so that what was learned before is not lost",
               "train.epochs": "an output that starts from nothing takes longer" if tagging else "BERT's"}  # fmt: skip
        return planned, train, why

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.key, self.field = the_tokens(schema)
        self.tagging, self.steps = tags_asked(head), steps(head)
        self.embeds = head.parts[0].kind == "vectors"  # then nothing is learned: the answer is the row's features, of length 1
        self.solves = config.tune == "head" or self.embeds  # type: ignore[misc]
        backbone = quickened(built(config.about), tables=config.tune == "all")
        self.name = backbone.base_model_prefix or "model"  # the prefix under which transformers looks for these weights
        setattr(self, self.name, backbone)
        self.beside = Beside(schema, self.key, backbone.config.hidden_size, mixes=False)
        self.output = None if self.embeds else output_layer(self.beside.size, head)

    def features(self, batch: Batch) -> Tensor:
        """(B, F); or where each token is answered (B, T, F)."""
        if self.tagging:
            return self.beside(self._of_tokens(batch[self.key]), batch)
        ids, there = padded(batch[self.key], 2)
        h = self._read(ids, there)
        return self.beside(h[:, 0] if self.config.pooling == "first" else pooled(h, there, self.config.pooling), batch)

    def _read(self, ids: Tensor, there: Tensor) -> Tensor:
        """(B, T, D)"""
        return getattr(self, self.name)(input_ids=ids, attention_mask=there.long()).last_hidden_state

    def _of_tokens(self, tokens: Ragged) -> Tensor:
        """(B, T, D): of each token the state of its first piece; of those beyond what the model reads, that of its last."""
        field: Any = self.field
        first, last = field.around
        found = tokens.values[:, 1:]  # (total, P)
        ends = F.pad((found > 0).sum(1).cumsum(0), (1, 0))  # before which piece each token begins
        begins, lengths = ends[tokens.offsets[:-1]], ends[tokens.offsets].diff()
        most = field.reads - len(first) - len(last)
        ids, there = padded(cut(found[found > 0] - 1, begins, lengths.clamp(max=most)), 2)
        n, a = there.sum(1), len(first)
        ids = F.pad(ids[:, :most], (a, len(last)))
        ids[:, :a] = ids.new_tensor(first)
        for k, id in enumerate(last):
            ids[torch.arange(len(ids), device=ids.device), a + n + k] = id
        h = self._read(ids, torch.arange(ids.shape[1], device=ids.device) < (a + n + len(last)).unsqueeze(1))
        place = ends[:-1] - begins.repeat_interleave(tokens.lengths) + a
        at, _ = padded(Ragged(place, tokens.offsets))
        at = torch.minimum(at, (a + n - 1).clamp(min=0).unsqueeze(1))
        return h.gather(1, at.unsqueeze(2).expand(-1, -1, h.shape[2]))

    def forward(self, batch: Batch) -> Tensor:
        return F.normalize(self.features(batch), dim=1) if self.embeds else self.output(self.features(batch))

    # ---- learning

    def look(self, train: Examples) -> None:
        self._begin(train, None)
        if self.config.tune == "lora":
            config = peft.LoraConfig(r=self.config.rank, lora_alpha=2 * self.config.rank, lora_dropout=0.0, target_modules="all-linear")
            setattr(self, self.name, peft.inject_adapter_in_model(config, getattr(self, self.name)))

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        self._begin(train, clock)

    def _begin(self, train: Examples, clock: Clock | None) -> None:
        """The weights learned elsewhere, unless those of a run are there; then the best output for their features."""
        if not self.goes_on:
            # safetensors only: the older format of such folders is a pickle
            transformers.utils.logging.disable_progress_bar()
            theirs = transformers.AutoModel.from_pretrained(folder_of(self.config.path), use_safetensors=True).state_dict()
            getattr(self, self.name).load_state_dict(theirs, strict=False)
        if self.embeds or self.tagging:
            return
        some = train if self.solves else train.thinned(FIRST)
        say(f"{self.config.path}: features of {len(some):,} rows")
        low = not self.solves and fast_bf16(next(self.parameters()).device)
        probe(self, some, clock, self.config.strength, PIECE, self.config.path, low)

    def settle(self) -> None:
        """LoRA's matrices are added to those that they adapt."""
        for name, module in list(getattr(self, self.name).named_modules()):
            if hasattr(module, "lora_A"):
                module.merge(safe_merge=True)
                parent = getattr(self, self.name).get_submodule(name.rpartition(".")[0])
                setattr(parent, name.rpartition(".")[2], module.get_base_layer())

    def flops(self) -> float:
        """Two for each weight of a matrix and token, and attention; of a row as long as one may be."""
        backbone, T = getattr(self, self.name), self.field.length
        tables = sum(module.weight.numel() for module in backbone.modules() if isinstance(module, nn.Embedding))
        weights = sum(p.numel() for p in backbone.parameters() if p.dim() > 1) - tables
        layers = getattr(backbone.config, "num_hidden_layers", 12)
        return T * (2.0 * weights + 4.0 * layers * backbone.config.hidden_size * T)

    # ---- for transformers

    def files(self) -> dict[str, str]:
        """config.json and tokenizer.json, so that transformers opens the bundle's folder, too."""
        return {"config.json": json.dumps(self.config.about, indent=1), "tokenizer.json": json.dumps(self.field.state()["tokenizer"])}


def built(about: dict[str, Any]) -> Any:
    """The network without its weights, and without the layer for a task of its own."""
    settings = {key: value for key, value in about.items() if key not in ("model_type", "auto_map")}
    config = transformers.AutoConfig.for_model(about["model_type"], **settings)
    return transformers.AutoModel.from_config(config)
