"""One input column at a time: it says nothing, it names the row, values are missing in a pattern or far from all others."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

import numpy as np
import polars as pl

from luban.checks.finding import DOUBT, NOTE, Finding, Look
from luban.core import cells
from luban.core.registry import Later

stats = Later("scipy.stats")

CERTAIN = 1e-6
"""The chance of error below which a coincidence is ruled out, before dividing by the number of columns (Bonferroni)."""
FENCE = 1.5
"""Tukey's (1977): what lies so many widths of the middle half away is outside."""
SENTINEL = r"^(0|-1|-?(9{2,}|8{2,}|7{2,})(\.0)?)$"
NEVER_NEGATIVE = (
    r"(?i)(^|[_ .-])(age|price|cost|weight|height|length|distance|duration|count|number|quantity|size|area|salary|income|wage)s?$"
    r"|年龄|价格|单价|数量|重量|身高|体重|面积|工资|收入|金额"
)


def constant(look: Look) -> list[Finding]:
    """Columns of one value, and nearly: the commonest value 19 times as frequent as the next, and few different ones (10 % of the rows),
    caret's rule (Kuhn 2008, nearZeroVar). Notes, because the first are set aside and trees pass over the others."""
    found = []
    for name, reason in look.schema.ignored.items():
        if reason == "empty" or reason.startswith("one value only"):
            found.append(
                Finding(
                    "constant",
                    NOTE,
                    f"the column {name!r} says nothing ({reason}) and is set aside",
                    1.0,
                    "all training rows are equal",
                    name,
                    f"--drop {name!r}",
                )
            )
    for each in look.schema.inputs.values():
        if each.kind not in ("scalar", "id"):
            continue
        name = each.columns[0]
        counts = look.column(name).value_counts(sort=True)
        if counts.height > 1 and counts.height <= 0.1 * len(look.index) and counts[0, "count"] > 19 * counts[1, "count"]:
            share = counts[0, "count"] / len(look.index)
            found.append(
                Finding(
                    "constant",
                    NOTE,
                    f"the column {name!r} is {str(counts[0, 0])[:40]!r} in {share:.1%} of the rows",
                    share,
                    "share of the commonest value",
                    name,
                    f"It can tell little. If it is of no use: --drop {name!r}",
                )
            )
    return found


def ids(look: Look) -> list[Finding]:
    """Columns that name the row: set aside already, or whole numbers too different to be amounts, or words nearly all different.

    n draws from r whole numbers give n^2 / 2r pairs of equal ones, and more where some are likelier than others (the birthday problem).
    Where there are far fewer, by six standard deviations of a Poisson number, the numbers were given out, not measured.
    """
    found = [
        Finding("id", NOTE, f"the column {name!r} {reason} and is set aside", 0.99, "all values differ", name, f"--drop {name!r}")
        for name, reason in look.schema.ignored.items()
        if reason.startswith("looks like an id")
    ]
    for each in look.schema.inputs.values():
        name, column = each.columns[0], look.column(each.columns[0])
        words = cells.present(column) if each.kind == "id" or each in look.numeric() else column.clear()
        if len(words) < 50:
            continue
        distinct = words.n_unique()
        mend = f"A new row has a value never seen: --drop {name!r}, or --group {name!r} where rows belong together by it"
        if each.kind == "id" and distinct > 0.5 * len(words):
            found.append(
                Finding(
                    "id",
                    DOUBT,
                    f"the column {name!r} has {distinct:,} different values in {len(words):,} rows, read as categories",
                    distinct / len(words),
                    "share of values that differ",
                    name,
                    mend,
                )
            )
        elif each in look.numeric() and words.str.contains(r"^\d{1,15}(\.0+)?$").all():
            x = words.cast(pl.Float64).to_numpy()
            expected = len(x) ** 2 / (2 * (x.max() - x.min() + 1))
            spread = expected - (len(x) - distinct)
            if spread > 6 * math.sqrt(expected) and distinct > 0.98 * len(x):
                found.append(
                    Finding(
                        "id",
                        DOUBT,
                        f"the column {name!r} names the row: {distinct:,} different whole numbers in {len(x):,} rows, "
                        f"where amounts of this range would have {expected:,.0f} equal pairs",
                        1 - math.exp(-expected),
                        "birthday problem",
                        name,
                        mend,
                    )
                )
    return found


def missing(look: Look) -> list[Finding]:
    """Much that is missing (half of the rows), and missing values that tell the answer.

    The latter by the association of "is missing" with the class, or with the answer's tenths: chi-squared against CERTAIN over all
    columns, and Cramer's V for its size: .1 small, .3 medium (Cohen 1988, for one degree of freedom).
    """
    found = []
    columns = {
        each.columns[0]: cells.empty(look.column(each.columns[0])).to_numpy()
        for each in look.schema.inputs.values()
        if each.kind in ("scalar", "id", "tokens", "curve")
    }
    for name, gone in columns.items():
        share = gone.mean()
        if share > 0.5:
            found.append(
                Finding(
                    "missing",
                    NOTE,
                    f"the column {name!r} is empty in {share:.1%} of the rows",
                    1.0,
                    "share of empty cells",
                    name,
                    f"Learned from as it is. If that is a mistake, mend it, or --drop {name!r}",
                )
            )
        for _, target, y, discrete in look.answers() if 0 < gone.sum() < len(gone) else ():
            v, p = _association(gone, y if discrete else _tenths(y))
            if v >= 0.1 and p < CERTAIN / len(columns):
                found.append(
                    Finding(
                        "missing",
                        DOUBT if v >= 0.3 else NOTE,
                        f"whether {name!r} is empty tells of {target.columns[0]!r} ({share:.1%} of the rows are)",
                        min(1.0, 1 - p),
                        f"chi-squared; Cramer's V {v:.2f}",
                        name,
                        f"If it is filled in only after the answer is known, that gives it away: --drop {name!r}",
                        **look.places(look.index[gone]),
                    )
                )
    return found


def _association(flag: np.ndarray, classes: np.ndarray) -> tuple[float, float]:
    """(Cramer's V, p) of a yes-or-no (n,) and classes (n,)."""
    _, number = np.unique(classes, return_inverse=True)
    table = np.stack([np.bincount(number[flag], minlength=number.max() + 1), np.bincount(number[~flag], minlength=number.max() + 1)])
    if table.shape[1] < 2:
        return 0.0, 1.0
    chi2, p, _, _ = stats.chi2_contingency(table, correction=False)
    return math.sqrt(chi2 / len(flag)), float(p)


def _tenths(y: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.unique(np.nanquantile(y, np.linspace(0.1, 0.9, 9))), y)


def sentinels(look: Look) -> list[Finding]:
    """-999, 9999, 0 and their like for "missing": at one end, in three rows or more, and farther from the next value than Tukey's
    fence is from the middle half of the others; or -1 where nothing else is negative. Where most are 0 (rain, gains), 0 is
    an amount, the few others have any height, and only a code below 0 is told."""
    found = []
    for each in look.numeric():
        name, x = each.columns[0], look.numbers(each)
        known, counts = np.unique(x[np.isfinite(x)], return_counts=True)
        mostly_none = np.mean(x == 0) > 0.5
        if len(known) < 5:
            continue
        for value, following in ((known[0], known[1]), (known[-1], known[-2])):
            count = int(counts[known == value][0])
            if count < 3 or (mostly_none and value >= 0) or not re.match(SENTINEL, f"{value:g}"):
                continue
            rest = x[np.isfinite(x) & (x != value) & ~(mostly_none & (x == 0))]
            width, gap = float(np.subtract(*np.quantile(rest, [0.75, 0.25]))), abs(value - following)
            alone = value == -1 and following >= 0
            if gap > FENCE * width > 0 or alone:
                sure = 0.8 if alone else gap / (gap + width)
                found.append(
                    Finding(
                        "missing",
                        DOUBT,
                        f"{value:g} in the column {name!r} seems to mean that nothing is known",
                        round(sure, 3),
                        f"gap to the next value {gap:.4g}, the others' middle half is {width:.4g} wide",
                        name,
                        "If so, empty these cells",
                        **look.places(look.index[x == value]),
                    )
                )
    return found


def outliers(look: Look) -> list[Finding]:
    """Values that cannot be: infinite, negative where the name forbids it, or alone beyond a gap three times as wide as all the others
    span (Dixon's Q above .75, 1950; what remains of a heavy tail has no such gap). At most 1 % of the rows, else it is a mode."""
    found = []
    for each in look.numeric(targets=True):
        name, x = each.columns[0], look.numbers(each)
        endless = np.isinf(x)
        if endless.any():
            found.append(
                Finding(
                    "outliers",
                    DOUBT,
                    f"the column {name!r} has infinite values, read as missing",
                    1.0,
                    "the values",
                    name,
                    "Correct them, or empty the cells",
                    **look.places(look.index[endless]),
                )
            )
        below = x < 0
        if re.search(NEVER_NEGATIVE, name.strip()) and 0 < below.sum() <= 0.01 * len(x):
            found.append(
                Finding(
                    "outliers",
                    DOUBT,
                    f"the column {name!r} has negative values, such as {x[below][0]:g}",
                    0.9,
                    "its name, and that 99 % are not negative",
                    name,
                    "Correct them, or empty the cells",
                    **look.places(look.index[below]),
                )
            )
        for far, q in _apart(x):
            found.append(
                Finding(
                    "outliers",
                    DOUBT,
                    f"the column {name!r} has values far from all others, such as {x[far][0]:g}",
                    round(q, 3),
                    "Dixon's Q, the gap as a share of the whole range",
                    name,
                    "If they are mistakes (a unit, a slip), correct them or empty the cells",
                    **look.places(look.index[far]),
                )
            )
    return found


def _apart(x: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
    """(mask (n,), Q) of the values beyond a wide gap, at either end."""
    known = np.sort(x[np.isfinite(x)])
    if len(known) < 20 or known[0] == known[-1]:
        return
    most = max(1, len(known) // 100)
    for values, flip in ((known, 1.0), (-known[::-1], -1.0)):
        top = values[-most - 1 :]
        gaps = np.diff(top)
        at = int(np.argmax(gaps))
        q = gaps[at] / (top[-1] - values[0])
        # two values and their gap are no tail: the others must have a width of their own
        if q > 0.75 and gaps[at] > 3 * (top[at] - values[0]) > 0 and len(np.unique(values)) > 5:
            with np.errstate(invalid="ignore"):
                yield np.isfinite(x) & (x * flip > top[at]), float(q)
