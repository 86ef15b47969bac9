"""Two towers: what is drawn and how often, by hand; tastes that are found by history and by features; what was never trained is silent."""

from __future__ import annotations

import polars as pl
import pytest
import torch
from conftest import asked

from luban.core.batch import Examples, Store
from luban.core.contract import Schema
from luban.core.registry import FIELDS, MODELS, TASKS

TwoTower, Recommend = MODELS["twotower"], TASKS["recommend"]
NEW = 3
"""Items of each genre that nobody had."""


def made(features: bool, steps: int = 100, **config):
    """(model, users): 16 users who had 6 of the 8 items of their genre each; the items 1 to 8 and NEW more are of genre A, then of B."""
    item = pl.Series("item", [f"{'AB'[u % 2]}{(u // 2 + i) % 8:02}" for u in range(16) for i in range(6)])
    user = pl.Series("user", [u for u in range(16) for _ in range(6)])
    names = [f"{genre}{i:02}" for genre in "AB" for i in range(8 + NEW)]
    table = pl.DataFrame(
        {"item": names, "genre": [name[0] for name in names], "price": [len(name) * 1.5 + (name[0] == "B") for name in names]}
    )
    category = FIELDS["category"]
    items = FIELDS["catalogue"].of("item", category.Config(), table, "item") if features else category(("item",))
    schema = Schema({"c0": category(("user",)).fit([user])}, {"y0": items.fit([item])})
    store = Store({"c0": schema.inputs["c0"].encode(user), "y0": items.encode(item)}, torch.zeros(len(user), dtype=torch.uint8))
    task = Recommend()
    train = Examples(store, task.spans(store, 0), task.batch)
    torch.manual_seed(0)
    head = task.head(schema)
    model = TwoTower(TwoTower.plan(TwoTower.Config(width=8, **config), schema, head, len(train), "base")[0], schema, head)
    model.look(train)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        model.loss(train.whole()).backward()
        optimiser.step()
        optimiser.zero_grad()
    return model.eval(), train


def test_how_often_an_item_is_a_target():
    model, _ = made(features=False, steps=0, targets=2)
    # 8 users of a genre draw 2 of their 6 items; each item is with 6 of them: 6 * 2 / 6 of 16 users
    assert model.often[1:].tolist() == pytest.approx([6 * 2 / 6 / 16] * 16) and model.often[0] == 0
    assert model._drawn(torch.tensor([1, 2, 3, 4, 9])).tolist() == [1, 1, 2, 2, 2]


def test_a_stranger_with_one_item_gets_those_of_its_taste():
    model, _ = made(features=False)
    with torch.no_grad():
        for item, taste in ((3, range(1, 9)), (12, range(9, 17))):
            assert set(model(asked([item]))[0, 1:].topk(8).indices.add(1).tolist()) == set(taste)


def test_features_carry_what_nobody_had():
    model, _ = made(features=True)
    cold = {"A": [9, 10, 11], "B": [20, 21, 22]}
    assert [model.catalogue.counts[i - 1] for i in cold["A"] + cold["B"]] == [0] * 6
    with torch.no_grad():
        for history, mine, other in (([1, 2], "A", "B"), ([14, 15], "B", "A")):
            z = model(asked(history))[0]
            assert z[cold[mine]].min() > z[cold[other]].max()


def test_what_was_never_trained_is_silent():
    """Items that nobody had differ by their features alone; and one without any stands nowhere."""
    model, _ = made(features=True, steps=2)
    with torch.no_grad():
        z = model(asked([1]))[0]
        assert z[9] == z[10] and z[20] == z[21] and z[1] != z[2]
        assert torch.equal(model.item(torch.tensor([0]))[0], model.item.line.bias + model.item.line.weight[:, 1])


def test_every_weight_learns_and_the_first_loss_is_that_of_equal_chances():
    model, train = made(features=True, steps=1, temperature=10.0)
    model.train()
    loss = model.loss(train.whole())
    loss.backward()
    for name, each in model.named_parameters():
        assert each.grad is not None and each.grad.abs().sum() > 0, name
    others = 8  # items of the other genre, each with a chance of nearly 1 to be among the targets
    assert abs(float(loss.detach()) - torch.tensor(1.0 + others).log()) < 0.7


def test_items_are_computed_once_and_again_where_a_weight_was_changed():
    model, _ = made(features=True, steps=0)
    with torch.inference_mode():
        first = model(asked([1]))
        kept = model._vectors
        assert torch.equal(model(asked([1])), first) and model._vectors is kept
    with torch.no_grad():
        model.item.own.weight.add_(1.0)
    with torch.inference_mode():
        assert not torch.equal(model(asked([1])), first)
    model.train()
    assert model._vectors is None


def test_a_user_without_a_history_is_answered_by_who_they_are():
    model, _ = made(features=True)
    with torch.no_grad():
        assert torch.equal(model(asked([]))[0], model.popular)
        assert not torch.equal(model(asked([], user=3))[0], model.popular)
