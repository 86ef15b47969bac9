"""Forecast, recommend and generate from the command line: options before and after RUN, pipes, `init`, and what goes wrong there."""

import json
import os

import polars as pl
import pytest

import luban
from luban.core.errors import UserError
from luban.core.registry import TASKS


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of each, trained on the task's own sample."""
    folder = tmp_path_factory.mktemp("questions")
    for task, model in (("recommend", "ease"), ("generate", "ngram")):
        luban.train(TASKS[task].samples()[0], task=task, model=model, baselines=[], out=folder / task)
    return folder


def test_options_may_stand_before_the_run(runs, luban_in):
    after = luban_in(runs, "predict", "recommend", "--user", "客1", "-k", "2").stdout
    assert luban_in(runs, "predict", "-k", "2", "--user", "客1", "recommend").stdout == after and after.count("\n") == 3
    assert "--user" in luban_in(runs, "predict", "recommend", "--help").stdout
    assert "Examples" in luban_in(runs, "predict", "nowhere", "--help").stdout
    every = luban_in(runs, "predict", "--help").stdout
    assert all(each in every for each in ("task recommend:", "For whom", "--prompt", "--horizon", "-k VALUE", "task embed:"))
    assert "task generate" not in luban_in(runs, "predict", "recommend", "--help").stdout
    assert "there is no run 'nowhere'" in luban_in(runs, "predict", "nowhere", code=2).stderr


def test_passages_of_a_file_through_a_pipe(luban_in, tmp_path):
    (tmp_path / "诗.txt").write_text("床前明月光，\n疑是地上霜。\n" * 40)
    luban_in(tmp_path, "train", "诗.txt", "--task", "generate", "--model", "ngram", "--baselines", "none", "--out", "run", "-q")
    (tmp_path / "头.txt").write_text("床前\n疑是\n")
    words = ["--tokens", "3", "--temperature", "0"]
    piped = luban_in(tmp_path, "predict", "run", "-", *words, stdin="床前\n疑是\n".encode()).stdout
    assert piped == luban_in(tmp_path, "predict", "run", "头.txt", *words).stdout == "text,prediction\n床前,明月光\n疑是,地上霜\n"


def test_a_prompt_that_is_no_utf8(runs, luban_in):
    done = luban_in(runs, "predict", "generate", "--prompt", os.fsdecode(b"\xff"), code=2)
    assert "bytes that are not UTF-8" in done.stderr and done.stderr.count("\n") == 1


def test_a_tiny_temperature_is_none(runs):
    def wrote(temperature):
        return luban.predict(runs / "generate", ask={"prompt": "床", "tokens": 9, "temperature": temperature})["prediction"].to_list()

    assert wrote(1e-40) == wrote(0) and "\ufffd" not in wrote(1e-40)[0]


@pytest.mark.parametrize("damage", ["[]", '{"task": []}', "x"])
def test_a_damaged_bundle_is_one_sentence(runs, luban_in, tmp_path, damage):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "luban.json").write_text(damage)
    done = luban_in(tmp_path, "predict", "model", code=2)
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_an_ending_that_cannot_be_written_is_refused_first(runs, luban_in):
    assert "not 'x.xlsx'" in luban_in(runs, "predict", "recommend", "--user", "客1", "-o", "x.xlsx", code=2).stderr


@pytest.mark.parametrize(
    ("task", "rows", "more", "sentence"),
    [
        ("generate", {"prediction": ["to be or not"] * 50}, {"target": "prediction"}, "called 'prediction', too"),
        ("generate", {"text": ["to be"] * 50, "n": range(50)}, {"time": "n"}, "--time has no meaning"),
        ("generate", {"text": [""] * 50}, {"target": "text"}, "is empty in all 50 rows"),
        ("recommend", {"user": [1, 1, 1, 2, 2, 2], "score": list("abcabc")}, {"target": "score"}, "called 'score', too"),
    ],
)
def test_what_cannot_be_asked(task, rows, more, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        luban.train(pl.DataFrame(rows), task=task, out=tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()


def test_new_events_are_judged_with_what_the_bundle_remembers(runs, caplog):
    caplog.set_level("INFO")
    table = TASKS["recommend"].samples()[0]
    had = {user: set(rows["商品"]) for (user,), rows in table.group_by("用户")}
    new = {user: next(f"书{i}" for i in range(7) if f"书{i}" not in items) for user, items in had.items() if len(items) < 7}
    rows = pl.DataFrame({"用户": list(new), "商品": list(new.values()), "日期": ["2025-06-01"] * len(new)})
    measured = luban.evaluate(runs / "recommend", rows)
    assert "without a history" not in caplog.text
    assert measured.details["by_events_before"].keys() == {"1 to 4", "5 to 19"}
    again = rows.with_columns(pl.Series("商品", [min(had[user]) for user in new]))
    with pytest.raises(UserError, match="there are no users to score"):
        luban.evaluate(runs / "recommend", again)
    assert f"{len(new)} events are of items that the user had already" in caplog.text


def test_init_writes_what_the_task_found(luban_in, tmp_path):
    TASKS["recommend"].samples()[0].write_csv(tmp_path / "评分.csv")
    luban_in(tmp_path, "init", "评分.csv", "--task", "recommend", "-o", "my.yaml")
    text = (tmp_path / "my.yaml").read_text()
    assert 'user: "用户"' in text and 'item: "商品"' in text and "fields" not in text
    done = luban_in(tmp_path, "train", "my.yaml", "--out", "run", "--json")
    assert "ndcg@10" in json.loads(done.stdout)["metrics"]
