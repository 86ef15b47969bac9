"""bench/RESULTS.md: each benchmark writes its own part between its markers; and the line that says where and how it was run."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"
LOAD = os.getloadavg()[0]
"""Before anything was measured."""


def write(part: str, by: str, lines: list[str], into: Path = RESULTS) -> None:
    """Puts the lines between the markers of `part`; all else in the file stays."""
    begin, end = f"<!-- {part}: written by bench/{by} -->", f"<!-- end of {part} -->"
    fresh = "# Side by side\n\nWins and losses alike; `make bench` writes this again.\n"
    text = into.read_text(encoding="utf-8") if into.exists() else fresh
    section = "\n".join([begin, *lines, end])
    found = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    text = found.sub(lambda _: section, text) if found.search(text) else f"{text.rstrip()}\n\n{section}\n"
    into.write_text(text, encoding="utf-8")


def about(by: str, more: str = "") -> list[str]:
    """Where and how: the machine, the versions, the command."""
    told = Path("/proc/cpuinfo").read_text()
    cpu = " ".join(found[1] for key in ("model name", "cpu family", "model") if (found := re.search(rf"^{key}\s*:\s*(.+)", told, re.M)))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    commit = subprocess.run(["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    machine = f"{cpu or platform.machine()} (family, model), {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, "
    machine += f"Python {platform.python_version()}"
    command = " ".join([f"python bench/{by}", *sys.argv[1:]])
    return [
        "",
        f"{datetime.date.today()}, {machine}; luban at {commit}. Load before the first run: {LOAD:.2f}. `{command}`.{more}",
    ]
