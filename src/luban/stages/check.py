"""`luban data check`: everything before a model, and every check."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from luban import checks, splitting
from luban.checks.finding import MOST_ROWS, SERIOUS, SEVERITIES
from luban.planning import from_words
from luban.stages.candidates import name_of
from luban.stages.prepare import prepare


def check(words: dict[str, Any]) -> dict[str, Any]:
    """What `luban train` with the same words should worry about: {"findings": the worst first, "summary", "rows", "task", "split"}.

    Rows with cells that cannot be read, at which a training would stop, are left out and among the findings.
    """
    config = from_words(words)
    skipped = config.data.skip_bad
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, skip_bad=True))
    prepared = prepare(config.data.path, config, checks.DEEP)
    findings, rows = prepared.known.findings, prepared.rows
    if not skipped:  # a training with the same words would stop
        findings = [each | {"severity": SERIOUS} if each["kind"] == "unreadable" else each for each in findings]
        findings.sort(key=lambda each: SEVERITIES.index(each["severity"]))
    counts = Counter(each["severity"] for each in findings)
    number = ", ".join(f"{counts[each]} {each}{'s' * (counts[each] > 1 and each != SERIOUS)}" for each in SEVERITIES if counts[each])
    n, width = len(rows.part), len(prepared.schema.inputs)
    said = f" Columns were judged by {MOST_ROWS:,} rows at most, evenly spaced." if n > MOST_ROWS else ""
    if not prepared.task.labelled:
        said += (
            " Only how cells are written and, of a series, its time axis were looked at: the other checks are about rows with an answer."
        )
    summary = (
        f"{len(findings)} finding{'s' * (len(findings) != 1)}{f' ({number})' if number else ''} in {n:,} rows and {width:,} columns "
        f"read for {name_of(prepared.task)}, split {rows.facts['split']}.{said}"
    )
    return {
        "summary": summary,
        "task": name_of(prepared.task),
        "rows": n,
        "columns": width,
        "split": splitting.summary(rows.part),
        "findings": findings,
    }
