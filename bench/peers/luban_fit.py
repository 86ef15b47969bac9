"""The same by luban's own parts, without the command around them: what implicit's program does not do either is not counted.

python luban_fit.py FOLDER SEED MODEL KEY=VALUE...   FOLDER: log.parquet with a column `split`; lists.npy comes there, by the file's own ids
"""

import sys
import time
from pathlib import Path

import numpy as np
import spawned
import torch

from luban.bundle import judge
from luban.core import config as configs
from luban.core.contract import Clock
from luban.core.registry import MODELS
from luban.planning import from_words
from luban.splitting import TEST, TRAIN, VALID
from luban.stages.prepare import prepare


class Patient(Clock):
    threads = torch.get_num_threads()

    def __init__(self, seed: int):
        self.seed = seed

    def seconds_left(self) -> float:
        return float("inf")


folder, seed, name, *words = sys.argv[1:]
log = str(Path(folder, "log.parquet"))
ready = prepare(log, from_words({"data": log, "task": "recommend"}))
kind = MODELS[name]
asked = configs.build(kind.Config, dict(word.split("=") for word in words))
torch.manual_seed(int(seed))
model = kind(kind.plan(asked, ready.schema, ready.head, len(ready.examples[TRAIN]), "base")[0], ready.schema, ready.head)
began = time.perf_counter()
model.solve(ready.examples[TRAIN], ready.examples[VALID], Patient(int(seed)))
fitted = time.perf_counter()
judged, _ = judge(model.eval(), ready.task, ready.head, ready.examples[TEST])
ended = time.perf_counter()
words_of = np.array([-1, *ready.schema.targets["y0"].words])
np.save(Path(folder, "lists.npy"), words_of[judged["list"].numpy()])
spawned.tell(fit_seconds=fitted - began, train_seconds=ended - began, threads=torch.get_num_threads())
