"""The model card: README.md in the bundle, what a stranger needs to know before using the model. Free to edit: no hash covers it.

Its front matter is that of the Hugging Face hub (model-index and all), so that a folder pushed there is found and shows its figures.
No license is named: that is the user's to say.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import yaml

from luban.core.contract import Schema

HUB = {
    "classify": "tabular-classification",
    "multilabel": "tabular-classification",
    "regress": "tabular-regression",
    "several": "tabular-regression",
    "forecast": "time-series-forecasting",
    "generate": "text-generation",
}
"""What the hub calls these questions where the inputs are columns; a recommendation has no name there."""
SEEN = {"picture": "image-classification", "text": "text-classification"}
"""And where a column of pictures or writing is all that is read."""


def asked(example: dict[str, Any]) -> str:
    """What follows `luban predict RUN` in a first question."""
    words = [f"{'-' if len(key) == 1 else '--'}{key.replace('_', '-')} {shlex.quote(str(value))}" for key, value in example.items()]
    return " ".join(words) or "rows.csv -o predictions.csv"


def card(report: dict[str, Any], schema: Schema) -> str:
    """Markdown with the hub's front matter."""
    target = ", ".join(f"`{_flat(each.columns[0])}`" for each in schema.targets.values())
    intervals, beside, called = report.get("intervals", {}), report["baselines"], report.get("called", {})
    metrics = "\n".join(
        f"| {_flat(called.get(name, name))} | {_figure(value, intervals.get(name))} |" for name, value in report["metrics"].items()
    )
    inputs = "\n".join(f"- `{_flat(each.columns[0])}`: {_kind(each)}" for each in schema.inputs.values())
    sure = "with 95 % bootstrap intervals" if report.get("resampling") else "without intervals: there are too few independent examples"
    low = report.get("baseline_intervals", {})
    baselines = "\n".join(
        f"| {name} | {_figure(values.get(report['metric'], float('nan')), low.get(name, {}).get(report['metric']))} |"
        for name, values in beside.items()
    )
    python = f"ask={report['example']!r}" if report["example"] else '"rows.csv"'
    front = yaml.safe_dump(front_matter(report, schema), sort_keys=False, allow_unicode=True)
    return f"""---
{front}---

# {report["model"]} for {target or report["task"]}

Trained by luban {report["machine"]["luban"]}: task `{report["task"]}`, model `{report["model"]}`, {report["split"]} rows.

{_flat(report["verdict"])}

## Use

```python
import luban
model = luban.load("this/folder")
model.predict({python})
```

or `luban predict this/folder {asked(report["example"])}`. It reads these columns:

{inputs}

## Metrics on the {report["scored"]} part, {sure}

| metric | value |
|---|---|
{metrics}

## Baselines on the same examples ({_flat(called.get(report["metric"], report["metric"]))})

| model | value |
|---|---|
{baselines or "| none asked for | |"}
{_failures(report.get("slices"))}"""


def front_matter(report: dict[str, Any], schema: Schema) -> dict[str, Any]:
    """The hub's metadata: https://github.com/huggingface/hub-docs, modelcard.md. Languages are those that the columns are written in."""
    path = report.get("path")
    data = Path(path).name.split(".")[0] if path else "table"
    kinds = {_kind(each) for each in schema.inputs.values()}
    task = SEEN.get(next(iter(kinds)), "") if len(kinds) == 1 and report["task"] in ("classify", "multilabel") else ""
    task = task or HUB.get(report["task"], "other")
    written = "".join(each.columns[0] for each in (*schema.inputs.values(), *schema.targets.values()))
    result = {
        "task": {"type": task, "name": report["task"]},
        "dataset": {"type": data, "name": data, "split": report["scored"]},
        "metrics": [{"type": name, "name": name, "value": value} for name, value in list(report["metrics"].items())[:20]],
    }
    return {
        "language": ["zh"] if any("\u4e00" <= letter <= "\u9fff" for letter in written) else ["en"],
        "library_name": "luban",
        "pipeline_tag": task,
        "tags": ["luban", report["task"], report["model"]],
        "metrics": [report["metric"]],
        "model-index": [{"name": f"{data}-{report['model']}", "results": [result]}],
    }


def _kind(each: Any) -> str:
    return type(each).__module__.rpartition(".")[2]


def _flat(text: str) -> str:
    """A user's word inside a line of Markdown."""
    return " ".join(str(text).split()).replace("|", "\\|").replace("`", "'").replace("<", "&lt;")


def _figure(value: float | None, interval: Any) -> str:
    return "" if value is None else f"{value:.4f}" + (f" [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else "")


def _failures(slices: dict[str, Any] | None) -> str:
    """Where it is truly worse than elsewhere, the ten surest."""
    if not slices:
        return ""
    worse = sorted(((each["p"], column["column"], each) for column in slices["columns"] for each in column["levels"] if each["worse"]),
                   key=lambda each: each[0])[:10]  # fmt: skip
    if not worse:
        return ""
    lines = "\n".join(
        f"| {_flat(name)} | {_flat(each['value'])} | {each['rows']:,} | {_figure(each['metric'], each['interval'])} |"
        for _, name, each in worse
    )
    sample = f", in a sample of {slices['sample']:,}" if slices.get("sample") else ""
    return f"""
## Where it is worse

Rows that it is wrong on more often than on the rest, beyond chance (Welch's t-test, Holm's correction){sample}:

| column | value | rows | {_flat(slices["metric"])} |
|---|---|---|---|
{lines}
"""
