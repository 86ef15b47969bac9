"""The bundle: one folder of JSON and tensors that travels, loads anywhere, and proves itself.

    luban.json          what made it: task, model and their configurations; the sha256 of every file but the card, and of itself
    schema.json         the fitted fields: how columns become tensors and tensors become the user's words
    model.safetensors   the weights;   other files are the model's own (LightGBM's trees, the source of the user's network)
    golden.json         synthetic rows and what the model said of them; said again at every load, within 1e-4
    report.json         how good it is;   README.md: the same for people, free to edit

Nothing in it is ever unpickled, and a name in it finds installed plug-ins only. The user's own network is Python, so it runs only where
its source is trusted: on the machine that trained it, or where it is named again by --model; and what lies beside it in the bundle never.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path, PureWindowsPath
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from luban import reading
from luban.core import cells
from luban.core import config as configs
from luban.core.contract import Batch, Head, Model, Ragged, Schema, Table, Task, to_device
from luban.core.errors import UserError, listed
from luban.core.files import read_json, sha256, write_json
from luban.core.notes import say
from luban.core.registry import MODELS, TASKS
from luban.folders import find, keep_at_home, kept_at_home
from luban.layers.own import adapt

FORMAT = 1
_TOLERANCE = 1e-4
_GOLDEN_ROWS = 16
_CHUNK = 50_000
"""Rows encoded and answered at a time: what bounds the memory of a prediction."""


class Bundle:
    """A trained model with all that it needs to answer in the user's words."""

    def __init__(self, schema: Schema, task: Task, model: Model, head: Head, info: dict[str, Any]):
        self.schema, self.task, self.model, self.head, self.info = schema, task, model, head, info

    # ---------------------------------------------------------------- use

    def predict(self, data: Any, ask: Any = None) -> Table:
        """Predictions for rows, in their order: a frame with `prediction` and what goes with it. Needs no target.

        data: a path, a built-in name, a polars or pandas frame, a dict of columns, or a list of rows as dicts.
        Raises UserError for a missing column or a value that cannot be understood.
        """
        return _concat(list(self._answers(self.task.prepare(reading.read(data)).iter_slices(_CHUNK), ask)))

    def predict_chunks(self, chunks: Iterator[Table], ask: Any = None) -> Iterator[Table]:
        """The same over a stream of tables, one answer for each."""
        return self._answers(map(self.task.prepare, chunks), ask)

    def _answers(self, tables: Iterator[Table], ask: Any) -> Iterator[Table]:
        """An answer for each table. Columns that training did not have are ignored, and named once."""
        known = {each.columns[0] for each in (*self.schema.inputs.values(), *self.schema.targets.values())} | self.schema.ignored.keys()
        start = 0
        for table in tables:
            extra = [name for name in table.columns if name not in known]
            if extra:
                say(f"ignored: {listed(extra)}, which the model was not trained with.")
                known.update(extra)
            with cells.numbered(functools.partial(_nth, start)):  # of the whole file, not of the chunk
                encoded = self.schema.encode(table, with_target=False)
            start += table.height
            yield self.task.answers(forward(self.model, self.task, self.head, encoded, ask), self.schema)

    # ---------------------------------------------------------------- save

    def save(self, path: Path, extra: dict[str, str | bytes]) -> None:
        """Writes the folder beside `path` and renames it into place. `extra`: {file name: content}, e.g. the report and the card."""
        draft = path.with_name(f".{path.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            draft.mkdir(parents=True)
            (draft / "model.safetensors").write_bytes(safetensors.torch.save(tensors_of(self.model)))
            write_json(draft / "schema.json", self.schema.state())
            write_json(draft / "golden.json", self._golden())
            for name, content in {**self.model.files(), **extra}.items():
                (draft / name).write_bytes(content if isinstance(content, bytes) else content.encode())
            hashes = {file.name: sha256(file) for file in sorted(draft.iterdir()) if file.name != "README.md"}
            write_json(draft / "luban.json", _signed({**self.info, "format": FORMAT, "luban": metadata.version("luban"), "files": hashes}))
            shutil.rmtree(path, ignore_errors=True)
            draft.replace(path)
        except OSError as error:
            raise UserError(
                f"could not save the model in {path}: {error.strerror}. Free the disk or choose another place by --out."
            ) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _golden(self) -> dict[str, Any]:
        rows = json.loads(json.dumps(self.schema.imagine(_GOLDEN_ROWS).to_dicts(), default=str))
        predicted = self._predict_rows(rows)
        if not all(bool(value.isfinite().all()) for value in predicted.values()):
            raise UserError(
                "the trained model gives no finite answer (NaN or infinity) for rows like its training rows, so it was not saved. "
                "The likely cause is a learning rate that is too high: lower it with --set train.lr=..."
            )
        return {
            "about": "synthetic rows, made from the schema, and what the model said of them",
            "rows": rows,
            "predicted": {key: value.tolist() for key, value in predicted.items()},
        }

    def _predict_rows(self, rows: list[dict]) -> Batch:
        table = self.task.prepare(reading.read(rows))
        return forward(self.model, self.task, self.head, self.schema.encode(table, with_target=False), None)

    # ---------------------------------------------------------------- prove

    def prove(self, golden: dict[str, Any], where: str) -> None:
        """Predicts the golden rows again. Raises UserError where the answers differ: the software here computes something else."""
        for key, predicted in self._predict_rows(golden["rows"]).items():
            expected = torch.tensor(golden["predicted"][key], dtype=predicted.dtype)
            worst = float(((predicted - expected).abs() / expected.abs().clamp(min=1)).max())
            if not worst <= _TOLERANCE:
                raise UserError(
                    f"the model in {where} does not answer as it did when it was saved (its golden rows differ by {worst:.2g}). "
                    "Another version of a library computes differently here: install those of its report.json."
                )


def load(path: Any, model: str | type | torch.nn.Module | None = None) -> Bundle:
    """Loads a bundle, checks every file against its hash and lets it prove itself by its golden rows.

    path: the bundle's folder, or anything that names its run (a run folder, `last`, what `luban.train` returned).
    model: the user's own network again ("my.py:Net", a class, or a fresh instance), where the bundle was trained with one.
    Raises UserError for a missing, altered or foreign file, naming it.
    """
    path = find(path).model
    info = _verified(path)
    schema = Schema.restore(read_json(path / "schema.json"))
    task_class = TASKS[info["task"]["name"]]
    task = task_class(configs.build(task_class.Config, info["task"]["config"]))
    head = task.head(schema)
    network = _empty_model(path, info, schema, head, model)
    try:
        network.load_state_dict(safetensors.torch.load_file(path / "model.safetensors"))
    except RuntimeError as error:
        raise UserError(
            f"the weights in {path} do not fit the network {info['model']['name']!r}: {str(error).splitlines()[-1].strip()}"
        ) from error
    network.restore({name: (path / name).read_text(encoding="utf-8") for name in info["model"]["files"]})
    bundle = Bundle(schema, task, network.eval(), head, {key: info[key] for key in ("task", "model", "reading") if key in info})
    bundle.prove(read_json(path / "golden.json"), str(path))
    return bundle


def _verified(path: Path) -> dict[str, Any]:
    """luban.json, after every file in it has been found whole."""
    if not path.is_dir():
        raise UserError(
            f"the run {path.parent} has no model yet: it has not finished. Go on with it by the same `luban train` and --resume."
        )
    if not (path / "luban.json").is_file():
        raise UserError(f"{path} is not a model: its luban.json is missing. The folder is not complete: copy it again as a whole.")
    info = read_json(path / "luban.json")
    if not isinstance(info, dict) or _signed(info) != info:
        raise UserError(f"{path / 'luban.json'} was altered after it was saved. Copy the folder again from where it was made.")
    if info["format"] > FORMAT:
        raise UserError(
            f"{path} was saved by luban {info['luban']} in format {info['format']}; this one reads up to {FORMAT}. Upgrade luban."
        )
    _contained(path, info)
    for name, expected in info["files"].items():
        if not (path / name).is_file():
            raise UserError(f"{path / name} is missing. The folder is not complete: copy it again as a whole.")
        if sha256(path / name) != expected:
            raise UserError(
                f"{path / name} was altered after it was saved: its sha256 is not the one in luban.json. Copy the folder again."
            )
    return info


def _contained(path: Path, info: dict[str, Any]) -> None:
    """Raises UserError where luban.json names a file outside the folder, or the folder holds a link or Python that is not of the bundle.

    Anyone can sign a luban.json, so its names are a stranger's.
    """
    model = info["model"]
    for name in (*info["files"], *model["files"], *([] if model["code"] in (None, "python") else [model["code"]])):
        if name not in info["files"] or PureWindowsPath(name).name != name or name == "..":  # it knows both slashes, and drives
            raise UserError(f"{path / 'luban.json'} names {name!r}, which is no file of this folder. Do not trust this model.")
    for file in sorted(path.rglob("*")):
        if file.is_symlink():
            raise UserError(f"{file} is a link; a model's folder holds its own files. Copy the folder again with the files themselves.")
        if file.suffix.lower() == ".py" and str(file.relative_to(path)) not in info["files"]:
            raise UserError(f"{file} is Python that does not belong to this model: luban.json does not list it. Read it, and take it away.")


def _signed(info: dict[str, Any]) -> dict[str, Any]:
    """`info` with the sha256 of all the rest of it, so that a flipped byte in luban.json shows too."""
    rest = {key: value for key, value in info.items() if key != "sha256"}
    return {**rest, "sha256": hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()}


# ---------------------------------------------------------------- models, and the user's own


def _empty_model(path: Path, info: dict[str, Any], schema: Schema, head: Head, given: Any) -> Model:
    saved = info["model"]
    if saved["code"] is None:
        model_class = MODELS[saved["name"]]
        return model_class(configs.build(model_class.Config, saved["config"]), schema, head)
    if given is None and saved["code"] in info["files"] and kept_at_home("trusted", info["files"][saved["code"]]):
        given = f"{path / saved['code']}:{saved['name'].rpartition(':')[2]}"
    if given is None:
        how = f"read {path / saved['code']}, then name it: --model {path / saved['code']}:{saved['name'].rpartition(':')[2]}"
        if saved["code"] not in info["files"]:
            how = "hand the same network in again: luban.load(path, model=Net(...))"
        raise UserError(f"{path} was trained with your own network {saved['name']!r}, and code from elsewhere is never run unasked: {how}.")
    if isinstance(given, str) and ".py:" in given:
        given = MODELS.from_file(given)
    model_class = adapt(MODELS[given] if isinstance(given, str) else given)
    return model_class(configs.build(model_class.Config, saved["config"]), schema, head)


def trust(source: bytes, file: Path) -> None:
    """Remembers that the user ran this source by name on this machine; a bundle that carries the same bytes may run them again."""
    keep_at_home("trusted", hashlib.sha256(source).hexdigest(), str(file.resolve()))


def _nth(start: int, i: int) -> str:
    return f"row {start + i + 1}"


# ---------------------------------------------------------------- forward

_MOST = 4096
"""Rows in one forward pass outside training."""


@torch.inference_mode()
def forward(model: Model, task: Task, head: Head, encoded: Batch, ask: Any) -> Batch:
    """task.predict over all rows of `encoded`, in passes of at most 4,096; the answers lie on the CPU."""
    model.eval()
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    n = len(next(iter(encoded.values())))
    pieces = [task.predict(model, to_device(_slice(encoded, start, start + _MOST, n), device), head, ask) for start in range(0, n, _MOST)]
    return {key: torch.cat([piece[key].float().cpu() for piece in pieces]) for key in pieces[0]}


def _slice(batch: Batch, start: int, stop: int, n: int) -> Batch:
    if start == 0 and stop >= n:
        return batch
    rows = torch.arange(start, min(stop, n))
    return {key: value[rows] if isinstance(value, Ragged) else value[start:stop] for key, value in batch.items()}


def _concat(pieces: list[Table]) -> Table:
    table = pieces[0]
    for piece in pieces[1:]:
        table = table.vstack(piece)
    return table.rechunk()


def tensors_of(model: Model) -> dict[str, Tensor]:
    """Copies of all weights and buffers, on the CPU, in the order of their rows (safetensors takes no other)."""
    return {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in model.state_dict().items()}
