"""What each task decides about odd targets, and what its answers and figures look like, on real tables where it matters."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from luban.core.contract import Head, Part, Schema, Task
from luban.core.errors import UserError
from luban.core.registry import FIELDS, TASKS
from luban.tasks.classify import Classify

DATA = Path(os.environ.get("LUBAN_DATA", Path(__file__).parents[3] / "shared" / "data"))


def fitted(task: Task, table: pl.DataFrame) -> Schema:
    return Schema({}, {f"y{i}": FIELDS[task.target_field(each)]((each.name,)) for i, each in enumerate(table)}).fit(table)


def best(*columns: pl.Series) -> str:
    return max(TASKS.items(), key=lambda item: item[1].sniff(columns))[0]


def task(name: str, **options) -> Task:
    return TASKS[name](TASKS[name].Config(**options))


class Outputs(nn.Module):
    def __init__(self, z: torch.Tensor):
        super().__init__()
        self.z = nn.Parameter(z)

    def forward(self, batch):
        return self.z


@torch.inference_mode()
def predicted(of: Task, head, z: torch.Tensor):
    return of.predict(Outputs(z), {}, head, None)


# ---------------------------------------------------------------- which question


@pytest.mark.parametrize("values, name", [
    (["a", "b"] * 30, "classify"),
    (["1", "0"] * 30, "classify"),
    (["1", "0", "?", ""] * 30, "classify"),
    ([True, False] * 30, "classify"),
    ([1.0, 2.0, 3.0] * 30, "classify"),
    ([1.0, 2.5, 3.0] * 30, "regress"),
    (list(range(60)), "regress"),
    ([str(i * 2) for i in range(60)], "regress"),
    ([str(i % 30) for i in range(60)], "regress"),
    ([f"{i / 7:.3f}" for i in range(60)], "regress"),
    ([f"¥{i},000" for i in range(60)], "regress"),
])  # fmt: skip
def test_which_question_one_target_asks(values, name):
    assert best(pl.Series("y", values)) == name


def test_which_question_several_targets_ask():
    yes, words, price = pl.Series("a", ["0", "1"] * 9), pl.Series("b", ["x", "y"] * 9), pl.Series("c", np.arange(18) / 7)
    assert best(yes, yes.alias("d")) == best(yes, pl.Series("rare", ["0"] * 18)) == "multilabel"
    assert best(yes, words) == best(words, price) == "several"


# ---------------------------------------------------------------- mistakes in the target


@pytest.mark.parametrize("name, values, words", [
    ("classify", ["a"] * 30, "one class only ('a', in 30 rows)"),
    ("classify", ["", None, "NA"], "'目标' is empty in all 3 rows"),
    ("classify", [f"name {i}" for i in range(30)], "30 different values in 30 rows: most rows would be a class of their own"),
    ("classify", [str(i / 3) for i in range(30)], "If it is an amount: --task regress."),
    ("classify", [i % 1500 for i in range(6000)], "more than 1,000 classes. If it is an amount: --task regress. If"),
    ("regress", ["1", "2", "inf", "-inf"], "has 'inf' in row 3, which is not a finite number, and 1 more like it"),
    ("regress", ["1", "", "3", "NaN"], "has 'NaN' in row 4"),
    ("regress", [1.0, None, float("nan")], "has 'nan' in row 3"),
    ("regress", [1.0, float("-inf"), 2.0], "has '-inf' in row 2"),
    ("regress", ["1", "2", "3", "twelve"], "has 'twelve' in row 4"),
    ("regress", ["", None], "empty in all 2 rows"),
    ("regress", [5, 5, 5], "the same number in every row (5)"),
])  # fmt: skip
def test_targets_that_cannot_be_learned(name, values, words):
    table = pl.DataFrame({"目标": pl.Series(values, strict=False)})
    with pytest.raises(UserError) as error:
        task(name).check(table, ["目标"])
    assert words in str(error.value) and "'目标'" in str(error.value)


@pytest.mark.parametrize("name, values", [
    ("classify", ["a", "b", ""] * 9),
    ("regress", ["1.5", "", "?", "NA", "7e3"]),
    ("regress", [1, None, 3]),
    ("regress", ["$1,000", "￥3", "2"]),
])  # fmt: skip
def test_targets_with_empty_cells_are_fine(name, values):
    task(name).check(pl.DataFrame({"y": values}), ["y"])


def test_a_class_with_one_row_is_warned_of_by_name_and_row(caplog):
    task("classify").check(pl.DataFrame({"种类": ["猫"] * 20 + [""] + ["狗"] * 20 + ["熊猫"]}), ["种类"])
    assert "a class of '种类' with a single row cannot be both learned and tested: '熊猫' (row 42)" in caplog.text


def test_the_number_of_targets_is_checked(caplog):
    table = pl.DataFrame({"a": [0, 1] * 9, "b": [1] * 18, "c": [0] * 18})
    for name, targets, words in (("classify", ["a", "b"], "has one target, not 2 ('a', 'b')"), ("several", ["a"], "at least two targets"),
                                 ("multilabel", ["a"], "at least two"), ("multilabel", ["b", "c"], "one value each")):  # fmt: skip
        with pytest.raises(UserError) as error:
            task(name).check(table, targets)
        assert words in str(error.value)
    task("multilabel").check(table, ["a", "b"])
    assert "the labels 'b' have one value in all rows" in caplog.text


# ---------------------------------------------------------------- classify


def test_unseen_labels_are_neither_learned_nor_judged(caplog):
    of = task("classify")
    schema = fitted(of, pl.DataFrame({"y": ["a", "b", "c"] * 9}))
    head = of.head(schema)
    truth = schema.encode(pl.DataFrame({"y": ["a", "zebra", "b", "c"]}), with_target=True)
    z = torch.tensor([[4.0, 0, 0], [9, -9, 9], [0, 4, 0], [4, 0, 0]])
    model = Outputs(z)
    loss, _ = of.loss(model, truth, head)
    loss.backward()
    seen = torch.tensor([0, 2, 3])
    assert loss.item() == pytest.approx(nn.functional.cross_entropy(z[seen], torch.tensor([0, 1, 2])).item())
    assert not model.z.grad[1].any()
    only_unseen = {"y0": torch.zeros(4, dtype=torch.int64)}
    measured = of.measure(predicted(of, head, z), truth, schema, of.metrics(schema))
    assert measured.metrics["accuracy"] == pytest.approx(2 / 3) and measured.metrics["f1_b"] == 1
    assert measured.details["rows_with_unseen_label"] == 1 and "1 rows have a 'y' that the training rows did not have" in caplog.text
    assert measured.details["confusion"] == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert of.measure(predicted(of, head, z), only_unseen, schema, of.metrics(schema)).metrics == {}


def test_bce_is_the_same_question_with_one_output():
    table = pl.DataFrame({"y": ["no", "yes", "yes", "yes"] * 5})
    by_two, by_one = task("classify"), task("classify", loss="bce")
    schema = fitted(by_two, table)
    truth = schema.encode(table, with_target=True)
    two, one = by_two.head(schema), by_one.head(schema)
    assert (one.parts[0].kind, one.size) == ("binary", 1)
    z = torch.randn(20, 4, 2)
    difference = z[..., 1:] - z[..., :1]
    for options in ({}, {"label_smoothing": 0.1}, {"class_weights": "balanced"}):
        by_two, by_one = task("classify", **options), task("classify", loss="bce", **options)
        a, b = (of.loss(Outputs(x), truth, of.head(schema))[0].item() for of, x in ((by_two, z), (by_one, difference)))
        if "label_smoothing" not in options:  # torch smooths after weighing; alike only without
            assert a == pytest.approx(b, rel=1e-5)
        assert torch.allclose(predicted(by_two, two, z[:, 0])["y0"], predicted(by_one, one, difference[:, 0])["y0"], atol=1e-6)
    with pytest.raises(UserError, match="bce is for two classes; 'y' has 3"):
        by_one.head(fitted(by_one, pl.DataFrame({"y": ["a", "b", "c"]})))


def test_balanced_weights_start_at_even_odds():
    schema = fitted(task("classify"), pl.DataFrame({"y": ["rare"] * 2 + ["common"] * 18}))
    (part,) = task("classify", class_weights="balanced").head(schema).parts
    assert part.weights == pytest.approx((20 / 36, 5.0)) and part.bias[0] == pytest.approx(part.bias[1])
    (plain,) = task("classify").head(schema).parts
    assert plain.weights == () and math.exp(plain.bias[0]) == pytest.approx(19 / 22)


def test_the_first_metric_follows_the_balance():
    even, uneven = (fitted(task("classify"), pl.DataFrame({"y": ["a"] * n + ["b"] * (100 - n)})) for n in (79, 81))
    assert task("classify").metrics(even)[0] == "accuracy" and task("classify").metrics(uneven)[0] == "roc_auc"


def test_labels_named_like_metrics_do_not_replace_them():
    of = task("classify")
    schema = fitted(of, pl.DataFrame({"y": ["macro", "weighted"] * 9}))
    names = of.metrics(schema)
    p = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
    measured = of.measure({"y0": p}, {"y0": torch.tensor([1, 2, 2])}, schema, names)
    assert len(set(names)) == len(names) and measured.metrics["f1_macro"] == pytest.approx(2 / 3)
    assert measured.details["by_class"]["macro"]["support"] == 1


def test_answers_have_the_users_words_and_types():
    of = task("classify")
    p = torch.tensor([[0.25, 0.75], [0.6, 0.4]])
    for values, words in ((["否", "是"], ["是", "否"]), ([0, 1], [1, 0]), (["0", "1"], [1, 0]), ([False, True], [True, False])):
        answers = of.answers({"y0": p}, fitted(of, pl.DataFrame({"y": values * 5})))
        assert answers["prediction"].to_list() == words
        assert answers.columns == ["prediction", "confidence", f"p_{values[0]}", f"p_{values[1]}"]
        assert answers["confidence"].to_list() == pytest.approx([0.75, 0.6])


def test_many_classes_answer_the_three_likeliest():
    of = task("classify")
    schema = fitted(of, pl.DataFrame({"y": [f"c{i:02}" for i in range(30)] * 2}))
    p = torch.full((2, 30), 0.01)
    p[0, [7, 3, 9]] = torch.tensor([0.4, 0.2, 0.1])
    answers = of.answers({"y0": p}, schema)
    assert answers.columns == ["prediction", "confidence", "prediction_2", "confidence_2", "prediction_3", "confidence_3"]
    assert [answers[0, name] for name in answers.columns[::2]] == ["c07", "c03", "c09"]
    assert not any(name.startswith("f1_c") for name in of.metrics(schema))


def test_adult_by_the_constant_answer():
    path = DATA / "tabular" / "adult.csv.gz"
    if not path.exists():
        pytest.skip("adult is not here")
    table = pl.read_csv(path, infer_schema=False)
    column = table.get_column(table.columns[-1])
    assert best(column) == "classify"
    of, target = task("classify"), column.to_frame()
    of.check(target, target.columns)
    schema = fitted(of, target[16281:])
    head = of.head(schema)
    test = target[:16281]
    z = torch.tensor(head.parts[0].bias).expand(test.height, -1)
    measured = of.measure(predicted(of, head, z), schema.encode(test, with_target=True), schema, of.metrics(schema))
    assert of.metrics(schema)[0] == "accuracy"
    assert measured.metrics["accuracy"] == pytest.approx(0.7638, abs=1e-3)
    assert measured.metrics["roc_auc"] == 0.5 and measured.metrics["ece"] < 0.01
    assert measured.metrics["log_loss"] == pytest.approx(0.5464, abs=2e-3)


# ---------------------------------------------------------------- regress


@pytest.mark.parametrize("loss, first", [("mse", "rmse"), ("mae", "mae"), ("huber", "rmse")])
def test_california_in_dollars(loss, first):
    path = DATA / "tabular" / "california_housing.csv.gz"
    if not path.exists():
        pytest.skip("california is not here")
    table = pl.read_csv(path, infer_schema=False)
    column = table.get_column(table.columns[-1])
    assert best(column) == "regress"
    of, target = task("regress", loss=loss), column.to_frame()
    of.check(target, target.columns)
    schema = fitted(of, target)
    head, truth = of.head(schema), schema.encode(target, with_target=True)
    values = column.cast(pl.Float64).to_numpy()
    z = torch.zeros(target.height, 1)
    measured = of.measure(predicted(of, head, z), truth, schema, of.metrics(schema))
    assert of.metrics(schema)[0] == first
    assert measured.metrics["rmse"] == pytest.approx(values.std(), rel=1e-5) and measured.metrics["r2"] == pytest.approx(0, abs=1e-5)
    assert measured.metrics["mae"] == pytest.approx(np.abs(values - values.mean()).mean(), rel=1e-5)
    exact = of.answers(predicted(of, head, truth["y0"].unsqueeze(1)), schema)
    assert np.allclose(exact["prediction"].to_numpy(), values, rtol=1e-5)


def test_answers_are_not_rounded_and_unusable_truth_is_not_judged(caplog):
    of = task("regress")
    schema = fitted(of, pl.DataFrame({"rooms": [1, 2, 3, 4]}))
    p = {"y0": torch.tensor([0.0, 0.1, 0.2])}
    assert of.answers(p, schema)["prediction"].to_list()[:2] == pytest.approx([2.5, 2.5 + 0.1 * 1.25**0.5])
    measured = of.measure(p, {"y0": torch.tensor([0.0, float("nan"), 0.2])}, schema, of.metrics(schema))
    assert measured.metrics["rmse"] == pytest.approx(0, abs=1e-6) and measured.details["rows_without_number"] == 1
    assert "1 rows have no finite number in 'rooms'" in caplog.text


# ---------------------------------------------------------------- multilabel and several


def test_multilabel_joins_the_labels_that_apply():
    of = task("multilabel")
    table = pl.DataFrame({"体育": ["0", "1", "1"], "news": ["no", "yes", "no"], "x": [False, False, True]})
    schema = fitted(of, table)
    p = {"y0": torch.tensor([0.9, 0.1]), "y1": torch.tensor([0.2, 0.3]), "y2": torch.tensor([0.5, 0.4])}
    answers = of.answers(p, schema)
    assert answers["prediction"].to_list() == ["体育;x", ""] and answers.columns == ["prediction", "p_体育", "p_news", "p_x"]
    truth = {"y0": torch.tensor([1.0, 0.0]), "y1": torch.tensor([0.0, 0.0]), "y2": torch.tensor([1.0, 1.0])}
    measured = of.measure(p, truth, schema, of.metrics(schema))
    assert measured.metrics["f1_micro"] == pytest.approx(0.8) and measured.metrics["f1_体育"] == 1
    assert "f1_news" not in measured.metrics and "f1_news" in measured.details["left_out"]


def test_a_missing_label_weighs_nothing():
    of = task("multilabel")
    schema = fitted(of, pl.DataFrame({"a": [0, 1, 1], "b": [0, 1, 1]}))
    model = Outputs(torch.zeros(3, 2))
    loss, _ = of.loss(model, {"y0": torch.tensor([0.0, 1.0, float("nan")]), "y1": torch.ones(3)}, of.head(schema))
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2)) and model.z.grad[2, 0] == 0


def test_several_puts_the_targets_name_into_all():
    of = task("several")
    table = pl.DataFrame({"种 类": ["a", "b", "a", "b"] * 5, "price.usd": [float(i) / 7 for i in range(20)]})
    of.check(table, table.columns)
    schema = fitted(of, table)
    names = of.metrics(schema)
    assert names[:2] == ("mean_skill", "种 类.accuracy") and "price.usd.rmse" in names
    truth = schema.encode(table, with_target=True)
    perfect = {"y0": torch.eye(2)[truth["y0"] - 1], "y1": truth["y1"]}
    assert of.answers(perfect, schema).columns == ["prediction_种 类", "confidence_种 类", "p_种 类_a", "p_种 类_b", "prediction_price.usd"]
    assert of.measure(perfect, truth, schema, names[:1]).metrics == {"mean_skill": pytest.approx(1)}
    guess = {"y0": torch.full((20, 2), 0.5), "y1": torch.zeros(20)}
    assert of.measure(guess, truth, schema, names[:1]).metrics == {"mean_skill": pytest.approx(0, abs=1e-6)}
    with pytest.raises(UserError, match=r"'price\.usd' has 'inf' in row 2"):
        of.check(table.with_columns(pl.Series("price.usd", [0.5, math.inf, 1.5, 2.5] * 5)), table.columns)


def test_several_passes_its_options_on():
    cls = TASKS["several"]
    of = cls(cls.Config(classify=TASKS["classify"].Config(loss="bce"), regress=TASKS["regress"].Config(loss="huber")))
    schema = fitted(of, pl.DataFrame({"y": ["a", "b"] * 10, "v": [i / 7 for i in range(20)]}))
    assert [(part.kind, part.loss) for part in of.head(schema).parts] == [("binary", "bce"), ("value", "huber")]


def test_mixup_averages_rows_and_losses():
    task = Classify(Classify.Config(mixup=0.4))
    head = Head((Part("y0", "classes", 2, "cross_entropy"),))
    batch = {"c0": torch.tensor([[0.0], [8.0]]), "c1": torch.zeros(2, 1, 2, 2, dtype=torch.uint8), "y0": torch.tensor([1, 2])}
    seen = []

    class Watch(torch.nn.Module):
        def forward(self, batch):
            seen.append(batch)
            return torch.cat([0 * batch["c0"], batch["c0"]], 1)

    torch.manual_seed(0)
    losses = [task.loss(Watch().train(), batch, head)[0].item() for _ in range(40)]
    shares = {round(float(each["c0"][0]), 4) for each in seen}
    assert len(shares) > 10 and all(0 <= share <= 8 for share in shares)  # 0 where a row met itself
    assert all(each["c1"].is_floating_point() and torch.equal(each["y0"], batch["y0"]) for each in seen)
    number, mixed = next((i, each) for i, each in enumerate(seen) if each["c0"][0] > 0)
    share = 1 - float(mixed["c0"][0]) / 8
    z = torch.cat([0 * mixed["c0"], mixed["c0"]], 1)
    truth = share * F.cross_entropy(z, torch.tensor([0, 1])) + (1 - share) * F.cross_entropy(z, torch.tensor([1, 0]))
    assert losses[number] == pytest.approx(truth.item(), rel=1e-5)
    gap = {**batch, "c0": torch.tensor([[float("nan")], [8.0]])}
    task.loss(Watch().train(), gap, head)
    assert seen[-1]["c0"].isnan().tolist() == [[True], [False]]  # what is missing does not spread
    task.loss(Watch().eval(), batch, head)
    assert torch.equal(seen[-1]["c0"], batch["c0"])
    with pytest.raises(UserError, match="mixup"):
        Classify.Config(mixup=-1)
