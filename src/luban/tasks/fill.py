"""Fill: which token stood here? An example is a row of words some of which are hidden, and nobody has to say what is right.

It is how a network learns a language before it is asked anything (BERT's masked tokens: Devlin et al. 2019, arXiv 1810.04805): train it on
all texts there are, then go on from that run with the few that have a label, `luban train few.csv --target label --from RUN`. Hidden
tokens are the unknown one, 0. By itself it tells which rows are unlike all that it has read, and what may stand where a row has [MASK].
Letters: B rows, G gaps, V tokens.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from luban.core import cells
from luban.core.batch import Batch, Ragged, Spans, Store, cut, padded
from luban.core.contract import Head, Measured, Model, Part, Schema, Table, Task
from luban.core.notes import say
from luban.core.registry import FIELDS
from luban.layers.rules import within
from luban.metrics import compute, family, resampled
from luban.tasks._targets import column_of, no_time, not_empty

PASSES = 7
"""In an answer each token is hidden once, every seventh at a time: about BERT's share of 15 %."""


class Fill(Task):
    labelled = False
    endings = {".txt": "lines", ".txt.gz": "lines"}
    taken = frozenset({"prediction", "least_expected", "gaps"})
    instead = ("text",)
    golden: ClassVar[Mapping[str, Any]] = {"k": 0}  # which of two tokens is likelier may turn on the last bit

    @dataclass(frozen=True)
    class Config:
        column: str | None = None
        """The column of words. Unset: the --target, else the one with the longest cells."""
        hidden: float = 0.15
        """Share of the tokens that are hidden in training; BERT's."""
        tokenizer: str = "bpe"
        """bpe, unigram, words or characters, as the field `text` has them."""
        vocab_size: int = 10_000
        """Pieces that are told apart, at most."""
        max_length: int | None = None
        """Tokens of a row that are read. Unset: as long as 99 in 100 rows, at most 512."""

        def __post_init__(self) -> None:
            within(self, {"hidden": (0.01, 0.9)}, "task")

    @dataclass(frozen=True)
    class Ask:
        text: str | None = None
        """One row, instead of a file."""
        k: int = 5
        """How many tokens for each [MASK] in a row, the likeliest first."""

        def __post_init__(self) -> None:
            within(self, {"k": (0, 1000)}, "ask")

    # ---------------------------------------------------------------- what it reads

    def settle(self, table: Table, targets: Sequence[str], time: str | None) -> None:
        no_time(time)
        name = column_of(table, next(iter(targets), None) or self.config.column, "words")
        self.config = replace(self.config, column=name)
        say(f"words: {name!r}, {table.height:,} rows, of which {self.config.hidden:.0%} are hidden")

    def order(self, table: Table) -> np.ndarray:
        return not_empty(table.get_column(self.config.column))

    def schema(self, table: Table, targets: Sequence[str]) -> Schema:
        """The words under c0; there is no target."""
        c, text = self.config, FIELDS["text"]
        options = text.Config(tokenizer=c.tokenizer, vocab_size=c.vocab_size, max_length=c.max_length)
        return Schema({"c0": text((c.column,), options)}, {}, {name: "not the words" for name in table.columns if name != c.column})

    # ---------------------------------------------------------------- what it learns

    def spans(self, store: Store, part: int) -> Spans:
        """Rows of two tokens and more: one alone has nothing to go by."""
        rows = store.of(part)
        return Spans(rows[store.columns["c0"].lengths[rows] > 1])

    def batch(self, store: Store, spans: Spans) -> Batch:
        """c0, y0: Ragged, the tokens and what they are."""
        words = store.columns["c0"][spans.start]
        return {"c0": words, "y0": words}

    def head(self, schema: Schema) -> Head:
        return Head((Part("y0", "masked", schema.inputs["c0"].size, "cross_entropy"),))

    def loss(self, model: Model, batch: Batch, head: Head) -> tuple[Tensor, dict[str, Tensor]]:
        words = batch["y0"].values
        hidden = torch.rand(len(words), device=words.device) < self.config.hidden
        hidden[torch.randint(len(words), (1,), device=words.device)] = True
        return F.cross_entropy(model(_without(batch["c0"], hidden)).float(), words[hidden]), {}

    # ---------------------------------------------------------------- how it is judged

    def metrics(self, schema: Schema) -> tuple[str, ...]:
        return tuple(family("language"))

    def judge(self, model: Model, batch: Batch, head: Head) -> Batch:
        """nats: Ragged, what each seventh token cost where it is hidden, from one in its first half; -1 for the others."""
        words = batch["c0"]
        return {"nats": Ragged(_nats(model, words, words.lengths // 2 % PASSES), words.offsets)}

    def measure(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str]) -> Measured:
        """Tokens that the tokenizer does not know are left out."""
        y, nats = _asked(judged, truth)
        return Measured(compute("language", names, y, nats), {"tokens": int((y > 0).sum())})

    def resample(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str], counts: np.ndarray) -> dict[str, np.ndarray]:
        return resampled("language", names, *_asked(judged, truth), counts)

    def losses(self, judged: Batch, truth: Batch, schema: Schema, metric: str) -> tuple[str, np.ndarray]:
        y, nats = _asked(judged, truth)
        with np.errstate(invalid="ignore"):
            return "nats a token", np.where(y > 0, nats, 0).sum(1) / (y > 0).sum(1)

    # ---------------------------------------------------------------- what it answers

    def question(self, ask: Any) -> Table | None:
        return pl.DataFrame({self.config.column: [ask.text]}) if ask.text is not None else super().question(ask)

    def predict(self, model: Model, batch: Batch, head: Head, ask: Any) -> Batch:
        """nats: (B,) a token of the row, each hidden once (the pseudo-likelihood of Salazar et al. 2020, arXiv 1910.14659), NaN without
        one; worst: (B,) the token that cost most. Unknown tokens are not asked for, unless there are no others. likely, chance: Ragged
        (G, k), what may stand at each unknown one."""
        words = batch["c0"]
        nats = torch.stack([_nats(model, words, torch.full_like(words.lengths, offset)) for offset in range(PASSES)]).amax(0)
        table, there = padded(words)
        cost = torch.full(table.shape, -1.0, device=nats.device)
        there &= (words.lengths > 0).unsqueeze(1)
        cost[there] = nats
        known = there & (table > 0)
        there = torch.where(known.any(1, keepdim=True), known, there)
        cost[~there] = -1.0
        mean = cost.clamp(min=0).sum(1) / there.sum(1)
        found = {"nats": mean, "worst": table.gather(1, cost.argmax(1, keepdim=True)).squeeze(1)}
        return {**found, **_likely(model, words, head.parts[0].size, ask.k)} if ask.k else found

    def answers(self, predicted: Batch, schema: Schema) -> Table:
        """`prediction`: how unexpected the row's tokens are, in nats each; `least_expected`: the one that is most so; `gaps`: for each
        unknown token, as JSON, a list of [token, probability], the likeliest first."""
        nats, field = pl.Series(predicted["nats"].numpy()).fill_nan(None), schema.inputs["c0"]
        made = {"prediction": nats, "least_expected": pl.Series(field.pieces(predicted["worst"]) or [None] * len(nats), dtype=pl.String)}
        if "likely" in predicted:
            ids, chances = predicted["likely"], predicted["chance"].values.tolist()
            pieces = iter([piece.strip() for piece in field.pieces(ids.values.flatten()) or []])
            pairs = [[[next(pieces), round(chance, 4)] for chance in row] for row in chances]
            rows = [pairs[start:stop] for start, stop in itertools.pairwise(ids.offsets.tolist())]
            written = [json.dumps(row, ensure_ascii=False) if row else None for row in rows]
            made["gaps"] = pl.Series(written, dtype=pl.String)
        return pl.DataFrame(made).with_columns(pl.when(pl.col("prediction").is_not_null()).then("least_expected"))

    def told(self, answers: Table, question: Table, schema: Schema) -> Table:
        """What is unknown without being a [MASK] was not asked for."""
        if "gaps" not in answers.columns:
            return answers
        asked = cells.raw(question.get_column(self.config.column)).str.contains(r"(?i)\[mask\]").alias("asked")
        return answers.with_columns(asked).with_columns(pl.when("asked").then("gaps")).drop("asked")

    def example(self, schema: Schema) -> dict[str, Any]:
        return {"text": f"{schema.inputs['c0'].phrase()} [MASK]"}

    @classmethod
    def samples(cls) -> list[Table]:
        said = [
            "the room was clean and quiet",
            "房间很干净，服务也好",
            "the staff was rude and the room was dark",
            "早餐太差，下次不会再来",
            "",
        ]
        return [pl.DataFrame({"text": said * 40, "no": range(200)})]


def _without(words: Ragged, hidden: Tensor) -> Batch:
    return {"c0": Ragged(words.values.masked_fill(hidden, 0), words.offsets), "hidden": hidden}


def _likely(model: Model, words: Ragged, size: int, k: int) -> dict[str, Ragged]:
    """The k likeliest tokens and their probabilities at each unknown one, Ragged (G, k)."""
    gaps = words.values == 0
    logits = model(_without(words, gaps)).float() if gaps.any() else torch.zeros(0, size)  # (G, V)
    logits[:, 0] = -torch.inf
    chance, ids = logits.softmax(1).topk(min(k, logits.shape[1] - 1))
    offsets = F.pad(gaps.cumsum(0), (1, 0))[words.offsets]
    return {"likely": Ragged(ids, offsets), "chance": Ragged(chance, offsets)}


def _nats(model: Model, words: Ragged, offset: Tensor) -> Tensor:
    """(total,) what each token costs where every seventh from `offset` (B,) is hidden; -1 for the others."""
    place = torch.arange(len(words.values), device=words.values.device) - words.offsets[:-1].repeat_interleave(words.lengths)
    hidden = place % PASSES == offset.repeat_interleave(words.lengths)
    nats = torch.full((len(hidden),), -1.0, device=hidden.device)
    if hidden.any():
        nats[hidden] = F.cross_entropy(model(_without(words, hidden)).float(), words.values[hidden], reduction="none")
    return nats


def _asked(judged: Batch, truth: Batch) -> tuple[np.ndarray, np.ndarray]:
    """(y (N, T), nats (N, T)) as metrics/language.py takes them: a token that was not asked for is 0."""
    words, nats = truth["y0"], judged["nats"].values
    kept = nats >= 0
    before = F.pad(kept.cumsum(0), (1, 0))[words.offsets]
    of, cost = (cut(each[kept], before[:-1], before.diff()) for each in (words.values, nats))
    y, _ = padded(of)
    there = torch.arange(y.shape[1]) < of.lengths.unsqueeze(1)
    out = torch.zeros(y.shape)
    out[there] = cost.values
    return y.numpy(), out.numpy()
