"""A run as told to others, where the user asks for it: TensorBoard's event files in the run folder, an MLflow store.

Each is told of the same three things: every evaluation as it happens, and at the end what was resolved and how good it is. Nothing that
they do changes the run: a store that goes away in the middle is said aloud and told no more. Neither package is loaded unasked.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import re
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from luban.core.errors import UserError
from luban.core.files import read_json, write_json
from luban.core.notes import say, warn
from luban.core.registry import Later, how_to_install
from luban.folders import RunFolder, flat
from luban.planning import TrackingConfig, read_yaml
from luban.stages.clock import Interrupted
from luban.stages.fit import Hooks

tensorboard = Later("tensorboardX")
mlflow = Later("mlflow")
errors = Later("mlflow.exceptions")
sql = Later("sqlalchemy.exc")


def need(config: TrackingConfig) -> None:
    """Raises UserError where what was asked for is not installed, or not to be reached: before time is spent."""
    for wanted, package in ((config.tensorboard, "tensorboardX"), (config.mlflow, "mlflow")):
        if wanted and importlib.util.find_spec(package) is None:
            raise UserError(f"tracking.{package.lower().rstrip('x')} needs the package {package!r}: {how_to_install(package)}")
    if config.mlflow:
        _store(config.mlflow)


@contextmanager
def followed(config: TrackingConfig, folder: RunFolder, hooks: Hooks) -> Iterator[Hooks]:
    """While open, the run in `folder` is told to `hooks` and to all that `config` asks for; at the end, how it ended."""
    told: list[Any] = [TensorBoard(folder)] if config.tensorboard else []
    told += [MLflow(config.mlflow)] if config.mlflow else []
    every, state = _All(hooks, told), "FAILED"
    try:
        every.tell(lambda each: each.begin(folder))
        yield every if told else hooks
        every.tell(lambda each: each.result(folder))
        state = "FINISHED"
    except Interrupted:
        state = "KILLED"
        raise
    finally:
        every.tell(lambda each: each.close(state))


class _All:
    """Hooks that tell several. Who cannot be told any more is told nothing more, aloud: no run is lost for it."""

    def __init__(self, hooks: Hooks, told: list[Any]):
        self.hooks, self.told = hooks, told

    def tell(self, call: Callable[[Any], None]) -> None:
        for each in list(self.told):
            try:
                call(each)
            except each.failures() as error:
                warn(f"{type(each).__name__} is told no more of this run: {_short(error)} The run itself goes on.")
                self.told.remove(each)

    def on_step(self, name: str, step: int, total: int) -> None:
        self.hooks.on_step(name, step, total)

    def on_eval(self, line: dict[str, Any]) -> None:
        self.hooks.on_eval(line)
        values = {key: float(value) for key, value in line.items() if isinstance(value, (int, float)) and key != "step"}
        self.tell(lambda each: each.line(line["model"], line["step"], values))

    def on_end(self, name: str) -> None:
        self.hooks.on_end(name)


class TensorBoard:
    """Event files in tensorboard/<model>/ of the run folder, so that a chart shows all models of a run, and of runs beside it."""

    def __init__(self, folder: RunFolder):
        self.path = folder.path / "tensorboard"
        self.writers: dict[str, Any] = {}

    def failures(self) -> tuple[type[Exception], ...]:
        return (OSError,)

    def begin(self, folder: RunFolder) -> None:
        self.path.mkdir(exist_ok=True)
        say(f"TensorBoard: tensorboard --logdir {shlex.quote(str(self.path.parent.parent))}")

    def _writer(self, model: str) -> Any:
        name = re.sub(r"[^\w.-]", "_", model)
        if name not in self.writers:
            self.writers[name] = tensorboard.SummaryWriter(str(self.path / name))
        return self.writers[name]

    def line(self, model: str, step: int, values: dict[str, float]) -> None:
        for key, value in values.items():
            self._writer(model).add_scalar(key, value, step)

    def result(self, folder: RunFolder) -> None:
        report = read_json(folder.report)
        for key, value in report["metrics"].items():
            self._writer(report["model"]).add_scalar(f"{report['scored']}/{key}", value)

    def close(self, state: str) -> None:
        for writer in self.writers.values():
            writer.close()


class MLflow:
    """A run in the experiment "luban" of an MLflow store; mlflow.json in the run folder keeps its id, for a resumed run to go on there."""

    def __init__(self, where: bool | str):
        self.where = where

    def failures(self) -> tuple[type[Exception], ...]:
        return (OSError, UserError, errors.MlflowException, sql.SQLAlchemyError)

    def begin(self, folder: RunFolder) -> None:
        self.client, place, files = _store(self.where)
        kept = folder.path / "mlflow.json"
        if kept.exists():
            self.run = read_json(kept)["run"]
            self.client.update_run(self.run, "RUNNING")
        else:
            found = self.client.get_experiment_by_name("luban")
            experiment = found.experiment_id if found else self.client.create_experiment("luban", files)
            self.run = self.client.create_run(experiment, run_name=folder.path.name).info.run_id
            write_json(kept, {"run": self.run})
        say(f"MLflow: run {self.run} in {place}")

    def line(self, model: str, step: int, values: dict[str, float]) -> None:
        self._tell({f"{model}/{key}": value for key, value in values.items()}, {}, step)

    def result(self, folder: RunFolder) -> None:
        """The settings, what the test part said, and the report as files."""
        report = read_json(folder.report)
        settings = {key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                    for key, value in flat(read_yaml(folder.config)).items()}  # fmt: skip
        self._tell({f"{report['scored']}/{key}": value for key, value in report["metrics"].items()}, settings)
        for file in (folder.page, folder.report, folder.config):
            self.client.log_artifact(self.run, str(file))

    def close(self, state: str) -> None:
        self.client.set_terminated(self.run, state)

    def _tell(self, values: dict[str, float], settings: dict[str, str], step: int = 0) -> None:
        now = int(time.time() * 1000)
        metrics = [mlflow.entities.Metric(_name(key), value, now, step) for key, value in values.items()]
        params = [mlflow.entities.Param(_name(key), value[:6000]) for key, value in settings.items()]
        for i in range(0, max(len(metrics), len(params)), 100):  # the most that a store takes at once
            self.client.log_batch(self.run, metrics[i : i + 100], params[i : i + 100])


def _store(where: bool | str) -> tuple[Any, str, str | None]:
    """(a client, where it writes, where a new experiment keeps its files). Raises UserError where nobody answers there."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would report its use to its makers
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # 7 by default: a wrong address would take four minutes to be found
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    place, files = None if where is True else str(where), None
    if place and not re.match(r"\w+:/|databricks", place):  # a folder: its database, and the files beside it
        root = Path(place).expanduser().resolve()
        place, files = f"sqlite:///{root / 'mlflow.db'}", (root / "mlruns").as_uri()
    try:
        if files:
            root.mkdir(parents=True, exist_ok=True)
        client = mlflow.MlflowClient(tracking_uri=place)
        client.get_experiment_by_name("luban")
    except (OSError, errors.MlflowException, sql.SQLAlchemyError) as error:
        raise UserError(f"tracking.mlflow: MLflow cannot use {place or 'its default place'}: {_short(error)} Correct the address, or leave "
                        "the setting out.") from error  # fmt: skip
    return client, place or mlflow.get_tracking_uri(), files


def _name(key: str) -> str:
    """As MLflow allows it: letters of any script, digits and / _ - . and blanks."""
    return re.sub(r"[^/\w.\- ]", "_", key)


def _short(error: Exception) -> str:
    words = " ".join(str(error).split())
    return (words if len(words) < 300 else words[:300] + " ...").rstrip(".") + "."
