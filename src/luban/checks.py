"""Doubts about the data that are told before time is spent: copies across parts, a column that gives the target away. More will come here.

Each check says what it found and the option that mends it, and returns its findings for the report.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import polars as pl
import torch

from luban.core.batch import Store
from luban.core.contract import Schema
from luban.core.notes import warn
from luban.core.registry import Later
from luban.data import Rows
from luban.splitting import TRAIN, row_hash

sk = Later("sklearn.tree")


def report_copies(schema: Schema, store: Store, rows: Rows) -> int:
    """Says how many validation and test rows have a twin with the same inputs among the training rows; returns the number.

    Only columns that the model reads count: with its id, or its patient, no row would be a copy. A grid counts by what the model sees
    of it, so that one file under two names is a copy.
    """
    inputs = {key: _grid_hash(store.columns[key]) if each.kind == "grid" else rows.table.get_column(each.columns[0])
              for key, each in schema.inputs.items()}  # fmt: skip
    hashes = row_hash(pl.DataFrame(inputs))
    known = np.isin(hashes[rows.part != TRAIN], hashes[rows.part == TRAIN])
    if known.any():
        warn(
            f"{int(known.sum()):,} of the {len(known):,} validation and test rows ({known.mean():.1%}) are copies of training rows: "
            "the score will flatter by as much. Remove the copies, or split by --group."
        )
    return int(known.sum())


def _grid_hash(grids: torch.Tensor) -> pl.Series:
    """A hash of each row's bytes; 0.1 s for 60,000 of 28 x 28."""
    return pl.Series([hashlib.blake2b(each, digest_size=8).hexdigest() for each in grids.numpy()], dtype=pl.String)


def report_leaks(schema: Schema, store: Store, rows: Rows) -> list[dict[str, Any]]:
    """Says which single column almost gives the target away; often it is known only after the fact. Returns the findings.

    A small decision tree on one column, fitted on half of a sample of training rows, is scored on the other half. Its skill is 1 for
    perfect and 0 for guessing (accuracy above the largest class's share, or R2). The sample is 5,000 rows, fewer for a wide table; its
    halves are every other row, because files are often sorted by the target.
    """
    most = max(500, min(5_000, 500_000 // len(schema.inputs)))
    index = torch.from_numpy(rows.of(TRAIN)[:: max(1, len(rows.of(TRAIN)) // most)])
    found = []
    trees = [key for key, each in schema.inputs.items() if each.kind not in ("tokens", "grid")]  # of the others no single split tells
    batch = {key: store.columns[key][index] for key in [*trees, *schema.targets]}
    half = len(index) // 2
    for target_key, target in schema.targets.items():
        y = batch[target_key].numpy()
        y_seen, y_new = y[::2], y[1::2]
        distinct = len(np.unique(y))
        discrete = target.kind == "id" or distinct <= 2
        if discrete and distinct > half / 2:  # nearly a class a row: no tree can tell, and scikit-learn doubts the question
            continue
        for key in trees if half >= 25 else ():
            x = np.nan_to_num(batch[key].numpy().reshape(len(index), -1), nan=-1e6)
            kind = sk.DecisionTreeClassifier if discrete else sk.DecisionTreeRegressor
            tree = kind(max_leaf_nodes=64, min_samples_leaf=2, random_state=0)
            score = float(tree.fit(x[::2], y_seen).score(x[1::2], y_new))
            floor = float(np.unique(y_new, return_counts=True)[1].max() / len(y_new)) if discrete else 0.0
            skill = (score - floor) / (1 - floor) if floor < 1 else 0.0
            if skill > 0.98:
                name = schema.inputs[key].columns[0]
                found.append({"column": name, "target": target.columns[0], "skill": round(skill, 4)})
                warn(
                    f"the column {name!r} alone gives {target.columns[0]!r} away (skill {skill:.3f} of 1). "
                    f"If it is not known at the time of the prediction, leave it out: --drop {name!r}."
                )
    return found
