"""A network that reads one column of tokens in their order, and the other columns beside it: what such models have in common.

    tokens -> Embedding -> (B, T, D) and which of them are there -> trunk (the model's own) -> features (B, F) -> Beside -> output

or, where series are asked for, a window, whose moments are as tokens: numbers instead of an embedding, an Outlook instead of the end.
Where a model accepts curves, the steps of one are such tokens, too: a linear layer is their embedding.

Letters: B rows, T tokens of the longest row in the batch, D width of an embedding, F width of the features.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from luban.core.batch import Batch, padded
from luban.core.contract import Field, Head, Model, Schema
from luban.core.errors import UserError, listed
from luban.layers.columns import UNKNOWN, Beside, of_kind
from luban.layers.heads import output_layer

SHARES = {"dropout": (0.0, 0.9), "drop": (0.0, 0.9), "swap": (0.0, 0.5)}
"""Bounds of the options that every one of them has."""


def the_tokens(schema: Schema) -> tuple[str, Field]:
    """(key, field) of the column that is read in order: the one of curves, else that of tokens with the longest rows. Others of these are
    bags beside it."""
    if curves := of_kind(schema, "curve"):
        if len(curves) > 1:
            names = listed(each.columns[0] for each in curves.values())
            raise UserError(f"this model reads one column of curves, and there are {names}: leave all but one out (--drop), write them as "
                            "channels of one, or take --model rocket.")  # fmt: skip
        return next(iter(curves.items()))
    return max({**of_kind(schema, "tokens"), **of_kind(schema, "words")}.items(), key=lambda item: item[1].length)


def disturbed(ids: Tensor, there: Tensor, drop: float, swap: float) -> Tensor:
    """ids (B, T), of which a share is unknown and a share changed places with the next: the same row in other words."""
    if swap:
        first = (torch.rand_like(ids, dtype=torch.float) < swap) & there & there.roll(-1, 1)
        first[:, -1] = False
        first &= ~first.roll(1, 1)  # a token moves once
        ids = torch.where(first, ids.roll(-1, 1), torch.where(first.roll(1, 1), ids.roll(1, 1), ids))
    return ids.masked_fill(torch.rand_like(ids, dtype=torch.float) < drop, 0) if drop else ids


class SequenceModel(Model):
    """Embeddings, and a trunk of the subclass's making, made by `network`."""

    accepts = frozenset({"tokens", "words", "scalar", "id"})
    needs = frozenset({"tokens", "words"})
    ragged = True
    over: ClassVar[Any] = None
    """`Windows.of` of a model that reads windows, too."""

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        self.windows = self.over(schema, head) if series_asked(head) else None
        if self.windows:
            self._over_moments(self.windows)
            return
        self.key, self.field = the_tokens(schema)
        self.curve = self.field.kind == "curve"
        self.embed: Any = nn.Linear(self.field.size, config.embedding) if self.curve else nn.Embedding(self.field.size, config.embedding)
        if not self.curve:
            with torch.no_grad():
                self.embed.weight.mul_(config.embedding**-0.5)
        self.hush = nn.Dropout(config.dropout)
        self.trunk, width = self.network(config)
        self.masked = masked_asked(head)
        self.tagging = tags_asked(head) or self.masked
        self.steps = steps(head)
        self.beside = Beside(schema, self.key, width)
        self.output: Any = output_layer(self.beside.size, head)

    def _over_moments(self, windows: Any) -> None:
        self.ragged = False  # type: ignore[misc]
        self.hush = nn.Dropout(self.config.dropout)
        self.embed = nn.Linear(windows.width, self.config.embedding) if self.config.embedding != windows.width else nn.Identity()
        self.trunk, width = self.network(self.config)
        self.output = windows.outlook(width)

    def network(self, config: Any) -> tuple[Any, int]:
        """(embedded tokens (B, T, D), which are there (B, T) bool -> features (B, F); F). One that can tag has `states` too, (B, T, F)."""
        raise NotImplementedError

    def features(self, batch: Batch) -> Tensor:
        """(B, D); or (B, T, D) where each token is answered; or of hidden tokens only, (n, D)."""
        if self.windows:
            x = self.embed(self.windows.moments(batch))
            return self.hush(self.trunk(x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)))
        ids, there = padded(batch[self.key])
        if self.curve:
            return self.beside(self.hush(self.trunk(self.hush(self.embed(ids)), there)), batch)
        if ids.dim() == 3 and self.training:  # the id of the token itself: what was never seen must be learned, too
            ids[..., 0].masked_fill_(torch.rand(ids.shape[:2], device=ids.device) < UNKNOWN, 0)
        elif self.training:
            ids = disturbed(ids, there, 0.0 if self.masked else self.config.drop, 0.0 if self.tagging else self.config.swap)
        x = self.embed(ids)
        x = self.hush(x.sum(2) if ids.dim() == 3 else x)
        h = self.trunk.states(x, there) if self.tagging else self.trunk(x, there)
        if self.masked:
            h = h[there & (batch[self.key].lengths > 0).unsqueeze(1)][batch["hidden"]]
        return self.beside(self.hush(h), batch)

    def forward(self, batch: Batch) -> Tensor:
        return self.output(self.features(batch), batch) if self.windows else self.output(self.features(batch))

    def flops(self) -> float:
        """Two for each weight of the trunk and token, and the rest once; of a row as long as one may be."""
        if self.windows:
            each = sum(p.numel() for part in (self.embed, self.trunk) for p in part.parameters())
            return 2.0 * (each * self.windows.look_back + sum(p.numel() for p in self.output.parameters()))
        rest, T = sum(p.numel() for part in (self.beside, self.output) for p in part.parameters()), self.field.length
        return 2.0 * (sum(p.numel() for p in self.trunk.parameters()) * T + rest * (0.15 * T if self.masked else 1))


def steps(head: Head) -> nn.Parameter | None:
    """The scores of a tag behind a tag, (S + 1, S + 1), where the loss asks for them: see layers/crf.py."""
    wanted = [part.size for part in head.parts if part.loss == "crf"]
    return nn.Parameter(torch.zeros(wanted[0] + 1, wanted[0] + 1)) if wanted else None


def tags_asked(head: Head) -> bool:
    """Is each token answered?"""
    return any(part.kind == "tags" for part in head.parts)


def series_asked(head: Head) -> bool:
    """Are series to be continued?"""
    return any(part.kind == "series" for part in head.parts)


def masked_asked(head: Head) -> bool:
    """Are tokens asked for that are hidden?"""
    return any(part.kind == "masked" for part in head.parts)


def pooled(h: Tensor, there: Tensor, how: str) -> Tensor:
    """(B, T, F) -> (B, F): the last token's, the mean, the largest of each feature."""
    if how == "last":
        return h[torch.arange(len(h), device=h.device), there.sum(1) - 1]
    if how == "max":
        return h.masked_fill(~there.unsqueeze(2), -torch.inf).amax(1)
    shares = there.to(h.dtype) / there.sum(1, keepdim=True)
    return torch.einsum("bt,btf->bf", shares, h)
