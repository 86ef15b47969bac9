"""The IDX files of the MNIST family to a Table: train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-...; also gzipped, or with dots.

`picture` holds the pixels, `label` the number that the file gives; t10k (or test) is the part `test` of the column `split`.
The format, http://yann.lecun.com/exdb/mnist: two zero bytes, the type (8: unsigned bytes), the number of dimensions, then each dimension as
four bytes, the highest first, then the values.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import polars as pl

from luban.core.contract import Table
from luban.core.errors import UserError, listed
from luban.core.source import Source
from luban.sources._text import BLOCK, opened

NAME = re.compile(r"(?P<set>.*?)[-_.]?(?P<what>images|labels)[-.]idx(?P<dims>[134])-ubyte(\.gz)?", re.IGNORECASE)
TESTS = ("t10k", "test")


class Idx(Source):
    suffixes = tuple(f"{mark}idx{dims}-ubyte{gz}" for mark in "-." for dims in (1, 3, 4) for gz in ("", ".gz"))
    target = "label"

    def read(self, path: Path) -> Table:
        """A folder with its one or two sets, or one file of pictures with the labels that lie beside it."""
        folder = path if path.is_dir() else path.parent
        files: dict[tuple[str, str], Path] = {}
        for each in sorted(folder.iterdir(), reverse=True):  # a plain file comes before its .gz, so it is set last and wins
            if (named := NAME.fullmatch(each.name)) and each.is_file():
                files[named["set"], named["what"].lower()] = each
        if path.is_file():
            named = NAME.fullmatch(path.name)
            if named is None or named["what"].lower() != "images":
                raise UserError(f"{path.name} holds labels, not pictures. Give the folder that holds both: {path.parent}.")
            files = {key: each for key, each in files.items() if key[0] == named["set"]} | {(named["set"], "images"): path}
        sets = sorted({name for name, _ in files}, key=lambda name: (_is_test(name), name))
        tables = [_table(name, files, path) for name in sets]
        if len(tables) == 1:
            return tables[0]
        if len(tables) != 2 or [_is_test(name) for name in sets] != [False, True]:
            raise UserError(f"{folder} holds {len(sets)} sets of IDX files ({listed(sets, 6)}), where one to train on and one called t10k "
                            "or test are expected. Put each pair of files in a folder of its own.")  # fmt: skip
        shapes = [table["picture"].to_numpy().shape[1:] for table in tables]
        if shapes[0] != shapes[1]:
            raise UserError(f"the pictures of {sets[0]!r} and {sets[1]!r} in {folder} are not of one size: {shapes[0]} and {shapes[1]}.")
        split = pl.Series("split", ["train", "test"]).gather([0] * len(tables[0]) + [1] * len(tables[1]))
        return pl.concat(tables, how="diagonal_relaxed", rechunk=False).insert_column(1, split)


def _is_test(name: str) -> bool:
    return name.lower().endswith(TESTS)


def _table(name: str, files: dict[tuple[str, str], Path], path: Path) -> Table:
    """One set: its pictures, and its labels where there are any."""
    images, labels = files.get((name, "images")), files.get((name, "labels"))
    if images is None:
        raise UserError(
            f"{labels.name} has no file of pictures beside it: {labels.name.replace('labels', 'images').replace('idx1', 'idx3')}."
        )
    pixels = _array(images, (3, 4))
    columns = {"picture": pl.Series("picture", pixels)}
    if labels is None:
        if path.is_dir():
            lacking = images.name.replace("images", "labels").replace("idx3", "idx1")
            raise UserError(f"{images.name} has no labels beside it: {lacking} is missing. To read the pictures alone, give {images}.")
    else:
        numbers = _array(labels, (1,))
        if len(numbers) != len(pixels):
            raise UserError(f"{images.name} holds {len(pixels):,} pictures and {labels.name} {len(numbers):,} labels. "
                            "They do not belong together: copy or download both again.")  # fmt: skip
        columns["label"] = pl.Series("label", numbers.astype(np.int64))
    return pl.DataFrame(columns)


def _array(path: Path, dimensions: tuple[int, ...]) -> np.ndarray:
    """The values, uint8, in the shape that the file's head declares; no more is read than that."""
    try:
        with opened(path) as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] != 8 or head[3] not in dimensions:
                wanted = " or ".join(f"00 00 08 {n:02}" for n in dimensions)
                raise UserError(f"{path.name} is no IDX file of bytes with {' or '.join(map(str, dimensions))} dimensions: "
                                f"it begins with {head.hex(' ') or 'nothing'}, not {wanted}. Copy or download it again.")  # fmt: skip
            sizes = file.read(4 * head[3])
            shape = struct.unpack(f">{len(sizes) // 4}I", sizes[: len(sizes) // 4 * 4])
            length = math.prod(shape) if len(shape) == head[3] else 1
            blocks, lacking = [], length  # a head may declare more than any memory holds
            while lacking and (block := file.read(min(lacking, BLOCK))):
                blocks.append(block)
                lacking -= len(block)
            content = b"".join(blocks)
            more = file.read(1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path.name} is a damaged gzip file: {error}. Copy or download it again.") from error
    if len(shape) != head[3] or len(content) < length:
        raise UserError(f"{path.name} was cut off: it declares {' x '.join(map(str, shape))} bytes and holds {len(content):,}. "
                        "Copy or download it again.")  # fmt: skip
    if more:
        raise UserError(f"{path.name} holds more than the {' x '.join(map(str, shape))} bytes that it declares. Download it again.")
    if not length:
        raise UserError(f"{path.name} declares {' x '.join(map(str, shape))} bytes: it holds nothing. Download it again.")
    return np.frombuffer(content, np.uint8).reshape(shape)
