"""Every model, on a table with every kind of column and every kind of target: what the loop, the bundle and the server rely on."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional as F

from luban.core.batch import Examples, Ragged, Spans, Store
from luban.core.contract import Clock, Head, Part, Schema, log_odds
from luban.core.registry import FIELDS, MODELS

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
SCHEMA = Schema({f"c{i}": FIELDS[field]((name,)) for i, (name, field) in enumerate(FIELD_OF.items())}, {}).fit(TABLE)
INPUTS = SCHEMA.encode(TABLE, with_target=False)


def _targets() -> dict[str, torch.Tensor]:
    """Three classes (ids from 1), yes or no, four labels, a number: all follow from the inputs, with some noise."""
    rng = np.random.default_rng(1)
    z = INPUTS["c1"].numpy() + 0.5 * (INPUTS["c2"].numpy() == 1) + 0.3 * rng.normal(size=ROWS)
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


def built(name: str, head: Head):
    """The model as a run would make it: planned, then built from a fixed seed."""
    cls = MODELS[name]
    config, _, _ = cls.plan(cls.Config(), SCHEMA, head, ROWS, "small")
    torch.manual_seed(0)
    return cls(config, SCHEMA, head)


def trained(name: str, head: Head):
    model = built(name, head)
    if model.solves:
        model.solve(examples(slice(0, 300)), examples(slice(300, ROWS)), Patient())
    if model.joins:
        model.adopt([trained(member["name"], head) for member in model.config.members])
    return model.eval()


def rows(which: slice) -> dict:
    index = torch.arange(ROWS)[which]
    return {key: value[index] for key, value in {**INPUTS, **TARGETS}.items()}


def examples(which: slice) -> Examples:
    store = Store({**INPUTS, **TARGETS}, torch.zeros(ROWS, dtype=torch.uint8))
    return Examples(store, Spans(torch.arange(ROWS)[which]), lambda store, spans: rows_at(store, spans.start))


def rows_at(store: Store, index: torch.Tensor) -> dict:
    return {key: value[index] for key, value in store.columns.items()}


ROW_MODELS = [name for name, cls in MODELS.items() if "classes" in cls.gives]
"""Those that answer a row with its targets; the others are tested with their tasks."""


@pytest.fixture(params=ROW_MODELS)
def name(request) -> str:
    return request.param


@pytest.fixture(params=[name for name in ROW_MODELS if not MODELS[name].solves and not MODELS[name].joins])
def stepped(request) -> str:
    return request.param


@pytest.fixture(params=[name for name in ROW_MODELS if MODELS[name].solves and name != "constant"])
def solved(request) -> str:
    return request.param


@pytest.mark.parametrize("kind", HEADS)
def test_answers_are_finite_and_of_the_heads_shape(name, kind):
    out = trained(name, HEADS[kind])(rows(slice(0, 5)))
    assert out.shape in ((5, HEADS[kind].size), (5, out.shape[1], HEADS[kind].size)) and out.dtype == torch.float32
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("kind", HEADS)
def test_solved_models_beat_the_constant(solved, kind):
    head, held_out = HEADS[kind], rows(slice(300, ROWS))
    floor = loss_of(head, trained("constant", head)(held_out), held_out)
    # of the four labels one is noise and one never occurs: there the floor is hard to beat
    assert loss_of(head, trained(solved, head)(held_out), held_out) < {"labels": 1.0, "several": 0.8}.get(kind, 0.7) * floor


def test_first_loss_is_that_of_the_constant_model(stepped):
    for kind in ("classes", "binary", "value"):
        head, batch = HEADS[kind], rows(slice(0, ROWS))
        floor = {"classes": -sum(n / ROWS * math.log(n / ROWS) for n in COUNTS), "value": 1.0,
                 "binary": -(YES * math.log(YES) + (1 - YES) * math.log(1 - YES))}[kind]  # fmt: skip
        assert abs(loss_of(head, built(stepped, head)(batch), batch).item() - floor) < 0.25


def test_overfits_one_batch(stepped):
    head, batch = HEADS["several"], rows(slice(0, 32))
    model = built(stepped, head).train()
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(200):
        loss = loss_of(head, model(batch), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss_of(head, model.eval()(batch), batch).item() < 0.05


def test_every_parameter_gets_a_gradient(stepped):
    model = built(stepped, HEADS["several"]).train()
    batch = rows(slice(0, 128))
    loss_of(model.head, model(batch), batch).backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_row_alone_is_the_row_in_a_batch(name):
    model = trained(name, HEADS["several"])
    together = model(rows(slice(0, 20)))
    assert torch.equal(together, model(rows(slice(0, 20))))
    assert torch.allclose(torch.cat([model(rows(slice(i, i + 1))) for i in range(20)]), together, atol=1e-5)


def test_saved_and_built_again_gives_the_same_bits(name):
    first, second = trained(name, HEADS["several"]), built(name, HEADS["several"])
    second.load_state_dict(first.state_dict())
    second.restore(first.files())
    assert torch.equal(first(rows(slice(0, 50))), second.eval()(rows(slice(0, 50))))
    assert second.files() == first.files()


def test_the_same_seed_gives_the_same_model(name):
    assert torch.equal(trained(name, HEADS["several"])(rows(slice(0, 50))), trained(name, HEADS["several"])(rows(slice(0, 50))))


def test_nothing_known_of_a_row_is_still_answered(name):
    blank = {key: torch.full_like(value[:2], math.nan) if not isinstance(value, Ragged) and value.is_floating_point()
             else Ragged(torch.zeros(0, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)) if isinstance(value, Ragged)
             else torch.zeros(2, dtype=torch.int64) for key, value in INPUTS.items()}  # fmt: skip
    assert torch.isfinite(trained(name, HEADS["several"])(blank)).all()


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_the_plan_fills_everything_and_says_why(name, size):
    cls = MODELS[name]
    config, train, why = cls.plan(cls.Config(), SCHEMA, HEADS["binary"], 30_000, size)
    assert cls.plan(cls.Config(), SCHEMA, HEADS["binary"], 30_000, size) == (config, train, why)
    assert None not in vars(config).values()
    assert {key.removeprefix("train.") for key in why if key.startswith("train.")} <= train.keys()
