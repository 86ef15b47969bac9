"""Counts of what followed the last few tokens: the language model before neural networks, and the one that any other has to beat.

Interpolated by Witten and Bell (1991; eq. 4.35-4.38 in Jurafsky and Martin, 2nd ed.): with h the context, h' the same without its oldest
token, c counts and t(h) the number of different tokens seen after h, p(w | h) = (c(h, w) + t(h) p(w | h')) / (c(h) + t(h)).
Letters: B windows, T tokens, V vocabulary, N = B * T contexts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from luban.core.batch import Batch, Examples
from luban.core.contract import Clock, Head, Model, Schema
from luban.core.errors import UserError
from luban.layers.columns import of_kind
from luban.layers.rules import within
from luban.layers.sized import take_sizes

PIECE = 1 << 16
"""Windows counted at a time."""


class NGram(Model):
    accepts = frozenset({"tokens"})
    gives = frozenset({"tokens"})
    solves = True
    baseline = True

    @dataclass(frozen=True)
    class Config:
        order: int = 5
        """Tokens counted together, the foretold one among them. Characters want 5 or 6, words 3."""

        def __post_init__(self) -> None:
            within(self, {"order": (1, 12)})

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__(config, schema, head)
        ((self.key, field),) = of_kind(schema, "tokens").items()
        self.size, self.context = field.size, field.config.context
        longest = int(62 / math.log2(self.size))  # a run of tokens is one int64 number
        if config.order > longest:
            raise UserError(f"model.order must be {longest} or less for a vocabulary of {self.size:,}, not {config.order}.")
        for k in range(1, config.order + 1):
            self.register_buffer(f"runs{k}", torch.zeros(0, dtype=torch.int64))  # increasing: first the context, last the token
            self.register_buffer(f"counts{k}", torch.zeros(0, dtype=torch.int64))
        self.register_load_state_dict_pre_hook(take_sizes)

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        """Windows begin at every token, so the first k tokens of each are every run of k, but for those within the very last window."""
        order = self.config.order
        for batch in train.pieces(PIECE):
            if clock.stopped():
                return
            window = torch.cat([batch[self.key], batch["y0"][:, -1:]], 1)
            for k in range(1, min(order, window.shape[1]) + 1):
                self._count(k, self._number(window[:, :k]))

    def _count(self, k: int, runs: Tensor) -> None:
        merged = torch.cat([self._runs(k), runs]), torch.cat([self._counts(k), torch.ones_like(runs)])
        unique, place = merged[0].unique(return_inverse=True)
        self._buffers[f"runs{k}"] = unique
        self._buffers[f"counts{k}"] = torch.zeros_like(unique).index_add_(0, place, merged[1])

    def forward(self, batch: Batch) -> Tensor:
        """Log-probabilities, (B, T, V)."""
        tokens = batch[self.key]
        B, T = tokens.shape
        p = torch.full((B * T, self.size), 1 / self.size, device=tokens.device)
        for k in range(1, self.config.order + 1):
            # windows that end at each token, (B, T, k - 1); what would lie before the first token is -1, in no run
            context = F.pad(tokens, (k - 1, 0), value=-1)[:, 1:].unfold(1, k - 1, 1) if k > 1 else tokens.new_zeros(B, T, 0)
            whole = (context >= 0).all(2).flatten()
            p = self._interpolated(k, self._number(context.flatten(0, 1)), whole, p)
        return p.log().view(B, T, self.size)

    def _interpolated(self, k: int, context: Tensor, whole: Tensor, shorter: Tensor) -> Tensor:
        """p(w | h) for N contexts of k - 1 tokens, (N, V), from that of k - 2; as it is where the context is not whole or was not seen."""
        first = torch.searchsorted(self._runs(k), context * self.size)
        after = torch.where(whole, torch.searchsorted(self._runs(k), (context + 1) * self.size) - first, 0)  # t(h)
        row = torch.arange(len(context), device=context.device).repeat_interleave(after)
        place = torch.arange(len(row), device=context.device) - (after.cumsum(0) - after - first)[row]
        counts = torch.zeros_like(shorter)
        counts[row, self._runs(k)[place] % self.size] = self._counts(k)[place].float()
        mixed = (counts + after.unsqueeze(1) * shorter) / (counts.sum(1, keepdim=True) + after.unsqueeze(1)).clamp(min=1)
        return torch.where(after.unsqueeze(1) > 0, mixed, shorter)

    def _number(self, runs: Tensor) -> Tensor:
        """(N, k) tokens as one number each, in base V."""
        number = torch.zeros(len(runs), dtype=torch.int64, device=runs.device)
        for column in runs.unbind(1):
            number = number * self.size + column
        return number

    def _runs(self, k: int) -> Tensor:
        return self._buffers[f"runs{k}"]  # type: ignore[return-value]

    def _counts(self, k: int) -> Tensor:
        return self._buffers[f"counts{k}"]  # type: ignore[return-value]

    def flops(self) -> float:
        """Of one window: some ten operations a token of the vocabulary, at each order and place."""
        return 10.0 * self.size * self.config.order * self.context
