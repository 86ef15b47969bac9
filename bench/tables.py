"""Tables beside LightGBM, scikit-learn and AutoGluon: quality, and seconds of the whole command; writes its part of RESULTS.md.

    python bench/tables.py [adult] [california] [--rounds 3] [--without "AutoGluon tabular"]

Everybody reads the same two CSV files, those of the recipe's split: all rows but the test's, and the test's. A run is a fresh process from
the files to the answers, the peers take turns, defaults throughout (AutoGluon: time_limit=240, light install); luban carves its own
validation rows out of the first file, as AutoGluon does. Adult has one official test part, so its rounds differ by the seed alone; a
round of California is a split of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median, pstdev

import numpy as np
import results
from processes import DATA, venv_of

from luban import reading
from luban.planning import from_words
from luban.splitting import TEST
from luban.stages.prepare import prepare

SETS = {
    "adult": {"target": "income", "metric": "accuracy", "set": ["data.test_rows=[0,16281]"]},
    "california": {"target": "MedHouseVal", "metric": "rmse", "set": []},
}
LUBAN = {"luban (auto)": [], "luban --model trees": ["--model", "trees"], "luban --model tabm": ["--model", "tabm"]}
PEERS = ["LightGBM", "HistGradientBoosting", "scikit-learn MLP", "AutoGluon tabular"]
NEEDS = ["autogluon.tabular[lightgbm]==1.6.3"]


def files(name: str, split: int) -> tuple[Path, Path]:
    """(all rows but the test's, the test's), as CSV."""
    folder = DATA / "tables" / f"{name}-{split}"
    folder.mkdir(parents=True, exist_ok=True)
    words = {"data": name, "target": [SETS[name]["target"]], "set": [*SETS[name]["set"], f"data.split_seed={split}"]}
    rows = prepare(name, from_words(words)).rows
    whole, tested = reading.read(name), rows.part == TEST
    for path, chosen in ((folder / "train.csv", ~tested), (folder / "test.csv", tested)):
        whole[np.sort(rows.numbers[chosen])].write_csv(path)
    return folder / "train.csv", folder / "test.csv"


def run(who: str, name: str, python: Path, train: Path, test: Path, seed: int) -> tuple[float, float]:
    """(the metric on the test rows, seconds of the process)."""
    target, metric = SETS[name]["target"], SETS[name]["metric"]
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "LUBAN_HOME": folder}
        if who in LUBAN:
            words = [sys.executable, "-m", "luban", "train", str(train), "--target", target, "--test", str(test), "--seed", str(seed)]
            words += ["--metric", metric, "--out", f"{folder}/run", *LUBAN[who]]
        else:
            words = [str(python), str(results.HERE / "peers" / "tables.py"), who, str(train), str(test), target, str(seed)]
        began = time.perf_counter()
        done = subprocess.run(words, env=env, capture_output=True, text=True, cwd=folder)
        seconds = time.perf_counter() - began
        if done.returncode:
            sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        if who in LUBAN:
            return json.loads(Path(folder, "run", "report.json").read_text())["metrics"][metric], seconds
        return json.loads(done.stdout.strip().splitlines()[-1])["value"], seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(SETS), metavar="NAME", help="adult, california")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without", action="append", default=[])
    given = parser.parse_args()
    python = venv_of("autogluon", NEEDS)
    for name in given.names:
        found: dict[str, list[tuple[float, float]]] = {}
        for i in range(given.rounds):
            train, test = files(name, 0 if name == "adult" else i)
            for who in [each for each in (*LUBAN, *PEERS) if each not in given.without]:
                found.setdefault(who, []).append(run(who, name, python, train, test, i))
                print(name, i, who, *(f"{value:.4f}" for value in found[who][-1]), flush=True)
        metric, best = SETS[name]["metric"], min if SETS[name]["metric"] == "rmse" else max
        ranked = sorted(found, key=lambda who: mean(value for value, _ in found[who]), reverse=best is max)
        lines = [f"## Tables: {name}", "", f"| | {metric} | seconds, whole command |", "|---|---|---|"]
        for who in ranked:
            values = [value for value, _ in found[who]]
            lines.append(f"| {who} | {mean(values):.4f} ± {pstdev(values):.4f} | {median(seconds for _, seconds in found[who]):.1f} |")
        what = "seeds" if name == "adult" else "splits"
        lines += ["", f"Means over {given.rounds} {what} and their spread; {__doc__.split(chr(10) * 2)[2].strip()}"]
        results.write(f"tables {name}", "tables.py", [*lines, *results.about("tables.py", f" {' '.join(NEEDS)}.")])


if __name__ == "__main__":
    main()
