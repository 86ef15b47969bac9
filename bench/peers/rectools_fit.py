"""An epoch of RecTools' SASRec, or as many steps of it as are asked for. Run by bench/rank.py in the peer's venv.

python rectools_fit.py LOG.csv SEED LOSS NEGATIVES STEPS   LOG: user_id, item_id, oldest first; STEPS: 0 for the whole epoch
"""

import sys
import time
import warnings

import numpy as np
import pandas as pd
import spawned
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

warnings.filterwarnings("ignore")
path, seed, loss, negatives, steps = sys.argv[1:]
seed_everything(int(seed))
log = pd.read_csv(path)[["user_id", "item_id"]].set_axis([Columns.User, Columns.Item], axis=1)
log[Columns.Weight], log[Columns.Datetime] = 1.0, pd.to_datetime(np.arange(len(log)), unit="s")


class Watch(Callback):
    """Seconds of the steps after the first two, which warm up."""

    ends: list[float] = []

    def on_train_start(self, trainer, model):
        self.whole = trainer.fit_loop.max_batches

    def on_train_batch_end(self, *about):
        self.ends.append(time.perf_counter())


watch = Watch()
more = {"limit_train_batches": int(steps)} if int(steps) else {}
sizes = {"n_blocks": 2, "n_heads": 2, "n_factors": 64, "session_max_len": 50, "batch_size": 128, "lr": 1e-3, "dropout_rate": 0.3}
quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu", "devices": 1}
model = SASRecModel(
    **sizes, loss=loss, n_negatives=int(negatives), get_trainer_func=lambda: Trainer(max_epochs=1, callbacks=[watch], **quiet, **more)
)
model.fit(Dataset.construct(log))
a_step = (watch.ends[-1] - watch.ends[1]) / (len(watch.ends) - 2)
users = log.groupby(Columns.User).size()
spawned.tell(train_seconds=a_step * int((users >= 2).sum()) / 128, steps=len(watch.ends), threads=torch.get_num_threads())
