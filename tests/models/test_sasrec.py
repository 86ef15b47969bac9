"""SASRec: learns what follows what, sees nothing of what comes later, is padded without a trace; what is drawn stands for all."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from conftest import asked, found

from luban import optim
from luban.core.batch import Ragged
from luban.core.errors import UserError
from luban.core.registry import MODELS
from luban.models import sasrec
from luban.planning import from_words
from luban.stages.prepare import prepare

SASRec, ITEMS = MODELS["sasrec"], 40


def planted() -> pl.DataFrame:
    """Item i is followed by i + 1, wherever a user begins; all items are about as popular."""
    rng = np.random.default_rng(0)
    pairs = [(u, (start + k) % ITEMS) for u in range(200) for start in [rng.integers(ITEMS)] for k in range(rng.integers(4, 14))]
    return pl.DataFrame(pairs, schema=["user", "item"], orient="row")


@pytest.fixture(scope="module")
def data() -> SimpleNamespace:
    return prepare(planted(), from_words({"task": "recommend"}))


def built(data, **options):
    torch.manual_seed(0)
    config, _, _ = SASRec.plan(SASRec.Config(**options), data.schema, data.head, 200, "small")
    return SASRec(config, data.schema, data.head)


def trained(data, steps=150, **options):
    model = built(data, dropout=0.1, **options).train()
    model.look(data.examples[0])
    optimiser = optim.build("adamw", model, 1e-2)
    for step in range(steps):
        model.loss(data.examples[0][torch.arange(50) + step % 4 * 50]).backward()
        optimiser.step()
        optimiser.zero_grad()
    return model.eval()


@pytest.fixture(scope="module")
def model(data):
    return trained(data)


def hits(model, data) -> float:
    return found(model, data, "hit_rate@5")


def of(history: Ragged, row: int) -> list[int]:
    return history[torch.tensor([row])].values.tolist()


@pytest.mark.parametrize("options", [{}, {"negatives": 10}, {"length": 4}])
def test_learns_what_follows_what(data, model, options):
    """By the softmax over all items, over ten of them, and from pieces of histories."""
    popular = MODELS["popular"](MODELS["popular"].Config(), data.schema, data.head)
    popular.count(data.examples[0])
    mine = model if not options else trained(data, 300, **options)
    assert hits(mine, data) > 0.95 and hits(popular, data) < 0.5


def test_a_large_table_is_moved_by_rows_and_learns_the_same(data, monkeypatch):
    monkeypatch.setattr(sasrec, "LARGE", 10)
    model = trained(data, 300, negatives=10)
    assert model.item.sparse and hits(model, data) > 0.95


def test_a_stranger_is_answered_by_their_history(model, data):
    field = data.schema.targets["y0"]
    (before,) = field.encode(pl.Series("item", [7])).tolist()
    known, stranger = (model(asked([before - 1, before], user=user)) for user in (3, 0))
    assert torch.equal(known, stranger) and field.decode(stranger[:, 1:].argmax(1) + 1) == [8]
    assert torch.equal(model(asked([], [before]))[0], model.popular)


def test_what_comes_later_changes_nothing_before(model):
    """Of rows in several groups: each place's output is the same, whatever follows it, and another where what was before is another."""
    rows = sasrec.pieces(asked(list(range(1, 6)), list(range(3, 15)), list(range(2, 38)))["history"], 50)
    last, first = rows.values.clone(), rows.values.clone()
    last[rows.offsets[1:] - 1], first[rows.offsets[:-1]] = 39, 39
    with torch.inference_mode():
        whole, other, begun = (model.states(Ragged(x, rows.offsets), model.item(x)) for x in (rows.values, last, first))
    changed = (whole != other).any(1)
    assert changed.nonzero().squeeze(1).tolist() == (rows.offsets[1:] - 1).tolist()
    assert (whole != begun).any(1).all()


def test_a_row_alone_is_the_row_in_a_batch(model):
    histories = [[5], list(range(1, 30)), [], [9, 4], list(range(2, 12)), list(range(3, 40))]
    together = model(asked(*histories))
    for row, history in enumerate(histories):
        torch.testing.assert_close(model(asked(history))[0], together[row], rtol=1e-4, atol=1e-5)


def test_only_the_last_items_are_looked_back_on(data):
    model = built(data, length=5).eval()
    assert torch.equal(model(asked(list(range(1, 20)))), model(asked(list(range(15, 20)))))


def test_long_histories_are_learned_in_pieces():
    """Each event but the first is foretold once, from what came before in its piece."""
    cut = sasrec.pieces(asked([1], list(range(1, 11)), [], [1, 2], [1, 2, 3, 4, 5])["history"], 5)
    rows = [of(cut, i) for i in range(len(cut))]
    assert sorted(rows) == [[1, 2], [1, 2], [1, 2, 3, 4, 5], [2, 3, 4, 5, 6], [6, 7, 8, 9, 10]]
    assert [len(row) for row in rows] == sorted(len(row) for row in rows)


def test_the_drawn_loss_is_that_of_all_items_on_average(data):
    batch = data.examples[0][torch.arange(50)]
    few, all_ = (built(data, negatives=k, dropout=0.0).train() for k in (19, 1000))
    few.item.weight.data.mul_(2)
    all_.load_state_dict(few.state_dict())
    assert not few.all and all_.all
    with torch.inference_mode():
        drawn = torch.stack([few.loss(batch) for _ in range(400)])
        assert drawn.mean().item() == pytest.approx(all_.loss(batch).item(), rel=0.01) and drawn.std() > 0.001


def test_nobody_with_two_items_is_no_error(data):
    loss = built(data).loss(asked([3], []))
    loss.backward()
    assert loss.item() == 0


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match=r"model\.width must be a multiple of model\.heads = 3, not 64"):
        SASRec.Config(width=64, heads=3)
    with pytest.raises(UserError, match=r"model\.length must lie between"):
        SASRec.Config(length=0)


def test_it_is_tried_where_there_is_enough(data):
    assert SASRec.suits(data.schema, data.head, 200) == 0.0 and SASRec.suits(data.schema, data.head, 20_000) > 0
    drawn = prepare(planted(), from_words({"task": "recommend", "set": ["task.protocol=random"]}))
    assert SASRec.suits(drawn.schema, drawn.head, 20_000) == 0.0  # in no order
