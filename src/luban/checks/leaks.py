"""What gives the answer away: a column that alone predicts it, rows of one moment or one person in training and test at once."""

from __future__ import annotations

import numpy as np
import torch

from luban.checks.finding import SERIOUS, Finding, Look
from luban.core.registry import Later
from luban.splitting import TRAIN

sk = Later("sklearn.tree")

SKILL = 0.98
"""From here on a single column predicts better than anything honest does."""


def leaks(look: Look) -> list[Finding]:
    """Which single column almost gives the target away; often it is known only after the fact.

    A small decision tree on one column, fitted on half of a sample of training rows, is scored on the other half. Its skill is 1 for
    perfect and 0 for guessing (accuracy above the largest class's share, or R2). The sample is 5,000 rows, fewer for a wide table; its
    halves are every other row, because files are often sorted by the target.
    """
    schema, store, rows = look.schema, look.store, look.rows
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
            if skill > SKILL:
                name = schema.inputs[key].columns[0]
                found.append(Finding(
                    "leak", SERIOUS, f"the column {name!r} alone gives {target.columns[0]!r} away (skill {skill:.3f} of 1)", round(skill, 3),
                    "skill of a small tree on this column alone, on rows that it has not seen", name,
                    f"If it is not known at the time of the prediction, leave it out: --drop {name!r}"))  # fmt: skip
    return found
