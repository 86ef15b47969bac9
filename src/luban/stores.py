"""Encoded columns on their way into a store, a piece at a time: in memory, or onto the disk and mapped from there.

On disk a column is an .npy file that grew (numpy leaves room in its header for that), a ragged one two: its values and its offsets.
Knows neither fields nor tasks.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from luban.core.batch import Encoded, Ragged, beneath

_SMALL = 4096
"""Bytes of a file that is read, not mapped: no empty one can be."""


def column(pieces: Iterable[Encoded], folder: Path | None, key: str) -> Encoded:
    """All pieces of a column as one; under `key` in `folder`, where there is one."""
    if folder is not None:
        return _on_disk(pieces, folder, key)
    made: list[Any] = list(pieces)
    return made[0] if len(made) == 1 else beneath(made)


def _on_disk(pieces: Iterable[Encoded], folder: Path, key: str) -> Encoded:
    folder.mkdir(exist_ok=True)
    for old in (f"{key}.npy", f"{key}.offsets.npy"):  # of an earlier encoding, by another field
        (folder / old).unlink(missing_ok=True)
    values, offsets = Grown(folder / f"{key}.npy"), Grown(folder / f"{key}.offsets.npy")
    with values, offsets:
        for piece in pieces:
            if isinstance(piece, Ragged):
                ends = piece.offsets + len(values)
                offsets.add(ends if not len(offsets) else ends[1:])
                piece = piece.values
            values.add(piece)
    return opened(folder, key)


def opened(folder: Path, key: str) -> Encoded:
    """The column `key`, mapped."""
    values = mapped(folder / f"{key}.npy")
    offsets = folder / f"{key}.offsets.npy"
    return Ragged(values, mapped(offsets)) if offsets.exists() else values


def mapped(path: Path) -> Tensor:
    """Copy on write: torch takes no array that cannot be written."""
    return torch.from_numpy(np.load(path, mmap_mode="c" if path.stat().st_size > _SMALL else None))


class Grown:
    """An .npy file to whose end arrays are added; there is none where nothing was."""

    def __init__(self, path: Path):
        self.path, self.n = path, 0
        self.file: Any = None
        self.like: Any = None

    def __len__(self) -> int:
        return self.n

    def __enter__(self) -> Grown:
        return self

    def add(self, more: Tensor) -> None:
        array = more.contiguous().numpy()
        if self.file is None:
            self.file, self.like = open(self.path, "wb"), array[:0]  # noqa: SIM115 - closed by __exit__
            self._header()
        self.file.write(array.data)
        self.n += len(array)

    def _header(self) -> None:
        facts = {"descr": self.like.dtype.str, "fortran_order": False, "shape": (self.n, *self.like.shape[1:])}
        np.lib.format.write_array_header_1_0(self.file, facts)

    def __exit__(self, *_: object) -> None:
        if self.file is not None:
            self.file.seek(0)
            self._header()
            self.file.close()
