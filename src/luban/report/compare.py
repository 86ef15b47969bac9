"""Runs side by side on one page that opens anywhere without a network. It sees a Comparison and nothing else."""

from __future__ import annotations

import html
import json
from typing import Any

from luban.metrics import better
from luban.report import plots
from luban.report.page import document, sectioned, table
from luban.report.words import Words, language_of, of_metric, speaker

MARKS = "<style>td b{font-weight:600}td .better{color:#1a7f37}td .worse{color:#b42318}</style>"


def page(made: Any, language: str = "auto") -> str:
    """The page of a luban.stages.compare.Comparison. language: en, zh, or auto, what the environment speaks."""
    language = language_of(language)
    t = speaker(language)
    title = html.escape(" / ".join(each.name for each in made.runs))
    head = ["", *(each.name for each in made.runs)]
    metrics = [[html.escape(of_metric(name, t)), *(_cell(made, name, each) for each in made.runs)] for name in made.runs[0].metrics]
    sizes = [[html.escape(t(name)), *map(html.escape, values)] for name, values in facts(made).items()]
    differ = [[html.escape(key), *(html.escape(setting(value)) for value in values)] for key, values in made.settings.items()]
    sections = {
        t("Metrics, by {metric}").format(metric=of_metric(made.metric, t)): table(head, metrics),
        t("Learning curves"): curves(made, t),
        t("Time and size"): table(head, sizes),
        t("Settings that differ"): table(head, differ) if differ else t("none"),
    }
    told = "<br>".join(html.escape(each) for each in verdicts(made, t))
    about = f"{made.task}: {', '.join(made.targets[:6])}"
    if made.rows:
        about += "; " + t(
            "in brackets the 95 % interval of the difference from {name} on the same {n} test rows (paired bootstrap); "
            "* where it leaves out 0"
        ).format(name=made.runs[0].name, n=f"{made.rows:,}")
    shown = sectioned({name: f"<div class=scroll>{inner}</div>" if inner else "" for name, inner in sections.items()})
    return document(title, f"{MARKS}<p class=verdict>{told}</p><p class=faint>{html.escape(about)}</p>{shown}", language)


def verdicts(made: Any, t: Words) -> list[str]:
    """What came of each run beside the first, in the language of the page; why some could not be judged, as it was said."""
    judged = [each for each in made.runs[1:] if made.metric in each.differences]
    found = list(made.verdicts[: len(made.verdicts) - len(judged)])
    for each in judged:
        d, names = each.differences[made.metric], {"name": each.name, "first": made.runs[0].name}
        how = f"{of_metric(made.metric, t)} {interval(d)}"
        if not d.sure:
            found.append(t("{name} and {first} cannot be told apart: {how}.").format(**names, how=how))
        elif better(made.metric, d.value, 0.0):
            found.append(t("{name} is better than {first}: {how}.").format(**names, how=how))
        else:
            found.append(t("{name} is worse than {first}: {how}.").format(**names, how=how))
    return found


def facts(made: Any) -> dict[str, list[str]]:
    """{what: a run's each}: model, time, parameters (of what was trained in steps), size."""
    return {
        "model": [each.model for each in made.runs],
        "whole run, seconds": [f"{each.seconds:,.1f}" for each in made.runs],
        "parameters": [f"{each.parameters:,}" if each.parameters else "-" for each in made.runs],
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


def curves(made: Any, t: Words) -> str:
    """The validation metric and the training loss by epoch, laid over each other; "" where no model was trained in steps. A model that
    took no steps is a dashed line at its height."""
    shown = {f"{run.name}: {model}" if len(run.curves) > 1 else run.name: lines for run in made.runs for model, lines in run.curves.items()}
    if not any(len(lines) > 1 for lines in shown.values()):
        return ""
    drawn = ""
    for key, name in ((made.metric, f"{of_metric(made.metric, t)} {t('on validation')}"), ("train_loss", t("loss in training"))):
        points = {label: [(line["epoch"], line[key]) for line in lines if line.get(key) is not None] for label, lines in shown.items()}
        chart = {
            "x": "epoch",
            "y": key if key == made.metric else "loss in training",
            "lines": {label: list(zip(*of, strict=True)) for label, of in points.items() if len(of) > 1},
            "levels": {label: of[0][1] for label, of in points.items() if len(of) == 1},
        }
        drawn += plots.chart(name, chart, t)
    return f"<div class=charts>{drawn}</div>"
