"""What is more than a line: the progress display of a training (plain notes where there is no terminal), and findings about data."""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from luban.checks.finding import where

MOST_ALIKE = 3
COLOURS = {"serious": "bold red", "doubt": "yellow", "note": "dim"}


class Screen:
    """Hooks for `luban.train`, on stderr. Draws ten times a second at most, and nothing at all under --quiet or into a file."""

    def __init__(self, quiet: bool):
        self.console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
        self.quiet = quiet
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
            TextColumn("{task.fields[facts]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=self.console, transient=True, disable=quiet or not self.console.is_terminal)
        self.bars: dict[str, Any] = {}
        self.drawn = 0.0

    def __enter__(self) -> Screen:
        self.progress.start()
        return self

    def __exit__(self, *problem: Any) -> None:
        self.progress.stop()

    def print(self, text: str) -> None:
        self.console.print(text)

    def on_step(self, name: str, step: int, total: int) -> None:
        now = time.monotonic()
        if now - self.drawn < 0.1 and step < total:
            return
        self.drawn = now
        if name not in self.bars:
            self.bars[name] = self.progress.add_task(name, total=total, facts="")
        self.progress.update(self.bars[name], completed=step, total=total)

    def on_eval(self, line: dict[str, Any]) -> None:
        if line["model"] in self.bars:
            metric, value = next((key, line[key]) for key in line if key not in ("model", "step", "epoch", "train_loss"))
            shown = "none" if value is None else f"{value:.4f}"
            facts = f"loss {line['train_loss']:.4f}  {metric} {shown}  {line['examples_per_second']:,} rows/s"
            self.progress.update(self.bars[line["model"]], facts=facts)

    def on_end(self, name: str) -> None:
        if name in self.bars:
            self.progress.remove_task(self.bars.pop(name))


def show_findings(checked: dict[str, Any]) -> None:
    """The findings of `luban data check`, the worst first, a paragraph each; of many alike the first three."""
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 100_000)  # a file wraps nothing
    alike = Counter[tuple[str, str]]()
    for each in checked["findings"]:
        alike[both := (each["severity"], each["kind"])] += 1
        if alike[both] > MOST_ALIKE:
            continue
        head = f"{each['severity']:<8} {each['kind']}" + (f"  {each['column']}" if each["column"] else "")
        sure = f"certainty {each['certainty']:.2f}: {each['basis']}"
        console.print(Text(head, COLOURS[each["severity"]]))
        for line, style in ((f"{each['what']}{where(each)}.", ""), (sure, "dim"), (f"-> {each['mend']}", "bold")):
            console.print(Padding(Text(line, style), (0, 0, 0, 4), expand=False))
        console.print()
    for (severity, kind), number in alike.items():
        if number > MOST_ALIKE:
            console.print(f"and {number - MOST_ALIKE} more of {kind} ({severity}): --json or -o FILE lists them all.")
    console.print(Text(checked["summary"]))
