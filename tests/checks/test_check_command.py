"""`luban data check` as a newcomer meets it: findings at a glance, as JSON, in Chinese; what cannot be checked is one sentence; what a
training says of it."""

import json

import numpy as np
import polars as pl
import pytest

import luban
from luban import reading

RNG = np.random.default_rng(0)


@pytest.fixture
def houses(tmp_path):
    """800 real districts with Chinese names, an area in words and five rows with a value a hundred times too large."""
    table = reading.read("california")[::25].select(
        房龄="HouseAge", 收入="MedInc", 面积=pl.col("AveRooms") + " 平米", 城市="Latitude", 房价="MedHouseVal"
    )
    price = table["房价"].cast(pl.Float64)
    path = tmp_path / "房子 价格.csv"
    table.with_columns(price.scatter([3, 50, 99, 400, 700], price.gather([3, 50, 99, 400, 700]) * 100)).write_csv(path)
    return path


def test_findings_are_read_at_a_glance(luban_in, tmp_path, houses):
    done = luban_in(tmp_path, "data", "check", houses.name, "--target", "房价")
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("3 findings (2 doubts, 1 note) in 826 rows and 4 columns read for regress"), done.stdout
    assert (
        "doubt    types  面积" in lines and "    -> Write the number alone, all in one unit, and the unit into the column's name" in lines
    )
    assert "(rows 701, 401, 4, 51, 100 and 3 more)" in done.stdout, done.stdout
    assert done.stderr == ""


def test_findings_as_json(luban_in, tmp_path, houses):
    done = luban_in(tmp_path, "data", "check", houses.name, "-t", "房价", "--json", "-o", "疑点.json")
    checked = json.loads(done.stdout)
    assert json.loads((tmp_path / "疑点.json").read_text(encoding="utf-8")) == checked
    keys = {"kind", "severity", "what", "certainty", "basis", "column", "mend", "rows", "test_rows", "count"}
    assert [set(each) for each in checked["findings"]] == [keys] * 3 and all(0 <= each["certainty"] <= 1 for each in checked["findings"])
    (wrong,) = [each for each in checked["findings"] if each["kind"] == "labels"]
    assert set(wrong["rows"]) >= {4, 51, 100, 401, 701}


def test_it_takes_the_words_of_train(luban_in, tmp_path):
    table = reading.read("breast-cancer")
    leak = pl.Series("paid", np.where(table["diagnosis"] == "benign", 1.0, 2.0) + RNG.normal(0, 0.01, 569))
    table.with_columns(leak, patient=pl.Series([f"p{i % 190}" for i in range(569)])).write_csv(tmp_path / "x.csv")
    told = luban_in(tmp_path, "data", "check", "x.csv", "-t", "diagnosis")
    assert "serious  leak  paid" in told.stdout and "--drop 'paid'" in told.stdout
    mended = luban_in(
        tmp_path, "data", "check", "x.csv", "-t", "diagnosis", "--drop", "paid", "--group", "patient", "--set", "data.split_seed=1"
    )
    assert "paid" not in mended.stdout and "split by patient" in mended.stdout


LINES = [f"{RNG.random():.3f},{RNG.random():.3f}" for _ in range(60)]
BAD = {
    "": "is empty",
    "a,b,y\n": "has column names ('a', 'b', 'y') but no rows",
    "a,b,y\n1,2,x\n": "one class only",
    "a,b,y\n" + "".join(f"{line},\n" for line in LINES): "is empty in all 60 rows",
    "a,b,y\n" + "".join(f"{line},x\n" for line in LINES): "one class only",
    "a,b,y\n" + "".join(f"{line},{'NaN' if i == 7 else i / 7}\n" for i, line in enumerate(LINES)): "'NaN' in row 8",
    "a,b,y\n" + "".join(f"{line},{i * 3} kg\n" for i, line in enumerate(LINES)): "holds numbers with the unit 'kg'",
    "a,b,z\n" + "".join(f"{line},x\n" for line in LINES): "names the column 'y'",
}


@pytest.mark.parametrize("text", BAD)
def test_what_cannot_be_checked_is_one_sentence(text, luban_in, tmp_path):
    (tmp_path / "坏.csv").write_text(text, encoding="utf-8")
    done = luban_in(tmp_path, "data", "check", "坏.csv", "-t", "y", "-o", "out.json", code=2)
    assert done.stdout == "" and BAD[text] in done.stderr and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out.json").exists()


def test_a_thousand_columns(luban_in, tmp_path):
    wide = pl.DataFrame({f"列{i}": RNG.normal(size=120).round(3) for i in range(1000)}).with_columns(
        y=pl.Series(RNG.choice(["是", "否"], 120))
    )
    wide.write_csv(tmp_path / "wide.csv")
    done = luban_in(tmp_path, "data", "check", "wide.csv", "-t", "y")
    assert "there are 1,000 columns and 96 training rows" in done.stdout


def test_cells_at_which_a_training_stops_are_findings(luban_in, tmp_path):
    table = reading.read("iris").with_columns(pl.col("petal width (cm)").cast(pl.String))
    assert luban_in(tmp_path, "data", "check", "iris").returncode == 0
    # a test row: a training would refuse it
    table.with_columns(table["petal width (cm)"].scatter(149, "wide")).write_csv(tmp_path / "x.csv")
    done = luban_in(tmp_path, "data", "check", "x.csv", "-t", "species")
    assert "such as 'wide' (row 150)" in done.stdout


def test_check_and_train_say_the_same_of_a_cell_that_training_rows_have_not(luban_in, tmp_path):
    table = reading.read("iris").with_columns(pl.col("petal width (cm)").cast(pl.String))
    table.with_columns(table["petal width (cm)"].scatter(149, "三十")).write_csv(tmp_path / "x.csv")
    words = ("x.csv", "-t", "species", "--set", "data.test_rows=[100,150]")
    told = luban_in(tmp_path, "data", "check", *words).stdout
    assert (
        "serious  unreadable" in told and "rows with cells that cannot be read: 1 (row 150)" in told and "a training stops at them" in told
    )
    stopped = luban_in(tmp_path, "train", *words, "--model", "linear", code=2).stderr
    assert "row 150 has '三十'" in stopped and "--set 'fields.petal width (cm)=category'" in stopped
    skipped = (*words, "--set", "data.skip_bad=true")
    assert "note     unreadable" in luban_in(tmp_path, "data", "check", *skipped).stdout
    luban_in(tmp_path, "train", *skipped, "--model", "linear", "--baselines", "none")


def test_a_training_says_what_is_serious_and_keeps_the_rest(tmp_path, caplog):
    table = reading.read("breast-cancer")
    leak = pl.Series("paid", np.where(table["diagnosis"] == "benign", 1.0, 2.0))
    run = luban.train(
        table.with_columns(leak, origin=pl.lit("EU")), target="diagnosis", model="constant", baselines=[], out=tmp_path / "run"
    )
    found = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))["findings"]
    assert found == run.report["findings"] and [(each["kind"], each["severity"]) for each in found] == [
        ("leak", "serious"),
        ("constant", "note"),
    ]
    assert "alone gives 'diagnosis' away" in caplog.text and "says nothing" not in caplog.text


def test_a_training_says_its_doubts_with_their_remedies(tmp_path, luban_in):
    table = reading.read("breast-cancer")
    area = {"mean area": table["mean area"].scatter([3, 50, 99, 200], -999.0)}
    table.with_columns(**area).write_csv(tmp_path / "x.csv")
    done = luban_in(tmp_path, "train", "x.csv", "-t", "diagnosis", "-m", "constant", "--baselines", "none", "--out", "run")
    told = [line for line in done.stderr.splitlines() if line.startswith("doubt: ")]
    assert told[-1] == (
        "doubt: -999 in the column 'mean area' seems to mean that nothing is known (rows 4, 51, 100, 201). If so, empty these cells"
    )
