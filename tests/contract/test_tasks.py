"""What every task must do, whoever wrote it: each set of target columns goes through the task that claims it most."""

from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from luban.core import config as configs
from luban.core.contract import Head, Schema, Task
from luban.core.registry import FIELDS, TASKS
from luban.metrics import better, direction
from luban.report.curves import charts
from luban.report.words import CHINESE

torch.set_num_threads(1)  # for so small a model a second thread only waits

N = 60
TARGETS = {
    "words": {"种类": ["猫", "狗", "bird"] * 20},
    "two ints as text": {"y": ["0", "1", "1"] * 20},
    "flags": {"ok": [True, False, False, True] * 15},
    "few ints": {"stars": [1, 2, 3, 4, 5] * 12},
    "whole floats": {"stars": [1.0, 2.0, 3.0] * 20},
    "amounts": {"price": [i * i / 7 - 40 for i in range(N)]},
    "amounts as text": {"面积": [f"{i * 1.5:.2f}" for i in range(N)]},
    "labels": {"a": [0, 1] * 30, "b": [1, 0, 0] * 20, "": ["0", "1", "1", "1"] * 15},
    "mixed": {"price.usd": [float(i % 17) + i / 9 for i in range(N)], "kind": ["x", "y", "z"] * 20},
}


def chosen(columns: list[pl.Series]) -> tuple[str, Task]:
    name, cls = max(TASKS.items(), key=lambda item: item[1].sniff(columns))
    return name, cls()


class Table(nn.Module):
    """As many outputs as rows: the freest model there is, started at the head's bias."""

    def __init__(self, head: Head, members: int = 0):
        super().__init__()
        start = torch.tensor([number for part in head.parts for number in part.bias])
        self.z = nn.Parameter(start.expand(N, *[members] * (members > 0), head.size).clone())

    def forward(self, batch):
        return self.z


@torch.inference_mode()
def predict(task: Task, model: nn.Module, head: Head):
    return task.predict(model, {}, head, task.Ask())


@pytest.fixture(params=TARGETS, ids=list(TARGETS))
def case(request):
    table = pl.DataFrame(TARGETS[request.param])
    _, task = chosen(table.get_columns())
    schema = Schema({}, {f"y{i}": FIELDS[task.target_field(each)]((each.name,)) for i, each in enumerate(table)}).fit(table)
    return table, task, schema, task.head(schema), schema.encode(table, with_target=True)


def test_each_task_is_claimed_by_some_targets():
    labelled = {name for name, cls in TASKS.items() if cls.labelled}
    assert {chosen(pl.DataFrame(columns).get_columns())[0] for columns in TARGETS.values()} == labelled


@pytest.mark.parametrize("name", TASKS.names())
def test_every_option_has_its_reason(name):
    cls = TASKS[name]
    assert set(configs.docs(cls.Config)) == set(configs.to_dict(cls.Config()))
    assert configs.build(cls.Config, json.loads(json.dumps(configs.to_dict(cls.Config())))) == cls.Config()


def test_head_has_a_part_for_each_target(case):
    table, task, schema, head, _ = case
    task.check(table, table.columns)
    assert [part.key for part in head.parts] == list(schema.targets)
    assert all(len(part.bias) == part.size for part in head.parts)


def test_first_loss_is_that_of_guessing(case):
    _, task, _, head, truth = case
    loss, _ = task.loss(Table(head), truth, head)
    sizes = [2 if part.kind in ("binary", "labels") else part.size for part in head.parts]
    assert 0.2 < loss.item() <= max(1.0, *map(math.log, sizes)) + 0.05


def test_members_are_averaged(case):
    _, task, _, head, truth = case
    one, three = Table(head), Table(head, members=3)
    assert torch.allclose(task.loss(one, truth, head)[0], task.loss(three, truth, head)[0], atol=1e-6)
    three.z.data[:, 0] += 1
    alone, together = predict(task, one, head), predict(task, three, head)
    assert all(alone[key].shape == together[key].shape for key in alone)


def test_learns_to_be_perfect(case):
    """Every output gets a gradient, and following it leads to the best value of the first metric, whichever that is."""
    _, task, schema, head, truth = case
    names = task.metrics(schema)
    model = Table(head)
    start = task.measure(predict(task, model, head), truth, schema, names)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        task.loss(model, truth, head)[0].backward()
        assert (model.z.grad != 0).any(0).all()
        optimiser.step()
    end = task.measure(predict(task, model, head), truth, schema, names)
    assert better(names[0], end.metrics[names[0]], start.metrics[names[0]])
    assert end.metrics[names[0]] == pytest.approx(1.0 if direction(names[0]) == "max" else 0.0, abs=0.05)


def test_measures_are_plain_and_finite(case):
    _, task, schema, head, truth = case
    names = task.metrics(schema)
    assert len(set(names)) == len(names) and all(direction(name) in ("max", "min") for name in names)
    measured = task.measure(predict(task, Table(head), head), truth, schema, names)
    assert names[0] in measured.metrics and set(measured.metrics) <= set(names)
    assert all(type(value) is float and math.isfinite(value) for value in measured.metrics.values())
    json.dumps(measured.details, allow_nan=False)
    said = set(json.dumps(measured.details).split('"'))  # of several targets, each says it under its own name
    assert [name for name in names if name not in measured.metrics and not {name, name.rpartition(".")[2]} & said] == []
    alone = task.measure(predict(task, Table(head), head), truth, schema, names[:1])
    assert alone.metrics == {names[0]: measured.metrics[names[0]]}


def test_answers_keep_the_rows_and_the_words(case):
    _, task, schema, head, _ = case
    answers = task.answers(predict(task, Table(head), head), schema)
    assert answers.height == N and answers.columns[0].startswith("prediction")
    assert not any(answers.null_count().row(0))
    again = task.answers(predict(task, Table(head), head), Schema.restore(json.loads(json.dumps(schema.state()))))
    assert again.equals(answers)


def test_a_diverged_network_has_no_metrics_rather_than_nan(case):
    _, task, schema, head, truth = case
    model = Table(head)
    model.z.data[3] = math.nan
    assert task.measure(predict(task, model, head), truth, schema, task.metrics(schema)[:1]).metrics == {}


def test_resampled_metrics_losses_and_charts_go_with_the_measure(case):
    """Each example once is the measure; half of them is that of the half; what is wrong has the greater loss; charts are JSON."""
    _, task, schema, head, truth = case
    model, names = Table(head), task.metrics(schema)
    model.z.data += torch.randn(model.z.shape, generator=torch.Generator().manual_seed(0))
    judged, half = predict(task, model, head), torch.arange(N // 2)
    counts = np.ones((N, 2))
    counts[N // 2 :, 1] = 0
    drawn = task.resample(judged, truth, schema, names, counts)
    first = ({key: value[half] for key, value in each.items()} for each in (judged, truth))
    for d, measured in enumerate((task.measure(judged, truth, schema, names), task.measure(*first, schema, names))):
        for name in measured.metrics.keys() - {"mean_skill"}:  # whose best constant is that of all rows, whatever is drawn
            assert drawn[name][d] == pytest.approx(measured.metrics[name], rel=1e-6, abs=1e-9), name
    what, losses = task.losses(judged, truth, schema, names[0])
    assert what in CHINESE and losses.shape == (N,) and np.isfinite(losses).all() and losses.min() >= 0
    shown = charts(task.charts(judged, truth, None, schema))
    assert shown and json.dumps(shown, allow_nan=False)
    model.z.data[3] = math.nan
    judged = predict(task, model, head)
    drawn = task.resample(judged, truth, schema, names, counts)
    assert all(np.isnan(values).all() for name, values in drawn.items() if task.measure(judged, truth, schema, [name]).metrics == {})
    json.dumps(charts(task.charts(judged, truth, None, schema)), allow_nan=False)
