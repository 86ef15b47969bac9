"""Runs side by side on one page that opens anywhere without a network. It sees a Comparison and nothing else.

Words of the user's are escaped; the plot is SVG, whose letters are drawn by the reader's own fonts, so that Chinese needs none of ours.
"""

from __future__ import annotations

import html
import io
import json
import warnings
from typing import Any

from luban.core.registry import Later
from luban.metrics import better
from luban.report.page import STYLE, table

matplotlib = Later("matplotlib")
figures = Later("matplotlib.figure")

COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb")
"""Tol's bright scheme, which the colour-blind can tell apart."""
STROKES = ("-", "--", "-.", ":")
_MARKS = "td small{color:#777}td b{font-weight:600}.better{color:#1a7f37}.worse{color:#b42318}"


def page(made: Any) -> str:
    """The page of a luban.stages.compare.Comparison."""
    title = f"{' / '.join(each.name for each in made.runs)}"
    head = ["", *(each.name for each in made.runs)]
    sections = {
        f"Metrics, by {made.metric}": table(head, [[html.escape(name), *(_cell(made, name, each) for each in made.runs)]
                                                   for name in made.runs[0].metrics]),
        "Learning curves": curves(made),
        "Time and size": table(head, [[name, *map(html.escape, values)] for name, values in facts(made).items()]),
        "Settings that differ": table(head, [[html.escape(key), *(html.escape(setting(value)) for value in values)]
                                             for key, values in made.settings.items()]) if made.settings else "none",
    }  # fmt: skip
    body = "".join(f"<h2>{html.escape(name)}</h2><div class=scroll>{inner}</div>" for name, inner in sections.items() if inner)
    words = "<br>".join(html.escape(each) for each in made.verdicts)
    about = f"{made.task}: {', '.join(made.targets[:6])}"
    if made.rows:
        about += (f"; in brackets the 95 % interval of the difference from {made.runs[0].name} on the same {made.rows:,} test rows "
                  "(paired bootstrap); * where it leaves out 0")  # fmt: skip
    return (
        f'<!doctype html><html><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}{_MARKS}</style></head><body>'
        f"<h1>{html.escape(title)}</h1><p class=verdict>{words}</p><p class=faint>{html.escape(about)}</p>{body}</body></html>\n"
    )


def facts(made: Any) -> dict[str, list[str]]:
    """{what: a run's each}: model, time, parameters, size."""
    return {
        "model": [each.model for each in made.runs],
        "seconds": [f"{each.seconds:,.1f}" for each in made.runs],
        "parameters": [f"{each.parameters:,}" for each in made.runs],
        "size on disk": [f"{each.size / 1e6:,.2f} MB" for each in made.runs],
    }


def setting(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def best(made: Any, metric: str) -> list[str]:
    """The runs with the best value of a metric; none where all are alike."""
    values = {each.name: each.metrics[metric] for each in made.runs if metric in each.metrics}
    leaders = [name for name in values if not any(better(metric, other, values[name]) for other in values.values())]
    return leaders if len(leaders) < len(values) else []


def interval(difference: Any) -> str:
    """ "+0.0209 [+0.0139, +0.0279] *"; the star where 0 is left out."""
    return f"{difference.value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]{' *' if difference.sure else ''}"


def _cell(made: Any, metric: str, run: Any) -> str:
    if metric not in run.metrics:
        return "-"
    value = f"{run.metrics[metric]:.4f}"
    value = f"<b>{value}</b>" if run.name in best(made, metric) else value
    if metric not in run.differences:
        return value
    d = run.differences[metric]
    mark = f" class={'better' if better(metric, d.value, 0.0) else 'worse'}" if d.sure else ""
    return f"{value}<br><small{mark}>{interval(d)}</small>"


def curves(made: Any) -> str:
    """The validation metric and the training loss by epoch, laid over each other, as SVG; "" where no model was trained in steps. A model
    that took no steps is a dotted line at its height."""
    shown = [
        (f"{run.name}: {model}" if len(run.curves) > 1 else run.name, COLOURS[i % len(COLOURS)], STROKES[j % len(STROKES)], lines)
        for i, run in enumerate(made.runs)
        for j, (model, lines) in enumerate(run.curves.items())
    ]
    if not any(len(lines) > 1 for *_, lines in shown):
        return ""
    drawn = figures.Figure(figsize=(9.4, 3.4), layout="constrained")
    sides = {made.metric: f"{made.metric} on validation", "train_loss": "loss in training"}
    for axes, (key, name) in zip(drawn.subplots(1, 2), sides.items(), strict=True):
        for label, colour, style, lines in shown:
            points = [(line["epoch"], line[key]) for line in lines if line.get(key) is not None]
            if len(points) > 1:
                axes.plot(*zip(*points, strict=True), style, color=colour, label=label, linewidth=1.4)
            elif points:
                axes.axhline(points[0][1], linestyle=":", color=colour, label=label, linewidth=1.4)
        axes.set_xlabel("epoch")
        axes.set_title(name, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.2)
    handles, labels = drawn.axes[0].get_legend_handles_labels()
    drawn.legend(handles, [label.replace("$", r"\$") for label in labels], loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "luban"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the reader's fonts draw them, not ours
        drawn.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue().partition("<svg")[1] + file.getvalue().partition("<svg")[2]
