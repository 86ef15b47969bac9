"""Luban as scikit-learn estimators: `LubanClassifier` and `LubanRegressor`, for pipelines, grid searches and cross-validation.

    from luban import LubanClassifier
    model = LubanClassifier(random_state=0).fit(X, y)      # arrays, pandas or polars frames; words, dates and gaps as they are
    model.predict_proba(X_new)
    model.save("model")                                    # a bundle: `luban predict model new.csv`, `luban serve model`

What `luban train` does before and in training is done here by the same functions; no run folder is made, nothing is printed, there is no
test part and there are no baselines: who uses scikit-learn judges by its means. A fifth of the rows (a tenth from 1,000 on) validates.
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from luban import reading
from luban.bundle import load, predict_all
from luban.core import cells
from luban.core.contract import Table
from luban.core.device import cores
from luban.core.errors import UserError
from luban.folders import RunFolder
from luban.planning import from_words
from luban.stages.candidates import Workshop, choose, draft_all
from luban.stages.clock import RunClock
from luban.stages.prepare import prepare
from luban.stages.train import Silent, code_of

FEW = 500
"""Below so many rows `auto` leaves out what is trained in steps: whether its hundredfold time pays, some tens of rows cannot show."""
_CHUNK = 50_000


class _Estimator(BaseEstimator):
    _task = ""

    def __init__(
        self,
        model: Any = "auto",
        *,
        size: str | None = None,
        time_limit: str | float | None = None,
        metric: str | None = None,
        set: dict[str, Any] | list[str] | None = None,
        random_state: Any = None,
    ):
        self.model = model
        self.size = size
        self.time_limit = time_limit
        self.metric = metric
        self.set = set
        self.random_state = random_state

    # ---------------------------------------------------------------- fit

    def fit(self, X: Any, y: Any):
        """Trains on X (n, features), an array or a frame, to predict y (n,). Returns self.

        Numbers of an array stay numbers; the columns of a frame are understood as `luban train` understands them.
        Raises ValueError for what cannot be used.
        """
        y, table = self._checked(y), self._table(X, reset=True)  # in this order: to check y forgets the names of X's features
        check_consistent_length(table, y)
        self._names, target = table.columns, "y"
        while target in self._names:
            target += "_"
        with _sentences():
            self._fit(table.with_columns(reading.read({target: y}).to_series()), target, _numeric(X, self._names))
        return self

    def _fit(self, table: Table, target: str, fields: dict[str, str]) -> None:
        network = None if isinstance(self.model, str) else copy.deepcopy(self.model)  # it is trained where it stands
        # data.split: all columns are features, whatever they are called
        usual = {"data.shares": [0.8, 0.2, 0] if table.height < 1000 else [0.9, 0.1, 0], "data.split": "", **fields}
        given = [f"{key}={json.dumps(value)}" for key, value in self.set.items()] if isinstance(self.set, dict) else self.set or []
        config = from_words({
            "target": [target], "task": self._task, "model": self.model if network is None else f"python:{type(network).__name__}",
            "size": self.size, "time_limit": self.time_limit, "metric": self.metric, "seed": self._seed(), "baselines": [],
            "set": [*(f"{key}={json.dumps(value)}" for key, value in usual.items()), *given],
        })  # fmt: skip
        clock = RunClock(config.train.time_limit, config.seed, config.train.threads or cores())
        prepared = prepare(table, config)
        drafts = draft_all(prepared, network)
        if len(drafts) > 1 and table.height < FEW:
            drafts = [each for each in drafts if each.model.solves] or drafts
        with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(), clock.listening():
            trained = Workshop(prepared, RunFolder(folder), clock, Silent()).train_all(drafts)
        chosen = choose(trained, prepared.metric)
        self.bundle_, self._code = chosen.bundle, code_of(chosen)

    def _seed(self) -> int | None:
        """None is Luban's own seed: the same data give the same model."""
        if self.random_state is None:
            return None
        if isinstance(self.random_state, (int, np.integer)):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _table(self, X: Any, reset: bool) -> Table:
        """X as a table, its columns in their order; those of an array are x0, x1, ..."""
        if hasattr(X, "columns") and hasattr(X, "dtypes"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            with _sentences():
                return reading.read(X)
        X = validate_data(self, X, reset=reset, dtype=None, ensure_all_finite="allow-nan", ensure_min_samples=2 if reset else 1)
        X = X.astype(np.float32) if X.dtype == np.float16 else X
        return reading.read({f"x{i}": X[:, i] for i in range(X.shape[1])})

    def _asked(self, X: Any) -> Iterator[Table]:
        """X with the names of the training, in pieces."""
        check_is_fitted(self, "bundle_")
        table = self._table(X, reset=False)
        table.columns = self._names
        return table.iter_slices(_CHUNK)

    # ---------------------------------------------------------------- keep

    def save(self, path: str | Path) -> Path:
        """Writes the model as a bundle, a folder that `luban predict`, `luban serve` and `luban.load` take. Returns its path.

        Raises UserError where the path exists already.
        """
        check_is_fitted(self, "bundle_")
        path = Path(path).resolve()
        if path.exists():
            raise UserError(f"{path} exists already. Name a folder that does not exist yet.")
        self.bundle_.save(path, {**self._code})
        return path

    def __getstate__(self) -> dict[str, Any]:
        """The parameters, and what was learned as the bytes of a bundle's files."""
        state = {**super().__getstate__()}
        if state.pop("bundle_", None) is not None:
            with tempfile.TemporaryDirectory() as folder:
                state["_files"] = {file.name: file.read_bytes() for file in sorted(self.save(Path(folder) / "model").iterdir())}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Loads the bundle as any other: every file is held against its hash, and its golden rows are answered again."""
        files = state.pop("_files", None)
        super().__setstate__(state)
        if files is not None:
            with tempfile.TemporaryDirectory() as folder:
                for name, content in files.items():
                    (Path(folder) / Path(name).name).write_bytes(content)
                self.bundle_ = load(folder, None if isinstance(self.model, str) and ".py:" not in self.model else self.model)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.string = tags.input_tags.categorical = True
        return tags


class LubanClassifier(ClassifierMixin, _Estimator):
    """A classifier of two or more classes, trained as `luban train --task classify` does.

    model: "auto" tries the promising ones and keeps the best on validation rows (below 500 rows only those that need no training in steps);
    or a name of `luban list models`, "my.py:Net", your own nn.Module. size: small | base | large. time_limit: seconds, or "10m". metric:
    what picks the best. set: any setting, {"train.lr": 3e-4, "fields.zip": "category"}. random_state: the seed; None is Luban's own.

    classes_: the labels in their order; bundle_: the luban.Bundle; n_features_in_, and feature_names_in_ where X had names.
    """

    _task = "classify"

    def _checked(self, y: Any) -> np.ndarray:
        if (y := _given(self, y)).dtype.kind == "O" and any(each is None for each in y):
            raise ValueError("Input y contains None: every row needs a label.")
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        named = pl.Series(self.classes_.astype(str))
        if (empty := cells.empty(named)).any():
            raise ValueError(f"the label {named.filter(empty)[0]!r} reads as a missing value; give it another name.")
        if (twice := cells.words(named).is_duplicated()).any():
            raise ValueError(
                f"the labels {' and '.join(map(repr, named.filter(twice)[:2]))} differ by blanks alone; give them other names."
            )
        return y

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, classes), in the order of classes_."""
        asked = self._asked(X)  # before the rest: it says so where nothing was fitted
        bundle = self.bundle_
        ((key, field),) = bundle.schema.targets.items()
        ids: Any = field.encode(pl.Series(self.classes_.tolist()))  # 0: a class that no training row of the split held
        found = []
        with _sentences():
            for table in asked:
                encoded = bundle.task.pose(bundle.schema.encode(table, with_target=False), bundle.context)
                p = predict_all(bundle.model, bundle.task, bundle.head, encoded, bundle.asked())[key].numpy()
                found.append(np.where(ids.numpy() > 0, p[:, ids.numpy() - 1], 0).astype(p.dtype))
        return np.concatenate(found)

    def predict(self, X: Any) -> np.ndarray:
        """(n,) labels."""
        p = self.predict_proba(X)
        return self.classes_[p.argmax(1)]


class LubanRegressor(RegressorMixin, _Estimator):
    """A regressor of one number, trained as `luban train --task regress` does. Parameters and attributes as of LubanClassifier."""

    _task = "regress"

    def _checked(self, y: Any) -> np.ndarray:
        return _given(self, y, numeric=True)

    def predict(self, X: Any) -> np.ndarray:
        """(n,), in the units of y."""
        asked = self._asked(X)
        with _sentences():
            return np.concatenate([self.bundle_.predict(table)["prediction"].to_numpy() for table in asked])


def _given(estimator: Any, y: Any, numeric: bool = False) -> np.ndarray:
    if y is None:
        raise ValueError(f"{type(estimator).__name__} requires y to be passed, but the target y is None.")
    if isinstance(y, pl.Series):
        y = y.to_numpy()
    return validate_data(estimator, y=y, y_numeric=numeric)


def _numeric(X: Any, names: list[str]) -> dict[str, str]:
    """The columns of an array of numbers, as settings; what a frame holds may be codes."""
    kind = "" if hasattr(X, "columns") else np.asarray(X).dtype.kind
    return {f"fields.{name}": "number" for name in names} if kind and kind in "fiub" else {}


@contextmanager
def _sentences() -> Iterator[None]:
    """What Luban says of a user's mistake, as the error that scikit-learn's users expect."""
    try:
        yield
    except UserError as error:
        raise ValueError(str(error)) from error
