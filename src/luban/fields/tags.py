"""Tags of tokens as the spans that they mark: (start, end, label) each, labels from 1, `size` for one that training never had.

A cell is a list of tags, one a token, in any of the usual schemes, or a list of entities: [start, end, label] or {"start", "end", "label"},
in characters of the text. BIO, IOB, BIOES, BMES and BILOU say the same in other letters (Ratinov and Roth 2009), so here they are one.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch

from luban.core import cells
from luban.core.batch import Encoded, Ragged
from luban.core.contract import Field
from luban.core.errors import BadCells
from luban.fields.words import listed

MARK = re.compile(r"([BIESMLU])(?:[-_](.*))?")
"""Begins; Inside or in the Middle; Ends or is the Last; a Single one or Unit. The rest is the label."""

Span = tuple[int, int, str]


class Tags(Field):
    kind = "spans"
    invertible = False

    @dataclass(frozen=True)
    class Config:
        chunks: bool = True
        """Do tags mark spans of tokens (B-PER, I-PER, O)? Else each says what its own token is (NOUN, VERB)."""

    @classmethod
    def sniff(cls, column: pl.Series) -> float:
        """As a target: are these lists of entities, or of marks that begin and end them?"""
        if column.dtype != pl.String:
            return 0.0
        some = cells.present(column).head(50)
        if not some.str.starts_with("[").all():
            return 0.0
        try:
            found = [tag for i, cell in enumerate(some) for tag in read(cell, column.name, i)]
        except BadCells:
            return 0.0
        marks = [tag for tag in found if isinstance(tag, str)]
        plain = all(tag == "O" or (MARK.fullmatch(tag) and len(tag) > 1) for tag in marks) and (not marks or "O" in marks)
        return 0.95 if found and plain else 0.0

    def fit(self, chunks: Iterable[pl.Series]) -> Tags:
        counts: Counter[str] = Counter()
        for column in chunks:
            self.has_missing = self.has_missing or bool(cells.empty(column).any())
            counts.update(label for row in self.spans(column) for _, _, label in row)
        self.labels = sorted(counts)
        self.size = len(self.labels) + 1
        return self

    def about(self) -> str:
        return f"{len(self.labels)} {'kinds of entities' if self.config.chunks else 'tags'}"

    def spans(self, column: pl.Series) -> list[list[Span]]:
        """Of each row; none of a missing one."""
        gone = cells.empty(column).to_list()
        return [
            [] if none else marked(read(cell, self.columns[0], i), self.config.chunks)[0]
            for i, (cell, none) in enumerate(zip(cells.raw(column).to_list(), gone, strict=True))
        ]

    def encode(self, column: pl.Series) -> Ragged:
        """Ragged int64 (total, 3)."""
        rows, ids = self.spans(column), {label: i for i, label in enumerate(self.labels, 1)}
        flat = [[start, end, ids.get(label, self.size)] for start, end, label in itertools.chain.from_iterable(rows)]
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
        return Ragged(torch.tensor(flat, dtype=torch.int64).reshape(-1, 3), torch.from_numpy(offsets).long())

    def decode(self, encoded: Encoded) -> list:
        """As entities in JSON; None for a row without one."""
        assert isinstance(encoded, Ragged)
        words = [None, *self.labels, None]
        rows = [encoded.values[start:stop].tolist() for start, stop in itertools.pairwise(encoded.offsets.tolist())]
        return [json.dumps([[*at, words[id]] for *at, id in row], ensure_ascii=False) if row else None for row in rows]

    def state(self) -> dict[str, Any]:
        return {"labels": self.labels, "has_missing": self.has_missing}

    def restore(self, state: dict[str, Any]) -> Tags:
        self.labels, self.has_missing = state["labels"], state["has_missing"]
        self.size = len(self.labels) + 1
        return self

    def imagine(self, n: int, rng: np.random.Generator) -> list:
        drawn = [int(i) for i in rng.integers(0, len(self.labels), n)] if self.labels else []
        return [json.dumps([[0, 1, self.labels[i]]], ensure_ascii=False) for i in drawn] or ["[]"] * n

    @classmethod
    def samples(cls) -> list[pl.Series]:
        return [
            pl.Series("tags", ['["B-PER", "I-PER", "O"]', '["S-LOC"]', None, '["O", "O"]']),
            pl.Series("entities", ['[[0, 2, "人"], [3, 5, "地"]]', '[{"start": 1, "end": 4, "label": "人"}]']),
        ]


def read(cell: str, name: str, i: int) -> list:
    """A list of tags (words), or of entities ((start, end, label) each). Raises BadCells where the cell of row i is neither."""
    found = listed(cell)
    if found is not None and all(isinstance(tag, str) for tag in found):
        return found
    try:
        each = [[tag["start"], tag["end"], tag["label"]] if isinstance(tag, dict) else tag for tag in found or ()]
        made = [(int(start), int(end), str(label)) for start, end, label in each]
    except (KeyError, TypeError, ValueError):
        made = []
    if not made or any(start < 0 or end <= start for start, end, _ in made):
        raise BadCells(
            f"the column {name!r} should hold a list of tags, or of entities [start, end, label] with end above start, "
            f"but {cells.row(i)} has {cell[:60]!r}.", [i])  # fmt: skip
    return sorted(made, key=lambda span: (span[0], -span[1]))  # of those that overlap, the first and longest first


def marked(tags: Sequence, chunks: bool) -> tuple[list[Span], bool]:
    """(the spans that a row's tags mark, did one go on that had not begun? It is read as a beginning); of entities themselves."""
    if not tags or not isinstance(tags[0], str):
        return list(tags), False
    if not chunks:
        return [(i, i + 1, tag) for i, tag in enumerate(tags)], False
    spans: list[Span] = []
    begun, repaired = None, False  # begun: (start, label) of the span that may go on
    for i, tag in enumerate(tags):
        found = MARK.fullmatch(tag)
        if not found:  # O
            begun = None
            continue
        mark, label = found[1], found[2] or ""
        goes_on = mark in "IMEL" and begun is not None and begun[1] == label
        repaired = repaired or (mark in "IMEL" and not goes_on)
        if not goes_on:
            begun = (i, label)
            spans.append((i, i + 1, label))
        spans[-1] = (begun[0], i + 1, label)
        if mark in "ELSU":
            begun = None
    return spans, repaired


def chunked(column: pl.Series) -> bool:
    """Do the tags mark spans? Entities do; of lists, those whose every tag is O or a letter with a label, some of them beginnings."""
    lists = [found for cell in cells.present(column).to_list() if (found := listed(cell))]
    tags = {tag for found in lists for tag in found if isinstance(tag, str)}
    fits = all(tag == "O" or MARK.fullmatch(tag) for tag in tags)
    return not tags or (fits and bool(tags & {"O", "I", "E"} or any(len(tag) > 1 for tag in tags)))


def bracketed(tokens: list[str], spans: Iterable[tuple[int, int, int]], names: Sequence[str | None]) -> list[str]:
    """The tokens, with [ before a span and ]LABEL behind it."""
    written = list(tokens)
    for start, end, label in spans:
        written[start] = "[" + written[start]
        written[end - 1] += f"]{names[label] or '?'}"
    return written
