"""Tables larger than what one would hold in memory: seconds and anonymous memory by the number of rows; writes its part of RESULTS.md.

    python bench/scale.py [--rows 100000 1000000 10000000] [--rounds 3]

The table is drawn from two real ones: rows of Adult and, beside each, five columns of a district of California, every number moved by
about a hundredth, so that no two rows are the same; 20 columns in all. Each figure is a fresh process with an empty $LUBAN_HOME;
"again" is the same command a second time. Memory is RssAnon of /proc, read every 20 ms: what is mapped from files is not in it, for the
system can take it back. In memory and on disk take turns.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
import results

from luban import reading

DATA = results.HERE / ".data"
STEPS = 3000
PREPARE = """
import os, sys, time
from luban.planning import from_words
from luban.stages import prepare as stage
config = from_words({"data": sys.argv[1], "target": [sys.argv[2]], "set": [f"data.on_disk={sys.argv[3]}"]})
def clocked(act, name):
    def run(*args):
        began, before = time.perf_counter(), sum(os.times()[:2])
        made = act(*args)
        print(f"{name}seconds", time.perf_counter() - began)
        print(f"{name}core_seconds", sum(os.times()[:2]) - before)
        return made
    return run
stage.encode = clocked(stage.encode, "encode_")
clocked(stage.prepare, "")(sys.argv[1], config)
"""
POLARS = """
import sys, time
import polars as pl
began = time.perf_counter()
pl.read_csv(sys.argv[1]) if sys.argv[1].endswith("csv") else pl.read_parquet(sys.argv[1])
print("seconds", time.perf_counter() - began)
"""


# ---------------------------------------------------------------- the table


def make(rows: int, suffix: str) -> Path:
    """The table of so many rows, made once."""
    path = DATA / f"scale-{rows}.{suffix}"
    if path.exists():
        return path
    DATA.mkdir(exist_ok=True)
    rng, adult, districts = np.random.default_rng(0), reading.read("adult"), reading.read("california")
    numbers = [name for name in adult.columns if adult[name].cast(pl.Float64, strict=False).null_count() == 0]
    pieces = []
    for start in range(0, rows, 1_000_000):
        n = min(1_000_000, rows - start)
        drawn, beside = adult[rng.integers(0, adult.height, n)], districts[rng.integers(0, districts.height, n)]
        columns = {name: drawn[name].cast(pl.Int64) if name in numbers else drawn[name] for name in drawn.columns if name != "income"}
        columns["fnlwgt"] = columns["fnlwgt"] + pl.Series(rng.integers(-500, 500, n))
        for name in ("MedInc", "HouseAge", "AveRooms", "Latitude", "Longitude"):
            columns[name] = pl.Series(np.round(beside[name].cast(pl.Float64).to_numpy() * (1 + 0.01 * rng.standard_normal(n)), 4))
        pieces.append(pl.DataFrame({**columns, "income": drawn["income"]}))
    table = pl.concat(pieces)
    (table.write_csv if suffix == "csv" else table.write_parquet)(path)
    return path


# ---------------------------------------------------------------- processes


def measured(words: list[str], home: str) -> dict[str, float]:
    """{seconds (as the command itself says, else of the process), what else it says, wall, anonymous (MB at most)}"""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(words, env={**os.environ, "LUBAN_HOME": home}, stdout=out, stderr=subprocess.STDOUT)
        most = 0
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status")
            found = re.search(r"RssAnon:\s+(\d+)", status.read_text()) if status.exists() else None
            most = max(most, int(found[1]) if found else 0)
            time.sleep(0.02)
        wall = time.perf_counter() - began
        out.seek(0)
        said = out.read()
    if process.returncode:
        sys.exit(f"{' '.join(words)} ended with {process.returncode}:\n{said[-3000:]}")
    own = {name: float(value) for name, value in re.findall(r"^(\w*seconds) ([\d.]+)$", said, re.M)}
    return {"seconds": wall, **own, "wall": wall, "anonymous": most / 1024}


def luban(*words: str) -> list[str]:
    return [sys.executable, "-m", "luban", *words]


def train(path: Path, out: Path, on_disk: bool, home: str, steps: int = STEPS, baselines: str | None = "none") -> dict[str, float]:
    """As `measured`, and the examples a second of the loop."""
    words = ["--target", "income", "--model", "mlp", "--out", str(out), "--set", f"data.on_disk={str(on_disk).lower()}"]
    words += ["--set", f"train.steps={steps}", *(["--baselines", baselines] if baselines else [])]
    found = measured(luban("train", str(path), *words), home)
    line = json.loads((out / "metrics.jsonl").read_text().splitlines()[-1 if baselines else 0])
    return {**found, "speed": line["examples_per_second"]}


# ---------------------------------------------------------------- what is measured


def ingest(rows: int, rounds: int) -> list[str]:
    """Split, fitted, in the store; beside what Polars needs to read the same file."""
    path, kinds = make(rows, "csv"), {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as home:
            for name, words in {
                "polars reads it": [sys.executable, "-c", POLARS, str(path)],
                "on disk": [sys.executable, "-c", PREPARE, str(path), "income", "true"],
                "on disk, again": [sys.executable, "-c", PREPARE, str(path), "income", "true"],
                "in memory": [sys.executable, "-c", PREPARE, str(path), "income", "false"],
            }.items():
                kinds.setdefault(name, []).append(measured(words, home))
    base = median(run["seconds"] for run in kinds["polars reads it"])
    lines = [f"### {rows:,} x 20 CSV ({path.stat().st_size / 1e6:,.0f} MB): split, fitted, checked, in the store", "",
             "| | seconds | times Polars | anonymous MB |", "|---|---|---|---|"]  # fmt: skip
    for name, runs in kinds.items():
        seconds = median(run["seconds"] for run in runs)
        lines.append(f"| {name} | {seconds:.2f} | {seconds / base:.1f} | {median(run['anonymous'] for run in runs):,.0f} |")
    return lines


def speed(rows: int, rounds: int) -> list[str]:
    """The loop's examples a second, on disk and in memory, in turns."""
    path, runs = make(rows, "parquet"), {True: [], False: []}
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as out:
        for i in range(rounds):
            for on_disk in (True, False):
                runs[on_disk].append(train(path, Path(out) / f"{i}{on_disk}", on_disk, home))
    ratios = sorted(there["speed"] / here["speed"] for there, here in zip(runs[True], runs[False], strict=True))
    lines = [f"### {rows:,} x 20 Parquet ({path.stat().st_size / 1e6:,.0f} MB): {STEPS:,} steps of the mlp, without baselines", "",
             "| | examples a second | whole command, s | anonymous MB |", "|---|---|---|---|"]  # fmt: skip
    for on_disk, name in ((True, "on disk"), (False, "in memory")):
        of = runs[on_disk]
        lines.append(f"| {name} | {median(run['speed'] for run in of):,.0f} | {median(run['wall'] for run in of):.1f} | "
                     f"{median(run['anonymous'] for run in of):,.0f} |")  # fmt: skip
    lines += ["", f"On disk / in memory, examples a second, round by round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}; "
              "the first round on disk encodes the table, the others find it."]  # fmt: skip
    return lines


def curve(sizes: list[int]) -> list[str]:
    """One command a size: train with baselines, evaluate, predict; seconds and memory."""
    lines = ["### By the number of rows: `train` (mlp, 3,000 steps, baselines beside it), `evaluate`, `predict`", "",
             "| rows | train, s | anonymous MB | evaluate, s | anonymous MB | predict, s | anonymous MB | rows predicted a minute |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for rows in sizes:
        path = make(rows, "parquet")
        with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
            out = Path(folder)
            trained = train(path, out / "run", True, home, baselines=None)
            scored = measured(luban("evaluate", str(out / "run"), str(path)), home)
            asked = measured(luban("predict", str(out / "run"), str(path), "-o", str(out / "answers.csv")), home)
        cells = [f"{value:,.1f} | {each['anonymous']:,.0f}" for each in (trained, scored, asked) for value in [each["wall"]]]
        lines.append(f"| {rows:,} | {' | '.join(cells)} | {rows / asked['wall'] * 60:,.0f} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", type=int, default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["ingest", "speed", "curve"])
    given = parser.parse_args()
    parts = {
        "ingest": lambda: ingest(sorted(given.rows)[len(given.rows) // 2], given.rounds),
        "speed": lambda: speed(max(given.rows), given.rounds),
        "curve": lambda: curve(sorted(given.rows)),
    }
    for name in [given.only] if given.only else list(parts):
        lines = parts[name]()
        print("\n".join(lines), flush=True)
        title = ["## Scale", ""] if name == "ingest" else []
        results.write(f"scale {name}", "scale.py", [*title, *lines, *results.about("scale.py")])


if __name__ == "__main__":
    main()
