"""report.html: what came of a run, on one page that opens anywhere without a network, and prints. It sees the report (report.json) and some
examples, nothing else. Words of the user's are escaped; pictures are inside the page, as PNG, drawings as SVG.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from luban.checks.finding import NOTE, SERIOUS, spoken, where
from luban.metrics import direction
from luban.report import plots, threshold
from luban.report.words import Words, folds, language_of, of_metric, speaker, verdict

STYLE = """body{font:15px/1.5 system-ui,"PingFang SC","Microsoft YaHei","Noto Sans CJK SC",sans-serif;max-width:62rem;margin:2rem auto;
padding:0 1rem;color:#222}h1{font-size:1.5rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin-top:2.2rem;border-bottom:1px solid #ccc}
h3{font-size:1rem;margin:1.2rem 0 .3rem}table{border-collapse:collapse}tr{border-bottom:1px solid #eee}
td,th{padding:.15rem .6rem;text-align:right;vertical-align:middle;max-width:22rem;overflow:hidden;text-overflow:ellipsis;
word-break:keep-all;overflow-wrap:break-word}th:first-child,td:first-child,.words td,.words th,.rows td,.rows th{text-align:left}
.words td{overflow-wrap:anywhere;max-width:46rem}.verdict{background:#f4f7fb;padding:.6rem 1rem;border-left:4px solid #4477aa}
.serious{background:#fbeaec;border-color:#cc6677}
img{image-rendering:pixelated;min-width:56px;max-width:100%}svg{max-width:100%;height:auto}
.heat td{text-align:center;min-width:2rem}.heat th{font-weight:normal;max-width:8rem}
.rows{font-size:.85rem}.chooser{margin-top:1rem}.whole,.whole td{white-space:nowrap}.dark{color:#fff}
.scroll{overflow-x:auto}.faint{color:#777}td small{color:#777;white-space:nowrap;margin-left:.3rem}.worse td{background:#fbeaec}
.charts{margin-top:1rem;display:flex;flex-wrap:wrap;gap:1rem}.chart{margin:0;width:29rem;max-width:100%}
figcaption{font-weight:600;overflow-wrap:anywhere}.key{margin-right:.8rem;font-size:.85rem;overflow-wrap:anywhere}
.key::before{content:"";display:inline-block;width:.7em;height:.7em;margin-right:.3em;background:var(--c)}
pre{background:#f7f7f7;padding:.6rem;overflow-x:auto;font-size:.8rem;white-space:pre-wrap;overflow-wrap:anywhere}
input[type=number]{width:6rem}input[type=range]{width:16rem;vertical-align:middle}
@media print{body{max-width:none;margin:0;font-size:11px}h2,h3,figcaption{break-after:avoid}tr,.chart,figure,svg,img{break-inside:avoid}
.inputs{display:none}.chart{width:46%}.scroll{overflow:visible}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}"""

MOST_CLASSES = 40
"""Classes whose confusion fits on a page."""
ROWS = 50
"""Of a table of classes or metrics."""
COLUMNS = 200
WORST = 20
"""Values of columns that a model is surest to be worse on."""
FIGURES = ("by class", "by events before", "mse by column", "mse by step", "rmse in units", "coverage", "mase by item")
"""Titles of details that are ours; any other is the name of a target."""


def page(report: Mapping[str, Any], figures: Mapping[str, str], language: str = "auto") -> str:
    """The page. report: report.json, of which only the task, the model, its metrics and `scored` must be there.

    figures: {title: HTML} of examples. language: en, zh, or auto, what the environment speaks.
    """
    language = language_of(language)
    t = speaker(language)
    about = ", ".join(report.get("target", [])) or report["task"]
    title = html.escape(f"{about} · {report['model']}")
    told = f"<p class=verdict>{html.escape(verdict(report['judgement'], language))}</p>" if report.get("judgement") else ""
    if report.get("folds"):
        told += f"<p>{html.escape(folds(report['folds'], report['metric'], language))}</p>"
    for each in report.get("findings", [])[:ROWS]:  # the worst first
        if each["severity"] == SERIOUS:
            told += f'<p class="verdict serious">{t("serious")}: {html.escape(spoken(each))}</p>'
    sections = {
        t("How good it is"): _metrics(report, t),
        t("Doubts about the data"): _doubts(report, t),
        t("What was asked"): _asked(report, t),
        t("Cross-validation"): _folds(report.get("folds"), t),
        t("Curves"): _drawings(report, t),
        t("Threshold and costs"): _thresholds(report, t),
        t("Where it fails"): _slices(report.get("slices"), t),
        t("Examples"): _examples(figures, t),
        t("Further figures"): _details(report.get("details", {}), t),
        t("Learning curves"): _learning(report, t),
        t("Columns"): _columns(report.get("columns", []), t),
        t("Why so"): table([t("setting"), t("reason")], _escaped((key, t(why)) for key, why in report.get("plan", {}).items()), "words"),
        t("How to repeat it"): _repeat(report, t),
        t("Machine"): table(["", ""], _escaped(report.get("machine", {}).items()), "words"),
    }
    return document(title, f"{told}{sectioned(sections)}<script>{threshold.SCRIPT}</script>", language)


def document(title: str, body: str, language: str) -> str:
    """A page that stands alone; title and body are HTML."""
    return (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>\n"
    )


def sectioned(sections: Mapping[str, str]) -> str:
    """{title: HTML}, without those that have nothing to say."""
    return "".join(f"<h2>{html.escape(name)}</h2>{inner}" for name, inner in sections.items() if inner)


# ---------------------------------------------------------------- sections, in their order


def _asked(report: Mapping[str, Any], t: Words) -> str:
    data = report.get("data", {})
    facts = {
        t("task"): report["task"],
        t("target"): ", ".join(report.get("target", [])),
        t("data"): data.get("path") or report.get("path"),
        t("rows"): re.sub("train|valid|test", lambda part: t(part[0]), report.get("split", "")),
        t("split"): _how(data.get("split", ""), t),
        t("scored"): t(str(report["scored"])),
        t("model"): report["model"],
        t("parameters"): f"{report['parameters']:,}" if report.get("parameters") else None,
        t("time of the whole run"): f"{report['seconds']:.1f} {t('seconds')}" if "seconds" in report else None,
    }
    return table(["", ""], _escaped((key, value) for key, value in facts.items() if value), "words")


def _how(split: str, t: Words) -> str:
    """What decided the split; the column that it may name is the user's word."""
    if t(split) == split:
        for sentence in ("by the column {}", "by time ({})", "by {}"):
            if found := re.fullmatch(re.escape(sentence).replace(r"\{\}", "(.*)"), split):
                return t(sentence).format(found[1])
    return t(split)


def _metrics(report: Mapping[str, Any], t: Words) -> str:
    """The first metric drawn, then all of them: ours beside the baselines, each with its interval."""
    ours, beside = report.get("intervals", {}), report.get("baseline_intervals", {})
    compared = {report["model"]: (report["metrics"], ours)}
    compared |= {name: (values, beside.get(name, {})) for name, values in report.get("baselines", {}).items()}
    names = list(dict.fromkeys([report["metric"], *report["metrics"]]))
    called = {name: of_metric(report.get("called", {}).get(name, name), t) for name in names}
    ends = {"max": "↑", "min": "↓"}
    rows = [
        [
            f"{html.escape(called[name])} <small>{ends[direction(name)]}</small>",
            *(_with_interval(values.get(name), low.get(name)) for values, low in compared.values()),
        ]
        for name in names
    ]
    drawn = [(name, values[report["metric"]], low.get(report["metric"])) for name, (values, low) in compared.items()
             if values.get(report["metric"]) is not None]  # fmt: skip
    note = t("↑: the higher the better; ↓: the lower the better.") + " "
    how = report.get("resampling")
    if how:
        note += t(
            "In brackets, and drawn as bars: where 95 % of the values of {n} resamples of {m} examples lie (bootstrap percentiles)."
        ).format(n=how["draws"], m=f"{how['examples']:,}")
        if how.get("block", 1) > 1:
            note += " " + t("Neighbouring examples overlap, so that runs of {b} are drawn together.").format(b=how["block"])
        if how.get("grouped"):
            note += " " + t("Rows of one group are drawn together.")
    else:
        note += t("There are too few independent examples here to say how sure these figures are.")
    few = report.get("baselines_judged_on", 0)
    if report.get("baselines") and how and few < report["judgement"].get("of", 0):
        note += " " + t("The others were judged on {n} of them.").format(n=f"{few:,}")
    picture = f"<h3>{html.escape(called[report['metric']])}</h3>{plots.whiskers(drawn)}" if len(drawn) > 1 else ""
    if how and len(ours) < len(report["metrics"]):
        note += " " + t("Where none stands, there are too few errors to tell, or to sort each of many classes would take minutes.")
    more = f"<p class=faint>{t('and {n} more').format(n=len(rows) - ROWS)}</p>" if len(rows) > ROWS else ""
    return f"{picture}{_scroll(table([t('metric'), *compared], rows[:ROWS], 'whole'))}{more}<p class=faint>{html.escape(note)}</p>"


def _folds(folds: Mapping[str, Any] | None, t: Words) -> str:
    """{"metrics": {name: [a value a fold]}, "done": [the number of each]}."""
    if not folds:
        return ""
    rows = []
    for name, values in list(folds["metrics"].items())[:ROWS]:
        known = [each for each in values if each is not None]
        spread = float(np.std(known, ddof=1)) if len(known) > 1 else None
        mean = float(np.mean(known)) if known else None
        rows.append([html.escape(of_metric(name, t)), *(_number(each) for each in (mean, spread, *values))])
    return _scroll(table([t("metric"), t("mean"), t("standard deviation"), *(f"{t('fold')} {i}" for i in folds["done"])], rows))


def _drawings(report: Mapping[str, Any], t: Words) -> str:
    details, charts = report.get("details", {}), report.get("curves", {})
    drawn = "".join(plots.chart(plots.titled(title, t), of, t) for title, of in charts.items() if of.get("kind") != "thresholds")
    confusion, heated = details.get("confusion"), ""
    if confusion and len(confusion) <= MOST_CLASSES:
        heated = f"<h3>{t('Confusion: rows are the truth, columns the answer')}</h3>{_scroll(heat(details['classes'], confusion))}"
    return heated + (f"<div class=charts>{drawn}</div>" if drawn else "")


def _thresholds(report: Mapping[str, Any], t: Words) -> str:
    found = {title: of for title, of in report.get("curves", {}).items() if of.get("kind") == "thresholds"}
    costs = report.get("costs", [1.0, 1.0])
    return "".join(
        (f"<h3>{html.escape(title.rpartition(': ')[0])}</h3>" if len(found) > 1 else "") + threshold.chooser(of, costs, t)
        for title, of in found.items()
    )


def _examples(figures: Mapping[str, str], t: Words) -> str:
    found = "".join(f"<h3>{html.escape(t(name))}</h3><div class=scroll>{inner}</div>" for name, inner in figures.items())
    found = re.sub("(?<=<th>)(truth|answer|least sure tag|prediction|confidence)(?=</th>)", lambda head: t(head[0]), found)
    colours = f"<p class=faint>{t('Blue: without it the answer would be less sure; red: surer.')}</p>"
    return colours + found if "background:rgba(" in found else found


def _slices(found: Mapping[str, Any] | None, t: Words) -> str:
    """First what is truly worse, the surest first; then every value of these columns, folded up."""
    if not found:
        return ""
    what = {"tested": f"{found['tested']:,}", "of": found["of"], "what": t(found["judged_by"])}
    note = t(
        "{tested} values of {of} columns were each compared with all other rows by {what}. Listed are those on which the model is worse "
        "beyond chance (Welch's t-test, with Holm's correction for so many comparisons), the surest first."
    ).format(**what)
    if found.get("sample"):
        note = t("Of a sample of {n} rows.").format(n=f"{found['sample']:,}") + " " + note
    bad = sorted(
        ((column, each) for column in found["columns"] for each in column["levels"] if each["worse"]), key=lambda pair: pair[1]["p"]
    )
    if not bad:
        note += " " + t("None is truly worse than the rest.")
    head = [t("column"), t("value"), t("rows"), of_metric(found["metric"], t), t(found["judged_by"]), "p"]
    listed = _scroll(table(head, [[_named(column, t), *_level(each, t)] for column, each in bad[:WORST]], "rows")) if bad else ""
    more = f"<p class=faint>{t('and {n} more').format(n=len(bad) - WORST)}</p>" if len(bad) > WORST else ""
    every = t("all values of {n} columns, the worst first").format(n=len(found["columns"]))
    return (
        f"<p class=faint>{html.escape(note)}</p>{listed}{more}"
        f"<details><summary>{html.escape(every)}</summary>{_scroll(_levels(found, head[1:], t))}</details>"
    )


def _levels(found: Mapping[str, Any], head: Sequence[str], t: Words) -> str:
    rows = "".join(f"<th>{html.escape(each)}</th>" for each in head)
    for column in found["columns"]:
        rows += f"<tr><th colspan=5>{_named(column, t)}</th></tr>"
        for each in column["levels"]:
            rows += f"<tr{' class=worse' if each['worse'] else ''}>{''.join(f'<td>{cell}</td>' for cell in _level(each, t))}</tr>"
    return f"<table>{rows}</table>"


def _named(column: Mapping[str, Any], t: Words) -> str:
    name = column["column"]
    return html.escape((t(name) if name == "entities" else name) + (" " + t("(length)") if column["counted"] else ""))


def _level(each: Mapping[str, Any], t: Words) -> list[str]:
    return [
        html.escape(t(each["value"]) if each["value"] in ("(missing)", "(new)") else each["value"]),
        f"{each['rows']:,}",
        _with_interval(each["metric"], each["interval"]),
        _number(each["loss"]),
        "&lt; 0.001" if each["p"] < 0.001 else f"{each['p']:.3f}",
    ]


def _details(details: Mapping[str, Any], t: Words) -> str:
    """Figures of each class, step or series: whatever a task tells as {name: {figure: number}} or {name: number}."""
    found = ""
    for title, of in details.items():
        if not isinstance(of, Mapping) or not of or title in ("classes", "confusion"):
            continue
        rows = [(t(name) if title == "by_events_before" else name, each) for name, each in of.items()]  # else a user may have named them
        inner = [each for _, each in rows if isinstance(each, Mapping)]
        if len(inner) == len(rows) and not any(isinstance(value, (Mapping, list)) for each in inner for value in each.values()):
            # the worst class first, those without a row last; the order stays where there is no such figure
            rows.sort(key=lambda row: (row[1].get("support") == 0, row[1].get("f1", 0.0)))
            head, cells = (
                [t(each) for each in inner[0]],
                [[html.escape(str(name)), *(_number(value) for value in each.values())] for name, each in rows],
            )
        elif not inner and not any(isinstance(value, list) for value in of.values()):
            head, cells = [""], [[html.escape(t(name) if title == "coverage" else str(name)), _number(value)] for name, value in rows]
        else:
            found += _details({f"{title}: {name}": each for name, each in of.items()}, t)
            continue
        more = f"<p class=faint>{t('and {n} more').format(n=len(cells) - ROWS)}</p>" if len(cells) > ROWS else ""
        of_whom, colon, rest = title.rpartition(": ")
        ours = rest.replace("_", " ")
        shown = of_whom + colon + (t(ours) if ours in FIGURES else rest)
        found += f"<h3>{html.escape(shown)}</h3>{_scroll(table(['', *head], cells[:ROWS]))}{more}"
    return found


def _learning(report: Mapping[str, Any], t: Words) -> str:
    drawn = ""
    for name, of in report.get("learning", {}).items():
        metric = next(key for key in of if key not in ("step", "train_loss"))
        trained = {"x": "step", "y": "training loss", "lines": {"": [of["step"], of["train_loss"]]}}
        drawn += plots.chart(f"{name}: {t('training loss')}", trained, t)
        validated = {"x": "step", "y": of_metric(metric, t), "lines": {"": [of["step"], of[metric]]}}
        drawn += plots.chart(f"{name}: {of_metric(metric, t)} {t('on validation')}", validated, t)
    return f"<div class=charts>{drawn}</div>" if drawn else ""


def _doubts(report: Mapping[str, Any], t: Words) -> str:
    """What was found before training, the worst first; what was left out; and the doubts that stand with a column."""
    data = report.get("data", {})
    rows: dict[bool, list[list[str]]] = {True: [], False: []}  # is it but a note?
    for each in report.get("findings", [])[:ROWS]:
        what, sure = each["what"] + where(each), f"{each['certainty']:.2f}: {each['basis']}"
        cells = [f"<span class=whole>{t(each['severity'])}</span>", *(html.escape(cell) for cell in (what, each["mend"], sure))]
        rows[each["severity"] == NOTE].append(cells)
    head = ["", t("finding"), t("remedy"), t("certainty")]
    found, notes = (_scroll(table(head, each, "words")) if each else "" for each in (rows[False], rows[True]))
    words = {
        "rows_without_target": "{n} rows have no target and were left out.",
        "rows_left_out": "{n} rows were left out, or are counted with others.",
        "rows_unreadable": "{n} rows could not be read and were left out.",
    }
    said = [t(each).format(n=f"{data[key]:,}") for key, each in words.items() if data.get(key)]
    doubted = [f"{each['column']}: {each['doubts']}" for each in report.get("columns", [])[:COLUMNS] if each["doubts"]]
    if not found and not said and "columns" not in report:
        return ""
    more = f"<details><summary>{t('notes')} ({len(rows[True]) + len(doubted)})</summary>{notes}{_list(doubted)}</details>"
    return (found + _list(said) or f"<p>{t('Nothing was found that should be mended.')}</p>") + (more if notes or doubted else "")


def _list(sentences: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(each)}</li>' for each in sentences)}</ul>" if sentences else ""


def _columns(columns: Sequence[Mapping[str, str]], t: Words) -> str:
    rows = []
    for each in columns[:COLUMNS]:
        field, target, _ = each["field"].partition(" (target)")
        facts = ", ".join(t(part) for part in each["facts"].split(", "))
        rows.append([html.escape(each["column"]), html.escape(field + (f" {t('(target)')}" if target else "")), html.escape(facts)])
    more = f"<p class=faint>{t('and {n} more').format(n=len(columns) - COLUMNS)}</p>" if len(columns) > COLUMNS else ""
    return _scroll(table([t("column"), t("field"), t("facts")], rows, "words")) + more if rows else ""


def _repeat(report: Mapping[str, Any], t: Words) -> str:
    if "config" not in report:
        return ""
    handed = "" if report.get("path") else f"<p>{t('The data were handed over from Python, so the call has to be repeated with them.')}</p>"
    return (
        f"<p>{t('The run is repeated by')} <code>luban train --config config.yaml</code></p>{handed}"
        f"<h3>{t('The whole configuration')}: config.yaml</h3><pre>{html.escape(report['config'])}</pre>"
    )


# ---------------------------------------------------------------- pieces


def table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """Cells are HTML already, the head is not."""
    if not rows:
        return ""
    top = "".join(f"<th>{html.escape(each)}</th>" for each in head) if any(head) else ""
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table{f' class={kind}' if kind else ''}><tr>{top}</tr>{body}</table>"


def heat(names: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A confusion matrix, each row shaded by its shares."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    rows = ""
    for name, row in zip(names, counts, strict=True):
        cells = ""
        for each in row:
            share = each / max(1, sum(row))
            dark = " class=dark" if share > 0.9 else ""  # where black has less contrast
            cells += f'<td{dark} style="background:rgba(68,119,170,{share:.3f})">{f"{each:,}" if each else ""}</td>'
        rows += f"<tr><td>{html.escape(name)}</td>{cells}</tr>"
    return f"<table class=heat><tr><th></th>{head}</tr>{rows}</table>"


def sheet(pictures: Tensor, across: int = 8, side: int = 64) -> str:
    """Pictures, uint8 (n, C, h, w), side by side in one; small ones are enlarged, by whole factors."""
    n, C, h, w = pictures.shape
    scale = max(1, side // max(h, w))
    rows = -(-n // across)
    canvas = np.full((rows * (h * scale + 2), min(n, across) * (w * scale + 2), 3), 255, np.uint8)
    for i, each in enumerate(pictures.numpy()):
        shown = np.kron(np.broadcast_to(each, (3, h, w)) if C == 1 else each[:3], np.ones((1, scale, scale), np.uint8))
        top, left = i // across * (h * scale + 2), i % across * (w * scale + 2)
        canvas[top : top + h * scale, left : left + w * scale] = shown.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(canvas).save(file, "PNG")
    return f'<img src="data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}">'


def _scroll(inner: str) -> str:
    return f"<div class=scroll>{inner}</div>"


def _escaped(pairs: Any) -> list[list[str]]:
    return [[html.escape(str(cell)) for cell in pair] for pair in pairs]


def _number(value: Any) -> str:
    """Four decimals, or as many digits where it is large; whole numbers and words as they are."""
    if value is None:
        return ""
    if not isinstance(value, float):
        return html.escape(f"{value:,}" if isinstance(value, int) else str(value))
    return f"{value:,.1f}" if abs(value) >= 10_000 else f"{value:.4f}" if abs(value) >= 0.001 or value == 0 else f"{value:.3g}"


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    return _number(value) + (f" <small>[{_number(interval[0])}, {_number(interval[1])}]</small>" if interval else "")
