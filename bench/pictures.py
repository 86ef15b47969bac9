"""Pictures beside Keras on TensorFlow, Keras on JAX and the usual PyTorch loop, in one run; writes its part of bench/RESULTS.md.

    LUBAN_DATA=... python bench/pictures.py [--only mlp|cnn|ingest] [--rounds N] [--smoke]

Each peer has a venv of its own under bench/.venvs, made on the first run, and its program in bench/peers/. A run is a fresh process; the
peers take turns (A B C D, A B C D, ...), so a slow minute of the machine hits all of them. --smoke: one epoch of 2,000 pictures, printed,
to see whether all still runs; its figures mean nothing. The lines of single runs are kept in bench/.data/pictures.jsonl.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, median, stdev

import processes
import results
from processes import DATA, Failed, Runs, best, environment, interval, spawn, spread, steady_of, trained, venv_of
from results import HERE, LOAD, RESULTS, write

RECIPES = HERE.parent / "recipes"
FILES = ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]

EPOCHS = {"mlp": 10, "cnn": 5}
ROUNDS = {"mlp": 5, "cnn": 3}
BATCH = 32
CNN_FLOPS = 15_396_864
"""A training picture: three times the products of a forward pass, less the gradient of the pixels, which nobody needs."""

KERAS = "keras==3.15.1"
NEEDS = {
    "keras-tf": ["tensorflow-cpu==2.21.0", KERAS, "numpy==2.4.6"],
    "keras-jax": ["jax[cpu]==0.10.2", KERAS, "numpy==2.4.6"],
    "torch": ["torch==2.13.0", "numpy==2.4.6"],
}
VARIANTS = {
    "keras-tf": {"as it comes": [], "steps_per_execution=211": ["--steps-per-execution", "211"]},  # an eighth of an epoch, in one graph
    "keras-jax": {"as it comes": []},
    "torch": {"as it comes": [], "one thread": ["--threads", "1"]},
}
"""Of a peer's variants, its best stands in the table."""

# ---------------------------------------------------------------- one run


def run(peer: str, variant: str, workload: str, seed: int, epochs: int, folder: Path) -> dict:
    """One training in a process of its own. total_seconds: from its start to the end of the last epoch; command_seconds: to its end."""
    with tempfile.TemporaryDirectory() as scratch:
        env = environment(folder, peer, Path(scratch))
        if peer == "luban":
            facts = luban(workload, seed, epochs, folder, Path(scratch), env)
        else:
            script = HERE / "peers" / ("torch_loop.py" if peer == "torch" else "keras_fit.py")
            words = [workload, "--epochs", str(epochs), "--seed", str(seed), *VARIANTS[peer][variant]]
            facts, began, ended = spawn([str(venv_of(peer, NEEDS[peer])), str(script), *words], env)
            facts["command_seconds"] = ended - began
    line = {"peer": peer, "variant": variant, "workload": workload, "seed": seed, **facts}
    with open(DATA / "pictures.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    steady = f"{steady_of(line):6.2f} s an epoch, {line['total_seconds']:6.1f} s to the last"
    print(f"{workload} seed {seed} {peer:<9} {variant:<24} {steady}, test {line['test']:.4f}", flush=True)
    return line


def luban(workload: str, seed: int, epochs: int, folder: Path, scratch: Path, env: dict[str, str]) -> dict:
    """`luban train` as a user says it, its cache empty; on as many rows as the peers, and judged after each epoch as they are."""
    per_epoch, out = math.ceil(trained_rows(folder) / BATCH), scratch / "run"
    command = [str(Path(sys.executable).parent / "luban"), "train", str(RECIPES / f"fashion-{workload}.yaml"), "--baselines", "none"]
    for setting in ("train.patience=0", f"train.epochs={epochs}", f"train.eval_every={per_epoch}", "data.shares=[0.9,0.1,0]"):
        command += ["--set", setting]
    _, began, ended = spawn([*command, "--seed", str(seed), "--out", str(out), "--json"], env, fine=(0, 1))  # 1: below the gate
    return trained(out, began, ended, per_epoch)


def trained_rows(folder: Path) -> int:
    """Nine tenths of the training file, by the count in its head."""
    with gzip.open(folder / "fashion-mnist" / FILES[1]) as file:
        return int.from_bytes(file.read(8)[4:], "big") * 9 // 10


# ---------------------------------------------------------------- all runs of one workload


def race(workload: str, rounds: int, epochs: int, folder: Path, small: Path) -> Runs:
    entrants = [(peer, variant) for peer, variants in {"luban": {"as it comes": []}, **VARIANTS}.items() for variant in variants]

    def act(peer: str, variant: str, seed: int) -> dict:
        return run(peer, variant, workload, seed, *((epochs, folder) if seed else (1, small)))

    return processes.race(entrants, act, rounds)


def table(workload: str, runs: Runs, epochs: int) -> list[str]:
    """The Markdown table: ours, the best variant of each peer, and how many times as long as ours each takes."""
    peers = [peer for peer in NEEDS if any(entrant[0] == peer for entrant in runs)]
    columns = ["luban", *peers]
    head = [f"fashion-{workload}", *columns, *(f"{peer} / luban (95 %)" for peer in peers)]
    text = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    measures = {
        "steady seconds an epoch": steady_of,
        f"seconds from command to {epochs} epochs": lambda line: line["total_seconds"],
        "seconds of the whole command": lambda line: line["command_seconds"],
    }
    for name, measure in measures.items():
        values = {peer: [measure(line) for line in best(runs, peer, measure)] for peer in columns}
        cells = [f"{median(values[peer]):.2f}" for peer in columns]
        for peer in peers:
            ratios = [theirs / ours for theirs, ours in zip(values[peer], values["luban"], strict=True)]
            cells.append("{:.2f} ({:.2f}-{:.2f})".format(*interval(ratios)))
        text.append(f"| {' | '.join([name, *cells])} |")
    facts = {"test accuracy": lambda line: line["test"], "last validation": lambda line: line["valid"][-1], "threads": None}
    for name, fact in facts.items():
        lines = [best(runs, peer, steady_of) for peer in columns]
        cells = [spread([fact(line) for line in each]) if fact else str(each[0]["threads"]) for each in lines]
        text.append(f"| {' | '.join([name, *cells, *[''] * len(peers)])} |")
    ours = best(runs, "luban", steady_of)
    variants = []
    for (peer, variant), lines in runs.items():
        ratios = [steady_of(a) / steady_of(b) for a, b in zip(lines, ours, strict=True)]
        totals = [a["total_seconds"] / b["total_seconds"] for a, b in zip(lines, ours, strict=True)]
        said = f"{peer} {variant} {median(map(steady_of, lines)):.2f} s"
        variants.append(said + (f" ({median(ratios):.2f} times luban's; from the command {median(totals):.2f})" if peer != "luban" else ""))
    said = f"Of a peer's variants the better stands in each row. All, steady seconds an epoch: {'; '.join(variants)}."
    return [*text, "", said, *gate(runs, peers)]


def gate(runs: Runs, peers: list[str]) -> list[str]:
    """A speed counts only at the same answer: the same network, the same training, accuracy within the noise of each peer's."""
    ours, doubts = best(runs, "luban", steady_of), []
    for peer in peers:
        theirs = best(runs, peer, steady_of)
        gaps = [a["test"] - b["test"] for a, b in zip(theirs, ours, strict=True)]
        if mean(gaps) > max(0.002, stdev(gaps) / len(gaps) ** 0.5 if len(gaps) > 1 else 0.0):
            doubts.append(f"luban's test accuracy is {mean(gaps):.4f} below {peer}'s")
        if theirs[0]["parameters"] != ours[0]["parameters"]:
            doubts.append(f"{peer} has {theirs[0]['parameters']:,} weights, luban {ours[0]['parameters']:,}")
    train, model = ours[0]["settings"]["train"], ours[0]["settings"]["model"]
    equal = {"optimizer": "adam", "lr": 1e-3, "batch_size": BATCH, "schedule": "constant"}
    equal |= dict.fromkeys(("weight_decay", "warmup", "clip", "ema"), 0) | {"accumulate": 1}
    doubts += [f"luban's train.{key} was {train[key]}, the peers' {value}" for key, value in equal.items() if train.get(key) != value]
    doubts += [f"luban's model.augment was {model['augment']}"] if model.get("augment") else []
    said = f"luban's network: {model}; in {train['precision']}, threads {train['threads']}; rows {ours[0]['split']}."
    said += " The peers compute in fp32." if train["precision"] != "fp32" else ""
    return [
        "",
        said,
        *(
            [f"**Not the same work: {'; '.join(doubts)}.**"]
            if doubts
            else ["As many weights, the same settings, test accuracy no lower than a peer's but for noise."]
        ),
    ]


# ---------------------------------------------------------------- roofs


def roofs(folder: Path, scratch: Path) -> dict:
    """{what: seconds, the better of one thread and all}, in luban's own venv."""
    facts, *_ = spawn([sys.executable, str(HERE / "peers" / "roofs.py")], environment(folder, "luban", scratch))
    print(f"roofs: {json.dumps(facts['seconds'])}", flush=True)
    return {name: min(times.items(), key=lambda pair: pair[1]) for name, times in facts["seconds"].items()}


def share_of_roof(workload: str, runs: Runs, roof: dict, rows: int) -> list[str]:
    """How much of a measured epoch the machine's best would take."""
    fp32, bf16 = (2 * 2048**3 / roof[name][1] / 1e9 for name in ("mm_fp32", "mm_bf16"))
    products, adam, (threads, small) = roof["mlp_products"][1], roof["mlp_adam"][1], roof["small_mm"]
    text = [
        f"Roofs, measured first: products of 2048 x 2048 fp32 {fp32:.0f} GF/s, bf16 {bf16:.0f}; (32, 784) @ (784, 128) in "
        f"{small * 1e6:.0f} us, {2 * 32 * 784 * 128 / small / 1e9:.0f} GF/s (threads: {threads}). A step of the mlp: its eight products "
        f"{products * 1e6:.0f} us, fused Adam {adam * 1e6:.0f} us. Beside them what was measured, validation included:",
        "",
    ]
    steps, flops = rows / BATCH, CNN_FLOPS * rows / 1e9
    for (peer, variant), lines in runs.items():
        epoch = median(map(steady_of, lines))
        if workload == "mlp":
            said = f"{epoch / steps * 1e6:.0f} us a step, of which products and Adam are {(products + adam) * steps / epoch:.0%}"
        else:
            said = f"{flops / epoch:.0f} GF/s, {flops / fp32 / epoch:.0%} of the fp32 roof, {flops / bf16 / epoch:.0%} of bf16's"
        text.append(f"- {peer}, {variant}: {said}")
    return ["", *text]


# ---------------------------------------------------------------- a folder of pictures


def ingest(source: Path, scratch: Path, smoke: bool) -> list[str]:
    """MNIST as PNG files -> `luban train` for one step: first with an empty cache, then again."""
    env, pictures = environment(source, "luban", scratch), scratch / "mnist"
    luban = str(Path(sys.executable).parent / "luban")
    export = [luban, "data", "get", "mnist", "-o", str(pictures)]
    done = subprocess.run(export, env=env, capture_output=True, text=True)
    if done.returncode:
        raise Failed(export, done)
    n, walls, firsts = sum(1 for _ in pictures.rglob("*.png")), [], []
    for again in range(2 if smoke else 3):
        out = scratch / f"run{again}"
        words = ["--target", "label", "--model", "mlp", "--baselines", "none", "--set", "train.steps=1", "--out", str(out), "--json"]
        _, began, ended = spawn([luban, "train", str(pictures), *words], env)
        walls.append(ended - began)
        firsts.append((out / "metrics.jsonl").stat().st_mtime - began)
    names = ["first run", "second run", "third run"][: len(walls)]
    return [
        f"| {n:,} PNG files in folders, `luban train DIR --target label --set train.steps=1` | {' | '.join(names)} |",
        "|" + "---|" * (len(walls) + 1),
        f"| seconds to the first step, validation included | {' | '.join(f'{value:.2f}' for value in firsts)} |",
        f"| seconds of the whole command | {' | '.join(f'{value:.2f}' for value in walls)} |",
        "",
        f"Pictures a second: {n / firsts[0]:,.0f} by the first run as a whole, {n / (firsts[0] - firsts[1]):,.0f} by what the cache saves.",
    ]


# ---------------------------------------------------------------- RESULTS.md


def about(rounds: int | None) -> list[str]:
    versions = ", ".join(f"{peer}: {' '.join(needs)}" for peer, needs in NEEDS.items())
    return results.about("pictures.py", f" {versions}." + (f" Seeds 1 to {rounds}, one a round." if rounds else ""))


PROTOCOL = """Fashion-MNIST: 54,000 pictures trained on, 6,000 judged after each epoch, 10,000 tested once; batch 32, Adam
1e-3. The peers train on the first 54,000 of the training file and test their last weights; luban draws its 54,000 by the hash
of each row and tests the weights that were best on validation. Peers get floats of 0 to 1, no progress bar, their own choice
of threads. Each run is a fresh process, the peers take turns, luban's cache is empty. An epoch holds its validation (and
luban's checkpoints); steady is the median of all but the first. A ratio above 1: luban is faster; it is the median over the
rounds of each round's own ratio, with its bootstrap interval.
"""


def few(source: Path, n: int) -> Path:
    """Fashion-MNIST's files with their first n training pictures and n / 4 of the test's, for warming up and --smoke."""
    target = DATA / "few" / "fashion-mnist"
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        with gzip.open(source / "fashion-mnist" / name) as file:
            raw, some = file.read(), n if name.startswith("train") else n // 4
        head = 4 + 4 * raw[3]
        each = 784 if "images" in name else 1
        (target / name).write_bytes(gzip.compress(raw[:4] + some.to_bytes(4, "big") + raw[8 : head + some * each]))
    return target.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=["mlp", "cnn", "ingest"])
    parser.add_argument("--rounds", type=int, help="5 for mlp, 3 for cnn")
    parser.add_argument("--smoke", action="store_true")
    args = parser.parse_args()
    source = Path(os.environ.get("LUBAN_DATA", ""))
    if missing := [name for name in FILES if not (source / "fashion-mnist" / name).is_file()]:
        sys.exit(f"error: $LUBAN_DATA/fashion-mnist must hold the four gzipped IDX files; {missing[0]} is not there.")
    DATA.mkdir(exist_ok=True)
    small = few(source, 2_000)
    into = DATA / "smoke.md" if args.smoke else RESULTS
    if LOAD > 0.5:
        print(f"warning: the load is {LOAD:.2f}; figures of a busy machine mislead", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        trained = [name for name in EPOCHS if args.only in (None, name)]
        roof = roofs(source, Path(scratch)) if trained else {}
        for workload in trained:
            rounds = args.rounds or (1 if args.smoke else ROUNDS[workload])
            epochs = 1 if args.smoke else EPOCHS[workload]
            folder = small if args.smoke else source
            rows = trained_rows(folder)
            runs = race(workload, rounds, epochs, folder, small)
            lines = [PROTOCOL, *table(workload, runs, epochs), *share_of_roof(workload, runs, roof, rows), *about(rounds)]
            write(f"pictures {workload}", "pictures.py", [f"## Pictures: fashion-{workload}, {epochs} epochs", "", *lines], into)
        if args.only in (None, "ingest"):
            lines = [*ingest(source, Path(scratch), args.smoke), *about(None)]
            write("pictures ingest", "pictures.py", ["## Pictures: from PNG files to the first step", "", *lines], into)
    print(into.read_text(encoding="utf-8") if args.smoke else f"written: {into}")


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"error: {error}")
