"""What gives the answer away: a column that alone predicts it, rows of one moment or one person in training and test at once."""

from __future__ import annotations

import re

import numpy as np
import torch

from luban.checks.finding import DOUBT, NOTE, SERIOUS, Finding, Look
from luban.core import cells
from luban.core.registry import Later
from luban.splitting import TRAIN

sk = Later("sklearn.tree")
stats = Later("scipy.stats")

CERTAIN = 1e-4
"""The p from which on a likeness is taken for real; its size is asked beside it."""
OWNERS = (
    r"(?i)(^|[_ .-])(patient|customer|client|user|subject|person|student|household|family|firm|account|session|device|group)s?($|[_ .-])"
    r"|病人|患者|客户|用户|学生|住户|账户|会员|设备"
)
SKILL = 0.98
"""From here on a single column predicts better than anything honest does."""


def leaking_columns(look: Look) -> list[Finding]:
    """Which single column almost gives the target away; often it is known only after the fact.

    A small decision tree on one column, fitted on half of a sample of training rows, is scored on the other half. Its skill is 1 for
    perfect and 0 for guessing (accuracy above the largest class's share, or R2). The sample is 5,000 rows, fewer for a wide table; its
    halves are every other row, because files are often sorted by the target.
    """
    schema, store, rows = look.schema, look.store, look.rows
    most = max(500, min(5_000, 500_000 // len(schema.inputs)))
    index = torch.from_numpy(rows.of(TRAIN)[:: max(1, len(rows.of(TRAIN)) // most)])
    found = []
    trees = [key for key, each in schema.inputs.items() if each.kind in ("scalar", "id")]  # of the others no single split tells
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
                found.append(
                    Finding(
                        "leak",
                        SERIOUS,
                        f"the column {name!r} alone gives {target.columns[0]!r} away (skill {skill:.3f} of 1)",
                        round(skill, 3),
                        "skill of a small tree on this column alone, on rows that it has not seen",
                        name,
                        f"If it is not known at the time of the prediction, leave it out: --drop {name!r}"
                        if len(look.schema.inputs) > 1
                        else "It is all that there is to learn from: make sure that it is known at the time of the prediction",
                    )
                )
    return found


# ---------------------------------------------------------------- rows that belong together


def time_order(look: Look) -> list[Finding]:
    """Rows are drawn at random from a column of time along which the answer drifts: the test then knows the future.

    The answer's rank by tenths of time: eta squared of an analysis of variance, .01 small and .06 medium (Cohen 1988), beside its p.
    """
    found: list[Finding] = []
    if look.config.group or not look.rows.facts["drawn"]:
        return found
    dates = [(key, each) for key, each in look.schema.inputs.items() if type(each).__module__.endswith(".date")]
    for key, each in dates:
        name = each.columns[0]
        moment = look.encoded(key).numpy()[:, 0]
        for _, answered, y, discrete in look.answers():
            eta, p = _explained(np.searchsorted(np.nanquantile(moment, np.linspace(0.1, 0.9, 9)), moment), y, discrete, ~np.isnan(moment))
            if eta >= 0.01 and p < CERTAIN:
                found.append(
                    Finding(
                        "time",
                        DOUBT if eta >= 0.06 else NOTE,
                        f"{answered.columns[0]!r} changes along {name!r}, and the test rows are drawn from all times",
                        1 - p,
                        f"analysis of variance over tenths of time, eta squared {eta:.3f}",
                        name,
                        f"To be tested on what comes after the training rows: --time {name!r}",
                    )
                )
    return found


def groups(look: Look) -> list[Finding]:
    """A column that says whose rows these are (a patient, a customer), while rows of one stand in training and test.

    Taken for one: categories, or whole numbers by a name for people and things, of which there are 30 and more with 2 to 50 rows each on
    average, and whose rows have answers that are alike (the intraclass correlation is .1 or more, p below CERTAIN). A note where they are
    words, such as towns, which new data may well share.
    """
    found: list[Finding] = []
    if look.config.group or not look.rows.facts["drawn"]:
        return found
    for each in look.schema.inputs.values():
        name = each.columns[0]
        called = re.search(OWNERS, name.strip()) is not None
        if each.kind != "id" and not (called and each in look.numeric()):
            continue
        words = cells.words(look.column(name))
        known = ~cells.empty(words)
        n, distinct = int(known.sum()), words.filter(known).n_unique()
        if not (distinct >= 30 and 2 <= n / distinct <= 50):
            continue
        number = words.rank("dense").fill_null(0).to_numpy().astype(np.int64)
        codes = called or bool(words.filter(known).str.contains(r"\d").all())
        for _, answered, y, discrete in look.answers():
            alike, p = _alike(number, y, discrete, known.to_numpy())
            if alike >= 0.1 and p < CERTAIN:
                found.append(
                    Finding(
                        "group",
                        DOUBT if codes else NOTE,
                        f"rows with one {name!r} ({distinct:,} different, {n / distinct:.1f} rows each) have like "
                        f"{answered.columns[0]!r}, and stand in training and test",
                        1 - p,
                        f"intraclass correlation {alike:.2f}",
                        name,
                        f"Where new data bring new ones, keep rows together: --group {name!r}; or --drop {name!r}",
                    )
                )
    return found


def _alike(group: np.ndarray, y: np.ndarray, discrete: bool, known: np.ndarray) -> tuple[float, float]:
    """(the intraclass correlation ICC(1) of Shrout & Fleiss 1979, p)."""
    eta, p = _explained(group, y, discrete, known)
    n, k = int(known.sum()), len(np.unique(group[known]))
    between, within = eta / (k - 1), (1 - eta) / (n - k)
    size = n / k
    return (between - within) / (between + (size - 1) * within) if between + (size - 1) * within > 0 else 0.0, p


def _explained(group: np.ndarray, y: np.ndarray, discrete: bool, known: np.ndarray) -> tuple[float, float]:
    """(eta squared, p) of the answer by group; of classes, as the mean over their 0/1 columns, weighted by their variance."""
    known = known & ~np.isnan(y.astype(np.float64))
    _, number = np.unique(group[known], return_inverse=True)
    k, n = number.max() + 1, int(known.sum())
    if k < 2 or n <= k:
        return 0.0, 1.0
    answers = y[known]
    classes = np.unique(answers)[:50] if discrete else None
    columns = [(answers == each).astype(np.float64) for each in classes] if discrete else [stats.rankdata(answers)]
    size = np.bincount(number)
    between = sum(float((size * (np.bincount(number, each) / size - each.mean()) ** 2).sum()) for each in columns)
    total = sum(float(((each - each.mean()) ** 2).sum()) for each in columns)
    if total <= 0:
        return 0.0, 1.0
    eta = between / total
    return eta, float(stats.f.sf(eta / (k - 1) / max(1e-12, (1 - eta) / (n - k)), k - 1, n - k))
