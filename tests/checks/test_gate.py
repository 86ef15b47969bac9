"""The gate of the pre-flight: each of twelve faults, planted into a real table, is found where it was planted; clean tables stay quiet.

An alarm is a finding above "note". What is true of a table is no false alarm; each such judgement is written beside the table.
"""

import ast
import dataclasses
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn import datasets

from luban import checks, metrics, reading
from luban.cli.train import train as train_command
from luban.core.registry import TASKS
from luban.planning import from_words
from luban.stages.prepare import prepare

RNG_SEED = 7


def findings(data, **words):
    """What `luban data check` finds, by the stage's own path."""
    words["target"] = [words["target"]] if isinstance(words.get("target"), str) else words.get("target")
    config = from_words({"set": ["data.skip_bad=true"], **words, "data": data if isinstance(data, str) else None})
    return prepare(data, config, checks.DEEP).known.findings


def of(found, kind, column=None):
    return [each for each in found if each["kind"] == kind and (column is None or each["column"] == column)]


def alarms(found):
    return [each for each in found if each["severity"] != "note"]


@pytest.fixture
def rng():
    return np.random.default_rng(RNG_SEED)


@pytest.fixture(scope="module")
def wine():
    return reading.read("wine")


@pytest.fixture(scope="module")
def cells_():
    return reading.read("breast-cancer")


@pytest.fixture(scope="module")
def adult():
    return reading.read("adult").head(8_000)


@pytest.fixture(scope="module")
def california():
    return reading.read("california").head(5_000)


# ---------------------------------------------------------------- twelve faults


def test_1_types(california, adult, rng):
    bad = np.sort(rng.choice(california.height, 40, replace=False))
    age = california["HouseAge"].scatter(bad, "unknown")
    (doubt,) = of(findings(california.with_columns(age), target="MedHouseVal"), "types")
    assert (doubt["column"], doubt["count"], doubt["rows"]) == ("HouseAge", 40, (bad + 1).tolist())

    days = (pl.Series(rng.integers(0, 3_000, adult.height)) * 86_400_000).cast(pl.Datetime("ms"))
    odd = np.sort(rng.choice(adult.height, 400, replace=False))
    when = days.dt.strftime("%Y-%m-%d").scatter(odd, days.gather(odd).dt.strftime("%d/%m/%Y"))
    gender = adult["gender"].scatter(odd, adult["gender"].gather(odd).str.to_uppercase())
    agreed = pl.Series(rng.choice(["yes", "no", "Y", "N"], adult.height, p=[0.4, 0.5, 0.05, 0.05]))
    zip_code = pl.Series(rng.integers(10_000, 99_999, adult.height).astype(str))
    spoiled = adult.with_columns(
        when.alias("日期"), gender, agreed.alias("agreed"), zip_code.alias("区域"), (adult["hours-per-week"] + " h").alias("hours-per-week")
    )
    found = findings(spoiled, target="income")
    assert {each["column"] for each in of(found, "types")} == {"日期", "gender", "agreed", "区域", "hours-per-week"}
    assert of(found, "types", "日期")[0]["rows"] == of(found, "types", "gender")[0]["rows"] == (odd + 1).tolist()
    assert "fields.区域=category" in of(found, "types", "区域")[0]["mend"]


def test_2_constant_columns(wine):
    table = wine.with_columns(source=pl.lit("EU"), machine=pl.Series(["A"] * 176 + ["B"] * 2))
    assert [each["column"] for each in of(findings(table, target="cultivar"), "constant")] == ["source", "machine"]


def test_3_columns_that_name_the_row(cells_, rng):
    table = cells_.with_columns(编号=pl.Series(np.arange(len(cells_)) + 1), sample=pl.Series(rng.permutation(2_000)[: len(cells_)]))
    found = findings(table, target="diagnosis")
    assert {each["column"] for each in of(found, "id")} == {"编号", "sample"}
    assert "--drop 'sample'" in of(found, "id", "sample")[0]["mend"]


def test_4_missing_values_in_a_pattern(cells_, rng):
    unknown = np.sort(rng.choice(len(cells_), 30, replace=False))
    ill = (cells_["diagnosis"] == "malignant").to_numpy()
    gone = pl.Series(ill & (rng.random(len(ill)) < 0.7))
    table = cells_.with_columns(
        cells_["mean area"].scatter(unknown, -999.0), pl.when(~gone).then(pl.col("mean texture")).alias("mean texture")
    )
    found = findings(table, target="diagnosis")
    assert of(found, "missing", "mean area")[0]["rows"] == (unknown + 1).tolist()
    pattern = of(found, "missing", "mean texture")[0]
    assert pattern["severity"] == "doubt" and pattern["rows"] == (np.flatnonzero(gone) + 1).tolist()


def test_5_copies_across_parts(cells_, tmp_path):
    train, test = cells_.head(450), pl.concat([cells_.tail(119), cells_.head(12)])
    test.write_csv(tmp_path / "测试.csv")
    (copies,) = of(findings(train, target="diagnosis", test=str(tmp_path / "测试.csv")), "copies")
    assert (copies["severity"], copies["rows"], copies["test_rows"]) == ("serious", [], list(range(120, 132)))


@pytest.mark.parametrize("how", ["noise", "one cell"])
def test_6_near_copies_across_parts(how, cells_, adult, rng):
    table, target = (cells_, "diagnosis") if how == "noise" else (adult.head(2_000), "income")
    twins = table[np.sort(rng.choice(len(table), len(table) // 5, replace=False))]
    if how == "noise":
        twins = twins.with_columns(pl.col(pl.Float64) * (1 + 1e-5 * pl.lit(pl.Series(rng.normal(size=len(twins))))))
    else:
        twins = twins.with_columns(pl.Series("age", rng.integers(18, 80, len(twins)).astype(str)))
    height = len(table)
    (near,) = of(findings(pl.concat([table, twins]), target=target), "near-copies")
    assert near["severity"] == "serious" and near["count"] > 0.05 * len(twins)
    # each of them has a twin: it was added, or is the original of one that was
    originals = {tuple(row) for row in twins.drop("age").iter_rows()} if how == "one cell" else None
    for row in near["rows"]:
        assert row > height or originals is None or tuple(table.drop("age").row(row - 1)) in originals
    assert of(findings(table, target=target), "near-copies") == [] or how == "one cell"


def test_7_leaks_time_and_groups(cells_, wine, rng):
    ill = (cells_["diagnosis"] == "malignant").to_numpy()
    treated = pl.Series(np.where(ill, rng.normal(10, 1, len(ill)), rng.normal(0, 1, len(ill))))
    (leak,) = of(findings(cells_.with_columns(chemotherapy=treated), target="diagnosis"), "leak", "chemotherapy")
    assert leak["severity"] == "serious" and "--drop 'chemotherapy'" in leak["mend"]

    california = reading.read("california")[::10]
    oldest = california["MedHouseVal"].cast(pl.Float64).rank("ordinal").to_numpy() + rng.normal(0, 500, len(california))
    days = pl.Series((np.argsort(np.argsort(oldest)) * 86_400_000).astype(np.int64)).cast(pl.Datetime("ms")).dt.strftime("%Y-%m-%d")
    (drifting,) = of(findings(california.with_columns(sold=days), target="MedHouseVal"), "time")
    assert drifting["column"] == "sold" and "--time 'sold'" in drifting["mend"] and drifting["severity"] == "doubt"

    patient = pl.Series(np.where(ill, rng.integers(0, 60, len(ill)), rng.integers(60, 150, len(ill))))
    noise = rng.random(len(ill)) < 0.15  # some of whom have both
    patient = patient.scatter(np.flatnonzero(noise), rng.integers(0, 150, noise.sum()))
    (group,) = of(findings(cells_.with_columns(病人编号=patient), target="diagnosis"), "group")
    assert group["column"] == "病人编号" and "--group '病人编号'" in group["mend"]


# {table: (target, share of the flipped labels that are found, and of the found that were flipped), at least}: means over four draws were
# recall .81, .80, .81, .82 and precision .85, 1.00, .88, .90, single ones vary
FLIPPED = {
    "breast-cancer": ("diagnosis", 0.6, 0.7),
    "wine": ("cultivar", 0.6, 0.7),
    "iris": ("species", 0.5, 0.7),
    "digits": ("digit", 0.7, 0.8),
}


@pytest.mark.parametrize("name", FLIPPED)
def test_8_wrong_labels(name, rng):
    target, recall, precision = FLIPPED[name]
    table = reading.read(name)
    flipped = rng.choice(len(table), max(4, int(0.03 * len(table))), replace=False)
    words = table[target].cast(pl.String).to_list()
    kinds = sorted(set(words))
    for i in flipped:
        words[i] = rng.choice([each for each in kinds if each != words[i]])
    (doubt,) = of(findings(table.with_columns(pl.Series(target, words)), target=target), "labels")
    right = set(doubt["rows"]) & set((flipped + 1).tolist())
    assert len(right) >= recall * len(flipped) and len(right) >= precision * len(doubt["rows"]), (len(right), len(flipped), doubt["count"])
    assert doubt["rows"][0] - 1 in flipped


def test_8_a_tiny_class_hides_no_wrong_labels(cells_, rng):
    flipped = rng.choice(500, 17, replace=False)
    words = cells_["diagnosis"].to_list()
    for i in flipped:
        words[i] = "benign" if words[i] == "malignant" else "malignant"
    words[568] = "unclear"
    (doubt,) = of(findings(cells_.with_columns(diagnosis=pl.Series(words)), target="diagnosis"), "labels")
    assert len(set(doubt["rows"]) & set((flipped + 1).tolist())) >= 10 and 569 not in doubt["rows"]
    assert "labels in 'diagnosis' are probably wrong" in doubt["what"]


def test_8_wrong_amounts(california, rng):
    wrong = rng.choice(len(california), 20, replace=False)
    value = california["MedHouseVal"].cast(pl.Float64)
    (doubt,) = of(findings(california.with_columns(value.scatter(wrong, value.gather(wrong) * 10)), target="MedHouseVal"), "labels")
    assert len(set(doubt["rows"][:20]) & set((wrong + 1).tolist())) >= 16


def test_9_imbalance(adult, cells_):
    rich = adult.filter(pl.col("income") == ">50K").head(20)
    (rare,) = of(findings(pl.concat([adult.filter(pl.col("income") != ">50K"), rich]), target="income"), "imbalance")
    assert rare["severity"] == "doubt" and "class_weights=balanced" in rare["mend"]
    few = cells_["diagnosis"].scatter([3, 77, 400], "borderline")
    (few_rows,) = [each for each in of(findings(cells_.with_columns(few), target="diagnosis"), "imbalance") if each["rows"]]
    assert few_rows["rows"] == [4, 78, 401]


def test_10_drift(cells_, tmp_path, rng):
    mixed = cells_[rng.permutation(len(cells_))]
    train, test = mixed.head(400), mixed.tail(169)
    test.write_csv(tmp_path / "same.csv")
    assert of(findings(train, target="diagnosis", test=str(tmp_path / "same.csv")), "drift") == []
    test.with_columns(pl.col("mean radius") * 1.3 + 2).write_csv(tmp_path / "other.csv")
    (drift,) = of(findings(train, target="diagnosis", test=str(tmp_path / "other.csv")), "drift")
    assert drift["severity"] in ("doubt", "serious") and "'mean radius'" in drift["what"]

    # told apart wherever the test rows were not drawn, whatever the column is called
    hashed = {"hash id": pl.Series(["train"] * 320 + ["valid"] * 80 + ["test"] * 169)}
    shifted = pl.concat([train, test.with_columns(pl.col("mean radius") * 1.3 + 2)])
    assert of(findings(shifted.with_columns(**hashed), target="diagnosis", set=["data.split=hash id", "data.skip_bad=true"]), "drift")
    day = {"hash day": pl.Series(range(569))}
    assert of(findings(shifted.with_columns(**day), target="diagnosis", time="hash day"), "drift")
    assert of(findings(shifted.with_columns(**{"site": day["hash day"] // 10}), target="diagnosis", group="site"), "drift") == []


def test_11_size(cells_, rng):
    wide = cells_.head(100).with_columns(**{f"x{i}": pl.Series(rng.normal(size=100)) for i in range(200)})
    assert of(findings(wide, target="diagnosis"), "size")
    many = reading.read("adult").head(300).with_columns(shop=pl.Series([f"shop {i % 60}" for i in range(300)]))
    assert of(findings(many, target="shop"), "size", "shop")


def test_12_contradictions_outliers_and_the_target(cells_, california, rng):
    twice = cells_.head(8).with_columns(
        diagnosis=pl.when(pl.col("diagnosis") == "benign").then(pl.lit("malignant")).otherwise(pl.lit("benign"))
    )
    (said,) = of(findings(pl.concat([cells_, twice]), target="diagnosis"), "contradiction")
    assert said["rows"] == [*range(1, 9), *range(570, 578)] and said["severity"] == "doubt"

    rooms = california["AveRooms"].cast(pl.Float64).scatter([7, 99], [9_000.0, float("inf")])
    found = findings(california.with_columns(rooms), target="MedHouseVal")
    assert {tuple(each["rows"]) for each in of(found, "outliers", "AveRooms")} == {(8,), (100,)}

    tail = pl.Series("MedHouseVal", np.exp(rng.normal(0, 3, len(california))))
    (heavy,) = of(findings(california.with_columns(tail), target="MedHouseVal"), "target")
    assert "task.loss=huber" in heavy["mend"]
    (classes,) = of(findings(california.with_columns(floors=pl.Series(rng.integers(1, 19, len(california)))), target="floors"), "target")
    assert "--task regress" in classes["mend"]


def test_13_rows_entered_twice(cells_):
    twice = pl.concat([cells_, cells_.head(57)])
    (copies,) = of(findings(twice, target="diagnosis"), "duplicates")
    assert copies["severity"] == "note" and copies["rows"] == list(range(570, 627)) and "57 of 626 rows (9.1%)" in copies["what"]
    assert of(findings(cells_, target="diagnosis"), "duplicates") == []


def test_14_gaps_in_time():
    hours = (pl.Series("time", range(400)) * 3_600_000).cast(pl.Datetime("ms"))
    table = pl.DataFrame([hours, pl.Series("load", np.sin(np.arange(400) / 4))])
    assert findings(table, task="forecast") == []
    (gaps,) = findings(pl.concat([table[:100], table[105:300], table[301:]]), task="forecast")
    assert (
        gaps["severity"] == "doubt" and "6 moments are missing from 'time' (1 hour apart), the first after 1970-01-05 03:00" in gaps["what"]
    )
    assert gaps["rows"] == [100, 295]


def test_mostly_zero_is_no_code_for_missing(california, rng):
    rain = rng.integers(20, 99, california.height) * (rng.random(california.height) < 0.3)
    rain[:4] = 99
    assert of(findings(california.with_columns(rain=pl.Series(rain)), target="MedHouseVal"), "missing", "rain") == []
    gone = rain.copy()
    gone[10:50] = -999
    (code,) = of(findings(california.with_columns(rain=pl.Series(gone)), target="MedHouseVal"), "missing", "rain")
    assert code["rows"] == list(range(11, 51))


def test_what_a_finding_names_as_its_remedy_is_accepted():
    """Every option is one of `luban train`, every setting and metric there is."""
    words = [node.value for file in Path(checks.__file__).parent.glob("*.py") for node in ast.walk(ast.parse(file.read_text("utf-8")))
             if isinstance(node, ast.Constant) and isinstance(node.value, str)]  # fmt: skip
    told = " \n".join(words)
    options = {name for each in train_command.params for name in each.opts}
    assert set(re.findall(r"--[a-z][a-z-]*", told)) <= options
    assert set(re.findall(r"--metric (\w+)", told)) <= set(metrics.names()) and set(re.findall(r"--task (\w+)", told)) <= set(TASKS.names())
    settings = re.findall(r"--set '?([\w.]+)=(\[[^]]*\]|[^\s,;:)'\"]*)", told)
    assert len(settings) > 4
    for key, value in settings:
        config = from_words({"set": [f"{key}={value or 10}"]})
        options = {name: each for name, each in config.task.items() if name != "name"}
        assert not options or any(set(options) <= {each.name for each in dataclasses.fields(task.Config)} for _, task in TASKS.items()), key


# ---------------------------------------------------------------- clean tables


def linnerud():
    loaded = datasets.load_linnerud()
    return pl.DataFrame({name: loaded.data[:, i] for i, name in enumerate(loaded.feature_names)}).with_columns(
        Pulse=pl.Series(loaded.target[:, 2])
    )


# {table: (data, target)}
CLEAN = {
    "iris": ("iris", "species"),
    "iris by width": ("iris", "petal width (cm)"),
    "wine": ("wine", "cultivar"),
    "wine by alcohol": ("wine", "alcohol"),
    "breast-cancer": ("breast-cancer", "diagnosis"),
    "diabetes": ("diabetes", "progression"),
    "digits": ("digits", "digit"),
    "digits-pictures": ("digits-pictures", "digit"),
    "linnerud": (linnerud, "Pulse"),
    "california": ("california", "MedHouseVal"),
    "adult": ("adult", "income"),
}
# What is true of them and stays a note: constant pixels of digits; Adult's columns that are mostly 0 or United-States, its 5 pairs of
# people with all inputs equal and another income, and 64 test rows (.7 %) that share all cells but one with a training row, because
# the weight fnlwgt is given by age group, sex and race; rows that models of the others contradict, where classes overlap.


@pytest.mark.parametrize("name", CLEAN)
def test_clean_tables_raise_no_alarm(name):  # the gate allows one
    data, target = CLEAN[name]
    assert [(each["kind"], each["what"]) for each in alarms(findings(data() if callable(data) else data, target=target))] == []


@pytest.mark.parametrize(("name", "target"), [("sms-spam", "label"), ("hotel-reviews", "label")])
def test_clean_texts_raise_none(name, target, real_data):
    assert alarms(findings(name, target=target)) == []
