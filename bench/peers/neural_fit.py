"""neuralforecast's NLinear, DLinear or PatchTST on series of columns; its forecasts of every test window. Run by bench/time.py in the
peer's venv.

python neural_fit.py Z.npy --model M --steps N --windows B --lr LR --seed S --out FORECASTS.npy
    [--until MSE --every N] [--epoch N] [--set K=V]

Z.npy: (rows, series), z-scored, of the three parts. --windows: windows of one series in a step. --until: training ends where the mean
squared error of all test windows is no more than this, looked at every --every steps; these looks are told apart, to be taken off.
--epoch: so many steps are one; each is validated.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import time
import warnings

import spawned

warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from neuralforecast import NeuralForecast, models  # noqa: E402
from neuralforecast.losses.pytorch import MSE  # noqa: E402
from pytorch_lightning.callbacks import Callback  # noqa: E402

PARTS, L, H = (8640, 2880, 2880), 336, 96  # as in bench/time.py
NAMES = {"nlinear": "NLinear", "dlinear": "DLinear", "patchtst": "PatchTST"}

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--model", choices=NAMES, required=True)
for name in ("steps", "windows", "seed"):
    parser.add_argument(f"--{name}", type=int, required=True)
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--out", required=True)
parser.add_argument("--until", type=float, default=0.0)
parser.add_argument("--every", type=int, default=10)
parser.add_argument("--epoch", type=int)
parser.add_argument("--set", action="append", default=[])
args = parser.parse_args()

z = np.load(args.data)
rows = PARTS[0] + (PARTS[1] if args.epoch else 0)
stamps = pd.date_range("2016-07-01", periods=rows, freq="h")
long = pd.concat([pd.DataFrame({"unique_id": f"s{i}", "ds": stamps, "y": z[:rows, i]}) for i in range(z.shape[1])])
tested = torch.from_numpy(z[sum(PARTS[:2]) - L :]).unfold(0, L + H, 1)  # (W, C, L + H)


@torch.no_grad()
def forecasts(model: torch.nn.Module) -> torch.Tensor:
    """(W, C, H) of every test window, by the model itself: its own `predict` makes a table of two million lines of them."""
    was = model.training
    model.eval()
    made = [model({"insample_y": some[:, :, :L].reshape(-1, L, 1)}).reshape(len(some), -1, H) for some in tested.split(256)]
    model.train(was)
    return torch.cat(made)


class Watch(Callback):
    def __init__(self) -> None:
        self.judging, self.marks = 0.0, []

    def on_train_start(self, trainer, module) -> None:
        self.marks = [time.perf_counter()]

    def on_train_batch_end(self, trainer, module, outputs, batch, number) -> None:
        step = trainer.global_step
        if args.epoch and step % args.epoch == 0:
            self.marks.append(time.perf_counter())
        if args.until and step % args.every == 0:
            began = time.perf_counter()
            trainer.should_stop = (forecasts(module) - tested[:, :, L:]).square().mean().item() <= args.until
            self.judging += time.perf_counter() - began


own = {key: json.loads(value) for key, value in (each.split("=") for each in args.set)}
model = getattr(models, NAMES[args.model])(
    h=H, input_size=L, loss=MSE(), max_steps=args.steps, learning_rate=args.lr, windows_batch_size=args.windows,
    random_seed=args.seed, val_check_steps=args.epoch or args.steps, callbacks=[Watch()], enable_progress_bar=False, logger=False,
    enable_checkpointing=False, enable_model_summary=False, **own,
)  # fmt: skip
began = time.perf_counter()
forecast = NeuralForecast([model], freq="h")
forecast.fit(long, val_size=PARTS[1] if args.epoch else 0)
seconds = time.perf_counter() - began
(model,) = forecast.models  # it trains a copy, and a copy of the callback watches
watch = next(each for each in model.trainer_kwargs["callbacks"] if isinstance(each, Watch))
np.save(args.out, forecasts(model).numpy())
spawned.tell(
    train_seconds=seconds - watch.judging,
    judging_seconds=watch.judging,
    epoch_seconds=[after - before for before, after in itertools.pairwise(watch.marks)],
    steps=len(model.train_trajectories),
    threads=torch.get_num_threads(),
    parameters=sum(p.numel() for p in model.parameters()),
)
