"""Generate: how does this passage go on? An example is a window: `context` tokens, and the token that follows each of them.

Rows are passages, in their order one long run of tokens; the last train not. Windows lie at any offset, across the ends of passages, and
are never laid out. Letters: B windows, T tokens of context, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from luban.core import cells
from luban.core.batch import Batch, Examples, Ragged, Spans, Store, cut
from luban.core.contract import Head, Measured, Model, Part, Schema, Table, Task
from luban.core.errors import UserError
from luban.core.notes import say
from luban.core.registry import FIELDS
from luban.layers.rules import within
from luban.metrics import compute, family, resampled
from luban.tasks._targets import column_of

USUAL = 64
"""Context in characters: what nanoGPT's small setting has, and what two cores train in minutes."""


class Generate(Task):
    labelled = False
    noun = "windows"
    endings = {".txt": "lines", ".txt.gz": "lines"}
    asks = "tokens"
    instead = ("prompt",)
    golden = {"tokens": 16, "temperature": 0.0}

    @dataclass(frozen=True)
    class Config:
        column: str | None = None
        """The column of passages. Unset: the --target, else the one with the longest."""
        context: int | None = None
        """Tokens that are seen at once. Unset: 64, or less where the data are few; 256 reads whole sentences, at four times the cost."""

        def __post_init__(self) -> None:
            within(self, {"context": (2, 100_000)}, "task")

    @dataclass(frozen=True)
    class Ask:
        prompt: str | None = None
        """What to go on from; unset, a passage is begun."""
        tokens: int = 500
        """How many to write."""
        temperature: float = 0.8
        """Above 1 bolder, below 1 safer; 0 takes the likeliest each time, and soon repeats itself."""
        top_k: int | None = None
        """Draw from the k likeliest only; unset, from all."""
        seed: int = 0
        """Another number writes another passage."""

        def __post_init__(self) -> None:
            bounds = {"tokens": (1, 1_000_000), "temperature": (0.0, 100.0), "top_k": (1, math.inf), "seed": (0, 2**62)}
            within(self, bounds, "ask")

    # ---------------------------------------------------------------- what it reads

    def settle(self, table: Table, targets: Sequence[str], time: str | None) -> None:
        if time:
            raise UserError("--time has no meaning for passages: they train in the order in which they stand. Sort them, and leave it out.")
        name = column_of(table, next(iter(targets), None) or self.config.column, "passages")
        self.config = replace(self.config, column=name)
        say(f"passages: {name!r}, {table.height:,} of {_lengths(table.get_column(name)).mean() - 1:.0f} characters on average")

    def check(self, table: Table, targets: Sequence[str]) -> None:
        if not cells.raw(table.get_column(self.config.column)).str.len_chars().sum():
            raise UserError(f"the column {self.config.column!r} is empty in all {table.height:,} rows: there is nothing to learn from.")

    def split(self, table: Table, shares: tuple[float, float, float], seed: int = 0) -> tuple[np.ndarray, str]:
        """Three runs of passages, the first train; shares are of the characters, and a passage is never cut."""
        last = np.cumsum(_lengths(table.get_column(self.config.column))) - 1  # where each passage ends
        total, ends = last[-1] + 1, np.cumsum(shares)
        if max(shares) > 1 and ends[-1] > total:
            raise UserError(f"data.shares asks for {int(ends[-1]):,} characters, and there are {total:,}.")
        ends = ends if max(shares) > 1 else np.round(ends * total)
        return np.searchsorted(ends, last, side="right").astype(np.uint8), "in the order of the passages, the first train"

    def schema(self, table: Table, targets: Sequence[str]) -> Schema:
        """The passages under c0; nothing is a target, for what is foretold is read, too."""
        name, n = self.config.column, int(_lengths(table.get_column(self.config.column)).sum())
        context = self.config.context or min(USUAL, max(2, n // 10))
        if context >= n:
            raise UserError(f"{n:,} characters to train on are too few for a context of {context:,}: give more, or a smaller task.context.")
        self.config = replace(self.config, context=context)
        characters = FIELDS["characters"]
        ignored = {other: "not the passages" for other in table.columns if other != name}
        return Schema({"c0": characters((name,), characters.Config(context))}, {}, ignored)

    # ---------------------------------------------------------------- what it learns

    def spans(self, store: Store, part: int) -> Spans:
        """Of tokens. Training: a window at any offset; else side by side, so that each token is judged once. A window lies whole in its
        part, so what is left at the end of a part, less than a window, is not judged."""
        passages, size = store.columns["c0"], self.config.context + 1
        inside = F.pad((store.part.repeat_interleave(passages.lengths) == part).cumsum(0), (1, 0))  # (tokens + 1,)
        first = torch.arange(max(0, len(inside) - size))
        first = first[inside[first + size] - inside[first] == size]
        if part != 0 and len(first):
            begins = F.pad(first.diff() != 1, (1, 0), value=True)  # of a run of windows next to each other
            since = first - first[begins][begins.cumsum(0) - 1]
            first = first[since % self.config.context == 0]
        return Spans(first, size)

    def batch(self, store: Store, spans: Spans) -> Batch:
        """c0: (B, T) tokens; y0: (B, T) the one that follows each."""
        windows = store.columns["c0"].values.unfold(0, self.config.context + 1, 1)[spans.start]  # (B, T + 1)
        return {"c0": windows[:, :-1], "y0": windows[:, 1:]}

    def head(self, schema: Schema) -> Head:
        return Head((Part("y0", "tokens", schema.inputs["c0"].size, "cross_entropy"),))

    def loss(self, model: Model, batch: Batch, head: Head) -> tuple[Tensor, dict[str, Tensor]]:
        return F.cross_entropy(model(batch).flatten(0, 1), batch["y0"].flatten()), {}

    # ---------------------------------------------------------------- how it is judged

    def metrics(self, schema: Schema) -> tuple[str, ...]:
        return tuple(family("language"))

    def judge(self, model: Model, batch: Batch, head: Head) -> Batch:
        """nats: (B, T), what each true token cost."""
        logits, y = model({"c0": batch["c0"]}).float(), batch["y0"]
        return {"nats": F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view(y.shape)}

    def measure(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str]) -> Measured:
        """Tokens that training never had are left out: what they cost says nothing but that."""
        y = truth["y0"].numpy()
        known = y > 0
        found = compute("language", names, y, judged["nats"].numpy())
        return Measured(found, {"tokens": int(known.sum()), "tokens_never_seen": int((~known).sum())})

    def resample(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str], counts: np.ndarray) -> dict[str, np.ndarray]:
        return resampled("language", names, truth["y0"].numpy(), judged["nats"].numpy(), counts)

    def charts(self, judged: Batch, truth: Batch, scored: Examples, schema: Schema) -> dict[str, dict[str, Any]]:
        """What a token costs by how many are seen before it: falling as long as the model makes use of them."""
        known, nats = truth["y0"].numpy() > 0, judged["nats"].numpy()
        held = known.sum(0) > 0
        cost = np.where(known, nats, 0.0).sum(0)[held] / known.sum(0)[held]
        return {"Loss by what was seen": {"x": "tokens seen before", "y": "nats a token", "lines": {"": (np.flatnonzero(held) + 1, cost)}}}

    # ---------------------------------------------------------------- what it answers

    def question(self, ask: Any) -> Table | None:
        return pl.DataFrame({self.config.column: [ask.prompt or ""]})

    def predict(self, model: Model, batch: Batch, head: Head, ask: Any) -> Batch:
        """ids: (B, ask.tokens) what was written; nats: (B, ask.tokens) what each cost the model. Characters never seen are left out of the
        prompts. Every row draws by the same chances, so that a prompt alone is answered as among others."""
        prompts, device = self._bare(batch["c0"], head.size - 1), batch["c0"].values.device
        B, T, n = len(prompts), self.config.context, prompts.lengths.clone()  # n: (B,) what stands in each row
        ids = torch.zeros(B, int(n.max()) + ask.tokens, dtype=torch.int64, device=device)
        ids[torch.arange(ids.shape[1], device=device) < n.unsqueeze(1)] = prompts.values
        row, nats = torch.arange(B, device=device), torch.zeros(B, ask.tokens, device=device)
        chances = torch.rand(ask.tokens, generator=torch.Generator().manual_seed(ask.seed))
        for i, chance in enumerate(chances.to(device)):
            # the last T tokens of each row; a shorter one has zeros behind it, which no token before them looks at
            place = (n - T).clamp(min=0).unsqueeze(1) + torch.arange(min(T, int(n.max())), device=device)
            logits = model({"c0": ids.gather(1, place)})[row, n.clamp(max=T) - 1].float()  # (B, V)
            logits[:, 0] = -torch.inf  # a character that nobody knows
            drawn = _draw(logits, ask, chance)
            ids[row, n], nats[:, i] = drawn, -logits.log_softmax(1)[row, drawn]
            n += 1
        return {"ids": ids.gather(1, n.unsqueeze(1) - ask.tokens + torch.arange(ask.tokens, device=device)), "nats": nats}

    def _bare(self, prompts: Ragged, end: int) -> Ragged:
        """Prompts without their own end and without characters never seen; one that is left empty begins after an end."""
        last = torch.zeros(len(prompts.values), dtype=torch.bool, device=prompts.values.device)
        last[prompts.offsets[1:][prompts.lengths > 0] - 1] = True
        unknown = prompts.values == 0
        if unknown.any():
            say(f"{int(unknown.sum()):,} characters of the prompts were never seen in training and are left out")
        kept = F.pad((~last & ~unknown).cumsum(0), (1, 0))[prompts.offsets]
        values = torch.cat([prompts.values[~last & ~unknown], prompts.values.new_tensor([end])])
        start, length = kept[:-1], kept.diff()
        return cut(values, start.masked_fill(length == 0, len(values) - 1), length.clamp(min=1))

    def kept(self, schema: Schema) -> tuple[str, ...]:
        return schema.inputs["c0"].columns

    def answers(self, predicted: Batch, schema: Schema) -> Table:
        """`prediction`: what was written after the prompt."""
        characters: Any = schema.inputs["c0"]
        return pl.DataFrame({"prediction": [characters.spell(ids) for ids in predicted["ids"]]})

    def example(self, schema: Schema) -> dict[str, Any]:
        characters: Any = schema.inputs["c0"]
        return {"prompt": characters.imagine(1, np.random.default_rng(0))[0][:1], "tokens": 200}

    @classmethod
    def samples(cls) -> list[Table]:
        poem = ["床前明月光，", "疑是地上霜。", "举头望明月，", "低头思故乡。", ""]
        lines = ["to be, or not to be,", "that is the question:", "", "whether 'tis nobler"]
        return [pl.DataFrame({"诗": poem * 40, "no": range(200)}), pl.DataFrame({"text": lines * 30})]


def _draw(logits: Tensor, ask: Any, chance: Tensor) -> Tensor:
    """A token (B,) of logits (B, V): the one in whose share of the whole `chance`, from 0 to 1, lies."""
    if ask.temperature == 0:
        return logits.argmax(1)
    if ask.top_k and ask.top_k < logits.shape[1]:
        logits = logits.masked_fill(logits < logits.topk(ask.top_k).values[:, -1:], -torch.inf)
    above = logits - logits.max(1, keepdim=True).values  # first, lest a tiny temperature make them infinite
    below = (above / ask.temperature).softmax(1).double().cumsum(1)
    return (below <= chance * below[:, -1:]).sum(1)


def _lengths(passages: pl.Series) -> np.ndarray:
    """Tokens of each passage, its end among them, (N,) int64; none of a missing one."""
    return (cells.raw(passages).str.len_chars() + 1).fill_null(0).to_numpy().astype(np.int64)
