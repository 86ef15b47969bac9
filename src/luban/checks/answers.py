"""The answers themselves: rare classes, too many of them, amounts taken for classes, a tail that decides everything; and their number."""

from __future__ import annotations

import os

import numpy as np
import torch

from luban.checks.finding import DOUBT, NOTE, SERIOUS, Finding, Look
from luban.core import cells
from luban.core.batch import Ragged
from luban.splitting import TEST, TRAIN, VALID

RARE = 10
"""Training rows of a class below which nothing is learned of it that another draw would not undo; 10 is usual in counting events a
parameter (Peduzzi et al. 1996)."""
LOPSIDED = 0.05
"""The share of the rarest class from which on a question counts as one of rare events (King & Zeng 2001: under 5 %)."""


def imbalance(look: Look) -> list[Finding]:
    """Classes with hardly a row, and two classes of which one is rare."""
    found = []
    part = look.rows.part
    for key, each in look.schema.targets.items():
        if each.kind != "id":
            continue
        name, y = each.columns[0], look.store.columns[key].numpy()
        counts = np.bincount(y[part == TRAIN], minlength=each.size)[1:]
        words = each.decode(torch.arange(1, len(counts) + 1))
        few = [i for i, count in enumerate(counts) if count < RARE]
        if few:
            rows = np.flatnonzero(np.isin(y, np.array(few) + 1))
            named = ", ".join(f"{words[i]!r} ({counts[i]})" for i in few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
            found.append(
                Finding(
                    "imbalance",
                    DOUBT,
                    f"{len(few)} of the {len(counts)} classes of {name!r} have fewer than {RARE} training rows: {named}",
                    1.0,
                    "training rows of each class",
                    name,
                    "Add rows, merge them with others, or leave them out",
                    **look.places(rows),
                )
            )
        share = counts.min() / counts.sum()
        if len(counts) == 2 and share < LOPSIDED and counts.min() >= RARE:
            rare = words[int(counts.argmin())]
            found.append(
                Finding(
                    "imbalance",
                    DOUBT if share < 0.01 else NOTE,
                    f"{rare!r} is {share:.2%} of {name!r}: always saying the other is right in {1 - share:.2%}",
                    1 - share,
                    "share of the commoner class",
                    name,
                    "Judge by --metric pr_auc; to weigh both alike: --set task.class_weights=balanced",
                )
            )
        tested = np.bincount(y[part == (TEST if (part == TEST).any() else VALID)], minlength=each.size)[1:]
        absent = [words[i] for i in range(len(counts)) if counts[i] >= RARE and not tested[i]]
        if absent:
            found.append(
                Finding(
                    "imbalance",
                    DOUBT,
                    f"no row with {name!r} {absent[0]!r} is tested"
                    + (f", nor of {len(absent) - 1} more classes" if len(absent) > 1 else ""),
                    1.0,
                    "test rows of each class",
                    name,
                    "Take other shares: --set data.shares=[0.6,0.2,0.2], or another split: --set data.split_seed=1",
                )
            )
    return found


def target(look: Look) -> list[Finding]:
    """Amounts learned as classes, classes learned as amounts, and amounts whose largest decide everything."""
    found = []
    for _, each, y, _ in look.answers():
        name = each.columns[0]
        values = cells.numbers(look.column(name))
        distinct = values.n_unique()
        whole = not values.null_count() and bool((values == values.floor()).all())
        if each.kind == "id" and not values.null_count() and (distinct > 10 or not whole) and distinct > 2:
            found.append(
                Finding(
                    "target",
                    DOUBT,
                    f"the target {name!r} holds {distinct} different numbers and is learned as classes",
                    0.7,
                    "numbers with an order, more than ten or with decimals",
                    name,
                    "If they are amounts: --task regress",
                )
            )
        if each.kind != "scalar" or each not in look.schema.targets.values() or distinct <= 2:
            continue
        if whole and distinct <= 10 and len(y) >= 10 * distinct:
            found.append(
                Finding(
                    "target",
                    DOUBT,
                    f"the target {name!r} has {distinct} different whole numbers and is learned as an amount",
                    0.7,
                    "few different whole numbers",
                    name,
                    "If they are classes: --task classify",
                )
            )
        squares = np.sort(((y - np.nanmean(y)) ** 2)[np.isfinite(y)])[::-1]
        share = float(squares[: max(1, len(squares) // 100)].sum() / squares.sum())
        if share > 0.5 and len(y) >= 100:
            far = look.index[np.argsort(-np.abs(y - np.nanmean(y)))[: max(1, len(y) // 100)]]
            found.append(
                Finding(
                    "target",
                    DOUBT,
                    f"1 % of the rows hold {share:.0%} of the spread of {name!r}: a few answers decide the model and its score",
                    share,
                    "share of the squared distance from the mean that the farthest 1 % have",
                    name,
                    "Check those answers; to be moved less by them: --set task.loss=huber, or learn the logarithm",
                    **look.places(far),
                )
            )
    return found


def size(look: Look) -> list[Finding]:
    """Too few rows for the columns or classes; more than the memory holds."""
    found = []
    train = int((look.rows.part == TRAIN).sum())
    width = sum(each.size if each.kind == "scalar" else 1 for each in look.schema.inputs.values() if each.kind != "grid")
    if train < width:
        found.append(
            Finding(
                "size",
                DOUBT,
                f"there are {width:,} columns and {train:,} training rows: by chance alone some columns will seem to tell the answer",
                1.0,
                "fewer rows than columns",
                None,
                "Add rows, or keep the columns that matter: --drop",
            )
        )
    for each in look.schema.targets.values():
        classes = each.size - 1 - each.has_missing if each.kind == "id" else 0
        if classes > 20 and train < RARE * classes:
            found.append(
                Finding(
                    "size",
                    DOUBT,
                    f"{each.columns[0]!r} has {classes:,} classes in {train:,} training rows, {train / classes:.1f} rows a class",
                    1.0,
                    f"fewer than {RARE} rows a class",
                    each.columns[0],
                    "Add rows, or merge classes",
                )
            )
    stored = sum(_bytes(column) for column in look.store.columns.values())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    if memory and 3 * stored > memory:  # the store, a training part of it as a solver takes it, and what a solver makes of that
        found.append(
            Finding(
                "size",
                SERIOUS if stored > memory else DOUBT,
                f"the encoded data take {stored / 1e9:.1f} GB and this machine has {memory / 1e9:.1f} GB of memory",
                0.7,
                "solvers hold their training rows two times, roughly",
                None,
                f"Try with fewer rows: --set data.train_rows={max(1000, train // 10)}",
            )
        )
    elif train * width > 200_000_000:
        found.append(
            Finding(
                "size",
                NOTE,
                f"{train:,} training rows of {width:,} numbers take a quarter of an hour or more",
                0.5,
                "about as many cells a second as on a million rows",
                None,
                f"Try first: --set data.train_rows={train // 20}; or --time-limit 10m",
            )
        )
    return found


def _bytes(column: torch.Tensor | Ragged) -> int:
    tensors = (column.values, column.offsets) if isinstance(column, Ragged) else (column,)
    return sum(each.numel() * each.element_size() for each in tensors)
