"""What the races share: peers in venvs of their own, each run a fresh process, in turns; and what a run of luban says of itself."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, median, stdev

import yaml
from results import HERE

DATA, VENVS = HERE / ".data", HERE / ".venvs"

Entrant = tuple[str, str]
"""(peer, variant)"""
Runs = dict[Entrant, list[dict]]
"""{(peer, variant): its runs, one a round}"""


class Failed(Exception):
    """A process ended without its line; says what it wrote last."""

    def __init__(self, command: list[str], done: subprocess.CompletedProcess):
        words = [line for line in (done.stderr or done.stdout).strip().splitlines() if not line.startswith("WARNING")][-3:]
        super().__init__(f"{' '.join(command)} ended with {done.returncode}: {' | '.join(words)}")


def environment(folder: Path, peer: str, scratch: Path) -> dict[str, str]:
    """Without what slows a peer here: OPENBLAS_CORETYPE and _L2_SIZE make numpy slower on these machines; each picks its own threads."""
    unset = ("OPENBLAS_", "OMP_", "MKL_", "GOMP_", "KERAS_", "TF_", "XLA_", "JAX_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(unset)}
    homes = {"LUBAN_DATA": str(folder), "LUBAN_HOME": str(scratch / "home"), "KERAS_HOME": str(scratch / "keras")}
    return kept | homes | {"KERAS_BACKEND": "jax" if peer == "keras-jax" else "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}


def spawn(command: list[str], env: dict[str, str], fine: tuple[int, ...] = (0,)) -> tuple[dict, float, float]:
    """(the JSON of its last line, when it was started, when it ended)"""
    began = time.time()
    done = subprocess.run(command, env=env | {"BENCH_SPAWNED": repr(began)}, capture_output=True, text=True)
    ended = time.time()
    lines = done.stdout.strip().splitlines()
    if done.returncode not in fine or not lines:
        raise Failed(command, done)
    return json.loads(lines[-1]), began, ended


def venv_of(peer: str, needs: list[str]) -> Path:
    """The peer's Python, installed if need be. pip asks whatever index this machine is set up for."""
    folder = VENVS / peer
    python, ready, wanted = folder / "bin" / "python", folder / "ready", "\n".join(needs)
    if not (ready.exists() and ready.read_text() == wanted):
        print(f"{peer}: installing {', '.join(needs)}", flush=True)
        for command in ([sys.executable, "-m", "venv", str(folder)], [str(python), "-m", "pip", "install", "--quiet", *needs]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise Failed(command, done)
        ready.write_text(wanted)
    return python


def trained(out: Path, began: float, ended: float, per_epoch: int) -> dict:
    """What the run folder of `luban train` says. total_seconds: from the command to the last epoch's end; command_seconds: to its own."""
    lines = [{"step": 0, "seconds": 0.0}, *map(json.loads, (out / "metrics.jsonl").read_text().splitlines())]
    report, settings = json.loads((out / "report.json").read_text()), yaml.safe_load((out / "config.yaml").read_text())
    epoch_seconds = []
    for before, after in itertools.pairwise(lines):
        steps = after["step"] - before["step"]
        if steps > 0.9 * per_epoch:  # a row more or fewer in training may leave a few steps over; per step all are alike
            epoch_seconds.append((after["seconds"] - before["seconds"]) * per_epoch / steps)
    return {
        "epoch_seconds": epoch_seconds,
        "total_seconds": (out / "metrics.jsonl").stat().st_mtime - began,  # its last line is written as the last epoch ends
        "command_seconds": ended - began,
        "valid": [line[report["metric"]] for line in lines[1:]],
        "test": report["metrics"][report["metric"]],
        "threads": settings["train"]["threads"],
        "parameters": report["parameters"],
        "settings": {"model": settings["model"], "train": settings["train"]},
        "split": report["split"],
    }


def race(entrants: Iterable[Entrant], act: Callable[[str, str, int], dict], rounds: int) -> Runs:
    """Everyone's runs, act(peer, variant, seed), a round a seed; a peer that cannot be installed or cannot run is named and left out."""
    fit = []
    for peer, variant in entrants:
        try:  # seed 0, a short run, warms the disk's cache and compiles bytecode, so that the first round is like the others
            act(peer, variant, 0)
            fit.append((peer, variant))
        except (Failed, OSError) as error:
            print(f"SKIPPED {peer} ({variant}): {error}", flush=True)
    if not any(peer == "luban" for peer, _ in fit):
        sys.exit("error: luban itself does not run, so there is nothing to compare; see above")
    runs: Runs = {entrant: [] for entrant in fit}
    for seed in range(1, rounds + 1):
        for entrant in fit:
            runs[entrant].append(act(*entrant, seed))
    return runs


def steady_of(line: dict) -> float:
    """The median of the epochs after the first, which compiles and warms up."""
    return median(line["epoch_seconds"][1:] or line["epoch_seconds"])


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """The median, and its 95 % bootstrap interval over the rounds; of few rounds it is little more than their range."""
    draw = random.Random(0)
    medians = sorted(median(draw.choices(ratios, k=len(ratios))) for _ in range(10_000))
    return median(ratios), medians[250], medians[9749]


def best(runs: Runs, peer: str, measure: Callable[[dict], float]) -> list[dict]:
    """The runs of the peer's best variant."""
    return min((lines for entrant, lines in runs.items() if entrant[0] == peer), key=lambda lines: median(map(measure, lines)))


def spread(values: list[float]) -> str:
    return f"{mean(values):.4f}" + (f" ± {stdev(values) / len(values) ** 0.5:.4f}" if len(values) > 1 else "")
