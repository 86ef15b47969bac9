"""Embed: what is like this? An example is a row of words, and nobody says what is right: words are known by those beside them.

Answered are vectors (of rows, for whatever comes after), the nearest words, and the rows of a file nearest to a query. Judged, on rows that
training did not have, are how well a word's vector foretells its neighbours (`pair_loss`), and whether the vector of a row's first half
finds the second (`half_mrr`), which any model of vectors can be asked. Letters: B rows, V vocabulary, D width of a vector, k answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from luban.core import cells
from luban.core.batch import Batch, Ragged, Spans, Store, cut
from luban.core.contract import Head, Measured, Model, Part, Schema, Table, Task
from luban.core.errors import UserError, did_you_mean
from luban.core.notes import say
from luban.core.registry import FIELDS
from luban.layers.rules import within
from luban.layers.words import WordVectors, near
from luban.metrics import compute, family, resampled
from luban.tasks._targets import column_of, no_time, not_empty

SCORE = "score"
"""The column of a table of pairs that says how alike the two are, on any scale."""
AMONG = 100
"""Halves of rows among which the right one is looked for."""


class Embed(Task):
    labelled = False
    endings = {".txt": "lines", ".txt.gz": "lines"}
    asks = "vectors"
    taken = frozenset({"prediction", "rank", "word", "score", "row"})
    instead = ("neighbours", "analogy")

    @dataclass(frozen=True)
    class Config:
        column: str | None = None
        """The column of words. Unset: the --target, else the one with the longest cells."""
        tokenizer: str | None = None
        """words: runs of letters, one character each where no spaces are written. bpe: learned pieces, which find words in Chinese. Unset:
        words, or bpe where most letters are of such a script. A model with a tokenizer of its own decides it."""
        vocab_size: int | None = None
        """Words that are told apart, at most; the rest is unknown. Unset: 50,000, or 10,000 learned pieces."""
        lowercase: bool = True
        """A and a are the same letter."""

    @dataclass(frozen=True)
    class Ask:
        neighbours: str | None = None
        """The words nearest to this one, instead of rows' vectors."""
        analogy: str | None = None
        """Three words: king,man,woman asks for what is to woman as king is to man."""
        search: str | None = None
        """The rows nearest to these words, the best first, instead of all rows' vectors."""
        k: int = 10
        """How many neighbours, or rows found."""

        def __post_init__(self) -> None:
            within(self, {"k": (1, 1_000_000)}, "ask")
            if sum(each is not None for each in (self.neighbours, self.analogy, self.search)) > 1:
                raise UserError("neighbours, analogy and search are three questions: ask one of them.")

    # ---------------------------------------------------------------- what it reads

    def settle(self, table: Table, targets: Sequence[str], time: str | None) -> None:
        no_time(time)
        name = column_of(table, next(iter(targets), None) or self.config.column, "words")
        some = cells.raw(table.get_column(name)).gather_every(max(1, table.height // 1000))
        unspaced, letters = (int(some.str.count_matches(pattern).sum() or 0) for pattern in (f"[{cells.UNSPACED}]", r"\p{L}"))
        tokenizer = self.config.tokenizer or ("bpe" if 2 * unspaced > letters else "words")
        size = self.config.vocab_size or (50_000 if tokenizer == "words" else 10_000)
        self.config = replace(self.config, column=name, tokenizer=tokenizer, vocab_size=size)
        say(f"words: {name!r}, {table.height:,} rows, cut into {tokenizer}")

    def order(self, table: Table) -> np.ndarray:
        return not_empty(table.get_column(self.config.column))

    def schema(self, table: Table, targets: Sequence[str]) -> Schema:
        """The words under c0, whole rows of them; there is no target."""
        c, text = self.config, FIELDS["text"]
        options = text.Config(tokenizer=c.tokenizer, vocab_size=c.vocab_size, lowercase=c.lowercase, max_length=text.whole)
        ignored = {name: "not the words" for name in table.columns if name != c.column}
        return Schema({"c0": text((c.column,), options)}, {}, ignored)

    # ---------------------------------------------------------------- what it learns

    def spans(self, store: Store, part: int) -> Spans:
        """Rows of two words and more: one alone has no neighbour."""
        rows = store.of(part)
        return Spans(rows[store.columns["c0"].lengths[rows] > 1])

    def batch(self, store: Store, spans: Spans) -> Batch:
        """c0: the words; y0: (B,) how many."""
        words = store.columns["c0"][spans.start]
        return {"c0": words, "y0": words.lengths}

    def head(self, schema: Schema) -> Head:
        return Head((Part("y0", "vectors", schema.inputs["c0"].size),))

    def loss(self, model: Model, batch: Batch, head: Head) -> tuple[Tensor, dict[str, Tensor]]:
        raise UserError("vectors are solved here, not trained in steps: choose word2vec, svd, or hf with a pretrained encoder.")

    # ---------------------------------------------------------------- how it is judged

    def metrics(self, schema: Schema) -> tuple[str, ...]:
        """An encoder's pieces are no words, and it has no vector of them to judge."""
        encoder = getattr(schema.inputs["c0"].config, "tokenizer", "").startswith("hf:")
        return ("half_mrr",) if encoder else tuple(family("vectors"))

    def judge(self, model: Model, batch: Batch, head: Head) -> Batch:
        """nats, pairs: (B,) what the row's pairs of neighbours cost, and how many there are; first, second: (B, D) its halves' vectors."""
        words = batch["c0"]
        nats = torch.zeros(len(words), dtype=torch.float64, device=words.values.device)
        pairs = torch.zeros_like(nats)
        framed = not isinstance(model, WordVectors)  # an encoder's own first and last token stand around each half
        if isinstance(model, WordVectors):
            for word, other, row in near(words, model.share):
                z = model.scores(word, other)
                nats.index_add_(0, row, F.softplus(-z[:, 0]) + F.softplus(z[:, 1:]).sum(1))
                pairs.index_add_(0, row, torch.ones_like(z[:, 0]))
        first, second = (F.normalize(model({"c0": half}), dim=1) for half in _halves(words, framed))
        return {"nats": nats, "pairs": pairs, "first": first, "second": second}

    def measure(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str]) -> Measured:
        v, among = _figures(judged)
        details = {"pairs": int(v[:, 1].sum()), "halves_among": among}
        return Measured(compute("vectors", names, truth["y0"].numpy(), v), details)

    def compared(self, table: Table, answer: Callable[[Table], Table]) -> tuple[np.ndarray, np.ndarray] | None:
        """Pairs are three columns, two of words and a `score`; the model's is the cosine of the two vectors."""
        if SCORE not in table.columns or table.width != 3:
            return None
        if any(each.dtype != pl.String or not cells.numbers(each).null_count() for each in table.drop(SCORE)):
            return None  # an id, a text and a score are rows like any other
        column = table.get_column(SCORE)
        scores = cells.numbers(column, cells.decimal_comma([column]) if column.dtype == pl.String else False)
        if (bad := ~scores.is_finite().fill_null(False)).any():
            i = int(bad.arg_max() or 0)
            raise UserError(f"{cells.row(i)} has the {SCORE} {column[i]!r}, which is no number. Correct it, or leave the row out.")
        say(f"scoring {table.height:,} pairs")
        texts = [answer(pl.DataFrame({self.config.column: each})) for each in table.drop(SCORE)]
        first, second = (F.normalize(torch.from_numpy(each["prediction"].to_numpy().copy()), dim=1) for each in texts)
        return scores.to_numpy(), (first * second).sum(1).double().numpy()

    def resample(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str], counts: np.ndarray) -> dict[str, np.ndarray]:
        return resampled("vectors", names, truth["y0"].numpy(), _figures(judged)[0], counts)

    # ---------------------------------------------------------------- what it answers

    def question(self, ask: Any) -> Table | None:
        if ask.search is not None:
            raise UserError("in which rows? Name the file to search, or - for standard input.")
        words = ask.neighbours or ask.analogy
        return pl.DataFrame({self.config.column: [words]}) if words is not None else super().question(ask)

    def predict(self, model: Model, batch: Batch, head: Head, ask: Any) -> Batch:
        """vector (B, D); or for a search the cosine (B,); or for words the k nearest, the best first: id and score (B, k)."""
        if ask.neighbours is not None or ask.analogy is not None:
            if not isinstance(model, WordVectors):
                raise UserError("this model is an encoder of rows and has no words of its own: ask it with --search and a file.")
            return _nearest(model, *_wanted(model, ask), ask.k)
        vector = model({"c0": batch["c0"]})
        if ask.search is None:
            return {"vector": vector}
        asked: Any = _field(model)
        query = model({"c0": asked.encode(pl.Series(asked.columns[0], [ask.search]))})
        if not query.any():
            raise UserError(f"the search {ask.search!r} has no word that training had. Say it in other words.")
        return {"score": F.normalize(vector, dim=1) @ F.normalize(query, dim=1)[0]}

    def best(self, ask: Any) -> int | None:
        return ask.k if ask.search is not None else None

    def kept(self, schema: Schema) -> tuple[str, ...]:
        return schema.inputs["c0"].columns

    def answers(self, predicted: Batch, schema: Schema) -> Table:
        """`prediction`: the vector, or the cosine with the search, or a list of words, each with its rank from 1 and its cosine."""
        if "vector" in predicted:
            vectors = predicted["vector"].numpy()
            if gone := int((~vectors.any(1)).sum()):
                say(f"rows without a word that the model knows: {gone:,} of {len(vectors):,}; their vector is 0")
            return pl.DataFrame({"prediction": pl.Series(vectors, dtype=pl.Array(pl.Float32, vectors.shape[1]))})
        if "id" not in predicted:
            return pl.DataFrame({"prediction": predicted["score"].double().numpy()})
        lists = []
        for ids, scores in zip(predicted["id"], predicted["score"].tolist(), strict=True):
            words = schema.inputs["c0"].pieces(ids) or []
            lists.append([{"rank": i + 1, "word": word.strip(), "score": scores[i]} for i, word in enumerate(words)])
        return pl.DataFrame({"prediction": lists})

    def example(self, schema: Schema) -> dict[str, Any]:
        """The longest of the most frequent words; an encoder's pieces are none."""
        words = [] if len(self.metrics(schema)) == 1 else schema.inputs["c0"].pieces(torch.arange(1, min(50, schema.inputs["c0"].size)))
        return {"neighbours": max(words, key=lambda word: (word.isalpha(), len(word))), "k": 5} if words else {}

    def imagine(self, schema: Schema) -> Table:
        """Words that training had, in no order."""
        field, rng = schema.inputs["c0"], np.random.default_rng(0)
        words = field.pieces(torch.from_numpy(rng.integers(1, field.size, 16 * 8))) or []
        return pl.DataFrame({field.columns[0]: [" ".join(words[start : start + 8]) for start in range(0, len(words), 8)]})

    @classmethod
    def samples(cls) -> list[Table]:
        poem = ["床前明月光，疑是地上霜。", "举头望明月，低头思故乡。", "", "海上生明月，天涯共此时。"]
        lines = ["to be, or not to be,", "that is the question:", "", "whether 'tis nobler", "to suffer, or to be"]
        poems = pl.DataFrame({"诗": [f"{row}{i}" for i in range(60) for row in poem], "no": range(240)})
        return [pl.DataFrame({"text": [f"{line} {i % 3}" for i in range(60) for line in lines]}), poems]


# ---------------------------------------------------------------- halves


def _halves(words: Ragged, framed: bool) -> tuple[Ragged, Ragged]:
    """The first and the second half of each row. framed: its first and last word stand around both."""
    start, n = words.offsets[:-1], words.lengths
    if not framed:
        return cut(words.values, start, n // 2), cut(words.values, start + n // 2, n - n // 2)
    inner = (n - 2).clamp(min=0)
    edge = torch.ones_like(n)
    made = []
    for begin, length in ((start + 1, inner // 2), (start + 1 + inner // 2, inner - inner // 2)):
        starts, lengths = torch.stack([start, begin, start + n - 1], 1), torch.stack([edge, length, edge], 1)
        parts = cut(words.values, starts.flatten(), lengths.flatten())
        made.append(Ragged(parts.values, parts.offsets[::3]))
    return made[0], made[1]


def _figures(judged: Batch) -> tuple[np.ndarray, int]:
    """(what the metrics ask, (B, 4) as metrics/vectors.py says; among how many halves the right one was looked for).

    A row with a half that no known word stands in is not asked; among equals the right half has the last place.
    """
    first, second = judged["first"], judged["second"]
    there = torch.nonzero(first.any(1) & second.any(1)).squeeze(1)
    groups = there.tensor_split(max(1, len(there) // AMONG))
    v = torch.zeros(len(first), 4, dtype=torch.float64)
    v[:, 0], v[:, 1] = judged["nats"], judged["pairs"]
    for group in groups:
        near = first[group] @ second[group].T
        v[group, 2] = 1.0 / (near >= near.diagonal().unsqueeze(1) - 1e-6).sum(1).double()
        v[group, 3] = 1.0
    return v.numpy(), max(map(len, groups))


# ---------------------------------------------------------------- words


def _wanted(model: WordVectors, ask: Any) -> tuple[Tensor, list[str]]:
    """(the vector (D,) that the words ask for, the words)."""
    if ask.neighbours is not None:
        return _vector(model, ask.neighbours), [ask.neighbours]
    words = [word.strip() for word in ask.analogy.replace("，", ",").split(",")]
    if len(words) != 3 or not all(words):
        raise UserError(f"analogy takes three words with commas between them, such as king,man,woman, not {ask.analogy!r}.")
    a, b, c = (_vector(model, word) for word in words)
    return a - b + c, words  # 3CosAdd (Mikolov et al. 2013; Levy and Goldberg 2014)


def _vector(model: WordVectors, word: str) -> Tensor:
    """Of length 1. Raises UserError for a word that has none."""
    found = model.of(word)
    if not found.any():
        known = _field(model).pieces(torch.nonzero(model.known()).squeeze(1))
        raise UserError(f"the word {word!r} has no vector: training had it too seldom, or never.{did_you_mean(word, known)}")
    return F.normalize(found, dim=0)


def _nearest(model: WordVectors, vector: Tensor, words: Sequence[str], k: int) -> Batch:
    """Of all words with a vector but these."""
    score = F.normalize(model.vectors, dim=1) @ F.normalize(vector, dim=0)
    score[~model.known()] = -torch.inf
    for word in words:
        score[_field(model).encode(pl.Series([word])).values] = -torch.inf
    found = score.topk(min(k, int(score.isfinite().sum())))
    return {"id": found.indices.unsqueeze(0), "score": found.values.unsqueeze(0)}


def _field(model: Model) -> Any:
    """The field that cuts a model's words."""
    return model.field
