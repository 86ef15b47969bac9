"""A curve: a cell that holds a whole series of numbers, one channel of them or several; z-scored a channel by the training rows.

"[1, 2.5, 3]", "1 2.5 3", "1;2,5;3"; of several channels a list each, "[[1, 2], [7, 8]]", all of one length. Rows need not be of one length.
null, NaN, ? and an infinity within it are gaps: a gap takes the value before it, at the beginning the first one. Of curves longer than
max_length equal stretches are averaged, as many steps a stretch in each row. A missing cell has no step.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch

from luban.core import cells
from luban.core.batch import Encoded, Ragged
from luban.core.contract import Field
from luban.core.errors import BadCells, UserError
from luban.fields.number import FARTHEST, STEEPEST

FEWEST = 8
"""Numbers of a cell from which on it is taken for a curve unasked."""
LOOKED_AT = 50
"""Cells that the sniff reads."""
IMAGINED = 256
"""Numbers of a row that is made up, at most: a bundle carries 16."""
GAPS = cells.BLANK | {"none"}
COLOURS = ("#4477aa", "#cc6677", "#228833", "#aa3377", "#999933", "#66ccee")
WIDTH, HEIGHT = 240, 48


class Curve(Field):
    kind = "curve"

    @dataclass(frozen=True)
    class Config:
        max_length: int = 5000
        """Steps of a row that are read. Where one training row in a hundred is longer, so many neighbours are averaged to one, in all rows,
        that 99 of 100 fit; what still lies beyond is cut."""

        def __post_init__(self) -> None:
            if self.max_length < 1:
                raise UserError(f"max_length must be 1 or more, not {self.max_length}.")

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    """Of each channel."""
    shortest = 1
    """Steps of the shortest training row, as `length` of the longest: as they are encoded."""
    stride = 1
    """Steps that are averaged to one."""
    gaps = 0.0
    """Share of the numbers of the training rows that are gaps."""

    @classmethod
    def sniff(cls, column: pl.Series) -> float:
        if column.dtype != pl.String:
            return 0.0
        some = cells.present(column)
        read = [_read(cell) for cell in some.gather_every(max(1, len(some) // LOOKED_AT))]
        return 0.98 if read and np.mean([x is not None and x.shape[1] >= FEWEST for x in read]) >= 0.95 else 0.0

    # ---- learning

    def fit(self, chunks: Iterable[pl.Series]) -> Curve:
        """Cells that cannot be read are passed over here; `encode` refuses them."""
        rows = (x for column in chunks for _, x in _cells(column) if x is not None)
        widths = Counter(map(len, itertools.islice(rows, LOOKED_AT)))
        C = widths.most_common(1)[0][0] if widths else 1
        lengths: list[int] = []
        total, known = 0, np.zeros(C)
        mean, squares = np.zeros(C), np.zeros(C)
        for column in chunks:
            filled = 0
            for _, x in _cells(column):
                filled += 1
                if x is None or len(x) != C:
                    continue
                lengths.append(x.shape[1])
                there = ~np.isnan(x)
                n = there.sum(1)
                total, known = total + x.size, known + n
                own = np.where(there, x, 0).sum(1) / np.maximum(n, 1)
                # Chan, Golub and LeVeque 1979, eq. (2.1): means and squares of two parts as those of both
                gap = np.where(n, own - mean, 0)
                mean = mean + gap * n / np.maximum(known, 1)
                squares += np.square(np.where(there, x - own[:, None], 0)).sum(1) + gap**2 * n * (known - n) / np.maximum(known, 1)
            self.has_missing = self.has_missing or filled < len(column)
        spread = np.sqrt(squares / np.maximum(known, 1))
        # of a constant, rounding may leave a spread of some last bits
        self.mean, self.std = tuple(mean.tolist()), tuple(np.where(spread > 1e-14 * np.abs(mean), spread, 1.0).tolist())
        self.size, self.gaps = C, 1 - float(known.sum()) / total if total else 0.0
        usual, most = int(np.quantile(lengths, 0.99, method="higher")) if lengths else 1, self.config.max_length
        self.stride = -(-usual // most)
        short, long = (min(most, -(-n // self.stride)) for n in (min(lengths, default=1), max(lengths, default=1)))
        self.shortest, self.length = short, long
        if self.stride > 1:
            self.doubts.append(f"rows have up to {max(lengths):,} steps: each {self.stride:,} are averaged to one "
                               f"(--set 'fields.{self.columns[0]}={{field: curve, max_length: {max(lengths)}}}' reads all)")  # fmt: skip
        return self

    def about(self) -> str:
        steps = f"{self.length:,}" if self.shortest == self.length else f"{self.shortest:,} to {self.length:,}"
        said = [f"{steps} steps", *([f"{self.size} channels"] if self.size > 1 else [])]
        return ", ".join(said + ([f"{self.gaps:.1%} of them gaps"] if self.gaps else []))

    # ---- encoding

    def encode(self, column: pl.Series) -> Ragged:
        """Ragged float32 (total, channels)."""
        name, rows, odd = self.columns[0], [np.zeros((0, self.size), np.float32)] * len(column), []
        mean, std = np.array(self.mean)[:, None], np.array(self.std)[:, None]
        for i, x in _cells(column):
            if x is None or len(x) != self.size:
                odd.append(i)
                continue
            z = _strided((_filled(x, mean) - mean) / std, self.stride)[:, : self.config.max_length]
            rows[i] = np.clip(z, -STEEPEST, STEEPEST).T.astype(np.float32)
        if odd:
            channels = f"{self.size} lists of numbers, all of one length" if self.size > 1 else "a list of numbers"
            more = f", and {len(odd) - 1:,} more like it" if len(odd) > 1 else ""
            raise BadCells(f"the column {name!r} should hold {channels} in each cell, but {cells.row(odd[0])} has "
                           f"{str(column[odd[0]])[:60]!r}{more}. Correct it, or leave the cell empty.", odd)  # fmt: skip
        offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows], dtype=np.int64)])
        values = np.concatenate(rows) if rows else np.zeros((0, self.size), np.float32)
        return Ragged(torch.from_numpy(values), torch.from_numpy(offsets).long())

    def decode(self, encoded: Encoded) -> list:
        """JSON text: a list of numbers, of several channels a list each; gaps as they were filled. None for a row without a step."""
        assert isinstance(encoded, Ragged)
        x = encoded.values.double().cpu().numpy() * self.std + self.mean
        return [_written(x[start:stop].T) if stop > start else None for start, stop in itertools.pairwise(encoded.offsets.tolist())]

    def show(self, encoded: Encoded) -> list[str]:
        """Drawn, each row by its own least and greatest value."""
        assert isinstance(encoded, Ragged)
        x = encoded.values.cpu().numpy()
        return [_drawn(x[start:stop].T) if stop > start else "" for start, stop in itertools.pairwise(encoded.offsets.tolist())]

    # ---- what travels

    def state(self) -> dict[str, Any]:
        return {"mean": list(self.mean), "std": list(self.std), "shortest": self.shortest, "length": self.length, "stride": self.stride,
                "gaps": self.gaps, "has_missing": self.has_missing}  # fmt: skip

    def restore(self, state: dict[str, Any]) -> Curve:
        self.mean, self.std, self.size = tuple(state["mean"]), tuple(state["std"]), len(state["mean"])
        self.shortest, self.length, self.stride = state["shortest"], state["length"], state["stride"]
        self.gaps, self.has_missing = state["gaps"], state["has_missing"]
        return self

    def imagine(self, n: int, rng: np.random.Generator) -> list:
        """Random walks about the mean: nobody's curve leaves in a model."""
        most = max(1, IMAGINED // self.size)
        made = []
        for T in rng.integers(min(most, self.shortest), min(most, self.length), n, endpoint=True):
            walk = rng.normal(size=(self.size, T)).cumsum(1) / np.sqrt(T)
            made.append(_written(walk * np.array(self.std)[:, None] + np.array(self.mean)[:, None], "{:.5g}"))
        return made

    @classmethod
    def samples(cls) -> list[pl.Series]:
        return [
            pl.Series("心电", ["[1, 2.5, 3, null, 1e3]", None, "[4, -5, 6, 7, 8]", "[0, 0, 0, 0, 0]"]),
            pl.Series("load", ["1 2 3 4", "2;3,5;4", "1, ?, NaN, 4, 5", "7"]),
            pl.Series("xyz", ["[[1, 2, 3], [4, 5, 6]]", "[[1, 2], [null, 9]]", ""]),
            pl.Series("constant", ["[0.1, 0.1, 0.1]"] * 3),
        ]


# ---------------------------------------------------------------- a cell


def _cells(column: pl.Series) -> Iterable[tuple[int, np.ndarray | None]]:
    """(i, what cell i holds) of each cell that is not empty."""
    gone = cells.empty(column).to_list()
    for i, (cell, none) in enumerate(zip(cells.raw(column), gone, strict=True)):
        if not none and cell.strip() != "[]":
            yield i, _read(cell)


def _read(cell: str) -> np.ndarray | None:
    """(channels, steps) float64, NaN for a gap; None where it is no curve."""
    try:
        found = json.loads(cell)
    except (ValueError, RecursionError):
        inner = cell.strip()
        if inner.startswith("[") != inner.endswith("]"):  # cut off
            return None
        inner = inner.removeprefix("[").removesuffix("]")
        mark = next((mark for mark in ";,\t" if mark in inner), None)
        found = [each.strip().replace(",", ".") for each in inner.split(mark)]  # behind a semicolon a comma is the decimal mark
        found = [None if each.lower() in GAPS else each for each in found]
    try:
        x = np.array(found, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    x = x.reshape(1, -1) if x.ndim < 2 else x
    return np.where(np.abs(x) < FARTHEST, x, np.nan) if x.ndim == 2 and x.size else None


def _filled(x: np.ndarray, otherwise: np.ndarray) -> np.ndarray:
    """Each gap with the value before it, the first ones with the first value; of a channel of gaps alone with `otherwise` (channels, 1)."""
    gone = np.isnan(x)
    if not gone.any():
        return x
    at = np.where(gone, -1, np.arange(x.shape[1]))
    at = np.maximum.accumulate(at, 1)
    at = np.where(at < 0, (~gone).argmax(1, keepdims=True), at)
    return np.where(gone.all(1, keepdims=True), otherwise, np.take_along_axis(x, at, 1))


def _strided(x: np.ndarray, stride: int) -> np.ndarray:
    """(channels, steps), each `stride` of them averaged; the last of what is left."""
    starts = np.arange(0, x.shape[1], stride)
    return x if stride == 1 else np.add.reduceat(x, starts, 1) / np.diff(np.append(starts, x.shape[1]))


def _written(x: np.ndarray, how: str = "{:.7g}") -> str:
    rows = [[float(how.format(value)) for value in row] for row in x.tolist()]
    return json.dumps(rows[0] if len(rows) == 1 else rows)


def _drawn(x: np.ndarray) -> str:
    """(channels, steps) as an SVG; of many steps a part."""
    x = x[:, np.linspace(0, x.shape[1] - 1, min(x.shape[1], WIDTH)).round().astype(int)]
    low, high = x.min(), x.max()
    y = HEIGHT - 2 - (x - low) / max(high - low, 1e-12) * (HEIGHT - 4)
    across = np.linspace(1, WIDTH - 1, x.shape[1])
    lines = "".join(
        f'<polyline fill="none" stroke="{COLOURS[c % len(COLOURS)]}" points="'
        + " ".join(f"{a:.0f},{b:.1f}" for a, b in zip(across, line, strict=True))
        + '"/>'
        for c, line in enumerate(y)
    )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">{lines}</svg>'
