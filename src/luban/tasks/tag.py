"""Tag: what is each token, and which of them name a person, a place, a product? An example is a row: its tokens, and a tag for each.

Whatever scheme the tags come in, they are read as spans (fields/tags.py) and learned as BIO, or as BIOES, which tells ends and single
tokens apart, too. Tags that mark no spans (parts of speech) are learned as they are. Tags are numbered as in layers/crf.py; a label that
training never had stands behind all others, so that it can be looked for and not be found. Letters: B rows, T tokens, S tags, L labels.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from luban.core import cells
from luban.core.batch import Batch, Examples, Ragged, Spans, Store, cut, padded
from luban.core.contract import Head, Measured, Model, Part, Schema, Table, Task
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.notes import say, warn
from luban.core.registry import FIELDS
from luban.fields.tags import bracketed, chunked, marked, read
from luban.fields.words import listed as tokens_of
from luban.layers.crf import POSITIONS, log_likelihood, marginals, masked, viterbi
from luban.layers.rules import within
from luban.metrics import compute, family, resampled

TOKENS = ("tokens", "text", "words", "sentence")
TAGS = ("tags", "entities", "spans", "ner_tags", "pos_tags", "labels")
SHOWN = 12
"""Labels with bars of their own."""
MOST_CONFUSED = 50
"""Labels up to which the confusion matrix is kept."""
PARTS = ("", ".train", ".valid", ".dev", ".test")
RECORD = pl.List(pl.Struct({"start": pl.Int64, "end": pl.Int64, "label": pl.String, "text": pl.String, "confidence": pl.Float32}))


class Tag(Task):
    labelled = False
    noun = "sentences"
    endings = {f"{part}{end}{zipped}": "conll" for part in PARTS for end in (".txt", ".tsv", "") for zipped in ("", ".gz")
               if end or part}  # fmt: skip
    asks = "tags"
    instead = ("text",)

    @dataclass(frozen=True)
    class Config:
        column: str | None = None
        """The column of tokens, or of texts. Unset: the one called tokens, text, words or sentence."""
        tags: str | None = None
        """The column of tags, or of entities in a text. Unset: the --target, else the one called tags, entities, ner_tags, pos_tags or
        labels."""
        scheme: Literal["bio", "bioes", "none"] | None = None
        """How spans are learned, however they are written. Unset: bio; none where tags mark no spans (parts of speech)."""
        crf: bool = True
        """Tags are scored as a sequence, by a conditional random field; else each by itself. Steps that the scheme forbids are never
        answered either way."""
        min_count: int = 1
        """A token that stands fewer times in training is unknown."""
        hashed: bool = True
        """Beside each token, read of a word its first and last letters and its shape, of a character the pairs with its neighbours."""
        strip: str | None = None
        """A regular expression; what it matches in a given token is taken away, as a mark of segmentation: "(?<=.)[0-9]$"."""

        def __post_init__(self) -> None:
            within(self, {"min_count": (1, 1_000_000)}, "task")

    @dataclass(frozen=True)
    class Ask:
        text: str | None = None
        """One sentence, instead of a file."""

    # ---------------------------------------------------------------- what it reads
    @classmethod
    def sniff(cls, targets: Sequence[pl.Series]) -> float:
        return FIELDS["tags"].sniff(targets[0]) if len(targets) == 1 else 0.0

    def settle(self, table: Table, targets: Sequence[str], time: str | None) -> None:
        if time or len(targets) > 1:
            raise UserError("--task tag takes one column of tags, and no --time. Leave the others out.")
        tags = _found(table, next(iter(targets), None) or self.config.tags, TAGS, "tags", "--target")
        column = _found(table.drop(tags), self.config.column, TOKENS, "tokens or texts", "--set task.column")
        scheme = self.config.scheme
        if scheme is None:
            scheme = "bio" if chunked(table.get_column(tags)) else "none"
            say(f"tags: {tags!r} of the tokens in {column!r}, " + ("which mark spans" if scheme == "bio" else "each by itself"))
        self.config = replace(self.config, column=column, tags=tags, scheme=scheme)

    def check(self, table: Table, targets: Sequence[str]) -> None:
        field: Any = self._fields()[1]
        if not any(field.spans(table.get_column(self.config.tags))):
            raise UserError(f"the column {self.config.tags!r} marks nothing in all {table.height:,} rows: there is nothing to learn.")

    def order(self, table: Table) -> np.ndarray:
        """All rows that have tokens and tags. Raises UserError, naming the row, where these do not go together."""
        left: list[int] = []
        repaired: list[int] = []
        covered: list[int] = []  # rows with entities inside or across others
        columns = [table.get_column(name) for name in (self.config.column, self.config.tags)]
        empty = [cells.empty(each).to_list() for each in columns]
        for i, (cell, tagged) in enumerate(zip(*(cells.raw(each).to_list() for each in columns), strict=True)):
            tokens = None if empty[0][i] else tokens_of(cell)
            if empty[0][i] or empty[1][i] or tokens == []:
                left.append(i)
                continue
            tags = read(tagged, self.config.tags, i)
            if tags and isinstance(tags[0], str) and (tokens is None or len(tokens) != len(tags)):
                given = f"{len(tokens)} tokens" if tokens is not None else "a text, not a list of tokens,"
                raise UserError(
                    f"{cells.row(i)} has {given} in {self.config.column!r} and {len(tags)} tags in {self.config.tags!r}. "
                    "Give each token one tag."
                )
            size, last = len(cell if tokens is None else tokens), max((span[1] for span in tags if not isinstance(span, str)), default=0)
            if last > size:
                raise UserError(
                    f"{cells.row(i)} has an entity up to {last} in {self.config.tags!r}, and its {self.config.column!r} ends at {size}. "
                    "Entities are [start, end, label] in characters, from 0, the end not included."
                )
            if any(before[1] > span[0] for before, span in itertools.pairwise(tags) if not isinstance(span, str)):
                covered.append(i)
            if self.config.scheme != "none" and marked(tags, True)[1]:
                repaired.append(i)
        if left:
            say(f"{len(left):,} rows have no tokens or no tags and are left out (the first: {cells.row(left[0])})")
        if repaired:
            say(f"tags that go on where nothing has begun (I without B) are read as a beginning in {len(repaired):,} rows "
                f"(the first: {cells.row(repaired[0])})")  # fmt: skip
        if covered:
            warn(f"entities overlap in {len(covered):,} rows (the first: {cells.row(covered[0])}): a token has one tag, so that only the "
                 "first and longest of them is learned and judged.")  # fmt: skip
        return np.setdiff1d(np.arange(table.height), left)

    def schema(self, table: Table, targets: Sequence[str]) -> Schema:
        words, tags = self._fields()
        ours = (self.config.column, self.config.tags)
        return Schema({"c0": words}, {"y0": tags}, {name: "neither tokens nor tags" for name in table.columns if name not in ours})

    def _fields(self) -> tuple[Any, Any]:
        words, tags = FIELDS["words"], FIELDS["tags"]
        reads = words.Config(self.config.min_count, self.config.hashed, self.config.strip)
        return words((self.config.column,), reads), tags((self.config.tags,), tags.Config(self.config.scheme != "none"))

    # ---------------------------------------------------------------- what it learns

    def batch(self, store: Store, spans: Spans) -> Batch:
        """c0: the numbers of each token, Ragged (total, F); y0: its tag, Ragged (total,)."""
        words, marks = store.columns["c0"][spans.start], store.columns["y0"][spans.start]
        return {"c0": _plain(words), "y0": self._tags(words, marks)}

    def _tags(self, words: Ragged, marks: Ragged) -> Ragged:
        """The tag of each token: a span covers those that it touches. Of spans that overlap, the first and longest stays."""
        start, end, label = marks.values.unbind(1)
        rows, far = torch.arange(len(words)), int(torch.cat([words.values[:, -1], end, end.new_zeros(1)]).max()) + 1
        at, of = (rows.repeat_interleave(each.lengths) * far for each in (words, marks))  # makes of a place in a row one in all of them
        first = torch.searchsorted(at + words.values[:, -1], of + start, right=True)
        behind = torch.searchsorted(at + words.values[:, -2], of + end)
        before = F.pad(behind, (1, 0)).cummax(0).values[:-1]
        kept = (first >= before) & (behind > first)
        first, length, label = first[kept], (behind - first)[kept], label[kept]
        covered = cut(torch.arange(len(at)), first, length).values
        place, left = covered - first.repeat_interleave(length), (first + length).repeat_interleave(length) - covered
        position = (place > 0).long()
        P = POSITIONS[self.config.scheme]
        if P == 4:
            position = torch.where(left > 1, position, torch.where(place > 0, 2, 3))
        tags = torch.zeros(len(at), dtype=torch.int64)
        tags[covered] = (label.repeat_interleave(length) - 1) * P + position + self._outside
        return Ragged(tags, words.offsets)

    def head(self, schema: Schema) -> Head:
        labels: Any = schema.targets["y0"]
        size = (labels.size - 1) * POSITIONS[self.config.scheme] + self._outside
        return Head((Part("y0", "tags", size, "crf" if self.config.crf else "cross_entropy"),))

    @property
    def _outside(self) -> int:
        """How many tags mark no span."""
        return int(self.config.scheme != "none")

    def loss(self, model: Model, batch: Batch, head: Head) -> tuple[Tensor, dict[str, Tensor]]:
        """In nats a token."""
        tags, there = padded(batch["y0"])
        emissions = model(batch).float()
        if not self.config.crf:
            return F.cross_entropy(emissions[there], tags[there]), {}
        return -log_likelihood(emissions, tags, there, self._steps(model, emissions)).sum() / there.sum(), {}

    def _steps(self, model: Model, emissions: Tensor) -> Tensor:
        return masked(getattr(model, "steps", None), emissions.shape[2], self.config.scheme, emissions)

    # ---------------------------------------------------------------- how it is judged

    def metrics(self, schema: Schema) -> tuple[str, ...]:
        names = [*family("tags"), *_by_label(schema)]
        return tuple(names if self.config.scheme != "none" else ["accuracy", *_by_label(schema)])

    def measure(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str]) -> Measured:
        y, v = self._counts(judged, truth, schema)
        found = compute("tags", names, y, v, _by_label(schema))
        details: dict[str, Any] = {}
        if len(names) > 1:  # one: training asks, often
            details["by_class"] = {name: _figures(y[:, c].sum(), *v[:, :, c].sum(0)) for name, c in _labels(schema).items()}
            details |= self._confusion(judged["tags"], truth["y0"], schema)
            if unknown := int(y[:, 0].sum()):
                warn(f"{unknown:,} of the spans have a label that training never had: they cannot be found, and count as missed")
                details["spans_of_unknown_labels"] = unknown
            if left_out := [name for name in names if name not in found]:
                warn(f"no value on these rows for {listed(left_out)} (none is there, or none was said); left out.")
                details["left_out"] = left_out
        return Measured(found, details)

    def resample(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str], counts: np.ndarray) -> dict[str, np.ndarray]:
        return resampled("tags", names, *self._counts(judged, truth, schema), counts, _by_label(schema))

    def losses(self, judged: Batch, truth: Batch, schema: Schema, metric: str) -> tuple[str, np.ndarray]:
        """The share of a row's tokens with a wrong tag."""
        true, n = truth["y0"], truth["y0"].lengths.numpy()
        row = np.repeat(np.arange(len(true)), n)
        wrong = np.bincount(row, (true.values != judged["tags"].values).numpy(), len(true))
        return "wrong tags", np.where(n > 0, wrong / n.clip(1), np.nan)

    def counted(self, truth: Batch, schema: Schema) -> dict[str, np.ndarray]:
        if self.config.scheme == "none":
            return {}
        start, _, _ = self._spans(truth["y0"].values.numpy(), len(_labels(schema)))
        row = np.searchsorted(truth["y0"].offsets.numpy(), start, side="right") - 1
        return {"entities": np.bincount(row, minlength=len(truth["y0"])).astype(np.float64)}

    def ranked(self, judged: Batch, truth: Batch) -> dict[str, Tensor]:
        """Rows with a wrong tag by the surest of these; all by their least sure tag."""
        p, there = judged["p"].values, judged["p"].lengths
        row, least = torch.arange(len(there)).repeat_interleave(there), torch.full((len(there),), -torch.inf)
        wrong = judged["tags"].values != truth["y0"].values
        return {
            "Most wrong": least.scatter_reduce(0, row[wrong], p[wrong], "amax"),
            "Most doubtful": least.scatter_reduce(0, row, 1 - p, "amax"),
        }

    def charts(self, judged: Batch, truth: Batch, scored: Examples, schema: Schema) -> dict[str, dict[str, Any]]:
        """Precision, recall and F1 of the most frequent labels."""
        y, v = self._counts(judged, truth, schema)
        each = {name: _figures(y[:, c].sum(), *v[:, :, c].sum(0)) for name, c in _labels(schema).items()}
        often = [name for name in sorted(each, key=lambda name: -each[name]["support"])[:SHOWN] if each[name]["support"]]
        groups = {figure: np.array([each[name][figure] for name in often]) for figure in ("precision", "recall", "f1")}
        return {"Precision and recall": {"x": "label", "y": "share", "names": often, "groups": groups, "fixed": True}} if often else {}

    def _confusion(self, said: Ragged, true: Ragged, schema: Schema) -> dict[str, Any]:
        """{"classes", "confusion"} by token, whatever its place in a span; a label that training never had is left out."""
        P, names = POSITIONS[self.config.scheme], ["O"] * self._outside + list(_labels(schema))
        if len(names) > MOST_CONFUSED:
            return {}
        a, b = ((each.values.numpy() - self._outside) // P + self._outside for each in (true, said))
        n, known = len(names), a < len(names)
        return {"classes": names, "confusion": np.bincount(a[known] * n + b[known], minlength=n * n).reshape(n, n).tolist()}

    def written(self, judged: Batch, truth: Batch, raw: Callable[[str], list], schema: Schema) -> Table:
        """The sentence twice, [a span]LABEL in it, and how sure the least sure tag is."""
        words: Any = schema.inputs["c0"]
        gap, names = "" if words.single else " ", [None, *_labels(schema)]
        rows = words.cut(pl.Series(self.config.column, raw(self.config.column), dtype=pl.String))
        made: dict[str, list[str]] = {}
        for title, tags in (("truth", truth["y0"]), ("answer", judged["tags"])):
            made[title] = []
            for i, tokens in enumerate(rows):
                spans = zip(*self._spans(tags[torch.tensor([i])].values.numpy(), len(names) - 1), strict=True)
                made[title].append(gap.join(bracketed([token for token, _, _ in tokens], spans, names)))
        sure = [float(judged["p"][torch.tensor([i])].values.min()) for i in range(len(rows))]
        return pl.DataFrame({**made, "least sure tag": [f"{each:.3f}" for each in sure]})

    def _counts(self, judged: Batch, truth: Batch, schema: Schema) -> tuple[np.ndarray, np.ndarray]:
        """(y (N, L + 2), v (N, 2, L + 2)) as metrics/tags.py takes them; label 0 is one that training never had."""
        true, said = truth["y0"], judged["tags"]
        N, L = len(true), schema.targets["y0"].size - 1
        row = np.repeat(np.arange(N), true.lengths.numpy())
        (a, b), total = (self._spans(each.values.numpy(), L) for each in (true, said)), len(row)
        ends = np.zeros((2, total), np.int64), np.full((2, total), -1)
        for k, (start, end, label) in enumerate((a, b)):
            ends[0][k, start], ends[1][k, start] = end, label
        right = (ends[0][0] == ends[0][1]) & (ends[1][0] == ends[1][1]) & (ends[1][0] > 0)

        def by_label(start: np.ndarray, label: np.ndarray, tokens: np.ndarray) -> np.ndarray:
            of = np.bincount(row[start] * (L + 1) + label, minlength=N * (L + 1)).reshape(N, L + 1)
            return np.column_stack([of, np.bincount(row[tokens], minlength=N)])

        every, same, hit = np.ones(total, bool), true.values.numpy() == said.values.numpy(), np.flatnonzero(right)
        y = by_label(a[0], a[2], every)
        return y, np.stack([by_label(b[0], b[2], every), by_label(hit, ends[1][0][hit], same)], 1)

    def _spans(self, tags: np.ndarray, L: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(first token, behind the last, label) of each span in valid tags, row behind row."""
        P, outside = POSITIONS[self.config.scheme], self._outside
        position = (tags - outside) % P
        inner = (tags >= outside) & ((position == 1) | (position == 2))
        outer = np.append(np.flatnonzero(~inner), len(tags))
        begins = tags[outer[:-1]] >= outside
        start, end = outer[:-1][begins], outer[1:][begins]
        label = (tags[start] - outside) // P + 1
        return start, end, np.where(label > L, 0, label)

    # ---------------------------------------------------------------- what it answers

    def question(self, ask: Any) -> Table | None:
        return pl.DataFrame({self.config.column: [ask.text]}) if ask.text is not None else super().question(ask)

    def pose(self, encoded: Batch, context: Batch) -> Batch:
        return {"c0": _plain(encoded["c0"])}

    def predict(self, model: Model, batch: Batch, head: Head, ask: Any) -> Batch:
        """tags: Ragged (total,), the likeliest of each row together; p: Ragged (total,), the probability of each, over all that the row's
        other tags may be."""
        words = batch["c0"]
        _, there = padded(words)
        emissions = model({"c0": words}).float()
        steps = self._steps(model, emissions)
        tags, p = viterbi(emissions, there, steps), marginals(emissions, there, steps)
        real = there & (words.lengths > 0).unsqueeze(1)
        p = p.gather(2, tags.unsqueeze(2)).squeeze(2)
        return {"tags": Ragged(tags[real], words.offsets), "p": Ragged(p[real], words.offsets)}

    def answers(self, predicted: Batch, schema: Schema) -> Table:
        """`prediction`: the spans of each row, in tokens; `told` adds what is written there. `confidence`: the probability of the
        least sure of its tags (a marginal of the random field)."""
        tags, names = predicted["tags"], [None, *_labels(schema)]
        start, end, label = self._spans(tags.values.numpy(), len(names) - 1)
        sure = [float(predicted["p"].values[a:b].min()) for a, b in zip(start, end, strict=True)]
        row = np.searchsorted(tags.offsets.numpy(), start, side="right") - 1
        first = tags.offsets.numpy()[row]
        made: list[list] = [[] for _ in range(len(tags))]
        for i, a, b, c, p in zip(row.tolist(), (start - first).tolist(), (end - first).tolist(), label.tolist(), sure, strict=True):
            made[i].append({"start": a, "end": b, "label": names[c], "text": None, "confidence": p})
        return pl.DataFrame({"prediction": pl.Series(made, dtype=RECORD)})

    def told(self, answers: Table, question: Table, schema: Schema) -> Table:
        """`sentence`, and in the records what is written there; start and end in characters of a text, in tokens of a list."""
        words: Any = schema.inputs["c0"]
        column, made = question.get_column(self.config.column), answers["prediction"].to_list()
        answered = [i for i, each in enumerate(made) if each is not None]  # the others could not be read
        rows, gap = dict(zip(answered, words.cut(column.gather(answered)), strict=True)), "" if words.single else " "
        sentences = cells.raw(column).to_list()
        for i, tokens in rows.items():
            cell, records = sentences[i], made[i]
            plain = cell is None or tokens_of(cell) is None
            if not plain:
                sentences[i] = gap.join(token for token, _, _ in tokens)
            for each in records:
                inside = tokens[each["start"] : each["end"]]
                each["start"], each["end"] = inside[0][1], inside[-1][2]
                each["text"] = cell[each["start"] : each["end"]] if plain else gap.join(token for token, _, _ in inside)
        return pl.DataFrame({"sentence": pl.Series(sentences, dtype=pl.String), "prediction": pl.Series(made, dtype=RECORD)})

    def example(self, schema: Schema) -> dict[str, Any]:
        return {"text": schema.inputs["c0"].phrase()}

    @classmethod
    def samples(cls) -> list[Table]:
        names, places = ["Anna Berg", "Li Na", "Omar", "Eva Maria Sol"], ["Bonn", "New York", "Rio de Janeiro"]
        given, spelled, kinds = [], [], []
        for name, place in itertools.product(names * 4, places):
            words = [*name.split(), "lives", "in", *place.split()]
            bio = [f"{'I' if i else 'B'}-PER" for i in range(len(name.split()))] + ["O", "O"]
            bio += [f"{'I' if i else 'B'}-LOC" for i in range(len(place.split()))]
            given.append({"tokens": json.dumps(words), "tags": json.dumps(bio)})
            text = f"{name} 住在{place}。"
            at = text.index(place)
            spelled.append({"text": text, "entities": json.dumps([[0, len(name), "人"], [at, at + len(place), "地"]], ensure_ascii=False)})
            kinds.append({"words": json.dumps(words), "pos_tags": json.dumps(["VERB" if w == "lives" else "NOUN" for w in words])})
        return [pl.DataFrame(each) for each in (given, spelled, kinds)]


def _found(table: Table, name: str | None, usual: Sequence[str], what: str, how: str) -> str:
    """The column called `name`, else the first of the usual ones."""
    if name is not None and name not in table.columns:
        raise UserError(f"the column {name!r} is not in the data.{did_you_mean(name, table.columns)} There are: {listed(table.columns)}.")
    if name := name or next((each for each in usual if each in table.columns), None):
        return name
    raise UserError(f"there is no column of {what} in {listed(table.columns)}. Name one with {how}.")


def _plain(words: Ragged) -> Ragged:
    return Ragged(words.values[:, :-2], words.offsets)  # without where tokens begin and end, which no model may see


def _labels(schema: Schema) -> dict[str, int]:
    labels: Any = schema.targets["y0"]
    return {label: c for c, label in enumerate(labels.labels, 1)}


def _by_label(schema: Schema) -> dict[str, int]:
    return {f"f1_{label}": c for label, c in _labels(schema).items()}


def _figures(true: Any, said: Any, right: Any) -> dict[str, float]:
    return {"precision": float(right / max(said, 1)), "recall": float(right / max(true, 1)), "f1": float(2 * right / max(said + true, 1)),
            "support": int(true)}  # fmt: skip
