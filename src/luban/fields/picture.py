"""A picture as pixels: (N, C, H, W) uint8, all of the one size and number of channels that training rows decided.

A cell is a path, a data URI, base64, the bytes of a file, or pixels (an Array of uint8). All are turned as their EXIF says, made grey or
RGB, transparent parts over white, scaled to cover the size and cut to the middle. Nothing is random: augmentation is the model's business.
A missing picture is one that is nothing but the mean colour, which after normalising is all zeros, as good as none; so a picture
that is exactly that is read back as missing.

Decoding goes by threads (Pillow lets go of Python's lock) and is kept in core.cache from some 2,000 pictures on; see `_worth`.
"""

from __future__ import annotations

import base64
import os
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL
import polars as pl
import torch
from PIL import Image
from torch import Tensor

from luban.core import cache, cells
from luban.core.batch import Encoded
from luban.core.contract import Field
from luban.core.device import cores
from luban.core.errors import BadCells, UserError
from luban.core.notes import say
from luban.fields import _pixels

FORMAT = 1
"""Another number makes every kept array anew: raise it when the same cell is to give other pixels."""
KEEP = 2_000
"""Pictures from which on decoding them is kept for the next run."""
_SAMPLE = 5_000
"""Training rows that decide size and channels, from their headers, and whose pixels give mean and deviation where they are small."""
_LARGE = 1_000
"""Of larger pictures so many are decoded for that: a photograph costs 100 times as much, and the mean of 1,000 is known to 1 %."""
_SMALL = 64
"""Pixels a side up to which pictures of one size are taken as they are."""
_PIECE = 64
"""Pictures that a thread takes at a time."""
_NO_PATH = r"^[a-z]{3,5}://|[\r\n]|[.!?,;:] .* .* "
"""Nothing is fetched from a network; a sentence may end in a file's name."""
_GREY = 4
"""Levels by which red, green and blue may differ in a grey picture: JPEG rounds."""


class Picture(Field):
    kind = "grid"

    @dataclass(frozen=True)
    class Config:
        side: int | None = None
        """Pixels a side of the square that all pictures are scaled to. Unset: as they are where all have one size of at most 64, else the
        median of their shorter sides, to a multiple of 32 from 32 to 128. Twice the side is four times the work."""
        channels: int | None = None
        """1 for grey, 3 for colour. Unset: 1 where no sampled training picture has any colour in it."""

        def __post_init__(self):
            if self.side is not None and not 1 <= self.side <= 4096:
                raise UserError(f"side must be from 1 to 4096 pixels, not {self.side}.")
            if self.channels not in (None, 1, 3):
                raise UserError(f"channels must be 1 (grey) or 3 (colour), not {self.channels}.")

    shape: tuple[int, ...] = (1, 32, 32)
    """(C, H, W)."""
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    """Of each channel, of pixels scaled to 0..1, over the sampled training rows."""

    @classmethod
    def sniff(cls, column: pl.Series) -> float:
        if _is_pixels(column.dtype):
            return 1.0
        if column.dtype == pl.Binary:
            heads = column.drop_nulls().bin.head(16).to_list()
            return 1.0 if heads and sum(map(_pixels.is_picture, heads)) >= 0.5 * len(heads) else 0.0
        if column.dtype != pl.String:
            return 0.0
        text = cells.present(column)
        if not len(text):
            return 0.0
        path = text.str.slice(-6).str.to_lowercase().str.contains(rf"(?:{'|'.join(_pixels.SUFFIXES)})$".replace(".", r"\."))
        path &= (text.str.len_bytes() <= 4096) & ~text.str.contains(_NO_PATH)
        uri = text.str.starts_with("data:image/") | text.str.contains(_pixels.BASE64)
        return 0.98 if (path | uri).sum() >= 0.9 * len(text) else 0.0

    def names(self, column: pl.Series) -> bool:
        return column.dtype == pl.String and any(_pixels.is_path(cell) for cell in column.drop_nulls().head(1))

    # ---------------------------------------------------------------- learned

    def fit(self, chunks: Iterable[pl.Series]) -> Picture:
        column = _cells(cells.whole(chunks, self.columns[0]), self.columns[0])
        here = np.flatnonzero(~cells.empty(column).to_numpy())
        self.has_missing = len(here) < len(column)
        self.shape = (self.config.channels or 1, self.config.side or 32, self.config.side or 32)
        if not len(here):
            self.mean = self.std = (0.5,) * self.shape[0]
            return self
        rows = _spread(here, _SAMPLE)
        sizes = _sizes(column[rows])
        known = sizes[:, 0] > 0
        if known.any():  # else decoding says what is wrong with them
            rows, sizes = rows[known], sizes[known]
            flat = isinstance(column.dtype, pl.Array) and _as_stored(column.dtype.shape)[0] == 1
            self.shape = (self.config.channels or (1 if flat else 3), *self._sides(sizes))
        pixels = self._sampled(column, rows if max(self.shape) <= _SMALL else _spread(rows, _LARGE))
        if self.shape[0] == 3 and self.config.channels is None and _grey(pixels):
            self.shape, pixels = (1, *self.shape[1:]), pixels[:, :1]
            if sizes[:, 2].any():
                self.doubts.append(f"stored in colour, but {len(pixels):,} show none: read as grey (else {self._setting('channels: 3')})")
        self.mean, self.std = _moments(pixels)
        return self

    def _sides(self, sizes: np.ndarray) -> tuple[int, int]:
        """(H, W), and why. sizes: (n, 3), width and height first."""
        if self.config.side:
            return self.config.side, self.config.side
        (width, height), (widest, highest) = sizes[:, :2].min(0).tolist(), sizes[:, :2].max(0).tolist()
        one = (width, height) == (widest, highest)
        if one and min(width, height) >= 4 and max(width, height) <= _SMALL:
            return height, width
        side = int(np.clip(32 * round(float(np.median(sizes[:, :2].min(1))) / 32), 32, 128))
        if (width, height) != (side, side) or not one:
            were = f"of {width} x {height} pixels" if one else f"of {width} x {height} to {widest} x {highest} pixels"
            self.doubts.append(f"{were}, scaled to cover {side} x {side} and cut to the middle (else {self._setting('side: 64')})")
        return side, side

    def _setting(self, option: str) -> str:
        return f"--set 'fields.{self.columns[0]}={{field: picture, {option}}}'"

    def _sampled(self, column: pl.Series, rows: np.ndarray) -> np.ndarray:
        """The pictures in these rows without those that cannot be read, (n, C, H, W); if none can, their BadCells."""
        try:
            with cells.picked(rows):
                return self._pictures(column[rows])
        except BadCells as bad:
            rows = np.delete(rows, bad.rows)
            if not len(rows):
                raise
        return self._pictures(column[rows])

    # ---------------------------------------------------------------- in

    def encode(self, column: pl.Series) -> Tensor:
        """(N, C, H, W) uint8. Raises BadCells with every row that cannot be read."""
        column = _cells(column, self.columns[0])
        here = ~cells.empty(column).to_numpy()
        if here.all():
            return torch.from_numpy(self._pictures(column))
        rows = np.flatnonzero(here)
        say(f"{self.columns[0]}: {len(column) - len(rows):,} of {len(column):,} cells hold no picture (the first: "
            f"{cells.row(int(here.argmin()))}) and are read as the mean colour")  # fmt: skip
        made = np.broadcast_to(self._blank(), (len(column), *self.shape)).copy()
        try:
            with cells.picked(rows):
                made[rows] = self._pictures(column[rows])
        except BadCells as bad:
            raise BadCells(str(bad), rows[bad.rows]) from None
        return torch.from_numpy(made)

    def _blank(self) -> np.ndarray:
        """What stands for a missing picture, (C, 1, 1) uint8."""
        return np.round(np.array(self.mean) * 255).astype(np.uint8)[:, None, None]

    def _pictures(self, column: pl.Series) -> np.ndarray:
        """Pictures, none missing, in `shape`: (N, C, H, W) uint8."""
        shape = (len(column), *self.shape)
        if isinstance(column.dtype, pl.Array) and len(column) and _as_stored(column.dtype.shape) == self.shape:
            stored = column.to_numpy(writable=True)  # (N, H, W) or (N, H, W, C)
            return np.ascontiguousarray(np.moveaxis(stored.reshape(*stored.shape[:3], -1), 3, 1))
        worth, parts = _worth(column)
        if worth:
            return cache.array(cache.key_of((FORMAT, PIL.__version__, shape, *parts)), shape, lambda out: self._fill(out, column))
        made = np.zeros(shape, np.uint8)
        self._fill(made, column)
        return made

    def _fill(self, out: np.ndarray, column: pl.Series) -> None:
        """Decodes all of the column into out, (N, C, H, W). Raises BadCells where some cannot be read, after a look at all."""
        reasons: dict[int, str] = {}
        moving: list[int] = []
        files, stop = cells.files_allowed(), threading.Event()

        def piece(start: int) -> None:
            for i, cell in enumerate(_each(column.slice(start, _PIECE)), start):
                if stop.is_set():
                    return
                try:
                    out[i], moves = _pixels.pixels(cell, self.shape, files)
                except (_pixels.Unreadable, *_pixels.DAMAGE) as error:
                    reasons[i] = _pixels.why(error)
                else:
                    if moves:
                        moving.append(i)

        began = time.monotonic()
        _in_threads(piece, range(0, len(column), _PIECE), stop)
        took = time.monotonic() - began
        if reasons:
            raise BadCells(self._complaint(column, reasons), sorted(reasons))
        if moving:
            say(f"{self.columns[0]}: {len(moving):,} of {len(column):,} pictures move (the first: {cells.row(min(moving))}); "
                "their first frame is taken")  # fmt: skip
        if took > 2:
            say(f"{self.columns[0]}: {len(column):,} pictures read in {took:.0f} s ({len(column) / took:,.0f} a second)")

    def _complaint(self, column: pl.Series, reasons: dict[int, str]) -> str:
        bad = sorted(reasons)
        named = [f"{cells.row(i)} {_called(column[i])}({reasons[i]})" for i in bad[:10]]
        more = f" and {len(bad) - 10:,} more" if len(bad) > 10 else ""
        gone = all(reason == _pixels.GONE for reason in reasons.values()) and len(bad) == len(column) > 1
        hint = f" If these are only names, leave the column out: --drop {self.columns[0]!r}." if gone else ""
        whole = f"{len(bad):,} of {len(column):,} pictures" if len(column) > 1 else "the picture"
        return f"{whole} in the column {self.columns[0]!r} cannot be read: {', '.join(named)}{more}.{hint}"

    # ---------------------------------------------------------------- out

    def show(self, encoded: Encoded) -> list[str]:
        return ["" if uri is None else f'<img src="{uri}">' for uri in self.decode(encoded)]

    def decode(self, encoded: Encoded) -> list:
        """Data URIs of PNGs at the model's size; None for a missing one."""
        assert isinstance(encoded, Tensor)
        blank = self._blank()
        return [None if (each == blank).all() else _pixels.as_uri(each) for each in encoded.numpy()]

    def state(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "mean": list(self.mean), "std": list(self.std), "has_missing": self.has_missing}

    def restore(self, state: dict[str, Any]) -> Picture:
        self.shape, self.mean, self.std = tuple(state["shape"]), tuple(state["mean"]), tuple(state["std"])
        self.has_missing = state["has_missing"]
        return self

    def imagine(self, n: int, rng: np.random.Generator) -> list:
        """Coarse patches of colours as bright as the training pictures: nobody's picture leaves in a model."""
        channels, height, width = self.shape
        mean, std = np.array(self.mean)[:, None, None], np.array(self.std)[:, None, None]
        patches = np.clip(rng.normal(mean, std, (n, channels, 4, 4)) * 255, 0, 255).astype(np.uint8)
        rows, columns = np.arange(height) * 4 // height, np.arange(width) * 4 // width
        return [_pixels.as_uri(each[:, rows][:, :, columns]) for each in patches]

    @classmethod
    def samples(cls) -> list[pl.Series]:
        rng = np.random.default_rng(0)
        colour, grey = rng.integers(0, 256, (4, 3, 9, 7), np.uint8), rng.integers(0, 256, (5, 8, 8), np.uint8)
        uris = [_pixels.as_uri(each) for each in colour]
        wide = [_pixels.as_uri(np.repeat(each, 12, 2)) for each in colour]
        return [
            pl.Series("uri", [uris[0], None, uris[1], uris[2].partition(",")[2]]),
            pl.Series("图", [wide[0], uris[1], wide[2]]),
            pl.Series("bytes", [base64.b64decode(uri.partition(",")[2]) for uri in uris]),
            pl.Series("pixels", grey, dtype=pl.Array(pl.UInt8, (8, 8))),
            pl.Series("colour", colour.transpose(0, 2, 3, 1), dtype=pl.Array(pl.UInt8, (9, 7, 3))),
        ]


# ---------------------------------------------------------------- cells


def _is_pixels(dtype: pl.DataType) -> bool:
    """(H, W), or (H, W, C) of grey, RGB or RGBA, as uint8."""
    if not isinstance(dtype, pl.Array) or len(dtype.shape) not in (2, 3) or min(dtype.shape) < 1:
        return False
    inner: Any = dtype
    while isinstance(inner, pl.Array):
        inner = inner.inner
    return inner == pl.UInt8 and (len(dtype.shape) == 2 or dtype.shape[2] in (1, 3, 4))


def _as_stored(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(H, W) or (H, W, C) as (C, H, W)."""
    return (*shape[2:], 1)[0], shape[0], shape[1]


def _cells(column: pl.Series, name: str) -> pl.Series:
    """The column as String, Binary or pixels. Raises UserError for what can be neither."""
    if _is_pixels(column.dtype) or column.dtype == pl.Binary:
        return column
    if column.dtype.is_nested() or column.dtype == pl.Object:
        raise UserError(
            f"the column {name!r} holds values of type {column.dtype}; a picture is a path, a data URI, base64, the bytes of a file, or "
            "an array of uint8 pixels, (height, width) or (height, width, 1, 3 or 4)."
        )
    return cells.raw(column)


def _each(column: pl.Series) -> Iterator[Any]:
    """Each cell as text, bytes or pixels."""
    if isinstance(column.dtype, pl.Array):
        return iter(column.to_numpy())
    return iter((column.str.strip_chars() if column.dtype == pl.String else column).to_list())


def _called(cell: Any) -> str:
    """A path by its end, bytes by the name that they had in an archive; what else a cell holds is nothing to read."""
    cell = cells.name_of(cell) if isinstance(cell, bytes) else cell
    if not isinstance(cell, str) or not _pixels.is_path(cell):
        return ""
    return (repr(cell) if len(cell) <= 100 else repr("..." + cell[-97:])) + " "


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of them, evenly spread: files often stand by class."""
    return rows[:: -(-len(rows) // most)] if len(rows) else rows


def _sizes(column: pl.Series) -> np.ndarray:
    """(n, 3) int64: width, height and whether it is stored in colour, from the headers; zeros where one cannot be read."""
    if isinstance(column.dtype, pl.Array):
        channels, height, width = _as_stored(column.dtype.shape)
        return np.tile([width, height, int(channels > 1)], (len(column), 1))
    files = cells.files_allowed()
    with _quiet():
        return np.array([_pixels.size(cell, files) for cell in _each(column)], np.int64)


def _worth(column: pl.Series) -> tuple[bool, list[Any]]:
    """Is it dear enough to be kept (KEEP pictures, or 50 MB of files)? And what made it: path, size and time of a file, else all."""
    if len(column) < 100 or _is_pixels(column.dtype):
        return False, []
    parts, total = [], 0
    for cell in _each(column):
        if isinstance(cell, bytes) or not _pixels.is_path(cell):
            parts.append(cell)
            total += len(cell)
            continue
        try:
            facts = os.stat(cell)  # noqa: PTH116
        except (OSError, ValueError):
            return False, []  # it is about to be reported
        parts.append(f"{cell}\0{facts.st_size}\0{facts.st_mtime_ns}")
        total += facts.st_size
    return len(column) >= KEEP or total >= 50_000_000, parts


# ---------------------------------------------------------------- decoding


class _quiet(warnings.catch_warnings):
    """Pillow's warning of a bomb is an error; what it murmurs of odd metadata is nobody's concern."""

    def __enter__(self) -> None:
        super().__enter__()
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)


def _in_threads(work: Any, pieces: Iterable[int], stop: threading.Event) -> None:
    """work(piece) for all, on every core. A Ctrl-C, or an error of ours, ends it within a picture."""
    pieces = list(pieces)
    with _quiet():
        if len(pieces) == 1:
            work(pieces[0])
            return
        with ThreadPoolExecutor(cores()) as pool:
            try:
                for _ in pool.map(work, pieces):
                    pass
            except BaseException:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise


# ---------------------------------------------------------------- statistics


def _grey(pixels: np.ndarray) -> bool:
    """Are red, green and blue the same all over? pixels: (N, 3, H, W) uint8."""
    return all(int(np.ptp(each.astype(np.int16), axis=1).max()) <= _GREY for each in _slices(pixels))


def _moments(pixels: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of each channel, scaled to 0..1, from how often each level occurs. std is one level at least."""
    channels, levels = pixels.shape[1], np.arange(256) / 255
    counts = np.zeros((channels, 256), np.int64)
    for each in _slices(pixels):
        for c in range(channels):
            counts[c] += np.bincount(each[:, c].ravel(), minlength=256)
    shares = counts / counts.sum(1, keepdims=True)
    mean = shares @ levels
    std = np.sqrt((shares * (levels - mean[:, None]) ** 2).sum(1))
    return tuple(mean.tolist()), tuple(np.maximum(std, 1 / 255).tolist())


def _slices(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """A few at a time: counting widens each byte to eight."""
    for start in range(0, len(pixels), 256):
        yield pixels[start : start + 256]
