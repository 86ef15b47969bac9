"""Alternating least squares by implicit: fit, then ten items for each user to be judged. Run by bench/rank.py in the peer's venv.

python implicit_fit.py FOLDER SEED KEY=VALUE...
FOLDER: user.npy, item.npy of the training events, asked.npy the users; lists.npy comes there
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
import spawned
from implicit.als import AlternatingLeastSquares
from scipy import sparse

folder, seed, *words = sys.argv[1:]
user, item, asked = (np.load(Path(folder, f"{name}.npy")) for name in ("user", "item", "asked"))
settings = {key: float(value) if "." in value else int(value) for key, value in (word.split("=") for word in words)}
log = sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)))
began = time.perf_counter()
model = AlternatingLeastSquares(random_state=int(seed), num_threads=0, **settings)
model.fit(log, show_progress=False)
fitted = time.perf_counter()
lists, _ = model.recommend(asked, log[asked], N=10, filter_already_liked_items=True)
ended = time.perf_counter()
np.save(Path(folder, "lists.npy"), lists)
spawned.tell(fit_seconds=fitted - began, train_seconds=ended - began, threads=os.cpu_count())
