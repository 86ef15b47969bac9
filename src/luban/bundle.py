"""The bundle: one folder of JSON and tensors that travels, loads anywhere, and proves itself.

    luban.json          what made it: task, model and their configurations; the sha256 of every file but the card, and of itself
    schema.json         the fitted fields: how columns become tensors and tensors become the user's words
    model.safetensors   the weights;   other files are the model's own (LightGBM's trees, the source of the user's network)
    context.safetensors what a prediction needs of the past (what each user did, the last window), where the task has such
    golden.json         synthetic rows and what the model said of them; said again at every load, within 1e-4
    report.json         how good it is;   README.md: the same for people, free to edit

Nothing in it is ever unpickled, and a name in it finds installed plug-ins only. The user's own network is Python, so it runs only where
its source is trusted: on the machine that trained it, or where it is named again by --model; and what lies beside it in the bundle never.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shlex
import shutil
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import polars as pl
import safetensors.torch
import torch
from torch import Tensor

from luban import reading
from luban.core import cells
from luban.core import config as configs
from luban.core.batch import Batch, Examples, Ragged, beneath, piece_of, size_of, to_device
from luban.core.contract import Head, Model, Schema, Table, Task
from luban.core.errors import BadCells, UserError, listed
from luban.core.files import read_json, sha256, write_json
from luban.core.notes import passes, say, unsaid, warn
from luban.core.registry import MODELS, TASKS
from luban.folders import find, keep_at_home, kept_at_home
from luban.layers.own import adapt

FORMAT = 1
_TOLERANCE = 1e-4
_CHUNK = 50_000
"""Rows encoded and answered at a time: what bounds the memory of a prediction."""


class Bundle:
    """A trained model with all that it needs to answer in the user's words."""

    def __init__(self, schema: Schema, task: Task, model: Model, head: Head, context: Batch, info: dict[str, Any]):
        self.schema, self.task, self.model, self.head, self.context, self.info = schema, task, model, head, context, info
        self.golden: dict[str, Any] = {}
        """Rows, what was asked of them and what was predicted; filled by `save` and `load`."""

    # ---------------------------------------------------------------- use

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a question must have."""
        return tuple(each.columns[0] for each in self.schema.inputs.values())

    @property
    def reading(self) -> dict[str, Any]:
        """How the training data were read, and so how a file of questions is."""
        return {**self.info.get("reading", {}), "endings": self.task.endings}

    def asked(self, ask: Any = None) -> Any:
        """The task's Ask from plain values such as {"k": 5}; one that is made already stays. Raises UserError for what it does not know."""
        return ask if isinstance(ask, self.task.Ask) else configs.build(self.task.Ask, dict(ask or {}), "ask")

    def predict(self, data: Any = None, ask: Any = None) -> Table:
        """Predictions in the order of their questions: a frame with `prediction` and what goes with it. Needs no target.

        data: a path, a built-in name, a polars or pandas frame, a dict of columns, or a list of rows as dicts; None where `ask` says it
        all. ask: what this task can be asked, a dict such as {"k": 5}. A forecast has a line a step, a ranking a line an item.
        Raises UserError for a missing column or a value that cannot be understood.
        """
        return lines(self.answer(data, ask))

    def predict_chunks(self, chunks: Iterable[Table], ask: Any = None, skip_bad: bool = False) -> Iterator[Table]:
        """The same over a stream of tables: an answer for each where rows are answered by themselves, else one for all.

        skip_bad: rows that cannot be read get an empty answer, aloud, instead of stopping.
        """
        tables = chunks if self.task.rowwise else iter([_concat(list(chunks))])
        made = self.asked(ask)
        return map(lines, self._best(self._answers(tables, made, skip_bad and self.task.rowwise), made))

    def answer(self, data: Any = None, ask: Any = None) -> Table:
        """As `predict`, a row a question: a forecast or a ranking is a list of records in `prediction`."""
        ask = self.asked(ask)
        if data is not None:
            self.refuse_both(ask)
        table = self.task.question(ask) if data is None else reading.read(data, **self.reading)
        tables = [table] if table is None or not self.task.rowwise else table.iter_slices(_CHUNK)
        return _concat(list(self._best(self._answers(tables, ask), ask)))

    def refuse_both(self, ask: Any) -> None:
        """Raises UserError where `ask` stands for rows, of which there are some already."""
        for name in self.task.instead:
            if getattr(ask, name) is not None:
                raise UserError(f"{name} says what is asked, and so do the data: give one of them.")

    def _best(self, answers: Iterator[Table], ask: Any) -> Iterator[Table]:
        """All answers as they come; where only the best rows are asked for, those, each with its number from 1."""
        k = self.task.best(ask)
        if k is None:
            return answers
        best, start = None, 1
        for each in answers:
            each, start = each.with_row_index("row", start), start + each.height
            best = (each if best is None else best.vstack(each)).sort("prediction", descending=True, maintain_order=True).head(k)
        return iter([best])

    def _answers(self, tables: Iterable[Table | None], ask: Any, skip_bad: bool = False) -> Iterator[Table]:
        """An answer for each table; None goes on from the context. Columns that training did not have are ignored, and named once."""
        known = {each.columns[0] for each in (*self.schema.inputs.values(), *self.schema.targets.values())} | self.schema.ignored.keys()
        start = 0
        for table in tables:
            table = self.task.laid_out(self._fitted(table)) if table is not None else None
            extra = [name for name in table.columns if name not in known] if table is not None else []
            if extra:
                say(f"ignored: {listed(extra)}, which the model was not trained with.")
                known.update(extra)
            if table is not None and skip_bad:
                answers = self._readable(table, start, ask)
            else:
                answers = self.task.answers(self._predicted(table, start, ask), self.schema)
            if table is not None:
                answers = self.task.told(answers, table, self.schema)
                start += table.height
                told = [name for each in self.schema.inputs.values() if (name := each.columns[0]) in table.columns
                        and each.names(table.get_column(name))]  # fmt: skip
                answers = pl.concat([table.select(*self.task.kept(self.schema), *told), answers], how="horizontal")
            yield answers

    def _fitted(self, table: Table) -> Table:
        """A table whose only column, or only one of files, has another name than the model's only column: a folder calls it otherwise."""
        (wanted, *more), grids = self.schema.inputs.values(), []
        if not more and wanted.kind == "grid" and wanted.columns[0] not in table.columns:
            grids = [column.name for column in table if type(wanted).sniff(column) > 0.5]
        one = not more and table.width == 1 and wanted.columns[0] not in table.columns
        if one and wanted.kind in ("tokens", "words", "curve"):
            grids = table.columns
            say(f"{grids[0]!r} is read as {wanted.columns[0]!r}, the only column that the model reads")
        return table.rename({grids[0]: wanted.columns[0]}) if len(grids) == 1 else table

    def _readable(self, table: Table, start: int, ask: Any) -> Table:
        """The answers to the rows that can be read, empty for the others."""
        rows = np.arange(table.height)
        while True:
            try:
                answers = self.task.answers(self._predicted(table, start, ask, rows), self.schema)
                break
            except BadCells as bad:
                if len(bad.rows) == len(rows):
                    raise
                warn(f"{bad} Such rows get no answer.")
                rows = np.delete(rows, bad.rows)
        at = np.zeros(table.height, np.int64)
        at[rows] = np.arange(1, len(rows) + 1)
        return pl.concat([answers.clear(1), answers])[at]

    def _predicted(self, table: Table | None, start: int, ask: Any, rows: np.ndarray | None = None) -> Batch:
        """What the task predicts for a table whose first row is row `start` of the user's; rows: only these."""
        encoded: Batch = {}
        if table is not None:
            order = rows if self.task.rowwise else self.task.order(table)
            rows = np.arange(table.height) if order is None else order
            with cells.numbered(functools.partial(_nth, start)), cells.picked(rows):  # of the whole file, not of the chunk
                encoded = self.schema.encode(table if order is None else table[order], with_target=self.task.pairs(ask))
        return predict_all(self.model, self.task, self.head, self.task.pose(encoded, self.context), ask)

    # ---------------------------------------------------------------- save

    def save(self, path: Path, extra: dict[str, str | bytes]) -> None:
        """Writes the folder beside `path` and renames it into place. `extra`: {file name: content}, e.g. the report and the card."""
        draft = path.with_name(f".{path.name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        try:
            draft.mkdir(parents=True)
            (draft / "model.safetensors").write_bytes(safetensors.torch.save(tensors_of(self.model)))
            if self.context:
                (draft / "context.safetensors").write_bytes(safetensors.torch.save(_flat(self.context)))
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
        rows = json.loads(json.dumps(self.task.imagine(self.schema).to_dicts(), default=str))
        self.golden = {"about": "synthetic rows, made from the schema, and what the model said of them", "rows": rows}
        self.golden["ask"] = dict(self.task.golden)
        predicted = _flat(self._predict_golden())
        if not all(bool(value.isfinite().all()) for value in predicted.values()):
            raise UserError(
                "the trained model gives no finite answer (NaN or infinity) for rows like its training rows, so it was not saved. "
                "The likely cause is a learning rate that is too high: lower it with --set train.lr=..."
            )
        self.golden["predicted"] = {key: value.tolist() for key, value in predicted.items()}
        return self.golden

    def _predict_golden(self) -> Batch:
        with unsaid():
            return self._predicted(reading.read(self.golden["rows"]), 0, self.asked(self.golden["ask"]))

    # ---------------------------------------------------------------- prove

    def prove(self, where: str) -> None:
        """Predicts the golden rows again. Raises UserError where the answers differ: the software here computes something else."""
        answers = _flat(self._predict_golden())  # of which an older run may not know all
        for key, expected in self.golden["predicted"].items():
            predicted, expected = answers[key].double(), torch.tensor(expected, dtype=torch.float64)
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
    context = _nested(safetensors.torch.load_file(path / "context.safetensors")) if "context.safetensors" in info["files"] else {}
    bundle = Bundle(schema, task, network.eval(), head, context, {key: info[key] for key in ("task", "model", "reading") if key in info})
    bundle.golden = read_json(path / "golden.json")
    bundle.prove(str(path))
    return bundle


def _verified(path: Path) -> dict[str, Any]:
    """luban.json, after every file in it has been found whole."""
    info = read_info(path)
    _contained(path, info)
    for name, expected in info["files"].items():
        if not (path / name).is_file():
            raise UserError(f"{path / name} is missing. The folder is not complete: copy it again as a whole.")
        if sha256(path / name) != expected:
            raise UserError(
                f"{path / name} was altered after it was saved: its sha256 is not the one in luban.json. Copy the folder again."
            )
    return info


def read_info(path: Path) -> dict[str, Any]:
    """luban.json of the bundle in `path`, held against its own sha256."""
    if not path.is_dir():
        raise UserError(
            f"the run {path.parent} has no model yet: it has not finished. Go on with it by the same `luban train` command and "
            f"--resume --out {shlex.quote(str(path.parent))}."
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
"""Examples in one forward pass outside training, at most."""
_FLOPS = 2e10
"""And as many as cost about so much: a second on one core."""


def _pass(model: Model) -> int:
    return max(1, min(_MOST, int(_FLOPS / max(model.flops(), 1.0))))


def _device(model: Model) -> torch.device:
    return next((p.device for p in model.parameters()), torch.device("cpu"))


@contextlib.contextmanager
def _threads(model: Model) -> Iterator[None]:
    """As many processor threads as the model is fastest with."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(before, model.threads or before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.inference_mode()
def predict_all(model: Model, task: Task, head: Head, batch: Batch, ask: Any) -> Batch:
    """task.predict over all of `batch`, pass by pass; the answers lie on the CPU."""
    model.eval()
    device, most = _device(model), _pass(model)
    with _threads(model):
        return _joined(task.predict(model, to_device(piece_of(batch, start, start + most), device), head, ask)
                       for start in passes(size_of(batch), most, "rows answered:"))  # fmt: skip


@torch.inference_mode()
def judge(model: Model, task: Task, head: Head, examples: Examples) -> tuple[Batch, Batch]:
    """(task.judge over all examples, the truth beside it), pass by pass; both on the CPU."""
    model.eval()
    device, judged, truth = _device(model), [], []
    order = examples.lengths.argsort(stable=True) if model.ragged else torch.arange(len(examples))
    with _threads(model):
        for start in passes(max(1, len(order)), most := _pass(model), f"{task.noun} judged:"):
            batch = examples[order[start : start + most]]
            judged.append(task.judge(model, to_device(batch, device), head))
            truth.append({key: batch[key] for key in head.keys})
    back = order.argsort()
    first, second = ({key: value[back] for key, value in _joined(made).items()} for made in (judged, truth))
    return first, second


def _joined(pieces: Iterable[Batch]) -> Batch:
    """One batch of several, on the CPU; halves as floats."""
    made = list(pieces)
    return {key: beneath([_plain(piece[key]) for piece in made]) for key in made[0]}


def _plain(value: Any) -> Any:
    if isinstance(value, Ragged):
        return Ragged(_plain(value.values), value.offsets.cpu())
    return value.cpu().float() if value.dtype in (torch.bfloat16, torch.float16) else value.cpu()


def lines(answers: Table) -> Table:
    """A line for each record, where the answer of a row is a list of them: their fields, or a vector's numbers, become columns, null where
    the list is empty."""
    dtype = answers.schema.get("prediction")
    if isinstance(dtype, pl.Array):
        return answers.with_columns(pl.col("prediction").arr.to_struct([f"v{i}" for i in range(dtype.size)])).unnest("prediction")
    if not isinstance(dtype, pl.List) or not isinstance(dtype.inner, pl.Struct):
        return answers
    return answers.explode("prediction", empty_as_null=True).unnest("prediction")


def _concat(pieces: list[Table]) -> Table:
    table = pieces[0]
    for piece in pieces[1:]:
        table = table.vstack(piece)
    return table.rechunk()


# ---------------------------------------------------------------- tensors


def tensors_of(model: Model) -> dict[str, Tensor]:
    """Copies of all weights and buffers, on the CPU, in the order of their rows (safetensors takes no other)."""
    return {key: value.detach().cpu().clone(memory_format=torch.contiguous_format) for key, value in model.state_dict().items()}


def _flat(batch: Batch) -> dict[str, Tensor]:
    """A batch as plain tensors: a ragged one as its values and offsets."""
    flat: dict[str, Tensor] = {}
    for key, value in batch.items():
        flat |= {f"{key}.values": value.values, f"{key}.offsets": value.offsets} if isinstance(value, Ragged) else {key: value}
    return {key: value.contiguous().clone() for key, value in flat.items()}


def _nested(flat: dict[str, Tensor]) -> Batch:
    """The inverse of `_flat`."""
    ragged = {key.removesuffix(".offsets") for key in flat if key.endswith(".offsets")}
    plain = {key: value for key, value in flat.items() if key.rpartition(".")[0] not in ragged}
    return {**plain, **{key: Ragged(flat[f"{key}.values"], flat[f"{key}.offsets"]) for key in ragged}}
