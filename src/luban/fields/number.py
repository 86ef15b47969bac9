"""Numbers, typed or written as text, as z-scores; also what a regression learns.

"1,234.5", "$5", "￥3", " 7 ", "1e-3" and "１２" are numbers; "12%" is 0.12. A decimal comma is taken where the column leaves no other
reading. An infinity is missing, and so is anything beyond 1e100. What cannot be read is missing if the training rows had such
cells too, else an error. A float32 z-score keeps 24 bits of a value's distance from the mean, no more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from luban.core import cells
from luban.core.batch import Encoded
from luban.core.contract import Field

BINS = 128
FARTHEST = 1e100
"""Squares of what lies beyond would overflow; nothing that anyone measures does."""
SAMPLE = 250_000
"""Values of each piece of a column, evenly spaced, that the quantiles are taken from: they move by a thousandth of the rows."""
STEEPEST = 1e6
"""Encoded values end here: n rows cannot hold a z-score above sqrt(n), so only a wrong unit or a typo gets there, and must not
overflow a layer."""


class Number(Field):
    kind = "scalar"
    mean = 0.0
    std = 1.0
    missing = 0.0
    """Share of the training rows without a number."""
    integer = False
    """Were all training values whole? Then decoded ones are, too."""
    comma = False
    """Is the comma the decimal mark in text?"""
    lenient = False
    """Did training rows hold what is no number? Then it is missing later, too."""

    @classmethod
    def sniff(cls, column: pl.Series) -> float:
        if column.dtype.is_temporal() or column.dtype == pl.Boolean or column.dtype.is_nested():
            return 0.5 if column.dtype == pl.Duration else 0.0
        if not (column.dtype.is_numeric() or column.dtype == pl.String):
            return 0.0
        text = cells.present(column, cells.BLANK)
        values = cells.numbers(text, cells.decimal_comma([column])).drop_nulls()
        if not len(text) or len(values) < 0.95 * len(text):
            return 0.0
        if text.str.contains(r"^0\d|^\d{16}").any():
            return 0.3  # 007 is not 7: codes, and numbers too long for a float
        if values.n_unique() <= 2 and (values == values.floor()).all():
            return 0.5
        return 0.8 if column.dtype.is_numeric() else 0.85

    def fit(self, chunks: Iterable[pl.Series]) -> Number:
        self.comma = cells.decimal_comma(chunks)
        odd, far, where = cells.Odd(self.columns[0], "numbers"), 0, ""
        rows, n, squares, largest, few = 0, 0, 0.0, 0.0, []
        self.integer = True
        for column in chunks:
            values = cells.numbers(column, self.comma)
            odd.see(column, values)
            beyond = values.fill_nan(None).abs() >= FARTHEST
            if beyond.any():
                far, where = far + int(beyond.sum()), where or cells.first(column, beyond)
            known = _known(values)
            rows += len(column)
            if len(known):  # Chan, Golub and LeVeque 1979, eq. (2.1): means and squares of two parts as those of both
                n, mean, gap = n + len(known), float(known.mean()), float(known.mean()) - self.mean
                squares += float(np.square(known - mean).sum()) + gap * gap * (n - len(known)) * len(known) / n
                self.mean = mean if n == len(known) else self.mean + gap * len(known) / n
            self.integer = self.integer and bool((known == np.floor(known)).all())
            largest = max(largest, float(np.abs(known).max(initial=0)))
            few.append(known if len(known) <= SAMPLE else known[:: len(known) // SAMPLE])
        self.lenient = bool(odd.count)
        self.doubts += odd.doubts()
        if far:
            self.doubts.append(f"infinite, so missing: {far:,} (training {where})")
        if self.comma:
            self.doubts.append("the comma is read as the decimal mark")
        self.missing = 1 - n / rows if rows else 0.0
        self.has_missing = n < rows
        if n:
            spread = math.sqrt(squares / n)
            # of a constant, rounding may leave a spread of some last bits
            self.std = spread if spread > 1e-14 * largest else 1.0
            self.edges = _edges(self._scaled(np.concatenate(few)))
        else:
            self.integer = False
        return self

    def encode(self, column: pl.Series) -> Tensor:
        """(N,) float32, NaN where missing."""
        values = cells.numbers(column, self.comma)
        if not self.lenient:
            cells.refuse(column, cells.unread(column, values), self.columns[0], "numbers")
        return torch.from_numpy(self._scaled(finite(values)))

    def _scaled(self, x: np.ndarray) -> np.ndarray:
        return np.clip((x - self.mean) / self.std, -STEEPEST, STEEPEST).astype(np.float32)

    def decode(self, encoded: Encoded) -> list:
        """Floats, or ints where all training values were whole; None for NaN."""
        assert isinstance(encoded, Tensor)
        x = encoded.reshape(-1).double().cpu().numpy() * self.std + self.mean
        cast = round if self.integer else float
        return [None if value != value else cast(value) for value in x.tolist()]

    def state(self) -> dict[str, Any]:
        return {"mean": self.mean, "std": self.std, "missing": self.missing, "has_missing": self.has_missing, "integer": self.integer,
                "comma": self.comma, "lenient": self.lenient, "edges": list(self.edges)}  # fmt: skip

    def restore(self, state: dict[str, Any]) -> Number:
        self.mean, self.std, self.missing, self.has_missing = state["mean"], state["std"], state["missing"], state["has_missing"]
        self.integer, self.comma, self.lenient = state["integer"], state["comma"], state["lenient"]
        self.edges = tuple(state["edges"])
        return self

    def imagine(self, n: int, rng: np.random.Generator) -> list:
        """Anywhere between two neighbouring quantiles, to 6 digits; missing as often as in training."""
        if not self.edges:
            return [None] * n
        z = np.interp(rng.random(n) * (len(self.edges) - 1), np.arange(len(self.edges)), self.edges)
        x = [float(f"{value:.6g}") for value in self.decode(torch.from_numpy(z))]
        cast = int if self.integer else float
        return [None if gone else cast(value) for value, gone in zip(x, rng.random(n) < self.missing, strict=True)]

    @classmethod
    def samples(cls) -> list[pl.Series]:
        return [
            pl.Series("price", ["1,234.5", "$5", "￥3", "12%", " 7 ", "1e-3", "１２", "-3.5", "NA", ""]),
            pl.Series("preis", ["1.234,5", "0,25", "3 €", "-7,125", None]),
            pl.Series("rooms", [3, 1, 2, 2, None, 40], dtype=pl.Int16),
            pl.Series("收入", [1.5, float("nan"), float("inf"), 2e6, -4.25]),
            pl.Series("cost", ["3.10", "2.75"]).cast(pl.Decimal(10, 2)),
            pl.Series("constant", [0.1] * 7),
        ]


def _known(values: pl.Series) -> np.ndarray:
    """The values that are finite numbers."""
    x = finite(values)
    return x[~np.isnan(x)]


def finite(values: pl.Series) -> np.ndarray:
    """Float64 with NaN for null and for what lies beyond any measure."""
    x = values.fill_null(float("nan")).to_numpy()
    return np.where(np.abs(x) < FARTHEST, x, np.nan)


def _edges(z: np.ndarray) -> tuple[float, ...]:
    """All values where they are few, else quantiles; distinct in float32, for that is what models compare."""
    distinct = np.unique(z)
    if len(distinct) > BINS + 1:
        distinct = np.unique(np.quantile(z.astype(np.float64), np.linspace(0, 1, BINS + 1)).astype(np.float32))
    return tuple(distinct.tolist())
