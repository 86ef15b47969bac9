"""Recommend: who trains, validates and tests counted by hand, ranks among all unseen items, and answers in the user's words."""

import gzip
import importlib
import itertools
import logging
import math
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import luban
from luban import catalogue
from luban.bundle import judge, lines
from luban.core import config as configs
from luban.core.batch import Examples, Ragged, Store
from luban.core.contract import Clock
from luban.core.errors import UserError
from luban.core.registry import MODELS, TASKS
from luban.data import DataConfig, assign
from luban.metrics import compute, family, resampled
from luban.tasks._places import because, best

Recommend = TASKS["recommend"]


class Patient(Clock):
    seed, threads = 0, 1

    def seconds_left(self) -> float:
        return math.inf


def prepared(table: pl.DataFrame, shares=(0.8, 0.1, 0.1), targets=(), time=None, part=None, seed=0, **config) -> SimpleNamespace:
    """The stages' order of calls, without the stages."""
    task = Recommend(configs.build(Recommend.Config, config))
    task.settle(table, targets, time)
    task.check(table, targets)
    order = task.order(table)
    table = table[order]
    part = task.split(table, shares, seed)[0] if part is None else np.array(part, np.uint8)[order]
    train = table.filter(part == 0)
    schema = task.schema(train, targets).fit(train)
    store = Store(schema.encode(table, with_target=True), torch.from_numpy(part))
    examples = [Examples(store, task.spans(store, number), task.batch) for number in range(3)]
    return SimpleNamespace(task=task, schema=schema, store=store, examples=examples, head=task.head(schema), order=order, part=part,
                           table=table)  # fmt: skip


def solved(data: SimpleNamespace, name: str):
    model = MODELS[name](MODELS[name].Config(), data.schema, data.head)
    model.solve(data.examples[0], data.examples[1], Patient())
    return model.eval()


def words(data: SimpleNamespace, part: int) -> list[tuple]:
    """(user, history, answers) of each example, in the user's words."""
    batch, (user, item) = data.examples[part].whole(), (data.schema.inputs["c0"], data.schema.targets["y0"])

    def rows(ragged: Ragged) -> list[list]:
        found, ends = item.decode(ragged.values), ragged.offsets.tolist()
        return [found[start:stop] for start, stop in itertools.pairwise(ends)]

    return list(zip(user.decode(batch["c0"]), rows(batch["history"]), rows(batch["y0"]), strict=True))


def events(text: str) -> pl.DataFrame:
    """ "a1 a2 b1": user a had item 1, then 2, user b 1."""
    return pl.DataFrame({"user": [each[0] for each in text.split()], "item": [each[1:] for each in text.split()]})


class Given(nn.Module):
    """Scores as they are given, for each user alike."""

    def __init__(self, *scores):
        super().__init__()
        self.scores = torch.tensor(scores)

    def forward(self, batch):
        return self.scores.expand(len(batch["c0"]), -1)


def ragged(rows: list[list[int]]) -> Ragged:
    ends = [0, *np.cumsum([len(each) for each in rows]).tolist()]
    return Ragged(torch.tensor([item for each in rows for item in each], dtype=torch.int64), torch.tensor(ends))


def batch_of(history: list[list[int]], answers: list) -> dict:
    answers = [each if isinstance(each, list) else [each] for each in answers]
    return {"c0": torch.ones(len(answers)).long(), "history": ragged(history), "y0": ragged(answers)}


REFERENCE = {
    "ndcg@5": 0.0601776, "ndcg@10": 0.1247365, "ndcg@20": 0.2496038, "recall@5": 0.095, "recall@10": 0.22, "precision@5": 0.06,
    "precision@10": 0.08, "hit_rate@5": 0.3, "hit_rate@10": 0.6, "map@10": 0.0501389, "map@20": 0.0864957, "mrr": 0.1505263}  # fmt: skip
HEAD5 = SimpleNamespace(keys={"y0"}, size=6, split=lambda z: {"y0": z.unsqueeze(1)})
SMALL = "a1 b3 a2 a3 b1 b2 b4 c1 c2 a5"

# ---------------------------------------------------------------- examples and the split


def test_leave_last_out_by_hand():
    data = prepared(events(SMALL))
    assert words(data, 0) == [("a", [1, 2], []), ("b", [3, 1], []), ("c", [1, 2], [])]
    assert words(data, 1) == [("a", [1, 2], [3]), ("b", [3, 1], [2])]
    assert words(data, 2) == [("a", [1, 2, 3], [None]), ("b", [3, 1, 2], [None])]  # nobody had 5 or 4 in training


def test_without_a_test_part_the_last_event_validates():
    data = prepared(events("a1 a2 b2 b1 b3 c1"), (0.9, 0.1, 0.0))
    assert words(data, 0) == [("a", [1], []), ("b", [2, 1], []), ("c", [1], [])]
    assert [each[0] for each in words(data, 1)] == ["a", "b"] and not len(data.examples[2])
    with pytest.raises(UserError, match="no user has 3 events or more: one to train on, and 2 to hold back"):
        prepared(events("a1 a2 b2 b1"))


def test_short_users_only_train_and_it_is_said(caplog):
    caplog.set_level(logging.INFO, "luban")
    prepared(events(SMALL))
    assert "1 of 3 users have fewer than 3 events and are only trained on" in caplog.messages


def test_a_split_of_the_users_own_never_shows_a_later_part():
    """Of 0 2 0 1 0 training sees the three 0s, validation no test event, though that one is older."""
    data = prepared(events("a1 a2 a3 a4 a5 b4 b2"), part=[0, 2, 0, 1, 0, 0, 0])
    assert words(data, 0) == [("a", [1, 3, 5], []), ("b", [4, 2], [])]
    assert words(data, 1) == [("a", [1, 3, 5], [4])]
    assert words(data, 2) == [("a", [1, 3, 4, 5], [2])]


def test_users_that_training_never_had_are_left_out_of_the_parts_aloud(caplog):
    caplog.set_level(logging.INFO, "luban")
    data = prepared(events("a1 a2 b1 b2 c1 d2"), part=[0, 0, 0, 1, 2, 2])
    assert not len(data.examples[2]) and "2 events are of users that training never had, and are left out" in caplog.messages


# ---------------------------------------------------------------- other protocols


def log(n_users=30, n_items=20, seed=0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(n_users * n_items)[: n_users * n_items // 3]
    return pl.DataFrame(
        {"user": pairs // n_items, "item": pairs % n_items, "time": rng.integers(0, 100, len(pairs)), "stars": pairs % 5 + 1}
    )


def test_by_time_the_newest_are_tested_and_a_moment_stays_together():
    data = prepared(log(), protocol="time")
    time = data.table.get_column("time").to_numpy()
    assert time[data.part == 0].max() < time[data.part == 1].min() and time[data.part == 1].max() < time[data.part == 2].min()
    assert np.bincount(data.part).tolist() == pytest.approx([160, 20, 20], abs=8)
    with pytest.raises(UserError, match=r"task\.protocol=time needs a time column"):
        prepared(events(SMALL), protocol="time")


def test_another_split_is_asked_for_as_anywhere():
    task = Recommend(Recommend.Config(protocol="random"))
    task.settle(log(), (), None)
    first, again, other = (assign(log(), None, DataConfig(shares=(0.5, 0.25, 0.25), split_seed=seed), task).part for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize("protocol", ["random", "user", "item"])
def test_drawn_protocols_hold_back_their_share_and_follow_from_the_seed(protocol):
    data, again, other = (prepared(log(), (0.5, 0.25, 0.25), protocol=protocol, seed=seed) for seed in (1, 1, 2))
    assert np.bincount(data.part).tolist() == pytest.approx([100, 50, 50], abs=12)
    assert (data.part == again.part).all() and (data.part != other.part).any()
    if protocol != "random":
        groups = data.table.get_column(protocol).to_numpy()
        for each in np.unique(groups):
            mine = data.part[groups == each]
            assert (mine == 2).sum() == round(len(mine) * 0.25)
    tested = {user: (set(history), answers) for user, history, answers in words(data, 2)}
    for user, (history, answers) in tested.items():
        rows = data.table.filter(pl.col("user") == user)
        assert history | set(answers) >= set(rows.get_column("item").to_list()) - {None} and not history & set(answers)


def test_a_core_is_left_when_the_others_have_gone(caplog):
    """d has one event; without it item 4 has one, and without that c."""
    caplog.set_level(logging.INFO, "luban")
    data = prepared(events("a1 a2 a3 b1 b2 b3 c1 c4 d4"), (0.5, 0.5, 0.0), core=2)
    assert data.part.tolist() == [0, 0, 1, 0, 0, 1, 3, 3, 3]
    assert "task.core=2 leaves 6 of 9 events, 2 of 4 user, 3 of 4 item" in caplog.messages
    assert data.task.context(data.store)["history"].lengths.tolist() == [0, 2, 2]
    with pytest.raises(UserError, match=r"task\.core=9 leaves no event"):
        prepared(events(SMALL), core=9)


def test_low_ratings_can_be_left_out(caplog):
    caplog.set_level(logging.INFO, "luban")
    data = prepared(log(), least=3)
    assert data.table.get_column("stars").min() == 3 and any("are rated below 3 and are left out" in each for each in caplog.messages)
    with pytest.raises(UserError, match=r"task\.least needs a column of ratings, and none is called rating, stars or the like"):
        prepared(events(SMALL), least=3)


def test_a_bot_is_told(caplog):
    caplog.set_level(logging.INFO, "luban")
    table = pl.DataFrame({"user": [str(i) for i in range(40) for _ in range(3)] + ["bot"] * 200,
                          "item": [str(i * j) for i in range(40) for j in range(3)] + [str(i) for i in range(200)]})  # fmt: skip
    prepared(table)
    assert "user 'bot' has 200 events, 67 times the usual one's: a bot, or an account of several?" in caplog.messages


# ---------------------------------------------------------------- order


def test_by_user_then_time_then_row():
    table = pl.DataFrame({"userId": [2, 1, 2, 1, 2], "movieId": [5, 6, 7, 8, 9], "timestamp": ["30", "9", "10", "9", "10"]})
    data = prepared(table, part=[0] * 5)
    assert data.order.tolist() == [1, 3, 2, 4, 0]  # 9 before 10 and 30 as numbers, ties as they stood
    dates = table.with_columns(pl.Series("timestamp", ["2024-03-01", "2024-02-01", "2023-12-31", "2024-02-01", "2023-12-31"]))
    assert prepared(dates, part=[0] * 5).order.tolist() == [1, 3, 2, 4, 0]
    assert prepared(table.drop("timestamp"), part=[0] * 5).order.tolist() == [1, 3, 0, 2, 4]


def test_what_is_left_out_is_said(caplog):
    caplog.set_level(logging.INFO, "luban")
    table = pl.DataFrame({"user": ["a", "", "a", "b", "a", "b"], "item": ["1", "1", "1", "2", None, "1"],
                          "time": ["3", "1", "2", "1", "1", "NA"]})  # fmt: skip
    task = Recommend()
    task.settle(table, (), None)
    assert task.order(table).tolist() == [2, 3]  # row 1 repeats row 3, which is older
    assert caplog.messages[1:] == [
        "1 rows have no user and are left out (the first: row 2)",
        "1 rows have no item and are left out (the first: row 5)",
        "1 rows have no time and are left out (the first: row 6)",
        "1 rows repeat an earlier user and item and are counted with it (the first: row 1)",
    ]
    with pytest.raises(UserError, match="none of the 1 rows names user and item and time"):
        task.order(table[1:2])
    low = table.with_columns(stars=pl.lit(2))
    strict = Recommend(configs.build(Recommend.Config, {"least": 4}))
    strict.settle(low, (), None)
    with pytest.raises(UserError, match="with stars of 4 or more: lower"):
        strict.order(low)


def test_without_a_time_the_option_that_names_one_is_told(caplog):
    caplog.set_level(logging.INFO, "luban")
    table = events("a1 b1").with_columns(when=pl.lit("2024-01-01"))
    task = Recommend()
    task.settle(table, (), None)
    assert task.config.time == "when"
    Recommend().settle(table.rename({"when": "moment"}), (), None)
    assert caplog.messages[-1].endswith("(no time column was found; --time COLUMN names one)")


def test_a_number_is_one_user_however_it_is_written():
    data = prepared(pl.DataFrame({"user": ["3", "1", "3.0", "1", "3"], "item": ["1", "2", "2", "1", "3"]}), part=[0] * 5)
    assert data.order.tolist() == [1, 3, 0, 2, 4] and len(data.examples[0]) == 2


# ---------------------------------------------------------------- what is found


def test_columns_are_found_by_name(caplog):
    caplog.set_level(logging.INFO, "luban")
    for names in (
        ["userId", "movieId", "timestamp"],
        ["USER_ID", "Item", "date"],
        ["用户", "商品ID", "时间"],
        ["reviewerID", "asin", "unixReviewTime"],
    ):
        table = pl.DataFrame({"x": [1.5, 2.5], names[2]: [1, 2], names[1]: ["a", "b"], names[0]: ["u", "v"]})
        task = Recommend()
        task.settle(table, (), None)
        assert [task.config.user, task.config.item, task.config.time] == names
        assert caplog.messages[-1] == f"events: who {names[0]!r}, what {names[1]!r}, when {names[2]!r}"
        assert task.schema(table, ()).ignored == {"x": "neither user nor item", names[2]: "only orders the events"}
    task = Recommend()
    task.settle(table.with_columns(when=pl.Series([3, 4])), ("x",), "when")
    assert (task.config.item, task.config.time) == ("x", "when")


def test_what_cannot_be_found_or_learned_is_refused():
    table = pl.DataFrame({"a": [1, 2], "b": [1, 2]})
    refused = [
        ((), {}, "no column is called user, userId or the like. There are: 'a', 'b'. Name it: --set task.user=COLUMN"),
        ((), {"user": "a"}, "no column is called item, itemId or the like.+--target COLUMN"),
        (("c",), {"user": "a"}, "the column 'c' is missing"),
        (("a",), {"user": "a"}, "user, item and time must be different columns, not 'a', 'a'"),
        (("a", "b"), {}, "--target names one column here, the items, not 2"),
    ]
    for targets, config, message in refused:
        with pytest.raises(UserError, match=message):
            prepared(table, targets=targets, **config)
    with pytest.raises(UserError, match="'user' names fewer than two users in 3 rows"):
        prepared(events("a1 a2 a3"))
    with pytest.raises(UserError, match="'item' names fewer than two items in 3 rows"):
        prepared(events("a1 b1 c1"))
    with pytest.raises(UserError, match=r"ask\.k must lie between 1 and"):
        Recommend.Ask(k=0)


# ---------------------------------------------------------------- ranks


def test_ranks_by_hand():
    """Items 1..5 with scores 9 7 5 5 1; id 0 would be the best, and is none."""
    model = Given(99.0, 9.0, 7.0, 5.0, 5.0, 1.0)
    batch = batch_of([[], [1], [1, 2], [], [5], []], [1, 2, 3, 3, 1, 0])
    ranked = Recommend().judge(model, batch, HEAD5)
    # alone 1st; what was seen is no rival; the last of two equals, with and without rivals above; a miss has no rank
    assert ranked["rank"][:, 0].tolist() == [1, 1, 2, 4, 1, 0] and not ranked["rank"][:, 1:].any()
    assert ranked["before"].tolist() == [0, 1, 2, 0, 1, 0]


@pytest.mark.parametrize("scores", [[0.0] * 6, [math.nan] * 6, [1.0, 2.0, 2.0, math.nan, 2.0, 2.0], [-math.inf] * 5 + [0.0]])
def test_scores_that_say_nothing_do_not_flatter(scores):
    rank = Recommend().judge(Given(*scores), batch_of([[]], [3]), HEAD5)["rank"]
    assert rank[:, 0].tolist() == [5]


@pytest.mark.parametrize("few", [8, 0])
def test_ranks_of_several_true_items(few, monkeypatch):
    """Each is ranked among what is no true item, then by its place among these; both ways of counting."""
    monkeypatch.setattr(importlib.import_module("luban.tasks._places"), "FEW", few)
    model = Given(99.0, 9.0, 7.0, 5.0, 5.0, 1.0)
    ranked = Recommend().judge(model, batch_of([[], [1], [], [2]], [[2, 1], [5, 2, 0], [3, 4], []]), HEAD5)["rank"]
    assert ranked[:, :3].tolist() == [[1, 2, 0], [1, 4, 0], [3, 4, 0], [0, 0, 0]]


def test_metrics_are_those_of_a_reference():
    """Ten users with one to six true items of 40; figures of ranx 0.3.21."""
    rng = np.random.default_rng(5)
    scores, true = rng.permuted(np.tile(np.arange(40.0), (10, 1)), axis=1), [rng.choice(40, 1 + i % 6, replace=False) for i in range(10)]
    lists = np.argsort(-scores, axis=1)
    ranks = np.zeros((10, 6), np.int64)
    for i, items in enumerate(true):
        ranks[i, : len(items)] = np.sort([1 + int((lists[i] == item).argmax()) for item in items])
    found = compute("ranking", REFERENCE.keys(), np.array([len(each) for each in true]), ranks)
    assert found == pytest.approx(REFERENCE, abs=1e-6)


def test_what_lists_are_like_by_hand():
    """Two users, items 1..4 had by 4, 2, 1, 0 users; lists 1 2 and 1 3."""
    had, items = np.array([0, 1.0, 0.5, 0.25, 0.0]), np.array([[1, 2], [1, 3]])
    found = resampled("lists", ["item_coverage@10", "diversity@10", "novelty@10", "popularity@10"], had, items, np.ones((2, 1)))
    assert {name: float(each[0]) for name, each in found.items()} == {
        "item_coverage@10": 0.75, "diversity@10": 0.5, "novelty@10": 0.75, "popularity@10": 0.6875}  # fmt: skip


def test_equals_at_the_end_of_a_list_go_by_their_id():
    scores = torch.tensor([[-math.inf, 1.0, 3.0, 1.0, 1.0, 2.0]])
    assert best(scores, 3)[1].tolist() == [[2, 5, 1]] and best(scores, 4)[1].tolist() == [[2, 5, 1, 3]]
    assert best(scores, 9)[1].tolist() == [[2, 5, 1, 3, 4, 0]] and best(scores, 9)[0].tolist() == [[3, 2, 1, 1, 1, 0]]


def test_measured_on_a_table_that_can_be_done_in_the_head():
    """popular: item 1 has 3 users in training, 2 has 2, 3 and 4 one each. Tested: a gets 2 (seen 1 3), b 4 (seen 2 1 3)."""
    data = prepared(events("a1 a3 a2 b2 b1 b3 b4 c1 c2 d1 d4"), part=[0, 1, 2, 0, 0, 1, 2, 0, 0, 0, 0])
    judged, truth = judge(solved(data, "popular"), data.task, data.head, data.examples[2])
    assert judged["rank"][:, 0].tolist() == [1, 1]
    found = data.task.measure(judged, truth, data.schema, data.task.metrics(data.schema))
    assert (
        found.metrics["ndcg@10"] == 1
        and next(iter(found.metrics)) == "ndcg@10"
        and set(found.metrics) == {*family("ranking"), *family("lists")}
    )
    assert found.details["by_events_before"] == {"1 to 4": {"users": 2, "ndcg@10": 1.0}}


def test_ndcg_on_real_data_counted_another_way(real_data):
    """EASE by its dense form and nDCG by a loop over sorted lists, in numpy alone, for the first 40 users."""
    file = real_data / "ml-latest-small" / "ratings.csv.gz"
    if not file.is_file():
        pytest.skip("no ml-latest-small")
    table = pl.read_csv(file, infer_schema=False).filter(pl.col("userId").cast(int) <= 40)
    data = prepared(table)
    judged, truth = judge(solved(data, "ease"), data.task, data.head, data.examples[2])
    mine = data.task.measure(judged, truth, data.schema, ["ndcg@10"]).metrics["ndcg@10"]

    logs: dict[int, list] = {}
    for user, item, *_ in table.sort(pl.col("timestamp").cast(int), maintain_order=True).rows():
        logs.setdefault(int(user), []).append(item)
    items = sorted({item for log in logs.values() for item in log[:-2]}, key=int)
    place = {item: i for i, item in enumerate(items)}
    X = np.zeros((len(logs), len(items)))
    for row, log in enumerate(logs.values()):
        X[row, [place[item] for item in log[:-2]]] = 1
    P = np.linalg.inv(X.T @ X + 200.0 * np.eye(len(items)))
    B = -P / np.diag(P)
    np.fill_diagonal(B, 0)
    gains = []
    for log in logs.values():
        known = [place[item] for item in log[:-1] if item in place]
        scores = (B[known].sum(0) + 0.01 * X.mean(0)).round(7)
        scores[known] = -np.inf
        true = place.get(log[-1])
        rank = math.inf if true is None else int((scores >= scores[true]).sum())
        gains.append(1 / math.log2(1 + rank) if rank <= 10 else 0.0)
    assert mine == pytest.approx(np.mean(gains), abs=1e-9) and mine > 0.01


# ---------------------------------------------------------------- answers


def asked(data: SimpleNamespace, name: str, table: pl.DataFrame, **ask) -> list[list[dict]]:
    model, task = solved(data, name), data.task
    batch = task.pose(data.schema.encode(table, with_target=False), task.context(data.store))
    return task.answers(task.predict(model, batch, data.head, Recommend.Ask(**ask)), data.schema)["prediction"].to_list()


def test_context_holds_all_that_each_user_did():
    data = prepared(events("b1 b2 b3 a2 a1 a3 a9 c3"), part=[0, 1, 2, 0, 0, 1, 2, 0])
    history = data.task.context(data.store)["history"]
    assert len(history) == 4 and history.lengths.tolist() == [0, 3, 3, 1]  # 9 is no item of training
    rows = history[torch.tensor([1, 2, 3])]
    assert data.schema.targets["y0"].decode(rows.values) == [2, 1, 3, 1, 2, 3, 3]


def test_the_best_unseen_first_and_equals_by_id(caplog):
    caplog.set_level(logging.INFO, "luban")
    data = prepared(events("a1 a2 b1 b2 b3 c1 c3 d4 d5"), part=[0] * 9)
    some = pl.DataFrame({"user": ["d", "nobody", "a"]})
    answers = asked(data, "popular", some, k=2)
    assert answers == [
        [{"rank": 1, "item": 1, "score": 0.75}, {"rank": 2, "item": 2, "score": 0.5}],
        [{"rank": 1, "item": 1, "score": 0.75}, {"rank": 2, "item": 2, "score": 0.5}],
        [{"rank": 1, "item": 3, "score": 0.5}, {"rank": 2, "item": 4, "score": 0.25}],
    ]
    assert "users that were not in training: 1 of 3; they are answered with what is popular" in caplog.messages
    everything = asked(data, "popular", some, k=100)
    assert [[each["item"] for each in answer] for answer in everything] == [[1, 2, 3], [1, 2, 3, 4, 5], [3, 4, 5]]
    assert "3 of 3 users get fewer items than asked for, the fewest 3: no more are left to choose from" in caplog.messages
    caplog.clear()
    assert [len(answer) for answer in asked(data, "popular", some, k=4)] == [3, 4, 3]
    assert "2 of 3 users get fewer items than asked for, the fewest 3: no more are left to choose from" in caplog.messages
    caplog.clear()
    asked(data, "popular", some, k=3)
    assert not any("fewer" in each for each in caplog.messages)


def test_who_had_everything_gets_an_empty_answer(caplog):
    caplog.set_level(logging.INFO, "luban")
    data = prepared(events("a1 a2 b1"), part=[0] * 3)
    assert asked(data, "popular", pl.DataFrame({"user": ["a", "b"]})) == [[], [{"rank": 1, "item": 2, "score": 0.5}]]
    assert asked(data, "popular", pl.DataFrame({"user": ["a"]})) == [[]]
    assert "1 users had every item that was to be chosen from, and get an empty answer" in caplog.messages


def test_somebody_new_is_known_by_what_they_liked(caplog):
    """1 2 3 are one taste, 4 5 6 another."""
    caplog.set_level(logging.INFO, "luban")
    data = prepared(events("a1 a2 a3 b1 b2 c2 c3 d4 d5 d6 e4 e5 f5 f6"), part=[0] * 14)
    question = data.task.question(Recommend.Ask(liked=("1",)))
    assert question.to_dicts() == [{"user": None}]
    for liked, first in (("1,2", [3]), ("4", [5, 6]), (("1", "2"), [3]), ("9，4 , 6", [5])):
        answer = asked(data, "ease", question, liked=liked, k=len(first))[0]
        assert [each["item"] for each in answer] == first
    assert "liked: training never had '9'; the others count" in caplog.messages
    assert not any("not in training" in each for each in caplog.messages)
    with pytest.raises(UserError, match="liked: training had none of '9', '8'"):
        asked(data, "ease", question, liked="9,8")


def test_what_is_asked_for_and_what_is_not():
    data = prepared(events("a1 a2 a3 b1 b2 c2 c3 d4 d5 d6 e4 e5 f5 f6"), part=[0] * 14)
    some = pl.DataFrame({"user": ["b", "e"]})

    def items(**ask) -> list[list]:
        return [[each["item"] for each in answer] for answer in asked(data, "ease", some, **ask)]

    assert items(k=1) == [[3], [6]]
    assert items(among="4,6,3") == [[3, 4, 6], [6, 3]] and items(without=("3", "6"), k=1) == [[5], [2]]
    assert set(items(seen=True, k=3)[0]) == {1, 2, 3}
    answers = asked(data, "ease", pl.DataFrame({"user": ["a", "c", "nobody"]}), because=True, k=1)
    assert answers[1] == [{"rank": 1, "item": 1, "score": answers[1][0]["score"], "because": 2}]
    assert answers[2][0]["because"] is None


def test_because_is_told_of_each_item_of_each_user():
    """As each item alone says it; nobody's history among others, and pieces of one event."""
    data = prepared(events("a1 a2 a4 b1 b2 c2 c3 d4 d5 d6 e4 e5 f5 f6"), part=[0] * 14)
    model, history = solved(data, "ease"), Ragged(torch.tensor([1, 2, 4, 5]), torch.tensor([0, 3, 3, 4]))
    items = torch.tensor([[3, 5, 6], [1, 2, 3], [6, 4, 0]])
    found = because(model, {"c0": torch.tensor([1, 0, 0]), "history": history}, data.head, items)
    alone = model({"c0": torch.zeros(4).long(), "history": Ragged(history.values, torch.arange(5))})
    assert found[0].tolist() == history.values[:3][alone[:3][:, items[0]].argmax(0)].tolist() and len(set(found[0].tolist())) > 1
    assert found[1:].tolist() == [[0, 0, 0], [5, 5, 0]]


def test_pairs_are_asked_for_by_themselves():
    with pytest.raises(UserError, match="pairs gives each row's item its score and its place; without says nothing there"):
        Recommend.Ask(pairs=True, without=("3",))


def test_rows_that_name_an_item_get_its_score_and_its_place():
    """Users of 1 to 4: 3 2 2 1. An item that was had already stands where it would have stood; a stranger goes by popularity."""
    data = prepared(events("a1 a2 b1 b2 b3 c1 c3 d4 d5"), part=[0] * 9)
    model, task = solved(data, "popular"), data.task
    question = pl.DataFrame({"user": ["d", "b", "nobody", "a"], "item": ["3", "1", "2", "9"]})
    ask = Recommend.Ask(pairs=True)
    assert task.pairs(ask)
    batch = task.pose(data.schema.encode(question, with_target=True), task.context(data.store))
    answers = task.told(task.answers(task.predict(model, batch, data.head, ask), data.schema), question, data.schema)
    assert answers.rows() == [("3", 0.5, 3), ("1", 0.75, 1), ("2", 0.5, 2), ("9", None, None)]


def test_a_user_is_a_question():
    data = prepared(events(SMALL))
    assert data.task.question(Recommend.Ask(user="a")).to_dicts() == [{"user": "a"}]
    assert configs.build(Recommend.Ask, {"user": 42}).user == "42"
    with pytest.raises(UserError, match="say for whom: --user ID, or --liked ITEM,ITEM, or name a file of users with the column 'user'"):
        data.task.question(Recommend.Ask())
    with pytest.raises(UserError, match="user and liked both say for whom"):
        data.task.question(Recommend.Ask(user="a", liked=("1",)))


# ---------------------------------------------------------------- the whole way


def test_from_a_file_with_chinese_names_to_answers(tmp_path, luban_in):
    Recommend.samples()[0].write_csv(tmp_path / "购买.csv")
    luban_in(tmp_path, "train", "购买.csv", "--task", "recommend", "--out", "run")
    done = luban_in(tmp_path, "predict", "run", "--user", "客1", "-k", "2")
    head, *rows = done.stdout.splitlines()
    assert head == "用户,rank,商品,score" and len(rows) == 2 and rows[0].startswith("客1,1,书")
    (tmp_path / "users.csv").write_text("用户\n客1\n生人\n", encoding="utf-8")
    done = luban_in(tmp_path, "predict", "run", "users.csv", "-k", "2", "-o", "top.csv")
    assert "users that were not in training: 1 of 2" in done.stderr
    top = pl.read_csv(tmp_path / "top.csv")
    assert top.columns == head.split(",") and top["用户"].to_list() == ["客1", "客1", "生人", "生人"]
    (tmp_path / "others.csv").write_text("客户\n客1\n", encoding="utf-8")
    assert "error: the column '用户' is missing." in luban_in(tmp_path, "predict", "run", "others.csv", code=2).stderr
    assert "ask.k must" in luban_in(tmp_path, "predict", "run", "--user", "客1", "-k", "0", code=2).stderr


def test_new_data_with_strangers_can_be_scored(tmp_path):
    table = pl.DataFrame(
        {"user_id": [u for u in range(12) for _ in range(5)], "item": [(u * i) % 7 for u in range(12) for i in range(1, 6)]}
    )
    run = luban.train(table, task="recommend", out=tmp_path / "run")
    new = pl.DataFrame({"user_id": [1, 1, 99, 2, 2], "item": [3, 6, 1, 77, 78]})
    assert luban.evaluate(run, new).metrics["hit_rate@20"] == 0.5  # user 1 had the 3; of user 2, 78 is unknown; 99 is left out
    assert lines(run.load().answer(new)).height > 5


def test_the_built_in_set_may_lie_gzipped(tmp_path, monkeypatch):
    monkeypatch.setenv("LUBAN_DATA", str(tmp_path))
    (tmp_path / "ml-latest-small").mkdir()
    (tmp_path / "ml-latest-small" / "ratings.csv.gz").write_bytes(gzip.compress(b"userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n"))
    assert catalogue.table("ml-latest-small").row(0) == ("1", "31", "2.5", "1260759144")


def test_going_on_keeps_the_words_of_users_and_items(tmp_path, caplog):
    """Else the vector of 0 would be that of 1 in the new log, which has as many items. What was never had is told of."""
    caplog.set_level(logging.INFO, "luban")
    table = Recommend.samples()[1]
    first = luban.train(table, task="recommend", model="bpr", set=["train.epochs=1"], out=tmp_path / "first", baselines="none").load()
    new = table.with_columns(pl.col("item").replace({0: 99}))
    then = luban.train(new, start=tmp_path / "first", set=["train.epochs=1"], out=tmp_path / "then", baselines="none").load()
    assert then.schema.targets["y0"].words == first.schema.targets["y0"].words
    assert any(each.startswith("'item': the run to go on from never had '99', and nothing is learned of the ") for each in caplog.messages)


def test_a_share_of_users_is_one_however_often_it_is_counted():
    """As a model that goes on does, which has that of its first log."""
    data = prepared(Recommend.samples()[1])
    model = solved(data, "popular")
    once = model.popular.clone()
    model.count(data.examples[0])
    assert model.popular.equal(once)


def test_new_data_do_not_say_what_training_had(tmp_path, caplog):
    """Item 3 was had, though by none of the users at hand."""
    caplog.set_level(logging.INFO, "luban")
    log = events("a1 a2 a4 b1 b2 b4 c1 c3 c4 d3 d1 d4")
    run = luban.train(log, task="recommend", model="popular", out=tmp_path / "run", baselines="none")
    caplog.clear()
    luban.evaluate(run, events("a3 b3 a1"))
    assert "1 events are of items that the user had already, and are left out" in caplog.messages
    assert not any("training" in each for each in caplog.messages)
