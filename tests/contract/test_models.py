"""Every model, on a table with every kind of column, on pictures, on both, and on curves beside columns; and on every kind of target: what
the loop, the bundle and the server rely on."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional as F

from luban import optim
from luban.core.batch import Examples, Ragged, Spans, Store
from luban.core.contract import Clock, Head, Part, Schema
from luban.core.registry import FIELDS, MODELS
from luban.layers.fused import PictureModel
from luban.layers.heads import log_odds

ROWS = 400


class Patient(Clock):
    seed, threads = 7, 1

    def seconds_left(self) -> float:
        return math.inf


def _table() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    age, income = rng.normal(40, 12, ROWS), rng.lognormal(10, 1, ROWS)
    words = np.array(["便宜", "质量 好", "slow delivery", "never again", "服务 热情", "great value for money", ""])
    return pl.DataFrame({
        "年龄": [None if gone else value for gone, value in zip(rng.random(ROWS) < 0.1, age.tolist(), strict=True)],
        "income.usd": income,
        "城市": rng.choice(["北京", "上海", "广州", "Köln"], ROWS),
        "shop": [f"s{i}" for i in rng.integers(0, 60, ROWS)],
        "member": rng.choice(["是", "否"], ROWS),
        "seen": rng.choice(["2024-01-31", "2024-02-29", "2025-12-01", None], ROWS),
        "评论": [" ".join(rng.choice(words, 3)) for _ in range(ROWS)],
    })  # fmt: skip


FIELD_OF = {
    "年龄": "number",
    "income.usd": "number",
    "城市": "category",
    "shop": "category",
    "member": "boolean",
    "seen": "date",
    "评论": "text",
}
TABLE = _table()
COLUMNS = Schema({f"c{i}": FIELDS[field]((name,)) for i, (name, field) in enumerate(FIELD_OF.items())}, {}).fit(TABLE)
INPUTS = COLUMNS.encode(TABLE, with_target=False)


def _hidden() -> np.ndarray:
    """What the targets follow from."""
    return INPUTS["c1"].numpy() + 0.5 * (INPUTS["c2"].numpy() == 1)


def _pictures() -> torch.Tensor:
    """Noise, the brighter on the right the larger `_hidden`: (ROWS, 3, 12, 10)."""
    rng = np.random.default_rng(2)
    slope = np.tanh(_hidden())[:, None, None, None] * np.linspace(-80, 80, 10)
    return torch.from_numpy((128 + slope + rng.normal(0, 20, (ROWS, 3, 12, 10))).clip(0, 255).astype(np.uint8))


def _curves() -> pl.DataFrame:
    """12 to 20 steps of noise, swinging up and down the more the larger `_hidden`; some are missing."""
    rng, swing = np.random.default_rng(3), np.tile([1.0, -1.0], 10)
    made = [str((rng.normal(0, 0.3, 20) + (2 + z) * swing)[: rng.integers(12, 21)].tolist()) for z in _hidden()]
    return pl.DataFrame({"曲线": [None if i % 50 == 7 else each for i, each in enumerate(made)]})


def _targets() -> dict[str, torch.Tensor]:
    """Three classes (ids from 1), yes or no, four labels, a number: all follow from the inputs, with some noise."""
    rng = np.random.default_rng(1)
    z = _hidden() + 0.3 * rng.normal(size=ROWS)
    classes = np.digitize(z, [0.0, 1.0]) + 1
    labels = np.stack([z > 0, INPUTS["c4"].numpy() > 0, rng.random(ROWS) < 0.2, np.zeros(ROWS)], 1)
    as_float = [torch.tensor(each, dtype=torch.float32) for each in (z > 0.3, labels, (z - z.mean()) / z.std())]
    return {"y0": torch.from_numpy(classes), "y1": as_float[0], "y2": as_float[1], "y3": as_float[2]}


TARGETS = _targets()
COUNTS = torch.bincount(TARGETS["y0"], minlength=4)[1:].tolist()
YES = float(TARGETS["y1"].mean())
CLASSES = Part("y0", "classes", 3, "cross_entropy", (), log_odds(COUNTS))
BINARY = Part("y1", "binary", 1, "bce", (), (math.log(YES / (1 - YES)),))
LABELS = Part("y2", "labels", 4, "bce")
VALUE = Part("y3", "value", 1, "mse", (), (0.0,))
HEADS = {"classes": Head((CLASSES,)), "binary": Head((BINARY,)), "labels": Head((LABELS,)), "value": Head((VALUE,)),
         "several": Head((CLASSES, BINARY, LABELS, VALUE))}  # fmt: skip


# what a model may read of a field of pictures, and no more
PICTURE = SimpleNamespace(kind="grid", shape=(3, 12, 10), mean=(0.5,) * 3, std=(0.2,) * 3, size=1, has_missing=False, columns=("picture",))
PIXELS = {"p0": _pictures()}
CURVES = Schema({"s0": FIELDS["curve"](("曲线",))}, {}).fit(_curves())
LINES = CURVES.encode(_curves(), with_target=False)
BESIDE = {key: COLUMNS.inputs[key] for key in ("c0", "c2", "c6")}
TABLES = {"columns": (COLUMNS, INPUTS), "pictures": (Schema({"p0": PICTURE}, {}), PIXELS),
          "both": (Schema({"p0": PICTURE, **COLUMNS.inputs}, {}), {**PIXELS, **INPUTS}),
          "curves": (Schema({**CURVES.inputs, **BESIDE}, {}), {**LINES, **{key: INPUTS[key] for key in BESIDE}})}  # fmt: skip


class Case(NamedTuple):
    """A model, and what it reads."""

    model: str
    table: str

    @property
    def schema(self) -> Schema:
        return TABLES[self.table][0]


def loss_of(head: Head, output: torch.Tensor, batch: dict) -> torch.Tensor:
    """The tasks' losses in their plainest form: the mean over members and parts."""
    total = torch.zeros(())
    for part in head.parts:
        out, y = head.split(output)[part.key], batch[part.key]
        for member in out.unbind(1):
            if part.kind == "classes":
                each = F.cross_entropy(member, y - 1)
            elif part.kind == "value":
                each = F.mse_loss(member[:, 0], y)
            else:
                each = F.binary_cross_entropy_with_logits(member, y.reshape(len(y), -1))
            total = total + each / (out.shape[1] * len(head.parts))
    return total


def built(case: Case, head: Head):
    """The model as a run would make it: planned, then built from a fixed seed."""
    cls = MODELS[case.model]
    config, _, _ = cls.plan(cls.Config(), case.schema, head, ROWS, "small")
    torch.manual_seed(0)
    return cls(config, case.schema, head)


def trained(case: Case, head: Head):
    model = built(case, head)
    if model.solves:
        model.solve(examples(case, slice(0, 300)), examples(case, slice(300, ROWS)), Patient())
    if model.joins:
        model.adopt([trained(Case(member["name"], case.table), head) for member in model.config.members])
    return model.eval()


def rows(case: Case, which: slice) -> dict:
    index = torch.arange(ROWS)[which]
    return {key: value[index] for key, value in {**TABLES[case.table][1], **TARGETS}.items()}


def examples(case: Case, which: slice) -> Examples:
    store = Store({**TABLES[case.table][1], **TARGETS}, torch.zeros(ROWS, dtype=torch.uint8))
    return Examples(store, Spans(torch.arange(ROWS)[which]), lambda store, spans: rows_at(store, spans.start))


def rows_at(store: Store, index: torch.Tensor) -> dict:
    return {key: value[index] for key, value in store.columns.items()}


def _cases() -> list[Case]:
    """Those that answer a row with its targets, beside every table that they can read; the others are tested with their tasks."""
    found = []
    for name, cls in MODELS.items():
        if "classes" not in cls.gives or name == "pretrained" or cls.argument:  # need weights: tests/models/test_pretrained.py, test_hf.py
            continue
        for table, (schema, _) in TABLES.items():
            kinds = {each.kind for each in schema.inputs.values()}
            if kinds <= cls.accepts and (kinds & cls.needs or not cls.needs) and ("grid" in kinds or not issubclass(cls, PictureModel)):
                found.append(Case(name, table))
    return found


CASES = _cases()


def _params(cases: list[Case]) -> list:
    return [pytest.param(case, id=f"{case.model}-{case.table}") for case in cases]


@pytest.fixture(params=_params(CASES))
def case(request) -> Case:
    return request.param


@pytest.fixture(params=_params([case for case in CASES if not MODELS[case.model].solves and not MODELS[case.model].joins]))
def stepped(request) -> Case:
    return request.param


@pytest.fixture(params=_params([case for case in CASES if MODELS[case.model].solves and case.model != "constant"]))
def solved(request) -> Case:
    return request.param


def can(case: Case, head: Head) -> None:
    """Skips what the model does not answer."""
    if not {part.kind for part in head.parts} <= MODELS[case.model].gives:
        pytest.skip(f"{case.model} does not answer these")


def most(case: Case) -> Head:
    """As many parts as it answers."""
    return Head(tuple(part for part in HEADS["several"].parts if part.kind in MODELS[case.model].gives))


@pytest.mark.parametrize("kind", HEADS)
def test_answers_are_finite_and_of_the_heads_shape(case, kind):
    can(case, HEADS[kind])
    out = trained(case, HEADS[kind])(rows(case, slice(0, 5)))
    assert out.shape in ((5, HEADS[kind].size), (5, out.shape[1], HEADS[kind].size)) and out.dtype == torch.float32
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("kind", HEADS)
def test_solved_models_beat_the_constant(solved, kind):
    can(solved, HEADS[kind])
    head, held_out = HEADS[kind], rows(solved, slice(300, ROWS))
    floor = loss_of(head, trained(Case("constant", solved.table), head)(held_out), held_out)
    # of the four labels one is noise and one never occurs: there the floor is hard to beat
    assert loss_of(head, trained(solved, head)(held_out), held_out) < {"labels": 1.0, "several": 0.8}.get(kind, 0.7) * floor


def test_first_loss_is_that_of_the_constant_model(stepped):
    for kind in ("classes", "binary", "value"):
        head, batch = HEADS[kind], rows(stepped, slice(0, ROWS))
        floor = {"classes": -sum(n / ROWS * math.log(n / ROWS) for n in COUNTS), "value": 1.0,
                 "binary": -(YES * math.log(YES) + (1 - YES) * math.log(1 - YES))}[kind]  # fmt: skip
        assert abs(loss_of(head, built(stepped, head)(batch), batch).item() - floor) < 0.25


def test_overfits_one_batch(stepped):
    head, batch = HEADS["several"], rows(stepped, slice(0, 32))
    model = built(stepped, head).train()
    optimiser = optim.build("adam", model, 1e-2 if stepped.table == "columns" else 3e-3)
    for _ in range(200):
        loss = loss_of(head, model(batch), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    # moved and part erased, pictures are learned more slowly
    assert loss_of(head, model.eval()(batch), batch).item() < (0.05 if stepped.table == "columns" else 0.15)


def test_every_parameter_gets_a_gradient(stepped):
    model = built(stepped, HEADS["several"]).train()
    batch, optimiser = rows(stepped, slice(0, 128)), torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(2):  # what starts at zero lets nothing through at first
        optimiser.zero_grad()
        loss_of(model.head, model(batch), batch).backward()
        optimiser.step()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_row_alone_is_the_row_in_a_batch(case):
    model = trained(case, most(case))
    together = model(rows(case, slice(0, 20)))
    assert torch.equal(together, model(rows(case, slice(0, 20))))
    assert torch.allclose(torch.cat([model(rows(case, slice(i, i + 1))) for i in range(20)]), together, atol=1e-5)


def test_saved_and_built_again_gives_the_same_bits(case):
    first, second = trained(case, most(case)), built(case, most(case))
    second.load_state_dict(first.state_dict())
    second.restore(first.files())
    assert torch.equal(first(rows(case, slice(0, 50))), second.eval()(rows(case, slice(0, 50))))
    assert second.files() == first.files()


def test_the_same_seed_gives_the_same_model(case):
    assert torch.equal(trained(case, most(case))(rows(case, slice(0, 50))), trained(case, most(case))(rows(case, slice(0, 50))))


def test_nothing_known_of_a_row_is_still_answered(case):
    blank = {key: torch.full_like(value[:2], math.nan) if not isinstance(value, Ragged) and value.is_floating_point()
             else Ragged(value.values[:0], torch.zeros(3, dtype=torch.int64)) if isinstance(value, Ragged)
             else torch.zeros_like(value[:2]) for key, value in TABLES[case.table][1].items()}  # fmt: skip
    assert torch.isfinite(trained(case, most(case))(blank)).all()


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_the_plan_fills_everything_and_says_why(case, size):
    cls = MODELS[case.model]
    config, train, why = cls.plan(cls.Config(), case.schema, HEADS["binary"], 30_000, size)
    assert cls.plan(cls.Config(), case.schema, HEADS["binary"], 30_000, size) == (config, train, why)
    assert None not in vars(config).values()
    assert {key.removeprefix("train.") for key in why if key.startswith("train.")} <= train.keys()


def test_what_it_shows_is_pictures_and_changes_nothing(case):
    model = trained(case, most(case))
    before = torch.get_rng_state()
    for caption, shown in model.show(rows(case, slice(0, 8))).items():
        assert caption and shown.dtype == torch.uint8 and shown.dim() == 4 and shown.shape[1] in (1, 3)
    assert torch.equal(torch.get_rng_state(), before) and not model.training


def test_it_says_what_a_row_costs(case):
    assert built(case, most(case)).flops() >= 0
