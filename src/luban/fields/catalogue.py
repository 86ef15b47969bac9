"""Ids with a table beside them: items with titles and genres, users with their age. What the table says of an id are its features.

Only a task gives a column this field (`Catalogue.of`), where a table was named. An id that training never had is known all the same if the
table has it: it has features, and no count. Ids are compared as Category compares them.

A column of the table becomes a number, as the field that sniffs best encodes it (number, yes/no, the day of a date), or a bag of words: the
parts of a list ("Adventure|Animation"), the words of a title, else the whole cell. A word that one row alone has says nothing of another,
and goes.
Letters: S ids, 0 and missing included, which have no features; W words of a column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from luban.core import cells
from luban.core.batch import Ragged
from luban.core.contract import Field, Table
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.registry import FIELDS
from luban.fields.category import Category

READ = ("number", "boolean", "date", "category")
"""The fields that are asked whose a column is: of the last it is words, of the others a number."""
SIGNS = {"|": 1.0, ";": 1.0, ",": 0.5, "、": 0.5, "，": 0.5, " ": 0.25}
"""What parts a list, if one cell of 20 has it and there are at most so many times as many different parts as cells: in a title a comma
and a blank, too, stand between words, but what they part seldom comes again."""
LETTER = rf"[\p{{L}}\p{{N}}&&[^{cells.UNSPACED}]]"
WORD = rf"{LETTER}+(?:['’-]{LETTER}+)*|[{cells.UNSPACED}]"
MOST = 20_000
"""Words of a column that are kept, the most frequent: at a width of 64 these are 5 MB of weights."""
CONDITION = r"\s*(.+?)\s*(>=|<=|!=|=|>|<)\s*(.*?)\s*"


@dataclass(frozen=True)
class Feature:
    """What a column says of each id."""

    name: str
    values: Any
    """Of words: Ragged, row i the numbers (below W) of the words of id i. Of a number: (S,) float32, NaN where it says nothing."""
    words: tuple[str, ...] = ()
    sign: str = ""
    """What parts the words of a cell; "": nothing, a cell is a word; " ": what is no letter."""
    reader: Field | None = None
    """The field that encodes the number."""

    def about(self) -> str:
        return f"{self.name} ({type(self.reader).__name__.lower() if self.reader else f'{len(self.words):,} words'})"

    def state(self) -> dict[str, Any]:
        if self.reader is None:
            rows = [" ".join(map(str, row.tolist())) for row in self.values.values.split(self.values.lengths.tolist())]
            return {"name": self.name, "words": list(self.words), "sign": self.sign, "rows": rows}
        rows = [None if x != x else x for x in self.values.tolist()]
        return {"name": self.name, "field": type(self.reader).__module__.rpartition(".")[2], "state": self.reader.state(), "rows": rows}

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Feature:
        if "words" in state:
            bag = _bag([[int(word) for word in row.split()] for row in state["rows"]])
            return cls(state["name"], bag, tuple(state["words"]), state["sign"])
        rows = torch.tensor([torch.nan if x is None else x for x in state["rows"]])
        return cls(state["name"], rows, reader=FIELDS[state["field"]]((state["name"],)).restore(state["state"]))


class Catalogue(Category):
    features: tuple[Feature, ...] = ()
    beside: Table | None = None
    """The table, until it is learned from; its column of ids is called as ours."""

    @classmethod
    def of(cls, column: str, config: Any, table: Table, key: str) -> Catalogue:
        """key: the table's own name for the column of ids."""
        made = cls((column,), config)
        made.beside = table.drop([column] if key != column and column in table.columns else []).rename({key: column})
        return made

    @classmethod
    def sniff(cls, column: pl.Series) -> float:
        return 0.0  # a column alone has no table beside it

    def fit(self, chunks: Iterable[pl.Series]) -> Catalogue:
        if self.beside is None:
            super().fit(chunks)
            return self
        name = self.columns[0]
        nameless = cells.empty(self.beside.get_column(name))
        table, self.beside = self.beside.filter(~nameless), None
        ids = cells.words(table.get_column(name))
        super().fit([*(cells.words(chunk) for chunk in chunks), ids])
        counts = sum((np.bincount(self.encode(chunk).numpy(), minlength=self.size) for chunk in chunks), np.zeros(self.size, np.int64))
        self.counts = tuple(counts[1 : 1 + len(self.words)].tolist())
        self.doubts = []  # those of Category are of ids without a table
        place, first = np.unique(self.encode(ids).numpy(), return_index=True)  # of several rows with one id the first counts
        if nameless.any():
            self.doubts.append(f"{int(nameless.sum()):,} rows of the table have no {name} and are left out")
        if again := table.height - len(first):
            twice = ids[int(np.setdiff1d(np.arange(table.height), first)[0])]
            self.doubts.append(f"{again:,} rows of the table repeat an id ({twice!r}); the first of each counts")
        bare = np.setdiff1d(np.flatnonzero(counts[1:]) + 1, place)
        if len(bare):
            self.doubts.append(f"{len(bare):,} of {int((counts[1:] > 0).sum()):,} are not in the table and have no features "
                               f"(the first: {self.decode(torch.tensor(bare[:1]))[0]!r})")  # fmt: skip
        self._learn(table[first].drop(name), torch.from_numpy(place))
        return self

    def _learn(self, table: Table, place: Tensor) -> None:
        """The features, of rows that belong to the ids `place`."""
        found: list[Feature] = []
        left: list[str] = []
        for column in table:
            each = _feature(column, place, self.size)
            if isinstance(each, str):
                left.append(each)
            else:
                found.append(each)
        self.features = tuple(found)
        if left:
            self.doubts.append(f"left out of the table: {', '.join(left)}")

    def about(self) -> str:
        cold = sum(count == 0 for count in self.counts)
        told = [f"{cold:,} of them known by the table alone"] if cold else []
        return ", ".join([*told, *(["features: " + ", ".join(each.about() for each in self.features)] if self.features else [])])

    def state(self) -> dict[str, Any]:
        return super().state() | {"features": [each.state() for each in self.features]}

    def restore(self, state: dict[str, Any]) -> Catalogue:
        super().restore(state)
        self.features = tuple(Feature.restore(each) for each in state["features"])
        return self

    # ---------------------------------------------------------------- which ids are such

    def where(self, condition: str) -> Tensor:
        """(S,) bool: the ids of which "genres=Comedy" or "year>=1990" is true; never those of which the table says nothing.
        Raises UserError for what cannot be asked."""
        parsed = re.fullmatch(CONDITION, condition)
        if parsed is None:
            raise UserError(f"where: {condition!r} is no condition. Write COLUMN=WORD, COLUMN!=WORD or COLUMN>=NUMBER.")
        name, sign, value = parsed.groups()
        each = next((each for each in self.features if each.name == name), None)
        if each is None:
            names = [each.name for each in self.features]
            raise UserError(f"where: the table beside {self.columns[0]!r} has no column {name!r} that was learned."
                            f"{did_you_mean(name, names)} There are: {listed(names, 40)}.")  # fmt: skip
        if each.reader is not None:
            return _compared(each, sign, value)
        if sign not in ("=", "!="):
            raise UserError(f"where: {name!r} holds words, which {sign} does not compare; use = or !=.")
        word = value.lower() if each.sign == " " else value
        if word not in each.words:
            raise UserError(f"where: no two rows have {value!r} in {name!r}.{did_you_mean(word, each.words)}")
        rows, lengths = torch.arange(self.size), each.values.lengths
        has = torch.zeros(self.size, dtype=torch.bool)
        has[rows.repeat_interleave(lengths)[each.values.values == each.words.index(word)]] = True
        return has if sign == "=" else ~has & (lengths > 0)

    @classmethod
    def samples(cls) -> list[pl.Series]:
        return super().samples()[:2]


# ---------------------------------------------------------------- a column of the table


def _feature(column: pl.Series, place: Tensor, size: int) -> Feature | str:
    """What a column says of the ids `place`, a row each; or its name and why it says nothing."""
    name, text = column.name, cells.present(column)
    if text.n_unique() < 2:
        return f"{name} (the same in all rows)"
    sign = next((each for each in SIGNS if _lists(text, each)), "")
    best = "category" if sign else max(READ, key=lambda field: FIELDS[field].sniff(column))
    if best != "category":
        reader = FIELDS[best]((name,)).fit([column])
        values = torch.full((size,), torch.nan)
        values[place] = reader.encode(column).reshape(len(column), -1)[:, 0]  # of a date the day
        return Feature(name, values, reader=reader)
    if not sign and text.n_unique() > len(text) / 2:
        sign = " "  # a title: as a whole it does not come again, some of its words do
    rows = pl.DataFrame({"row": range(len(column)), "word": _parts(cells.words(column).fill_null(""), sign)}).explode("word")
    rows = rows.filter(~cells.empty(rows["word"])).unique(maintain_order=True)
    counts = (
        rows.group_by("word")
        .len()
        .filter(pl.col("len").is_between(2, len(text) - 1))
        .sort("len", "word", descending=[True, False])
        .head(MOST)
    )
    words = counts["word"].sort()
    if not len(words):
        return f"{name} (what is different in each row says nothing of another)"
    rows = rows.filter(pl.col("word").is_in(words.implode()))
    ids = rows["word"].replace_strict(words, pl.Series(range(len(words))), return_dtype=pl.Int64).to_numpy()
    owner = place[torch.from_numpy(rows["row"].to_numpy(writable=True))]
    order = torch.argsort(owner, stable=True)
    bag = Ragged(torch.from_numpy(ids.copy())[order], F.pad(torch.bincount(owner, minlength=size).cumsum(0), (1, 0)))
    return Feature(name, bag, tuple(words.to_list()), sign)


def _lists(text: pl.Series, sign: str) -> bool:
    usual = text.str.contains(sign, literal=True).to_numpy().mean() > 0.05
    return bool(usual) and _parts(text, sign).explode().n_unique() <= SIGNS[sign] * text.n_unique()


def _parts(text: pl.Series, sign: str) -> pl.Series:
    """(N,) lists of words."""
    if sign == " ":
        return text.str.to_lowercase().str.extract_all(WORD)
    return text.str.split(sign).list.eval(pl.element().str.strip_chars(" []\"'")) if sign else text.str.split("\0")  # as it is


def _bag(rows: list[list[int]]) -> Ragged:
    lengths = torch.tensor([len(row) for row in rows])
    return Ragged(torch.tensor([each for row in rows for each in row], dtype=torch.int64), F.pad(lengths.cumsum(0), (1, 0)))


def _compared(each: Feature, sign: str, value: str) -> Tensor:
    """Both sides as the field encodes them, so that a date is asked as it is written."""
    try:
        asked = each.reader.encode(pl.Series(each.name, [value])).reshape(-1)[0]  # type: ignore[union-attr]
    except UserError:  # it speaks of a row, and there is none
        asked = torch.tensor(torch.nan)
    if asked.isnan():
        raise UserError(f"where: {each.name!r} is compared with a {type(each.reader).__name__.lower()}, not with {value!r}.")
    compare = {"=": torch.eq, "!=": torch.ne, ">": torch.gt, "<": torch.lt, ">=": torch.ge, "<=": torch.le}[sign]
    return compare(each.values, asked) & ~each.values.isnan()
