"""statsforecast on many series: one model, its forecasts. Run by bench/time.py in the peer's venv.

python stats_fit.py LONG.csv MODEL --jobs N --out FORECASTS.npy     (unique_id, ds, y; the forecasts lie in the order of the ids)
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd
import spawned
from statsforecast import StatsForecast
from statsforecast.models import AutoETS, AutoTheta, SeasonalNaive

M, H = 24, 48
MODELS = {
    "seasonal": lambda: SeasonalNaive(M),
    "theta": lambda: AutoTheta(M, decomposition_type="additive", model="STM"),
    "autotheta": lambda: AutoTheta(M),
    "autoets": lambda: AutoETS(M),
}

parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("model", choices=MODELS)
parser.add_argument("--jobs", type=int, required=True)
parser.add_argument("--out", required=True)
args = parser.parse_args()
long = pd.read_csv(args.data)
began = time.perf_counter()
found = StatsForecast([MODELS[args.model]()], freq=1, n_jobs=args.jobs).forecast(df=long, h=H)
seconds = time.perf_counter() - began
found = found.sort_values(["unique_id", "ds"])
np.save(args.out, found.iloc[:, -1].to_numpy(np.float64).reshape(-1, H))
spawned.tell(train_seconds=seconds, threads=args.jobs)
