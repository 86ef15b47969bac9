"""The contract: the shapes in which stages and plug-ins meet. Read this file and you know what a plug-in must be.

    Table   a polars frame, columns in the user's words
    Batch   what a model eats: {"c0": Tensor, "c1": Ragged, "y0": Tensor}; inputs are c0, c1, ..., targets y0, y1, ...; see batch.py
    Field   columns <-> tensors, both directions, learned on training rows only
    Task    the question: what one example is, the loss, what a prediction means, how it is judged
    Model   an nn.Module from a Batch to what the task's Head asks for

The keys are ours because the user's column names ("items", "price.usd", "") cannot be module names; the Schema maps them.
Shapes below: B examples, K ensemble members, C classes.
"""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from luban.core import config as configs
from luban.core.batch import Batch, Encoded, Examples, Spans, Store, rows_of
from luban.core.errors import UserError, did_you_mean
from luban.core.registry import FIELDS

Table = pl.DataFrame


# ---------------------------------------------------------------- field


@dataclass(frozen=True)
class NoConfig:
    """For a plug-in without options."""


class Field(ABC):
    """Columns to tensors and back. `fit` sees training rows only; `encode` is the only way in, for training and serving alike.

    An encoded missing scalar is NaN; a model decides what to make of it. Encoded ids keep 0 for "never seen in training".
    """

    kind: ClassVar[str]
    """What the encoding is, for Model.accepts: scalar ((N,) or (N, size) float32) | id ((N,) int64) | tokens (Ragged int64) | words (Ragged
    int64 (total, F + 2): F ids a token, whose embeddings are added up, where it begins, where it ends) | spans (Ragged int64 (total, 3):
    first, behind the last, label) | curve (Ragged float32 (total, size)) | series ((N,) float32) | time, item ((N,) int64) | known, past,
    static (float32, beside a series: fields/covariate.py) | grid ((N, C, H, W) uint8)."""
    Config: ClassVar[type] = NoConfig
    size: int = 1
    """scalar: numbers per row; id and tokens: how many different ids, 0 included; curve: channels."""
    shape: tuple[int, ...] = ()
    """grid: (C, H, W) of each row."""
    length: int = 1
    """tokens: how many a row has at most; curve: steps of the longest training row."""
    edges: tuple[float, ...] = ()
    """scalar: increasing quantiles of the training values, in encoded units; models bin and embed by them."""
    has_missing: bool = False
    """Were there missing values in the training rows?"""
    invertible: ClassVar[bool] = True
    """Can `decode` give the values back? A hash cannot."""

    def __init__(self, columns: tuple[str, ...], config: Any = None):
        self.columns = columns
        self.config = config if config is not None else self.Config()
        self.doubts: list[str] = []  # what a person should know of this column, in words; filled by `fit`

    @classmethod
    def sniff(cls, column: pl.Series) -> float:
        """0..1: is this column ours? `column` is a sample, raw as the source gave it (all text for a CSV)."""
        return 0.0

    @abstractmethod
    def fit(self, chunks: Iterable[pl.Series]) -> Field:
        """Learns from the training rows. Null tokens ("", NA, ?) are handled here. Returns self.

        chunks: one or more pieces of the column, which may be gone through again; while one is at hand, `cells.row(i)` names its row i.
        """

    @abstractmethod
    def encode(self, column: pl.Series) -> Encoded:
        """A column in, one entry a row. Raises UserError naming the first row that cannot be understood."""

    def reworded(self, chunks: Iterable[pl.Series]) -> pl.Series | None:
        """The same rows, all together, in other words, to be trained on besides; None: not asked for."""
        return None

    @abstractmethod
    def decode(self, encoded: Encoded) -> list:
        """Back to the user's words; missing is None."""

    def names(self, column: pl.Series) -> bool:
        """Do these cells name their rows, so that they are repeated beside the answers: files by their paths?"""
        return False

    def about(self) -> str:
        """What a person should know of the column beside its field, in a few words."""
        return ""

    def pieces(self, ids: Tensor) -> list[str] | None:
        """tokens: what each of these ids (n,) is in the user's words; None where they are none."""
        return None

    def show(self, encoded: Encoded) -> list[str]:
        """Each row as HTML for people: its words, unless the field knows better."""
        values = self.decode(encoded)
        return ["" if each is None else f"{each:.6g}" if isinstance(each, float) else html.escape(str(each)) for each in values]

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """What `fit` learned, as JSON."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> Field:
        """The inverse of `state`. Returns self."""

    @abstractmethod
    def imagine(self, n: int, rng: np.random.Generator) -> list:
        """n plausible values in the user's words, made from the state alone (golden rows: no user's row leaves in a model)."""

    def phrase(self) -> str | None:
        """A cell for people to try, in the letters of the training rows; None: an imagined one reads well."""
        return None

    @classmethod
    @abstractmethod
    def samples(cls) -> list[pl.Series]:
        """Columns for the contract tests."""


# ---------------------------------------------------------------- schema


class Schema:
    """The fitted fields of a table: inputs under c0, c1, ..., targets under y0, y1, ...; and what was left out, with the reason."""

    def __init__(self, inputs: dict[str, Field], targets: dict[str, Field], ignored: dict[str, str] | None = None):
        self.inputs = inputs
        self.targets = targets
        self.ignored = ignored or {}

    def fit(self, table: Table, chunks: Callable[[str], Iterable[pl.Series]] | None = None, run: Any = map) -> Schema:
        """Fits every field on the training rows: the `chunks` of a column, else all of it. run: as `map`, perhaps several at a time."""

        def one(each: Field) -> Field:
            name = self._name(table, each)
            return each.fit(chunks(name) if chunks else [table.get_column(name)])

        list(run(one, self.fields.values()))
        return self

    @property
    def fields(self) -> dict[str, Field]:
        """Inputs and targets."""
        return {**self.inputs, **self.targets}

    def need(self, table: Table) -> None:
        """Raises UserError where a column is missing."""
        for each in self.fields.values():
            self._name(table, each)

    def encode(self, table: Table, with_target: bool) -> Batch:
        """Encodes all columns. A missing input is a UserError; targets are encoded only when asked for."""
        chosen = (self.fields if with_target else self.inputs).items()
        return {key: each.encode(table.get_column(self._name(table, each))) for key, each in chosen}

    def _name(self, table: Table, each: Field) -> str:
        """The column of a field, which the table must have."""
        name = each.columns[0]
        if name not in table.columns:
            # a single wrong name is likely a slip; say which columns there are, in full only when they are few
            raise UserError(f"the column {name!r} is missing.{did_you_mean(name, table.columns)} "
                            f"This model reads: {', '.join(repr(f.columns[0]) for f in self.inputs.values())}.")  # fmt: skip
        return name

    def imagine(self, n: int, seed: int = 0) -> Table:
        """n synthetic rows of inputs, in the user's words."""
        rng = np.random.default_rng(seed)
        return pl.DataFrame({each.columns[0]: pl.Series(each.imagine(n, rng), strict=False) for each in self.inputs.values()})

    def state(self) -> dict[str, Any]:
        def one(each: Field) -> dict[str, Any]:
            name = type(each).__module__.rpartition(".")[2]
            return {"field": name, "columns": list(each.columns), "config": configs.to_dict(each.config), "state": each.state()}

        return {
            "inputs": {key: one(each) for key, each in self.inputs.items()},
            "targets": {key: one(each) for key, each in self.targets.items()},
            "ignored": self.ignored,
        }

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Schema:
        def one(saved: dict[str, Any]) -> Field:
            field_class = FIELDS[saved["field"]]
            made = field_class(tuple(saved["columns"]), configs.build(field_class.Config, saved["config"]))
            return made.restore(saved["state"])

        return cls(
            {key: one(saved) for key, saved in state["inputs"].items()},
            {key: one(saved) for key, saved in state["targets"].items()},
            state["ignored"],
        )


# ---------------------------------------------------------------- task


@dataclass(frozen=True)
class Part:
    """What a model must put out for one target."""

    key: str
    """The target's batch key: y0, y1, ..."""
    kind: str
    """classes (C logits) | binary (1 logit) | labels (one logit a label, independent) | value (1 number, z-scored) | series (the next
    `size` steps, z-scored) | items (a score for each) | tokens (a logit for each, at each position) | tags (a score for each, at each
    token) | masked (a logit for each, at each token that batch["hidden"] marks) | vectors (one a row, as wide as the model has it). A
    task may bring another kind: models that can answer it list it in `gives`."""
    size: int
    loss: str = ""
    """The task's loss by name, for models that are solved rather than stepped: mse | mae | huber | cross_entropy | bce. With crf a model of
    tags has `steps` (layers/crf.py). Of items: those that come next are asked for (next), or any that were held back by chance (any)."""
    weights: tuple[float, ...] = ()
    """A weight a class; empty for none."""
    bias: tuple[float, ...] = ()
    """Where the output should start (log odds of the classes, 0 for values), so that the first loss is that of the constant model."""
    quantiles: tuple[float, ...] = ()
    """series: which quantiles go with each step."""


@dataclass(frozen=True)
class Head:
    """All that a model must put out: (B, size) or, for an ensemble of K members trained side by side, (B, K, size).

    Only a head of tokens or tags is answered at each position, (B, T, size), and is not for `split`.
    """

    parts: tuple[Part, ...]

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    @property
    def keys(self) -> frozenset[str]:
        """Batch keys that are answers, not inputs."""
        return frozenset(part.key for part in self.parts)

    def split(self, output: Tensor) -> dict[str, Tensor]:
        """{target key: (B, K, part.size)}; a model without members has K = 1."""
        if output.dim() == 2:
            output = output.unsqueeze(1)
        if len(self.parts) == 1:
            return {self.parts[0].key: output}
        pieces = output.split([part.size for part in self.parts], dim=-1)
        return {part.key: piece for part, piece in zip(self.parts, pieces, strict=True)}


@dataclass(frozen=True)
class Measured:
    """How good predictions were."""

    metrics: dict[str, float]
    details: dict[str, Any] = field(default_factory=dict)
    """For the report: confusion matrix, per class figures, ... (JSON)."""
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    """95 % of a metric's resampled values lie between these; only what `evaluate` and the report give has them."""
    called: dict[str, str] = field(default_factory=dict)
    """{metric: what it is called before people}, where its name alone does not say it; given with the intervals."""


class Task(ABC):
    """One question. A task knows targets, losses and what a prediction means; it knows neither models nor stages.

    Where an example is a row and its target columns, the defaults do; such a task writes the abstract methods, `sniff` and
    `target_field`. One whose examples are windows, users or passages is not `labelled`, and says itself in which order rows stand
    (`order`), how they are split (`split`), which fields read them (`schema`) and which spans of them are examples (`spans`, `batch`).
    """

    Config: ClassVar[type] = NoConfig
    Ask: ClassVar[type] = NoConfig
    """What a prediction may ask (k, horizon, prompt), each with a default. The command line and the server build their options from it."""
    labelled: ClassVar[bool] = True
    """Is an example a row with an answer in its target columns? Then rows are split by their hash, and checked for copies and leaks."""
    rowwise: ClassVar[bool] = True
    """Is each row of a question answered by itself? Then a file may be answered in chunks."""
    noun: ClassVar[str] = "rows"
    """What examples are called."""
    endings: ClassVar[Mapping[str, str]] = {}
    """{ending of a file's name: source}, where this question reads such files in a way of its own."""
    asks: ClassVar[str] = ""
    """The kind of its parts, where a model that gives no other kind, or options that no other question has, mean this one."""
    taken: ClassVar[frozenset[str]] = frozenset({"prediction"})
    """Names of columns of our own answers, which a column of a question must not have where it is repeated beside them."""
    instead: ClassVar[tuple[str, ...]] = ()
    """Options of `Ask` that stand for rows (a user, a prompt): one of them or data, not both."""
    golden: ClassVar[Mapping[str, Any]] = {}
    """What is asked of the golden rows, as `Ask` takes it; unset is its default."""
    beside: Mapping[str, Table | None] = {}
    """Tables beside the data (data.items, ...): the names of those that the task reads, then those that were given."""

    def __init__(self, config: Any = None):
        self.config = config if config is not None else self.Config()

    # ---- what it reads
    @classmethod
    def sniff(cls, targets: Sequence[pl.Series]) -> float:
        """0..1: would a person with these target columns ask this question?"""
        return 0.0

    def laid_out(self, table: Table, time: str | None = None) -> Table:
        """Any table of data or of a question, as this task reads it: a row a moment, even steps. time: the column of --time."""
        return table

    def settle(self, table: Table, targets: Sequence[str], time: str | None) -> None:  # noqa: B027 - most tasks have nothing to find
        """Fills what `config` leaves open by looking at the table (which column is the user, how long is a season), and says so."""

    def check(self, table: Table, targets: Sequence[str]) -> None:  # noqa: B027 - most tasks can learn from anything
        """Raises UserError where these targets cannot be learned (one class only, an infinite number, ...)."""

    def order(self, table: Table) -> np.ndarray | None:
        """Which rows are used, in which order: row numbers (n,) int64, or None for all as they come. A question is put in order, too,
        unless it is answered row by row."""
        return None

    def split(self, table: Table, shares: tuple[float, float, float], seed: int = 0) -> tuple[np.ndarray, str] | None:
        """(part (N,) uint8, in words how) of rows in their order; None: by the row's hash, by time or by group. 3: in no part.

        shares: of train, valid and test; numbers of rows where they are above 1. seed: another draws another split, where one is drawn.
        """
        return None

    def noted(self, table: Table, rows: np.ndarray, part: np.ndarray, held: np.ndarray) -> Batch:
        """(n,) each: what the store holds beside its fields, of the rows (n,) that `order` gave and the part (n,) of each. held (N,) bool:
        did the user give this row of the table to be held back?"""
        return {}

    def target_field(self, column: pl.Series) -> str:
        """The name of the field that encodes this target column."""
        raise NotImplementedError

    def schema(self, table: Table, targets: Sequence[str]) -> Schema | None:
        """The fields, not yet fitted; None: each column gets the field that sniffs best."""
        return None

    # ---- what it learns
    def spans(self, store: Store, part: int) -> Spans:
        """The examples of a part: those whose answers all lie in it. What they look back on may lie before."""
        return Spans(store.of(part))

    def batch(self, store: Store, spans: Spans) -> Batch:
        """Examples as a model eats them, answers under the keys of the head's parts."""
        return {key: rows_of(column, spans.start) for key, column in store.columns.items()}

    @abstractmethod
    def head(self, schema: Schema) -> Head: ...

    @abstractmethod
    def loss(self, model: Model, batch: Batch, head: Head) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean loss over the batch, and what else to log. Calls the model: chunked, sampled and adversarial losses fit here."""

    def calibrate(self, model: Model, judged: Batch, truth: Batch, valid: Examples) -> bool | None:  # noqa: B027 - most say it themselves
        """Told once, after training, what the model says of validation, for buffers that say how sure it is. True: it is judged again."""

    def guess(self, predicted: Batch, again: Batch, head: Head) -> Batch:
        """Targets for rows that have none: what a model surely says, and says `again` when its own noise disturbs it; 0 for the others."""
        raise UserError("train.semi cannot learn from rows without an answer to this question. Leave it out.")

    # ---- how it is judged
    @abstractmethod
    def metrics(self, schema: Schema) -> tuple[str, ...]:
        """Names of all metrics; the first picks the best checkpoint, the model of `auto` and the order of comparison."""

    def called(self, metric: str, schema: Schema) -> str:
        """The metric before people: of which class, in which units, where its name alone leaves that open."""
        return metric

    def judge(self, model: Model, batch: Batch, head: Head) -> Batch:
        """What `measure` needs of these examples, (B, ...) each; `batch` holds the answers. Default: what is predicted without them."""
        return self.predict(model, {key: value for key, value in batch.items() if key not in head.keys}, head, self.Ask())

    @abstractmethod
    def measure(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str]) -> Measured:
        """The metrics called `names`."""

    def ranked(self, judged: Batch, truth: Batch) -> dict[str, Tensor]:
        """{title: (N,)}: orders in which a person may want to look at examples, the highest first; -inf: does not belong there."""
        return {}

    def compared(self, table: Table, answer: Callable[[Table], Table]) -> tuple[np.ndarray, np.ndarray] | None:  # noqa: B027
        """(people's scores, the model's, (N,) each) where the table holds pairs of questions, no examples. answer: the model's, by rows."""

    def written(self, judged: Batch, truth: Batch, raw: Callable[[str], list], schema: Schema) -> Table | None:  # noqa: B027
        """These examples as a person reads them, a column of text each; None: as fields and `answers` have them. raw: {column: cells}."""

    # ---- what a report asks: how sure its figures are, where it fails, what to draw; a task that says nothing goes without
    def resample(self, judged: Batch, truth: Batch, schema: Schema, names: Sequence[str], counts: np.ndarray) -> dict[str, np.ndarray]:
        """The metrics called `names` on D samples of these N examples, (D,) each, NaN where one has no value. counts: (N, D), how often
        each example is in each sample. For tasks that judge example by example; the others have no intervals."""
        return {}

    @property
    def block(self) -> int:
        """How many neighbouring examples say nearly the same, and are drawn together: one by one they would seem to say far more."""
        return 1

    def losses(self, judged: Batch, truth: Batch, schema: Schema, metric: str) -> tuple[str, np.ndarray] | None:
        """(what is counted, in words; how wrong each example is (N,), NaN where not judged): by which parts of the data are compared."""
        return None

    def counted(self, truth: Batch, schema: Schema) -> dict[str, np.ndarray]:
        """{what is counted: (N,)}: numbers of each example by which it is sliced, beside its columns."""
        return {}

    def charts(self, judged: Batch, truth: Batch, scored: Examples, schema: Schema) -> dict[str, dict[str, Any]]:
        """{title: what to draw of these answers to `scored`}, as arrays; report/curves.py says what may stand there."""
        return {}

    # ---- what it answers
    def context(self, store: Store) -> Batch:
        """What prediction needs of the past (what each user did, the last window); it travels in the bundle."""
        return {}

    def remember(self, store: Store, context: Batch) -> Store:
        """The store of new data, with what the context knows of the past before it (in part 0): asked when new data are scored."""
        return store

    def question(self, ask: Any) -> Table | None:
        """The rows that `ask` alone means (a user, a prompt), where no data are given; None: to go on from the context."""
        raise UserError("this model answers rows, and none were given: name a file, or - for standard input.")

    def pairs(self, ask: Any) -> bool:
        """Do rows of the question name an answer, to be scored? Then it is encoded, too."""
        return False

    def pose(self, encoded: Batch, context: Batch) -> Batch:
        """An encoded question as `predict` takes it, joined with what the context knows; {} where there were no rows."""
        return encoded

    @abstractmethod
    def predict(self, model: Model, batch: Batch, head: Head, ask: Any) -> Batch:
        """Probabilities, values, samples, top-k: (B, ...) each. Needs no target. What it draws follows from `ask` alone."""

    def best(self, ask: Any) -> int | None:
        """Of all rows of a question only so many are answered, those with the highest `prediction` first; None: each."""
        return None

    def kept(self, schema: Schema) -> tuple[str, ...]:
        """Columns of the question that are repeated beside its answers."""
        return ()

    @abstractmethod
    def answers(self, predicted: Batch, schema: Schema) -> Table:
        """Predictions in the user's words, a row an example: `prediction`, and what goes with it. A `prediction` may be a list of
        records (steps of a forecast, items of a list): files get a line for each, with its fields as columns."""

    def told(self, answers: Table, question: Table, schema: Schema) -> Table:
        """Answers with what only the question's own words can say (what a span holds); null where a row could not be read."""
        return answers

    def example(self, schema: Schema) -> dict[str, Any]:
        """A first question by `Ask` alone, for people to try; {} where rows are needed."""
        return {}

    def imagine(self, schema: Schema) -> Table:
        """A question made from the schema alone, for the golden rows."""
        return schema.imagine(16)

    @classmethod
    def samples(cls) -> list[Table]:
        return []  # small tables for the contract tests, of a task that is not labelled


# ---------------------------------------------------------------- model


class Model(nn.Module):
    """An architecture: built from (config, schema, head), called with a Batch.

    Gets NaN for missing scalars and 0 for unseen ids. A model that is solved rather than stepped overrides `solve`.
    """

    Config: ClassVar[type] = NoConfig
    accepts: ClassVar[frozenset[str]] = frozenset({"scalar", "id", "tokens"})
    """The field kinds that it can read."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """The field kinds of one of which there must be a column; empty for any."""
    leaves: ClassVar[frozenset[str]] = frozenset()
    """Of the kinds that it accepts, those that it makes nothing of; said aloud where there is such a column."""
    gives: ClassVar[frozenset[str]] = frozenset({"classes", "binary", "labels", "value"})
    """The kinds of parts that it can answer."""
    baseline: ClassVar[bool] = False
    """Is it cheap and honest enough to stand beside every result that it can read and answer?"""

    ragged: ClassVar[bool] = False
    """Does a row cost as much as the longest in its batch? Then batches are made of rows of about one length."""
    threads: ClassVar[int] = 0
    """Processor threads that it is fastest with; 0: the more the better, where its steps are large."""
    traceable: ClassVar[bool] = False
    """Does a training step take the same operations, whatever the data? Then a long training may run it as a recorded graph."""
    rate: ClassVar[float] = 1.5e10
    """FLOPs a second that its products reach in training, on one core: what a plan without a time limit reckons with."""
    argument: ClassVar[str] = ""
    """The option that stands behind the colon in `--model NAME:VALUE`, where there is one."""

    def __init__(self, config: Any, schema: Schema, head: Head):
        super().__init__()
        self.config, self.head = config, head
        if head.parts and (levels := head.parts[0].quantiles):  # how far it is off at each step: (Q, C, H)
            self.register_buffer("bands", torch.zeros(len(levels), len(head.parts), head.parts[0].size))

    @classmethod
    def reads(cls, options: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """{field: {option: value}}: how fields must read for a model with these options, where the user leaves that open."""
        return {}

    @classmethod
    def suits(cls, schema: Schema, head: Head, n_rows: int) -> float:
        """0..1: how promising for n_rows training rows of such data; `--model auto` tries those above 0, the best first. 0: only when asked
        for."""
        return 0.0

    @classmethod
    def plan(cls, config: Any, schema: Schema, head: Head, n_rows: int, size: str) -> tuple[Any, dict[str, Any], dict[str, str]]:
        """Fills what is unset: (model config, values for the unset keys of `train`, {key: why}). size: small | base | large."""
        return config, {}, {}

    def features(self, batch: Batch) -> Tensor:
        """What stands before the last layer: (B, D) or (B, K, D)."""
        raise NotImplementedError

    def forward(self, batch: Batch) -> Tensor:
        """(B, head.size), or (B, K, head.size) for an ensemble."""
        raise NotImplementedError

    goes_on: bool = False
    """Has it the weights of another run? Then `look` and `solve` do not replace them by others."""

    def look(self, train: Examples) -> None:
        """Called once before the first step, never where `solve` replaces the loop. What is found lives in buffers, and is said aloud."""

    def show(self, batch: Batch) -> dict[str, Tensor]:
        """{caption: uint8 (n, C, h, w)} for people: first filters, the augmented batch as the network sees it."""
        return {}

    def settle(self) -> None:
        """Called once after the last step: what served training only is folded in or taken away."""

    unlabelled: ClassVar[Mapping[str, Any]] = {}
    """Settings with which it learns from rows without an answer, too; empty: it cannot."""

    def survey(self, rows: Examples) -> None:
        """Shows it the rows without an answer, before `solve` or the first step."""

    solves: ClassVar[bool] = False
    """Does `solve` replace the loop?"""

    def solve(self, train: Examples, valid: Examples | None, clock: Clock) -> None:
        """Fits in one go; what was learned lives in buffers or in `files`."""
        raise NotImplementedError

    joins: ClassVar[bool] = False
    """Is it made of models that were trained apart? Then config.members names them, each a dict with `name` and settings."""

    def adopt(self, members: Sequence[Model]) -> None:
        """Takes the trained models in the order of config.members."""
        raise NotImplementedError

    def files(self) -> dict[str, str]:
        """{file name: text} that belong in the bundle beside the tensors (LightGBM's own text)."""
        return {}

    def restore(self, files: dict[str, str]) -> None:
        """Takes back what `files` gave."""

    def flops(self) -> float:
        """Multiply-adds times two of one example, forward. Default: two for each parameter that is a matrix."""
        return 2.0 * sum(p.numel() for p in self.parameters() if p.dim() > 1)


class Clock(ABC):
    """What a solver may ask of the run: how long it may take, and whether the user pressed Ctrl-C."""

    seed: int
    threads: int

    @abstractmethod
    def seconds_left(self) -> float:
        """Infinite where no limit was given."""

    def stopped(self) -> bool:
        """Did the user ask to stop? A solver ends as soon as it can; what it has is thrown away."""
        return False
