"""Few answers: which rows without one may be learned from, and how some are hidden, to see what few would give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from luban import splitting
from luban.core.contract import Table, Task
from luban.core.errors import UserError
from luban.splitting import TEST, TRAIN, UNLABELLED, VALID

if TYPE_CHECKING:
    from luban.data import DataConfig


def may_be_used(config: DataConfig, task: Task) -> None:
    """Raises UserError where rows without an answer cannot be learned from."""
    if config.time:
        raise UserError("train.semi and --time cannot go together: rows without an answer may be newer than those that are tested.")
    if not task.labelled or type(task).guess is Task.guess:
        raise UserError("train.semi is for questions of one class a row; from rows without an answer to this one it cannot learn.")


def unlabelled(whole: Table, given: np.ndarray, part: np.ndarray, kept: np.ndarray, bad: Sequence[int] | np.ndarray,
               config: DataConfig) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(part, numbers of the rows) with the rows without an answer, as UNLABELLED: but none that the split column or the given test
    rows hold out, no copy of one that is tested or validated on, and no row of its group."""
    every = np.full(len(given), TEST + 1, np.uint8)
    every[kept] = part
    gone = np.setdiff1d(np.arange(len(given)), np.concatenate([kept, np.asarray(bad, np.int64)]))
    every[gone[given[gone] != TEST]] = UNLABELLED
    name = "split" if config.split is None else config.split
    if name in whole.columns:
        every[splitting.held_out(whole.get_column(name)) & (every == UNLABELLED)] = TEST + 1
    inputs = [config.group] if config.group else [each for each in whole.columns if each not in (*config.target, *config.drop, name)]
    hashes = splitting.row_hash(whole.select(inputs), config.split_seed)
    judged = (every == VALID) | (every == TEST)
    every[(every == UNLABELLED) & np.isin(hashes, hashes[judged])] = TEST + 1
    if not (every == UNLABELLED).any():
        raise UserError("train.semi: every row that may be learned from has an answer. Leave it out, or hide some: --set data.labels=200.")
    rows = np.union1d(kept, np.flatnonzero(every == UNLABELLED))
    return every[rows], rows


def fewer(table: Table, part: np.ndarray, which: int, option: str, most: int, config: DataConfig, fields: dict[str, str],
           aside: int = TEST + 1) -> np.ndarray:  # fmt: skip
    """About `most` of the rows of a part, by groups where there are; the others are put aside. option: who asks for it."""
    train = np.flatnonzero(part == which)
    if not 0 < most <= len(train):
        raise UserError(f"data.{option}={getattr(config, option)} would take {most:,} of the {len(train):,} rows to "
                        f"{'train' if which == TRAIN else 'validate'} on: take at least one, and at most all.")  # fmt: skip
    few, share = table[train], most / len(train)
    # another hash than the split's, which gave them low ones
    told_by = few.select(config.group) if config.group else few.drop(list(config.target))
    hashes = splitting.row_hash(told_by, config.split_seed + 1)
    part = part.copy()
    part[train[splitting.within_classes(hashes, classes(few, config, fields), (share, 1 - share, 0.0)) != TRAIN]] = aside
    return part


def classes(table: Table, config: DataConfig, fields: dict[str, str]) -> np.ndarray:
    """The class of each row as a number, to split within; all 0 where targets are numbers, several, or rows go by group."""
    if config.group or list(fields.values()) != ["category"]:
        return np.zeros(table.height, np.uint32)
    return table.get_column(config.target[0]).cast(pl.String).cast(pl.Categorical).to_physical().to_numpy()
