"""What the races share: peers in venvs of their own, each run a fresh process, in turns; and what a run of luban says of itself."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import mean, median, stdev

import results
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
    """What the run folder of `luban train` says. total_seconds: from the command to the last epoch's end; command_seconds: to its own;
    train_seconds: training and its validations."""
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
        "train_seconds": (out / "metrics.jsonl").stat().st_mtime - (out / "asked.json").stat().st_mtime,  # written before training
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


# ---------------------------------------------------------------- one run, and its table


def luban(words: Sequence[str], settings: Sequence[str], seed: int, scratch: Path, env: dict[str, str]) -> tuple[Path, float, float]:
    """`luban train`: (its run folder, when it was started, when it ended)"""
    out = scratch / "run"
    command = [sys.executable, "-m", "luban", "train", *words, "--baselines", "none", "--seed", str(seed), "--out", str(out), "--json"]
    _, began, ended = spawn([*command, *(word for setting in settings for word in ("--set", setting))], env)
    return out, began, ended


def peer_run(python: Path, script: str, words: Sequence[object], env: dict[str, str]) -> dict:
    facts, began, ended = spawn([str(python), str(HERE / "peers" / f"{script}.py"), *map(str, words)], env)
    return {**facts, "command_seconds": ended - began}


def kept(what: str, file: str, act: Callable[[str, str, int, Path, dict[str, str]], dict]) -> Callable[[str, str, int], dict]:
    """A run as `race` wants it, with a scratch folder of its own; its line is kept in this file of .data. The data are $LUBAN_DATA's."""
    source = Path(os.environ.get("LUBAN_DATA", "")).resolve()

    def run(peer: str, variant: str, seed: int) -> dict:
        with tempfile.TemporaryDirectory() as scratch:
            facts = act(peer, variant, seed, Path(scratch), environment(source, peer, Path(scratch)))
        line = {"what": what, "peer": peer, "variant": variant, "seed": seed, **facts}
        with open(DATA / file, "a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")
        said = ", ".join(f"{key} {line[key]:.4g}" for key in ("train_seconds", "command_seconds", "test") if key in line)
        print(f"{what} seed {seed} {peer:<9} {variant:<24} {said}", flush=True)
        return line

    return run


Measure = Callable[[dict], float]


def table(title: str, runs: Runs, seconds: dict[str, Measure], facts: dict[str, Callable[[list[dict]], str]]) -> list[str]:
    """A line for each entrant: its seconds, how many times as long as luban's first variant it takes, and its facts."""
    ours = next(lines for (peer, _), lines in runs.items() if peer == "luban")
    head = [title, *(each for name in seconds for each in (name, "times luban's (95 %)")), *facts]
    text = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for (peer, variant), lines in runs.items():
        cells = [f"{peer}, {variant}"]
        for measure in seconds.values():
            ratios = [measure(theirs) / measure(own) for theirs, own in zip(lines, ours, strict=True)]
            cells += [f"{median(map(measure, lines)):.2f}", "" if lines is ours else "{:.2f} ({:.2f}-{:.2f})".format(*interval(ratios))]
        text.append(f"| {' | '.join([*cells, *(fact(lines) for fact in facts.values())])} |")
    return text


def gates(runs: Runs, measure: Measure, wanted: dict[str, float]) -> str:
    """Each peer's fastest variant beside luban's first, by the median of the rounds' own ratios; and the accuracy, without which speed is
    nothing."""
    (own, ours), *_ = ((entrant, lines) for entrant, lines in runs.items() if entrant[0] == "luban")
    said = []
    for peer, least in wanted.items():
        if not any(entrant[0] == peer for entrant in runs):
            said.append(f"{peer} did not run")
            continue
        lines = best(runs, peer, measure)
        ratio = median(measure(a) / measure(b) for a, b in zip(lines, ours, strict=True))
        gap = mean(a["test"] - b["test"] for a, b in zip(lines, ours, strict=True))
        said.append(f"{peer} {ratio:.2f} of {least:g} {'reached' if ratio >= least else '**missed**'} (test {gap:+.4f} beside luban's)")
    return f"Wanted, of each peer's fastest variant, beside luban ({own[1]}): {'; '.join(said)}."


def test_of(lines: list[dict]) -> str:
    return spread([line["test"] for line in lines])


def threads_of(lines: list[dict]) -> str:
    return str(lines[0]["threads"])


def command_of(line: dict) -> float:
    return line["command_seconds"]


def trained_in(line: dict) -> float:
    return line["train_seconds"]


def about(by: str, rounds: int, needs: dict[str, list[str]], runs: Runs) -> list[str]:
    """needs: of each peer."""
    left = [peer for peer in needs if not any(entrant[0] == peer for entrant in runs)]
    said = ", ".join(f"{peer}: {' '.join(each)}" for peer, each in needs.items()) + "."
    said += f" Seeds 1 to {rounds}, one a round." + (f" Did not run: {', '.join(left)}." if left else "")
    return results.about(by, f" {said}")


# ---------------------------------------------------------------- a benchmark's command

Section = Callable[[int, bool], list[str]]
"""(rounds, quick) -> its part of RESULTS.md"""


def main(by: str, about_it: str, sections: dict[str, Section], rounds: dict[str, int], missing: str = "") -> None:
    """The command of bench/`by`: the named sections, or all, each into its part of RESULTS.md. missing: which data are."""
    parser = argparse.ArgumentParser(description=about_it.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(sections))
    parser.add_argument("--rounds", type=int, help=", ".join(f"{n} for {name}" for name, n in rounds.items()))
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in sections]:
        parser.error(f"there is no {unknown[0]!r}, but {', '.join(sections)}")
    if missing:
        sys.exit(f"error: {missing}")
    DATA.mkdir(exist_ok=True)
    into = DATA / "quick.md" if args.quick else results.RESULTS
    if results.LOAD > 0.5:
        print(f"warning: the load is {results.LOAD:.2f}; figures of a busy machine mislead", flush=True)
    try:
        for name in args.names or sections:
            lines = sections[name](args.rounds or (1 if args.quick else rounds[name]), args.quick)
            print("\n".join(lines), flush=True)
            results.write(f"{by.removesuffix('.py')} {name}", by, lines, into)
    except Failed as error:
        sys.exit(f"error: {error}")
