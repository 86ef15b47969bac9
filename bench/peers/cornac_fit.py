"""Weighted matrix factorisation by Cornac, its nearest to alternating least squares: the same loss, by Adam; then ten items for each user
to be judged. Run by bench/rank.py in the peer's venv.

python cornac_fit.py FOLDER SEED EPOCHS
FOLDER: user.npy, item.npy of the training events, asked.npy the users; lists.npy comes there
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
import spawned
from cornac.data import Dataset
from cornac.models import WMF

folder, seed, epochs = sys.argv[1:]
user, item, asked = (np.load(Path(folder, f"{name}.npy")).tolist() for name in ("user", "item", "asked"))
train = Dataset.from_uir(zip(user, item, [1.0] * len(user), strict=True), seed=int(seed))
began = time.perf_counter()
model = WMF(k=64, max_iter=int(epochs), seed=int(seed), verbose=False).fit(train)
fitted = time.perf_counter()
lists = [model.recommend(each, k=10, remove_seen=True, train_set=train) for each in asked]
ended = time.perf_counter()
np.save(Path(folder, "lists.npy"), np.array([each + [-1] * (10 - len(each)) for each in lists]))
spawned.tell(fit_seconds=fitted - began, train_seconds=ended - began, threads=os.cpu_count())
