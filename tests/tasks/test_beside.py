"""Tables beside a log: who reads them, what is wrong with them, whole items held back, and answers that ask for features."""

from __future__ import annotations

import polars as pl
import pytest

import luban
from luban.core.errors import UserError

GENRES = ("Comedy", "Drama", "War")


@pytest.fixture
def log() -> pl.DataFrame:
    """30 users, each with a genre of their own: of its 10 films they had 7. Film 3g, 3g + 1, ... are of genre g."""
    pairs = [(f"u{u}", u % 3 * 10 + (u // 3 + i) % 10) for u in range(30) for i in range(7)]
    return pl.DataFrame(pairs, schema=["user", "film"], orient="row")


@pytest.fixture
def films(tmp_path) -> str:
    """The 30 films of the log, and one of each genre that nobody had."""
    genres = [GENRES[i // 10] for i in range(30)] + list(GENRES)
    path = tmp_path / "films.csv"
    pl.DataFrame({"film": range(33), "genre": genres, "year": [1980 + i for i in range(33)]}).write_csv(path)
    return str(path)


def train(log, items, *settings, tmp_path, model="popular", target="film"):
    return luban.train(log, task="recommend", target=target, model=model, set=[f"data.items={items}", *settings], out=tmp_path / "run",
                       baselines="none")  # fmt: skip


def test_an_item_that_nobody_had_is_known_and_has_its_features(log, films, tmp_path, caplog):
    caplog.set_level("INFO")
    bundle = luban.load(train(log, films, tmp_path=tmp_path))
    assert "33 values, 3 of them known by the table alone, features: genre (3 words), year (number)" in caplog.text
    asked = bundle.predict(None, {"user": "u0", "k": 40, "where": ["genre=War,year>=2005"]})
    assert sorted(asked["film"]) == [25, 26, 27, 28, 29, 32]
    assert set(bundle.predict(None, {"user": "u0", "k": 40, "where": ["genre=War"]})["film"]) == {*range(20, 30), 32}
    with pytest.raises(UserError, match=r"no column 'gender' that was learned\. Did you mean 'genre'"):
        bundle.predict(None, {"user": "u0", "where": ["gender=War"]})


def test_where_needs_a_table(log, tmp_path):
    made = luban.train(log, task="recommend", target="film", model="popular", out=tmp_path / "run", baselines="none")
    with pytest.raises(UserError, match="the model knows nothing of 'film' but its ids"):
        luban.load(made).predict(None, {"user": "u0", "where": ["genre=War"]})


def test_whole_items_are_held_back(log, films, tmp_path, caplog):
    caplog.set_level("INFO")
    made = train(log, films, "task.protocol=cold", "data.shares=[.6,.2,.2]", tmp_path=tmp_path)
    assert "42 of 42 events to be found are of items that training knows by their table alone" in caplog.text  # six films, 7 users each
    assert "what ranks by what was had can place none of these, twotower can" in caplog.text
    assert made.report["metrics"]["ndcg@10"] == 0
    held = luban.load(made).schema.targets["y0"]
    assert sum(count == 0 for count in held.counts) == 3 + 12 and sum(held.counts) == 210 - 84


def test_users_without_an_event_may_be_known(log, films, tmp_path):
    users = tmp_path / "users.csv"
    pl.DataFrame({"user": [f"u{u}" for u in range(32)], "age": [20 + u for u in range(32)]}).write_csv(users)
    made = train(log, films, f"data.users={users}", "train.epochs=1", model="twotower", tmp_path=tmp_path)
    bundle = luban.load(made)
    assert bundle.schema.inputs["c0"].size == 33
    old, new, stranger = (bundle.predict(None, {"user": name, "k": 33, "seen": True})["score"].to_list() for name in ("u30", "u31", "u99"))
    assert old != new != stranger and len(new) == 33


def test_who_find_nothing_are_not_recommended(log, films, tmp_path):
    made = luban.train(log, task="recommend", target="film", model="popular", out=tmp_path / "run",
                       set=[f"data.items={films}", "task.protocol=cold", "data.shares=[.6,.2,.2]"])  # fmt: skip
    assert made.report["verdict"].startswith("popular and itemknn find nothing: ndcg@10 is 0 for both on 27 test users.")


def test_another_table_beside_is_no_resume_and_is_not_read_to_go_on(log, films, tmp_path, caplog):
    caplog.set_level("INFO")
    run = train(log, films, "train.epochs=1", model="twotower", tmp_path=tmp_path).path
    pl.read_csv(films).with_columns(pl.col("year") + 1).write_csv(films)
    luban.train(log, target="film", start=run, set=[f"data.items={films}", "train.epochs=1"], out=tmp_path / "then", baselines="none")
    assert "'film': its table is not read; what the run to go on from knew of it counts" in caplog.text
    (run / "report.json").unlink()
    with pytest.raises(UserError, match=r"was begun with the fingerprint of data\.items = "):
        luban.train(log, task="recommend", target="film", model="twotower", set=[f"data.items={films}", "train.epochs=1"], out=run,
                    baselines="none", resume=True)  # fmt: skip


@pytest.mark.parametrize("table, settings, says", [
    (pl.DataFrame({"name": ["a"], "genre": ["War"]}), (), "the table of items has no column 'film', and no column is called item, itemId"),
    (None, ("task.protocol=cold",), "task.protocol=cold holds back whole items"),
])  # fmt: skip
def test_what_cannot_be_used_is_refused(log, tmp_path, table, settings, says):
    if table is not None:
        table.write_csv(tmp_path / "items.csv")
        settings = (f"data.items={tmp_path / 'items.csv'}",)
    with pytest.raises(UserError, match=says):
        luban.train(log, task="recommend", target="film", model="popular", set=list(settings), out=tmp_path / "run")


def test_other_questions_read_no_table_beside(log, films, tmp_path):
    with pytest.raises(UserError, match=r"data\.items: this task reads no table beside the data.*a --task that does: .*'recommend'"):
        luban.train(log, task="classify", target="film", set=[f"data.items={films}"], out=tmp_path / "run")


def test_a_table_that_is_not_there_is_named(log, tmp_path):
    with pytest.raises(UserError, match=r"neither a file nor a built-in data set '.*nowhere\.csv'|no file"):
        luban.train(log, task="recommend", target="film", set=["data.items=nowhere.csv"], out=tmp_path / "run")
