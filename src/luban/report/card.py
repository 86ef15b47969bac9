"""The model card: README.md in the bundle, what a stranger needs to know before using the model. Free to edit: no hash covers it."""

from __future__ import annotations

import shlex
from typing import Any

from luban.core.contract import Schema


def asked(example: dict[str, Any]) -> str:
    """What follows `luban predict RUN` in a first question."""
    words = [f"{'-' if len(key) == 1 else '--'}{key.replace('_', '-')} {shlex.quote(str(value))}" for key, value in example.items()]
    return " ".join(words) or "rows.csv -o predictions.csv"


def card(report: dict[str, Any], schema: Schema) -> str:
    """Markdown with the hub's front matter."""
    target = ", ".join(repr(each.columns[0]) for each in schema.targets.values())
    metrics = "\n".join(f"| {name} | {value:.4f} |" for name, value in report["metrics"].items())
    inputs = "\n".join(f"- `{each.columns[0]}`: {type(each).__module__.rpartition('.')[2]}" for each in schema.inputs.values())
    baselines = "\n".join(f"| {name} | {values.get(report['metric'], float('nan')):.4f} |" for name, values in report["baselines"].items())
    python = f"ask={report['example']!r}" if report["example"] else '"rows.csv"'
    return f"""---
library_name: luban
tags: [luban, {report["task"]}]
metrics: [{report["metric"]}]
---

# {report["model"]} for {target or report["task"]}

Trained by luban {report["machine"]["luban"]}: task `{report["task"]}`, model `{report["model"]}`, {report["split"]} rows.

{report["verdict"]}

## Use

```python
import luban
model = luban.load("this/folder")
model.predict({python})
```

or `luban predict this/folder {asked(report["example"])}`. It reads these columns:

{inputs}

## Test metrics

| metric | value |
|---|---|
{metrics}

## Baselines on the same examples ({report["metric"]})

| model | value |
|---|---|
{baselines or "| none asked for | |"}
"""
