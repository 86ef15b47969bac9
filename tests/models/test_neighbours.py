"""Approximate neighbours: a catalogue in groups is searched by them and finds the best; what is left out stays out; and where it does not
pay, or cannot do, all items are looked at."""

import numpy as np
import polars as pl
import pytest
import torch

import luban
from luban import bundle
from luban.core.batch import Ragged
from luban.core.registry import MODELS
from luban.layers import neighbours
from luban.planning import from_words
from luban.stages.prepare import prepare

TASTES, EACH = 50, 100
"""Of 50 tastes each has 100 items; a user has 25 of one of them, and one of another."""


def log(seed: int = 0) -> pl.DataFrame:
    dice, rows = np.random.default_rng(seed), []
    for user in range(800):
        for item in dice.permutation(EACH)[:25]:
            rows.append((f"u{user}", f"i{user % TASTES}-{item}"))
        rows.append((f"u{user}", f"i{dice.integers(TASTES)}-{dice.integers(EACH)}"))
    order = dice.permutation(len(rows))
    return pl.DataFrame([rows[i] for i in order], schema=["user_id", "item_id"], orient="row").unique(maintain_order=True)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A bundle that was saved and loaded, of a catalogue that counts as large."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbours, "MANY", 1000)
        table = log()
        settings = {"task.protocol": "random"}
        run = luban.train(
            table, task="recommend", model="ials", baselines="none", set=settings, out=tmp_path_factory.mktemp("large") / "run"
        )
        made = bundle.load(run.path)
    return made, table


def lists(found: pl.DataFrame) -> list[list[str]]:
    return [each["item_id"].to_list() for _, each in found.group_by("user_id", maintain_order=True)]


def test_most_of_the_best_are_found_and_the_share_is_told(large, caplog):
    made, table = large
    assert int(made.model.search[0]) > 0
    users = {"user_id": table["user_id"].unique().sort().to_list()}
    caplog.set_level("INFO", "luban")
    near, exact = (lists(made.predict(users, {"k": 10, "exact": each})) for each in (False, True))
    share = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(near, exact, strict=True)])
    assert 0.95 <= share < 1 and near != exact
    told = [line for line in caplog.messages if "looked only at items near" in line]
    assert len(told) == 1 and "800 answers" in told[0] and f"{float(made.model.search[1]):.1%}" in told[0]


def test_scores_are_those_of_looking_at_all(large):
    made, _ = large
    near, exact = (made.predict(ask={"user": "u3", "k": 20, "exact": each}) for each in (False, True))
    both = near.join(exact, on="item_id")
    assert len(both) >= 18 and both["score"].to_list() == pytest.approx(both["score_right"].to_list(), abs=1e-6)
    assert near["score"].is_sorted(descending=True)


def test_what_the_user_had_and_what_is_named_stays_out(large):
    made, table = large
    had = set(table.filter(pl.col("user_id") == "u7")["item_id"])
    best = made.predict(ask={"user": "u7", "k": 10})["item_id"].to_list()
    assert not had & set(best)
    assert had & set(made.predict(ask={"user": "u7", "k": 10, "seen": True})["item_id"])
    without = made.predict(ask={"user": "u7", "k": 10, "without": best[:4]})["item_id"].to_list()
    assert not {*best[:4], *had} & set(without) and without[:6] == best[4:]
    again = made.predict(ask={"user": "u7", "k": 10})["item_id"].to_list()
    assert again == best  # nothing of a question stays


@pytest.mark.parametrize("ask", [{"user": "u7", "among": ("i1-1", "i2-2", "i49-3")}, {"user": "u7", "k": 21}, {"user": "nobody"}])
def test_where_it_cannot_do_all_are_looked_at(large, ask, caplog):
    made, _ = large
    caplog.set_level("INFO", "luban")
    assert made.predict(ask=ask).equals(made.predict(ask={**ask, "exact": True}))
    assert not [line for line in caplog.messages if "looked only" in line]


def test_too_few_left_is_answered_from_all(large):
    made, _ = large
    best = made.predict(ask={"user": "u7", "k": 60, "exact": True})["item_id"].to_list()
    search = made.model.search.clone()
    made.model.search[0] = 1  # one group, of which hardly anything is left
    near, exact = (made.predict(ask={"user": "u7", "k": 20, "without": best, "exact": each}) for each in (False, True))
    made.model.search.copy_(search)
    assert near.equals(exact)


def test_where_it_does_not_pay_all_are_looked_at(monkeypatch, caplog, tmp_path):
    """Items without any order: the best of a user are everywhere."""
    monkeypatch.setattr(neighbours, "MANY", 100)
    dice = np.random.default_rng(0)
    table = pl.DataFrame({"user_id": dice.integers(0, 300, 6000), "item_id": dice.integers(0, 400, 6000)}).unique(maintain_order=True)
    caplog.set_level("INFO", "luban")
    run = luban.train(table, task="recommend", model="puresvd", baselines="none", out=tmp_path / "run")
    assert [line for line in caplog.messages if "would have to be looked at" in line]
    assert not bundle.load(run.path).model.search.any()


@pytest.mark.parametrize("name", ["ials", "puresvd", "bpr", "sasrec", "twotower"])
def test_the_two_sides_make_the_scores(name):
    ready = prepare(log(), from_words({"task": "recommend"}))
    kind = MODELS[name]
    model = kind(kind.plan(kind.Config(), ready.schema, ready.head, 800, "small")[0], ready.schema, ready.head).eval()
    assert not hasattr(model, "search")  # a catalogue like this is no large one
    with torch.no_grad():
        for each in (*model.parameters(), *model.buffers()):
            each.normal_() if each.is_floating_point() and each.dim() else None
        if name == "ials":
            model.squares.abs_()
        batch = {"c0": torch.tensor([1, 0]), "history": Ragged(torch.tensor([5, 9, 7]), torch.tensor([0, 2, 3]))}
        product = model.user_side(batch) @ model.item_side(torch.arange(model.items)).T
        torch.testing.assert_close(product.double(), model.scores(batch).double(), rtol=1e-4, atol=1e-4)
