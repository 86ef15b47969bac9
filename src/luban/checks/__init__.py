"""Doubts about the data, told before time is spent. A check is a pure function of a `Look`; adding one is naming it in a line below.

QUICK is what every training runs (a second on 50,000 rows); `luban data check` runs DEEP, too, whose checks train small models.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from luban.checks.answers import imbalance, size, target
from luban.checks.columns import constant, ids, missing, outliers, sentinels
from luban.checks.copies import contradictions, duplicates, exact_copies
from luban.checks.drift import told_apart
from luban.checks.finding import SEVERITIES, Finding, Look
from luban.checks.gaps import gaps
from luban.checks.labels import wrong_labels
from luban.checks.leaks import groups, leaking_columns, time_order
from luban.checks.near import near_copies
from luban.checks.spelling import as_read as as_read
from luban.core.device import side_by_side

Check = Callable[[Look], list[Finding]]
QUICK: tuple[Check, ...] = (
    exact_copies,
    duplicates,
    leaking_columns,
    time_order,
    groups,
    contradictions,
    constant,
    ids,
    missing,
    sentinels,
    outliers,
    imbalance,
    target,
    size,
)
DEEP: tuple[Check, ...] = (*QUICK, near_copies, wrong_labels, told_apart)
ORDERED: tuple[Check, ...] = (gaps,)
"""Where an example is no row with an answer, but a window or a history."""


def run(look: Look, checks: Sequence[Check], before: Sequence[Finding] = ()) -> list[dict[str, Any]]:
    """What the checks find, with what was found `before`, the worst first, as JSON."""
    found = [*before, *(each for made in side_by_side(lambda check: check(look), checks) for each in made)]
    found.sort(key=lambda each: (SEVERITIES.index(each.severity), -each.certainty))
    return [dataclasses.asdict(each) for each in found]
