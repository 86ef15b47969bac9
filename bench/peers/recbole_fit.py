"""An epoch of RecBole's SASRec, or its first SECONDS; its own data set, loader and trainer. Run by bench/rank.py in the peer's venv.

python recbole_fit.py LOG.csv SEED LOSS SECONDS   LOG: user_id, item_id, oldest first; LOSS: CE or BPR
"""

import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pandas as pd
import spawned
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender import SASRec
from recbole.trainer import Trainer
from recbole.utils import init_seed

WARM = 2
"""Steps before the clock begins."""
path, seed, loss, seconds = sys.argv[1:]
warnings.filterwarnings("ignore")
log = pd.read_csv(path)[["user_id", "item_id"]].set_axis(["user_id:token", "item_id:token"], axis=1)
log["timestamp:float"] = range(len(log))


class Some:
    """The loader until time is up."""

    def __init__(self, loader):
        self.loader, self.steps = loader, 0

    def __iter__(self):
        for batch in self.loader:
            yield batch
            self.steps, self.ended = self.steps + 1, time.perf_counter()  # the trainer asks for the next batch when this one's step is done
            if self.steps == WARM:
                self.began = self.ended
            if self.steps > WARM and self.ended - self.began > float(seconds):
                return


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)  # it writes log/, log_tensorboard/ and saved/ there
    Path("beauty").mkdir()
    log.to_csv("beauty/beauty.inter", sep="\t", index=False)
    sizes = {"n_layers": 2, "n_heads": 2, "hidden_size": 64, "inner_size": 64, "hidden_dropout_prob": 0.3, "attn_dropout_prob": 0.3}
    settings = {
        **sizes, "MAX_ITEM_LIST_LENGTH": 50, "learning_rate": 1e-3, "loss_type": loss, "seed": int(seed), "data_path": folder,
        "use_gpu": False, "state": "WARNING", "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1} if loss == "BPR" else None,
        "eval_args": {"split": {"RS": [1, 0, 0]}, "order": "TO", "group_by": "user", "mode": "full"},
    }  # fmt: skip
    sys.argv = sys.argv[:1]  # it reads settings there
    config = Config(model="SASRec", dataset="beauty", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    began = time.perf_counter()
    train = data_preparation(config, create_dataset(config))[0]
    prepared = time.perf_counter() - began
    trainer = Trainer(config, SASRec(config, train.dataset))
    some = Some(train)
    trainer._train_epoch(some, 0)
    steps = some.steps - WARM
    spawned.tell(
        train_seconds=(some.ended - some.began) / steps * len(train), share=some.steps / len(train), steps=some.steps,
        rows=len(train.dataset), prepare_seconds=prepared, threads=torch.get_num_threads(),
    )  # fmt: skip
