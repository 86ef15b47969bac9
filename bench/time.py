"""Forecasting beside neuralforecast and statsforecast, and luban's own limits; writes its part of RESULTS.md.

    LUBAN_DATA=... python bench/time.py [nlinear] [patchtst] [many] [stats] [backtest] [--rounds N] [--quick]

A peer has a venv of its own under bench/.venvs, made on the first run, and its program in bench/peers/. A run is a fresh process, the
peers take turns, luban's cache is empty. What a model forecasts is scored here, by one function for all. --quick: a step or two, one
round, printed, to see whether all still runs; its figures mean nothing. The lines of single runs are kept in bench/.data/time.jsonl.
Letters: W windows, C series, H horizon.
"""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
import processes
import results
import torch
from processes import (
    DATA,
    Entrant,
    about,
    command_of,
    gates,
    kept,
    luban,
    peer_run,
    steady_of,
    table,
    test_of,
    threads_of,
    trained,
    trained_in,
    venv_of,
)
from scale import measured

from luban import bundle, reading
from luban.planning import TrainConfig, from_words, steps_per_epoch
from luban.splitting import TEST, TRAIN
from luban.stages.prepare import Prepared, prepare

NEEDS = {
    "neuralforecast": ["neuralforecast==3.3.0", "torch==2.13.0", "pandas==2.3.3", "numpy==2.4.6"],
    "statsforecast": ["statsforecast==2.1.1", "pandas==2.3.3", "numpy==2.4.6"],
}
SOURCE = Path(os.environ.get("LUBAN_DATA", ""))
PARTS, LOOK_BACK, HORIZON = (8640, 2880, 2880), 336, 96
"""Of ETTh1, as in the papers and in peers/neural_fit.py."""

# ---------------------------------------------------------------- what was forecast, and how good that is


def hours() -> np.ndarray:
    """(rows, C) float32: ETTh1's three parts, z-scored by the first."""
    values = reading.read("etth1").drop("date").cast(pl.Float64).to_numpy()[: sum(PARTS)]
    first = values[: PARTS[0]]
    return ((values - first.mean(0)) / first.std(0)).astype(np.float32)


def mse_of(z: np.ndarray, forecasts: np.ndarray) -> float:
    """Of forecasts (W, C, H) of every window of the test part, none dropped."""
    truth = np.lib.stride_tricks.sliding_window_view(z[sum(PARTS[:2]) :], HORIZON, axis=0)
    assert forecasts.shape == truth.shape, (forecasts.shape, truth.shape)
    return float(np.square(forecasts.astype(np.float64) - truth).mean())


def judged(run: Path, prepared: Prepared) -> tuple[bundle.Bundle, dict[str, torch.Tensor]]:
    """A run's bundle, and what it answers to the test windows."""
    found = bundle.load(run)
    return found, bundle.judge(found.model, found.task, found.head, prepared.examples[TEST])[0]


def etth1(words: list[str], settings: list[str], seed: int, scratch: Path, env: dict[str, str], per_epoch: int) -> dict:
    """`luban train etth1`, scored here as its peers are."""
    facts = trained(*luban(["etth1", *words], settings, seed, scratch, env), per_epoch)
    answers = judged(scratch / "run", prepare("etth1", from_words({"data": "etth1"})))[1]
    test = mse_of(hours(), torch.stack([answers[f"y{i}"] for i in range(7)], 1).numpy())
    assert abs(test - facts["test"]) < 1e-4, f"luban says {facts['test']}, and it is {test}"
    return {**facts, "test": test}


def neural(words: list[object], scratch: Path, env: dict[str, str]) -> dict:
    """neuralforecast; what it took to look where it stands is taken off."""
    z, out = hours(), scratch / "forecasts.npy"
    np.save(scratch / "z.npy", z)
    facts = peer_run(python_of("neuralforecast"), "neural_fit", [scratch / "z.npy", "--out", out, *words], env)
    return {**facts, "command_seconds": facts["command_seconds"] - facts["judging_seconds"], "test": mse_of(z, np.load(out))}


def python_of(peer: str) -> Path:
    return venv_of(peer, NEEDS[peer])


# ---------------------------------------------------------------- nlinear, dlinear: seconds to a score

WANTED = 0.378
LINEAR: dict[Entrant, list[str]] = {
    ("luban", "as it comes"): [],
    ("luban", "fit=steps"): ["model.fit=steps"],
    ("neuralforecast", "lr 1e-3, 1,024 windows"): ["--lr", "0.001", "--windows", "1024"],
    ("neuralforecast", "lr 5e-3, 1,024 windows"): ["--lr", "0.005", "--windows", "1024"],
}


def nlinear(rounds: int, quick: bool) -> list[str]:
    """One linear map, by both ways of looking at a window."""
    text = [
        "## Time: NLinear and DLinear on ETTh1",
        "",
        f"""Look-back {LOOK_BACK}, horizon {HORIZON}, seven series z-scored on 8,640 hours; all 2,785 test windows are scored, by one
function for all. neuralforecast: MSE, Adam; a step takes 1,024 windows of one series. Every tenth step it is looked whether its test MSE is
{WANTED} yet, and then it stops, which a user could not; these looks are taken off, and it is spared validating. It is given up after 600
steps; "reached" says whether it got there. Its whole command is importing, making its table, training and one forecast of the
test windows by the bare model; luban's is `luban train`, with validation, intervals, report and bundle. luban as it comes solves the least
squares; fit=steps is its loop, run to its own end. Seconds of training hold luban's validation.
""",
    ]
    for model in ("nlinear", "dlinear"):

        def act(peer: str, variant: str, seed: int, scratch: Path, env: dict[str, str], model: str = model) -> dict:
            short, more = quick or not seed, LINEAR[peer, variant]
            if peer == "luban":
                settings = [*more, *(["train.epochs=1"] if short and more else [])]
                return etth1(["--model", model], settings, seed, scratch, env, 33)
            steps = 2 if short else 600
            return neural(["--model", model, "--steps", steps, "--seed", seed, "--until", WANTED, *more], scratch, env)

        runs = processes.race(LINEAR, kept(model, "time.jsonl", act), rounds)
        facts = {
            f"mse <= {WANTED}": lambda lines: f"{sum(line['test'] <= WANTED for line in lines)} of {len(lines)}",
            "test mse": test_of,
            "steps": lambda lines: f"{median(line['steps'] for line in lines):.0f}" if "steps" in lines[0] else "",
            "threads": threads_of,
        }
        text += [*table(model, runs, {"whole command": command_of, "training": trained_in}, facts), ""]
        text += [f"Whole command. {gates(runs, command_of, {'neuralforecast': 5})}", ""]
        text += [f"Training. {gates(runs, trained_in, {'neuralforecast': 5})} Aim: 10.", ""]
    return [*text, *about("time.py", rounds, {"neuralforecast": NEEDS["neuralforecast"]}, runs)]


# ---------------------------------------------------------------- patchtst: an epoch

BATCH, EPOCHS = 128, 2
SIZES = {"patch": 16, "stride": 8, "width": 16, "heads": 4, "hidden": 128, "layers": 3, "dropout": 0.3}
THEIRS = {"patch_len": 16, "stride": 8, "hidden_size": 16, "n_heads": 4, "linear_hidden_size": 128, "encoder_layers": 3, "dropout": 0.3,
          "fc_dropout": 0.3, "revin_subtract_last": False}  # fmt: skip
PATCHES: dict[Entrant, list[str]] = {
    ("luban", "as it comes"): [],
    ("neuralforecast", "norms behind each sum, as the paper"): [],
    ("neuralforecast", "and no residual attention"): ["res_attention=false"],
}


def patchtst(rounds: int, quick: bool) -> list[str]:
    """The same sizes, the same windows a step."""
    windows = len(prepare("etth1", from_words({"data": "etth1"})).examples[TRAIN])
    whole = steps_per_epoch(windows, TrainConfig(batch_size=BATCH))

    def act(peer: str, variant: str, seed: int, scratch: Path, env: dict[str, str]) -> dict:
        short, more = quick or not seed, PATCHES[peer, variant]
        per_epoch, epochs = (2, 2) if short else (whole, EPOCHS)
        if peer == "luban":
            settings = [f"model.{key}={value}" for key, value in SIZES.items()]
            settings += [f"train.batch_size={BATCH}", f"train.steps={per_epoch * epochs}", f"train.eval_every={per_epoch}"]
            facts = etth1(["--model", "patchtst"], settings, seed, scratch, env, per_epoch)
            each = windows * 7 / whole  # the last step of an epoch is short
        else:
            given = [*(f"{key}={str(value).lower()}" for key, value in THEIRS.items()), *more]
            asked = ["--model", "patchtst", "--steps", per_epoch * epochs, "--epoch", per_epoch, "--windows", BATCH * 7, "--lr", 5e-4]
            facts = neural([*asked, "--seed", seed, *(word for each in given for word in ("--set", each))], scratch, env)
            each = BATCH * 7
        return {**facts, "a_second": each * per_epoch / steady_of(facts), "a_window": steady_of(facts) / (each * per_epoch)}

    runs = processes.race(PATCHES, kept("patchtst", "time.jsonl", act), rounds)
    facts = {
        "windows x series a second": lambda lines: f"{median(line['a_second'] for line in lines):,.0f}",
        f"test mse after {EPOCHS}": test_of,
        "weights": lambda lines: f"{lines[0]['parameters']:,}",
        "threads": threads_of,
    }
    seconds = {"seconds an epoch": steady_of, "microseconds a window of a series": lambda line: 1e6 * line["a_window"]}
    return [
        "## Time: PatchTST on ETTh1",
        "",
        f"""Patches of 16, stride 8, width 16, 4 heads, 128 hidden, 3 layers, dropout .3; look-back {LOOK_BACK}, horizon {HORIZON}, MSE,
Adam 5e-4. luban's epoch is each of {windows:,} windows of seven series once, {BATCH} windows a step; neuralforecast draws its windows of
one series anew for each step, {BATCH * 7} of them, and {whole} such steps count as its epoch here ({whole * BATCH * 7:,} to luban's
{windows * 7:,}). Both hold a validation of the same {PARTS[1] - HORIZON + 1:,} windows x 7; an epoch is the median of all but the first.
luban's PatchTST leaves out residual attention, which the second variant of the peer does, too, and in the hidden
layer silences a feature in all patches of a window at once.
""",
        *table("patchtst", runs, seconds, facts),
        "",
        gates(runs, lambda line: line["a_window"], {"neuralforecast": 1.3}),
        *about("time.py", rounds, {"neuralforecast": NEEDS["neuralforecast"]}, runs),
    ]


# ---------------------------------------------------------------- many series

POINTS = 500


def made(n: int) -> Path:
    """A long CSV of n daily series, each its own trend, week and noise; made once."""
    path = DATA / f"many-{n}.csv"
    if path.exists():
        return path
    rng, t = np.random.default_rng(0), np.arange(POINTS)
    level, slope, noise = rng.uniform(20, 200, (n, 1)), rng.normal(0, 0.05, (n, 1)), rng.standard_normal((n, POINTS))
    week = np.take_along_axis(rng.normal(0, 0.2, (n, 7)), np.broadcast_to(t % 7, (n, POINTS)), 1)
    values = level * (1 + slope * t / 100 + week + 0.05 * noise)
    days = pl.Series(t).cast(pl.Int32).cast(pl.Date) + pl.duration(days=18_000)
    frame = pl.DataFrame({
        "item_id": pl.Series(np.repeat(np.arange(n), POINTS)).cast(pl.String).str.zfill(5),
        "timestamp": pl.select(days).to_series().gather(np.tile(t, n)),
        "target": values.flatten().round(3),
    })  # fmt: skip
    draft = path.with_suffix(".draft")
    frame.write_csv(draft)
    draft.replace(path)
    return path


def many(rounds: int, quick: bool) -> list[str]:
    """Train beside two baselines, and forecast, by the command."""
    n = 200 if quick else 10_000
    path, found = made(n), {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
            run, out = f"{folder}/run", f"{folder}/answers.csv"
            settings = [
                "--task",
                "forecast",
                "--model",
                "nlinear",
                "--set",
                "task.horizon=24",
                "--baselines",
                "naive,seasonal",
                "--out",
                run,
            ]
            for name, words in {
                "train": ["train", str(path), *settings],
                "predict, with the file": ["predict", run, str(path), "-o", out],
                "predict, going on from training": ["predict", run, "-o", out],
            }.items():
                found.setdefault(name, []).append(measured([sys.executable, "-m", "luban", *words], home))
                print(f"many, {name}: {found[name][-1]}", flush=True)
                if name != "train":
                    lines = pl.scan_csv(out).select(pl.len()).collect().item()
                    assert lines == 24 * n, f"{lines} lines of answers, not {24 * n}"
                    Path(out).unlink()
    seconds = {name: median(line["wall"] for line in lines) for name, lines in found.items()}
    slow = [name for name in seconds if seconds[name] >= 60]
    return [
        "## Time: many series",
        "",
        f"""{n:,} daily series of {POINTS} points ({path.stat().st_size / 1e6:,.0f} MB of CSV; trend, week and noise), horizon 24:
`luban train --task forecast --model nlinear --set task.horizon=24 --baselines naive,seasonal` and `luban predict`, whole commands. Memory
is RssAnon at its highest.
""",
        "| | seconds | anonymous MB |",
        "|---|---|---|",
        *(f"| {name} | {seconds[name]:.1f} | {median(line['anonymous'] for line in lines):,.0f} |" for name, lines in found.items()),
        "",
        f"Wanted: each under a minute; {'**missed** by ' + ', '.join(slow) if slow else 'reached'}.",
        *results.about("time.py", f" {rounds} rounds."),
    ]


# ---------------------------------------------------------------- stats: without learning

STATS: dict[Entrant, list[str]] = {
    ("luban", "theta"): [],
    ("luban", "seasonal"): [],
    ("statsforecast", "seasonal, one process"): ["seasonal", "--jobs", "1"],
    ("statsforecast", "theta, one process"): ["theta", "--jobs", "1"],
    ("statsforecast", "theta, two processes"): ["theta", "--jobs", "2"],
    ("statsforecast", "autotheta, two processes"): ["autotheta", "--jobs", "2"],
    ("statsforecast", "autoets, two processes"): ["autoets", "--jobs", "2"],
}
FEW = 12
"""Series of --quick, and of the run before the first round."""

Series = dict[str, np.ndarray]


def hourly(part: str) -> Series:
    """{name: its values} of M4's hourly series."""
    with gzip.open(SOURCE / "m4" / f"Hourly-{part}.csv.gz") as file:
        rows = pl.read_csv(file.read(), infer_schema_length=0)
    numbers = rows.drop(rows.columns[0]).cast(pl.Float64).to_numpy()
    return {name: row[~np.isnan(row)] for name, row in zip(rows[:, 0].to_list(), numbers, strict=True)}


def scored(answers: Series) -> dict[str, float]:
    """sMAPE and MASE (season 24) as in the M4 competition, the mean over series."""
    past, truth, symmetric, scaled = hourly("train"), hourly("test"), [], []
    for name, forecast in answers.items():
        off = np.abs(forecast - truth[name])
        symmetric.append(np.mean(200 * off / (np.abs(forecast) + np.abs(truth[name]))))
        scaled.append(off.mean() / np.abs(past[name][24:] - past[name][:-24]).mean())
    return {"smape": float(np.mean(symmetric)), "test": float(np.mean(scaled))}


def stats(rounds: int, quick: bool) -> list[str]:
    """M4's hourly series, 48 hours ahead."""
    past = hourly("train")
    names = sorted(past)
    for size, some in (("all", names), ("few", names[:FEW])):
        frames = [pl.DataFrame({"unique_id": name, "ds": np.arange(len(past[name])), "y": past[name]}) for name in some]
        pl.concat(frames).write_csv(DATA / f"m4-{size}.csv")

    def act(peer: str, variant: str, seed: int, scratch: Path, env: dict[str, str]) -> dict:
        if peer == "luban":
            facts = trained(*luban(["m4-hourly", "--model", variant], [], seed, scratch, env), 1_000_000)
            found, said = judged(scratch / "run", prepare("m4-hourly", from_words({"data": "m4-hourly"})))
            values = found.schema.inputs["c0"].units(said["y0"].double() * said["scale"] + said["loc"]).numpy()
            item = next(each for each in found.schema.inputs.values() if each.columns == ("V1",))
            own = scored(dict(zip(item.decode(said["item"]), values, strict=True)))
            assert abs(own["test"] - facts["test"]) < 1e-3, f"luban says {facts['test']}, and it is {own['test']}"
            return {**facts, **own}
        few = quick or not seed
        words = [DATA / f"m4-{'few' if few else 'all'}.csv", *STATS[peer, variant], "--out", scratch / "forecasts.npy"]
        facts = peer_run(python_of(peer), "stats_fit", words, env)
        answers = np.load(scratch / "forecasts.npy")
        return {**facts, **scored(dict(zip(names[:FEW] if few else names, answers, strict=True)))}

    runs = processes.race(STATS, kept("stats", "time.jsonl", act), rounds)
    facts = {
        "sMAPE": lambda lines: processes.spread([line["smape"] for line in lines]),
        "MASE": test_of,
        "threads": threads_of,
    }
    return [
        "## Time: forecasts without learning, M4 hourly",
        "",
        f"""{len(names)} series of 700 to 960 hours, the 48 after them forecast and scored by one function for all. luban: `luban train
m4-hourly --model theta`, which also judges the 48 hours before, draws intervals, and writes report and bundle; it looks back
on 336 hours, the peer on all. Seconds of forecasting are those of the peer's `forecast`, and luban's validation. theta is
AutoTheta(model="STM", decomposition_type="additive"), the others as they come, season 24.
""",
        *table("m4-hourly", runs, {"whole command": command_of, "forecasting": trained_in}, facts),
        *about("time.py", rounds, {"statsforecast": NEEDS["statsforecast"]}, runs),
    ]


# ---------------------------------------------------------------- backtest: every window judged

JUDGING = """
import sys, time
from luban.cli.main import run
from luban.stages import evaluate as stage
own = stage.assess
def assess(*given):
    began = time.perf_counter()
    found = own(*given)
    print("\\nseconds", time.perf_counter() - began, flush=True)
    return found
stage.assess = assess
run()
"""
"""The command itself, and how long its judging took: forecasts, metrics, intervals."""


def backtest(rounds: int, quick: bool) -> list[str]:
    """`luban evaluate` of a trained nlinear."""
    found: dict[str, list[dict]] = {}
    with tempfile.TemporaryDirectory() as folder:
        env = processes.environment(SOURCE.resolve(), "luban", Path(folder))
        run = luban(["etth1", "--model", "nlinear"], [], 1, Path(folder), env)[0]
        for _ in range(rounds):
            for part, windows in (("test", 2785), ("train", 8209)):
                words = [sys.executable, "-c", JUDGING, "evaluate", str(run), "etth1", "--split", part]
                line = measured(words, env["LUBAN_HOME"])
                found.setdefault(f"{part}, {windows:,} windows", []).append(line)
                print(f"backtest, {part}: {line}", flush=True)
    worst = max(median(line["seconds"] for line in lines) for lines in found.values())
    return [
        "## Time: a backtest of every window",
        "",
        f"""`luban evaluate RUN etth1 --split ...` of a trained nlinear, seven series, horizon {HORIZON}; judging is forecasts, six metrics
and their intervals by 200 draws.
""",
        "| etth1 | whole command, s | judging, s |",
        "|---|---|---|",
        *(
            f"| {name} | {median(line['wall'] for line in lines):.2f} | {median(line['seconds'] for line in lines):.2f} |"
            for name, lines in found.items()
        ),
        "",
        f"Wanted: judging in 3 s at most; {'reached' if worst < 3 else '**missed**'}.",
        *results.about("time.py", f" {rounds} rounds."),
    ]


# ---------------------------------------------------------------- RESULTS.md

SECTIONS = {"nlinear": nlinear, "patchtst": patchtst, "many": many, "stats": stats, "backtest": backtest}
ROUNDS = {"nlinear": 2, "patchtst": 2, "many": 3, "stats": 3, "backtest": 5}


if __name__ == "__main__":
    there = (SOURCE / "ett1").is_dir() and (SOURCE / "m4").is_dir()
    processes.main("time.py", __doc__, SECTIONS, ROUNDS, "" if there else "$LUBAN_DATA must hold ett1 and m4.")
