"""Charts as SVG, drawn by matplotlib: small, the same bytes each time, their letters left to the reader's fonts so that Chinese shows.

Whatever a user named (classes, labels, series) stands in a legend of HTML above the drawing, where it wraps and is escaped; inside are
axes and fixed words only. What a chart is: curves.py.
"""

from __future__ import annotations

import html
import io
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from luban.core.registry import Later
from luban.report.words import Words

matplotlib = Later("matplotlib")
figure = Later("matplotlib.figure")

COLOURS = ("#4477aa", "#cc6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#997700", "#777777")
"""Paul Tol's bright scheme, which colour-blind readers can tell apart."""
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "luban", "text.parse_math": False, "font.size": 9, "axes.spines.top": False,
         "axes.spines.right": False, "axes.edgecolor": "#888888", "axes.grid": True, "grid.color": "#eeeeee", "axes.axisbelow": True,
         "axes.formatter.useoffset": False}  # fmt: skip


def chart(title: str, of: Mapping[str, Any], t: Words) -> str:
    """One chart with its title, legend and notes, as HTML."""
    legend = ""
    for name, colour in _colours(of).items():
        legend += f'<span class=key style="--c:{colour}">{html.escape(t(name) if of.get("fixed") else name)}</span>' if name else ""
    if "bars" in of and "lines" in of:
        legend += f'<span class=key style="--c:#dddddd">{html.escape(t("bars: how many rows"))}</span>'
    notes = " ".join(t(sentence).format(**places) for sentence, places in of.get("notes", []))
    said = f"<div class=faint>{html.escape(notes)}</div>" if notes else ""
    return f"<figure class=chart><figcaption>{html.escape(title)}</figcaption><div>{legend}</div>{svg(of, t)}{said}</figure>"


def titled(title: str, t: Words) -> str:
    """`species: ROC curve`: the name of a target or a series is the user's."""
    head, colon, rest = title.rpartition(": ")
    return head + colon + t(rest)


def _colours(of: Mapping[str, Any]) -> dict[str, str]:
    names = {**of.get("lines", {}), **of.get("dots", {}), **of.get("levels", {}), **of.get("groups", {})}
    return {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}


def svg(of: Mapping[str, Any], t: Words, width: float = 4.4, height: float = 3.0) -> str:
    with matplotlib.rc_context(STYLE):
        fig = figure.Figure((width, height))
        ax = fig.add_axes((0.15, 0.16, 0.82, 0.8))
        _bars(ax, of)
        _groups(ax, of)
        colour = _colours(of)
        for name, (x, y) in of.get("dots", {}).items():
            alone = name not in of.get("lines", {})
            ax.scatter(x, y, s=6 if alone else 16, color=colour[name], alpha=0.45 if alone else 1.0, linewidths=0)
        for name, (x, y) in of.get("lines", {}).items():
            ax.plot(
                x,
                [float("nan") if each is None else each for each in y],
                color=colour[name],
                linewidth=1.4,
                marker="" if len(x) > 1 else "o",
            )
        for name, (x, low, high) in of.get("bands", {}).items():
            ax.fill_between(x, np.array(low, float), np.array(high, float), color=colour[name], alpha=0.18, linewidth=0)
        for name, height in of.get("levels", {}).items():
            ax.axhline(height, color=colour[name], linewidth=1.4, linestyle="--")
        if of.get("unit"):
            ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        _guide(ax, of.get("guide"))
        for at in of.get("marks", []):
            ax.axvline(at, color="#cc6677", linewidth=1, linestyle="--")
        ax.set_xlabel(t(of["x"]))
        ax.set_ylabel(t(of["y"]))
        return _written(fig)


def _written(fig: Any) -> str:
    drawn = io.StringIO()
    with warnings.catch_warnings():  # matplotlib's own font lacks Chinese, but the reader's draws it
        warnings.filterwarnings("ignore", "Glyph .* missing")
        fig.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    return drawn.getvalue()[drawn.getvalue().index("<svg") :]


def _bars(ax: Any, of: Mapping[str, Any]) -> None:
    if "bars" not in of:
        return
    x, heights = of["bars"]
    width = 0.9 * (x[1] - x[0]) if len(x) > 1 else 1.0
    beside = "lines" in of  # then they only tell how much stands behind each point
    ax.bar(x, [0.25 * each for each in heights] if beside else heights, width, color="#dddddd" if beside else COLOURS[0])


def _groups(ax: Any, of: Mapping[str, Any]) -> None:
    groups, colour = of.get("groups", {}), _colours(of)
    for i, (name, heights) in enumerate(groups.items()):
        width = 0.8 / len(groups)
        ax.bar([at + (i - (len(groups) - 1) / 2) * width for at in range(len(heights))], heights, width, color=colour[name])
    if groups:
        slanted = {"rotation": 30, "ha": "right"} if len(of["names"]) > 5 else {}
        ax.set_xticks(range(len(of["names"])), [_short(each) for each in of["names"]], **slanted)


def _short(name: str) -> str:
    return name if len(name) <= 10 else name[:9] + "…"


def _guide(ax: Any, guide: str | None) -> None:
    """Where a perfect, or a guessing, model would be."""
    if guide == "zero":
        ax.axhline(0, color="#888888", linewidth=1, linestyle=":")
    elif guide == "diagonal":
        (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
        ends = [max(left, low), min(right, high)]
        ax.plot(ends, ends, color="#888888", linewidth=1, linestyle=":", zorder=3)


def whiskers(rows: Sequence[tuple[str, float, Sequence[float] | None]], width: float = 6.5) -> str:
    """Models by a metric with its interval, one below the other; the first is ours. Names are the ids of models, or a user's file."""
    with matplotlib.rc_context(STYLE):
        fig = figure.Figure((width, 0.5 + 0.28 * len(rows)))
        ax = fig.add_axes((0.2, 0.42 / (0.5 + 0.28 * len(rows)), 0.78, 1 - 0.5 / (0.5 + 0.28 * len(rows))))
        for i, (_, value, interval) in enumerate(rows):
            colour = COLOURS[0] if i == 0 else "#888888"
            if interval:
                ax.plot(interval, [i, i], color=colour, linewidth=2)
            ax.plot([value], [i], "o", color=colour, markersize=5)
        ax.set_yticks(range(len(rows)), [name for name, _, _ in rows])
        ax.set_ylim(len(rows) - 0.5, -0.5)
        return _written(fig)
