"""The fastText library on lines of luban's tokens, `__label__1 12 7 90`. Run by bench/text.py in the peer's venv.

python fasttext_fit.py FOLDER --epochs E --seed S --lr LR --threads T --width D --ngrams N --buckets B
"""

from __future__ import annotations

import argparse
import time

import fasttext
import spawned

parser = argparse.ArgumentParser()
parser.add_argument("folder")
for name in ("epochs", "seed", "threads", "width", "ngrams", "buckets"):
    parser.add_argument(f"--{name}", type=int, required=True)
parser.add_argument("--lr", type=float, required=True)
args = parser.parse_args()
began = time.perf_counter()
model = fasttext.train_supervised(
    f"{args.folder}/train.txt", dim=args.width, epoch=args.epochs, wordNgrams=args.ngrams, bucket=args.buckets, lr=args.lr,
    thread=args.threads, seed=args.seed, verbose=0,
)  # fmt: skip
seconds = time.perf_counter() - began  # the file is read and counted in it
rows, precision, _ = model.test(f"{args.folder}/test.txt")
spawned.tell(train_seconds=seconds, test=precision, test_rows=rows, threads=args.threads)
