"""Boosting by LightGBM (Ke et al. 2017): rounds until the validation part no longer gets better, or time is out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from luban.core.config import within
from luban.core.contract import Clock
from luban.core.registry import Later

if TYPE_CHECKING:
    import lightgbm as lgb
else:
    lgb = Later("lightgbm")

LOSSES = {"": "regression", "mse": "regression", "mae": "regression_l1", "huber": "huber"}
MANY = 5_000_000
"""Cells from which a second thread is worth it. LightGBM forks and joins for every leaf: on California (132,000 cells) .8 s with two
threads that spin, 1.1 s with one, 9.8 s with two that sleep while they wait."""


@dataclass(frozen=True)
class Config:
    rounds: int = 5000
    """Most trees (for classes: times their number); early stopping ends long before on small tables."""
    learning_rate: float = 0.05
    """Smaller is a little better and slower: .03 and .1 differed by less than the seeds did on Adult and California."""
    leaves: int = 31
    """Leaves a tree."""
    min_rows: int = 20
    """Rows a leaf at least; fewer fit smaller tables and noise."""
    columns: float = 0.7
    """Share of the columns that each tree may look at: more trees that differ, each faster."""
    l2: float = 0.0
    """Shrinks the leaves."""
    patience: int = 100
    """Rounds without improvement on the validation part before it stops."""

    def __post_init__(self) -> None:
        within(self, {"rounds": (1, 1_000_000), "learning_rate": (1e-6, 1.0), "leaves": (2, 131_072), "min_rows": (0, 1_000_000_000),
                      "columns": (0.01, 1.0), "l2": (0.0, 1e9), "patience": (1, 1_000_000)})  # fmt: skip


def boosted(c: Config, objective: dict[str, Any], sets: list[lgb.Dataset], clock: Clock, until: float = 0.0) -> str:
    """One booster, trained on sets[0] until it stops improving on sets[1] or only `until` seconds are left; its text."""
    matrix = sets[0].data
    threads = clock.threads if isinstance(matrix, np.ndarray) and matrix.size > MANY else 1
    params: dict[str, Any] = {
        **objective,
        "learning_rate": c.learning_rate, "num_leaves": c.leaves, "min_data_in_leaf": c.min_rows, "lambda_l2": c.l2,
        "feature_fraction": c.columns, "seed": clock.seed, "num_threads": threads,
        # the sums of a histogram depend on the order of adding; by rows and with a fixed number of threads it is always the same
        "deterministic": True, "force_row_wise": True, "verbosity": -1,
    }  # fmt: skip

    def stop_in_time(env: lgb.callback.CallbackEnv) -> None:
        if clock.stopped() or clock.seconds_left() <= until:
            raise lgb.callback.EarlyStopException(env.iteration, env.evaluation_result_list or [])

    stop_in_time.order = 40  # type: ignore[attr-defined]  # after what records and judges the round
    if len(sets) == 1:  # nothing to stop by: a number of rounds that rarely overfits
        return lgb.train(params, sets[0], min(c.rounds, 200), callbacks=[stop_in_time]).model_to_string()
    seen: dict[str, dict[str, list[float]]] = {}
    callbacks: list[Any] = [lgb.record_evaluation(seen), lgb.early_stopping(c.patience, verbose=False), stop_in_time]
    booster = lgb.train(params, sets[0], c.rounds, valid_sets=sets[1:], callbacks=callbacks)
    (losses,) = seen["valid_0"].values()  # not booster.best_iteration: that is the last one where time ended the training
    return booster.model_to_string(num_iteration=int(np.argmin(losses)) + 1)
