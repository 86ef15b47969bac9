"""Recommendations beside implicit, Cornac, RecTools and RecBole, and luban's own limits; writes its part of RESULTS.md.

    LUBAN_DATA=... python bench/rank.py [ials] [sasrec] [ease] [answers] [neighbours] [memory] [--rounds N] [--quick]

A peer has a venv of its own under bench/.venvs, made on the first run, and its program in bench/peers/. A run is a fresh process, the
peers take turns. Lists are scored here, by one function for all: nDCG@10 over the whole catalogue. --quick: few events, one round,
printed, to see whether all still runs; its figures mean nothing. The lines of single runs are kept in bench/.data/rank.jsonl.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import polars as pl
import processes
import results
import torch
from processes import DATA, Entrant, about, best, gates, kept, peer_run, table, test_of, threads_of, trained, trained_in, venv_of
from processes import luban as luban_train
from scale import measured

import luban
from luban import bundle
from luban.core.contract import Clock
from luban.core.registry import MODELS
from luban.layers.ranked import counted
from luban.planning import from_words
from luban.splitting import TRAIN
from luban.stages.prepare import prepare

NEEDS = {
    "implicit": ["implicit==0.7.3", "scipy==1.17.1", "numpy==2.4.6"],
    "cornac": ["cornac==3.0.1", "tensorflow-cpu==2.21.0", "scipy==1.17.1", "numpy==2.4.6"],
    "rectools": ["rectools[torch]==0.19.0", "torch==2.14.1", "pandas==2.3.3"],
    "recbole": ["recbole==1.2.1", "torch==2.13.0", "numpy==1.26.4", "pandas==2.3.3", "setuptools==80.10.2"],
}
"""RecBole 1.2.1 cannot be imported with numpy 2 or setuptools 81."""
SIZES = {
    "few": (20_000, 500, 400),
    "some": (3_000_000, 6_000, 3_400),
    "wide": (4_000_000, 20_000, 10_000),
    "many": (28_000_000, 300_000, 50_000),
}
"""(events, users, items) of a log; of these events many repeat others, and are left out."""


def made(size: str) -> Path:
    """A log by Zipf: few users and items have most of the events, and each user has one of twenty tastes. The last two events of each user
    validate and test."""
    path = DATA / f"log-{size}.parquet"
    if path.exists():
        return path
    n, users, items = SIZES[size]
    rng, tastes = np.random.default_rng(0), 20
    taste, shuffled = rng.integers(0, tastes, users), np.stack([rng.permutation(items) for _ in range(tastes)])
    user = (rng.pareto(1.2, 2 * n) * users / 50).astype(np.int64)
    user = user[user < users][:n]
    share = 1 / np.arange(1, items + 1) ** 0.9
    item = rng.choice(items, len(user), p=share / share.sum())
    item = np.where(rng.random(len(user)) < 0.7, shuffled[taste[user], item], item)
    log = pl.DataFrame({"user_id": user, "item_id": item}).unique(maintain_order=True).sort("user_id", maintain_order=True)
    left = pl.len().over("user_id") - pl.int_range(pl.len()).over("user_id")
    train = (pl.len().over("user_id") < 3) | (left > 2)
    split = pl.when(train).then(pl.lit("train")).when(left == 2).then(pl.lit("valid")).otherwise(pl.lit("test"))
    draft = path.with_suffix(".draft")
    log.with_columns(split=split).write_parquet(draft)
    draft.replace(path)
    return path


def ndcg_of(log: pl.DataFrame, lists: np.ndarray) -> float:
    """lists (n, 10): for each user with a test event, by their number."""
    true = log.filter(pl.col("split") == "test").sort("user_id")["item_id"].to_numpy()
    assert len(true) == len(lists), (len(true), len(lists))
    return float((((lists == true[:, None]) / np.log2(np.arange(2, 12))).sum(1)).mean())


# ---------------------------------------------------------------- ials: fit, and ten items for everyone

SETTINGS = {"factors": 64, "iterations": 15}
ALS: dict[Entrant, list[str]] = {
    ("luban", "64 factors, 15 iterations"): [*(f"{key}={value}" for key, value in SETTINGS.items()), "alpha=0.5", "nu=0.0", "l2=0.05"],
    ("luban", "as it comes"): [],
    ("implicit", "64 factors, 15 iterations"): [*(f"{key}={value}" for key, value in SETTINGS.items()), "regularization=0.05", "alpha=2.0"],
    ("implicit", "as it comes"): [],
    ("cornac", "WMF, 64 factors, 15 epochs"): ["15"],
    ("cornac", "WMF, 64 factors, 100 epochs as it comes"): ["100"],
}


def ials(rounds: int, quick: bool) -> list[str]:
    """Fit and full-rank evaluation."""

    def act(peer: str, variant: str, seed: int, scratch: Path, env: dict[str, str]) -> dict:
        path = made("few" if quick or not seed else "some")
        log = pl.read_parquet(path)
        if peer == "luban":
            (scratch / "log.parquet").symlink_to(path.resolve())
            facts = peer_run(Path(sys.executable), "luban_fit", [scratch, seed, "ials", *ALS[peer, variant]], env)
        else:
            train = log.filter(pl.col("split") != "test")  # validation is history, as it is luban's when the test part is judged
            for name, values in {"user": train["user_id"], "item": train["item_id"],
                                 "asked": log.filter(pl.col("split") == "test")["user_id"].unique().sort()}.items():  # fmt: skip
                np.save(scratch / f"{name}.npy", values.to_numpy())
            facts = peer_run(venv_of(peer, NEEDS[peer]), f"{peer}_fit", [scratch, seed, *ALS[peer, variant]], env)
        return {**facts, "test": ndcg_of(log, np.load(scratch / "lists.npy"))}

    runs = processes.race(ALS, kept("ials", "rank.jsonl", act), rounds)
    log = pl.read_parquet(made("few" if quick else "some"))
    return [
        "## Rank: alternating least squares",
        "",
        f"""{log.height:,} events of {log["user_id"].n_unique():,} users and {log["item_id"].n_unique():,} items (Zipf, twenty tastes), each
user's last is tested among all items; in memory as each wants it. Seconds: fit, and ten items for every user (luban: its whole judging).
implicit and Cornac are fitted on the validation events, too, which luban holds back. Cornac's WMF has the same loss, and takes steps of
Adam instead of solving; RecBole has nothing of the kind.
""",
        *table(
            "ials",
            runs,
            {"fit and judge": trained_in, "fit": lambda line: line["fit_seconds"]},
            {"nDCG@10": test_of, "threads": threads_of},
        ),
        "",
        gates(runs, trained_in, wanted := {"implicit": 1.0, "cornac": 5.0}),
        *about("rank.py", rounds, {peer: NEEDS[peer] for peer in wanted}, runs),
    ]


# ---------------------------------------------------------------- sasrec: an epoch

SASREC: dict[Entrant, list[object]] = {
    ("luban", "as it comes"): [],
    ("rectools", "BCE, one negative"): ["BCE", 1, 0],
    ("rectools", "sampled softmax of 64"): ["sampled_softmax", 64, 30],
    ("rectools", "softmax, as it comes"): ["softmax", 1, 8],
    ("recbole", "BPR, one negative"): ["BPR"],
    ("recbole", "softmax, as it comes"): ["CE"],
}
FOR = 60
"""Seconds of RecBole's epoch that are run."""


def sasrec(rounds: int, quick: bool) -> list[str]:
    """Two blocks of 64, the last 50 items."""
    ready = prepare("beauty", from_words({"data": "beauty"}))
    path = DATA / "beauty-train.csv"
    log = ready.rows.table.filter(pl.Series(ready.rows.part == TRAIN))
    log.select(pl.col("user").cast(pl.Int64).alias("user_id"), pl.col("item").cast(pl.Int64).alias("item_id")).write_csv(path)
    users = len(ready.examples[TRAIN])

    def act(peer: str, variant: str, seed: int, scratch: Path, env: dict[str, str]) -> dict:
        short = quick or not seed
        if peer == "rectools":
            loss, negatives, steps = SASREC[peer, variant]
            return peer_run(venv_of(peer, NEEDS[peer]), "rectools_fit", [path, seed, loss, negatives, 4 if short else steps], env)
        if peer == "recbole":
            return peer_run(venv_of(peer, NEEDS[peer]), "recbole_fit", [path, seed, *SASREC[peer, variant], 5 if short else FOR], env)
        size = 145
        per_epoch = 4 if short else -(-users // size)
        settings = [f"train.batch_size={size}", f"train.steps={2 * per_epoch}", f"train.eval_every={2 * per_epoch}"]
        facts = trained(*luban_train(["beauty", "--model", "sasrec"], settings, seed, scratch, env), per_epoch)
        return {**facts, "train_seconds": facts["epoch_seconds"][0]}

    runs = processes.race(SASREC, kept("sasrec", "rank.jsonl", act), rounds)
    ours = runs["luban", "as it comes"]

    def said(peer: str, least: float) -> str:
        if not any(each[0] == peer for each in runs):
            return f"{peer} did not run"
        ratio = median(trained_in(a) / trained_in(b) for a, b in zip(best(runs, peer, trained_in), ours, strict=True))
        return f"{peer} {ratio:.2f} of {least:g} {'reached' if ratio >= least else '**missed**'}"

    return [
        "## Rank: SASRec on Beauty",
        "",
        f"""{log.height:,} events of {users:,} users in training; two blocks of 64, two heads, the last 50 items, Adam 1e-3, dropout .3.
luban: a softmax over 512 drawn items, batches of 145 users, and a validation over all items in every second epoch, which is in its
seconds; RecTools: 128 users, its own losses, no validation. Of its two softmaxes a few steps are timed, and an epoch reckoned from them.
RecBole makes a row of every prefix of a history, and takes 2,048 rows a step; {FOR} seconds of its steps are timed, after two, and an epoch
reckoned from their share of it; what it does before the first step is not counted.
""",
        *table(
            "sasrec",
            runs,
            {"seconds an epoch": trained_in},
            {
                "share of the epoch run": lambda lines: f"{median(line['share'] for line in lines):.0%}" if "share" in lines[0] else "",
                "nDCG@10 after two epochs": lambda lines: test_of(lines) if "test" in lines[0] else "",
                "threads": threads_of,
            },
        ),
        "",
        f"Wanted, of each peer's fastest variant, beside luban: {said('rectools', 1.5)} (aim 2); {said('recbole', 20)}.",
        *about("rank.py", rounds, {peer: NEEDS[peer] for peer in ("rectools", "recbole")}, runs),
    ]


# ---------------------------------------------------------------- luban's own limits


class Patient(Clock):
    seed, threads = 0, 1

    def seconds_left(self) -> float:
        return float("inf")


def ease(rounds: int, quick: bool) -> list[str]:
    """Beside what cannot be left out: pairs counted by a sparse product, and an inverse by Cholesky."""
    rows, worst = [], 0.0
    for size in ("few",) if quick else ("some", "wide"):
        path = str(made(size))
        ready = prepare(path, from_words({"data": path, "task": "recommend"}))
        kind, train = MODELS["ease"], ready.examples[TRAIN]
        model = kind(kind.Config(), ready.schema, ready.head)
        X = counted(train, model.items)

        def floor(X=X, l2=model.config.l2) -> None:
            gram = torch.from_numpy((X.T @ X).toarray()).double()
            gram.diagonal().add_(l2)
            torch.cholesky_inverse(torch.linalg.cholesky(gram))

        def ours(model=model, train=train) -> None:
            model.solve(train, None, Patient())

        for threads in sorted({1, len(os.sched_getaffinity(0))}):
            torch.set_num_threads(threads)
            found: dict[str, list[float]] = {"ours": [], "floor": []}
            for _ in range(rounds + 1):
                for name, act in (("ours", ours), ("floor", floor)):
                    began = time.perf_counter()
                    act()
                    found[name].append(time.perf_counter() - began)
            a, b = (median(each[1:]) for each in found.values())  # the first warms up
            worst = max(worst, a / b)
            rows.append(f"| {model.items - 1:,} | {len(train):,} | {X.nnz:,} | {threads} | {a:.2f} | {b:.2f} | {a / b:.2f} |")
            print(rows[-1], flush=True)
    return [
        "## Rank: EASE",
        "",
        """Solving, from the log in memory, beside the least of it: scipy's sparse product X'X, and `torch.cholesky_inverse` of
`torch.linalg.cholesky`, both in float64 as luban's.
""",
        "| items | users | events | threads | luban, s | the least, s | times |",
        "|---|---|---|---|---|---|---|",
        *rows,
        "",
        f"Wanted: 1.5 times at most; {worst:.2f} {'reached' if worst <= 1.5 else '**missed**'}.",
        *results.about("rank.py", f" {rounds} rounds."),
    ]


def answers(rounds: int, quick: bool) -> list[str]:
    """From a loaded bundle: ten items for one user; ten for each of 6,000."""
    path, found = made("few" if quick else "some"), {}
    users = pl.read_parquet(path)["user_id"].unique().sort()
    for model in ("ials", "ease", "itemknn"):
        with tempfile.TemporaryDirectory() as folder:
            run = luban.train(str(path), task="recommend", model=model, baselines="none", out=Path(folder, "run"))
            loaded = bundle.load(run.path)
            one, everyone = [], []
            for each in users.sample(200, seed=0, with_replacement=True).to_list():
                began = time.perf_counter()
                loaded.predict(ask={"user": str(each)})
                one.append(time.perf_counter() - began)
            for _ in range(rounds):
                began = time.perf_counter()
                loaded.predict({"user_id": users.to_list()})
                everyone.append(time.perf_counter() - began)
            found[model] = (1e3 * median(one), median(everyone))
            print(f"answers {model}: {found[model][0]:.2f} ms, {found[model][1]:.2f} s", flush=True)
    missed = [name for name, (one, everyone) in found.items() if one >= 5 or everyone >= 2]
    return [
        "## Rank: answers",
        "",
        f"A loaded bundle of {len(users):,} users: `predict` for one user, and for all, ten items each, as a frame in the user's words.",
        "",
        "| | one user, ms | all, s |",
        "|---|---|---|",
        *(f"| {name} | {one:.2f} | {everyone:.2f} |" for name, (one, everyone) in found.items()),
        "",
        f"Wanted: under 5 ms, and under 2 s; {'**missed** by ' + ', '.join(missed) if missed else 'reached'}.",
        *results.about("rank.py", f" {rounds} rounds."),
    ]


def vast(items: int) -> Path:
    """A log of six events an item, by 500 tastes; only a thousand users are validated and tested, for each is judged among all items."""
    path = DATA / f"log-of-{items}.parquet"
    if path.exists():
        return path
    rng, tastes, users, n = np.random.default_rng(0), 500, items // 5, 6 * items
    taste, order = rng.integers(0, tastes, users), rng.permutation(items)  # items of a taste are neighbours in `order`
    user = (rng.pareto(1.5, n) * users / 20).astype(np.int64) % users
    of = np.where(rng.random(n) < 0.8, taste[user], rng.integers(0, tastes, n))
    item = order[(of * (items // tastes) + rng.random(n) ** 3 * (items // tastes)).astype(np.int64)]
    log = pl.DataFrame({"user_id": user, "item_id": item}).unique(maintain_order=True).sort("user_id", maintain_order=True)
    left = (
        pl.when(pl.col("user_id") % (users // 1000) == 0)
        .then(pl.len().over("user_id") - pl.int_range(pl.len()).over("user_id"))
        .otherwise(9)
    )
    split = pl.when(left == 2).then(pl.lit("valid")).when(left == 1).then(pl.lit("test")).otherwise(pl.lit("train"))
    log.with_columns(split=split).write_parquet(path)
    return path


def neighbours(rounds: int, quick: bool) -> list[str]:
    """Of a large catalogue: ten items for one user, and for 200, with and without looking at all items."""
    path = vast(10_000 if quick else 1_000_000)
    with tempfile.TemporaryDirectory() as folder:
        settings = {"model.factors": 64, "model.iterations": 3}
        run = luban.train(str(path), task="recommend", model="ials", baselines="none", set=settings, out=Path(folder, "run"))
        loaded = bundle.load(run.path)
    users = [str(each) for each in pl.read_parquet(path, columns=["user_id"])["user_id"].unique().sort().sample(200, seed=0)]
    told, lists = [], []
    for exact in (False, True):
        loaded.predict(ask={"user": users[0], "exact": exact})
        one, all = [], []
        for each in users[:50] * rounds:
            began = time.perf_counter()
            loaded.predict(ask={"user": each, "exact": exact})
            one.append(time.perf_counter() - began)
        for _ in range(rounds):
            began = time.perf_counter()
            found = loaded.predict({"user_id": users}, {"exact": exact})
            all.append(time.perf_counter() - began)
        lists.append(found.group_by("user_id", maintain_order=True).agg("item_id")["item_id"].to_list())
        told.append(f"| {'all items' if exact else 'near ones'} | {1e3 * median(one):.1f} | {median(all):.2f} |")
    share = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(*lists, strict=True)])
    looked = int(loaded.model.search[0]) if hasattr(loaded.model, "search") else 0
    return [
        "## Rank: a large catalogue",
        "",
        f"ials, 64 factors, {loaded.model.items - 1:,} items of 500 tastes: ten for a user, looking at all or at the {looked} nearest of "
        f"{int(2 * loaded.model.items**0.5):,} groups of items (0: this catalogue is too small, or it does not pay). Of the ten best, "
        f"{share:.1%} are found.",
        "",
        "| looked at | one user, ms | 200 users, s |",
        "|---|---|---|",
        *told,
        *results.about("rank.py", f" {rounds} rounds."),
    ]


def memory(rounds: int, quick: bool) -> list[str]:
    """The whole command on twenty million events."""
    path = made("few" if quick else "many")
    with tempfile.TemporaryDirectory() as home, tempfile.TemporaryDirectory() as folder:
        words = ["train", str(path), "--task", "recommend", "--model", "ials", "--baselines", "popular", "--out", f"{folder}/run"]
        found = measured([sys.executable, "-m", "luban", *words], home)
    rows = pl.scan_parquet(path).select(pl.len()).collect().item()
    print(f"memory: {found}", flush=True)
    reached = "reached" if found["anonymous"] < 4000 else "**missed**"
    return [
        "## Rank: twenty million events",
        "",
        f"`luban train --task recommend --model ials` on {rows:,} events: {found['wall']:,.0f} s, {found['anonymous']:,.0f} MB of "
        f"anonymous memory at most (wanted: 4,000; {reached}).",
        *results.about("rank.py", ""),
    ]


SECTIONS = {"ials": ials, "sasrec": sasrec, "ease": ease, "answers": answers, "neighbours": neighbours, "memory": memory}
ROUNDS = {"ials": 3, "sasrec": 2, "ease": 3, "answers": 5, "neighbours": 3, "memory": 1}

if __name__ == "__main__":
    processes.main("rank.py", __doc__, SECTIONS, ROUNDS)
