"""Models that read tokens in order: what is padded changes nothing, order does, and n-grams are those of one row."""

from __future__ import annotations

import polars as pl
import pytest
import torch
from conftest import examples

from luban.bundle import predict_all
from luban.core import notes
from luban.core.batch import Ragged
from luban.core.contract import Head, Part, Schema
from luban.core.registry import FIELDS, MODELS, TASKS
from luban.data import alike
from luban.layers.recurrent import along, turned
from luban.layers.sequences import disturbed, padded, pooled
from luban.models import linear, tfidf
from luban.models.fasttext import runs

HEAD = Head((Part("y0", "classes", 2, "cross_entropy"),))
ROWS = pl.DataFrame(
    {"t": ["not good but bad", "not bad but good", "good", "", "a much longer row about a room that was good but not bad"] * 30}
)
SCHEMA = Schema({"c0": FIELDS["text"](("t",))}, {}).fit(ROWS)
BATCH = SCHEMA.encode(ROWS[:5], with_target=False)
ORDERED = ["rnn", "lstm", "gru", "textcnn", "transformer"]


def built(name: str, **options):
    cls = MODELS[name]
    torch.manual_seed(0)
    config, _, _ = cls.plan(cls.Config(**options), SCHEMA, HEAD, 1000, "small")
    model = cls(config, SCHEMA, HEAD)
    torch.nn.init.normal_(model.output.weight)
    for p in model.parameters():  # blocks that start as the identity see nothing
        if not p.any():
            torch.nn.init.normal_(p, std=0.3)
    return model.eval()


@pytest.mark.parametrize("options", [{"directions": 2}, {"layers": 2}, {"pooling": "last"}, {"pooling": "attention", "directions": 2}])
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_a_row_alone_is_the_row_beside_a_longer_one(name, options):
    model = built(name, **options)
    alone = torch.cat([model({"c0": BATCH["c0"][torch.tensor([i])]}) for i in range(5)])
    assert torch.allclose(model(BATCH), alone, atol=1e-5)


@pytest.mark.parametrize("name", ORDERED)
def test_order_is_seen(name):
    out = built(name)(BATCH)
    assert (out[0] - out[1]).abs().max() > 1e-3


def test_padding_and_pools():
    ids, there = padded(Ragged(torch.tensor([5, 6, 7]), torch.tensor([0, 2, 2, 3])))
    assert ids.shape == (3, 8) and ids[:, :3].tolist() == [[5, 6, 0], [0, 0, 0], [7, 0, 0]]
    assert there.sum(1).tolist() == [2, 1, 1]  # a row without a token has one
    h = torch.arange(24.0).reshape(3, 8, 1)
    assert pooled(h, there, "last").flatten().tolist() == [1, 8, 16] and pooled(h, there, "mean")[0].item() == 0.5
    assert pooled(h, there, "max").flatten().tolist() == [1, 8, 16]


def test_turned_around_by_itself():
    there = torch.tensor([[True, True, True, False], [True, False, False, False]])
    x = torch.arange(8.0).reshape(2, 4, 1)
    assert along(x, turned(there)).flatten().tolist() == [2, 1, 0, 3, 4, 5, 6, 7]
    assert torch.equal(along(along(x, turned(there)), turned(there)), x)


def test_runs_stay_within_a_row():
    tokens = Ragged(torch.tensor([1, 2, 3, 1, 2]), torch.tensor([0, 3, 3, 5]))
    made = runs(tokens, 3, 10, 1000)
    assert made.lengths.tolist() == [6, 0, 3]  # 3 tokens, 2 pairs, 1 triple; none; 2 tokens, 1 pair
    first, last = made.values[:6], made.values[6:]
    assert set(last.tolist()) < set(first.tolist()) and first.max() < 1010
    assert runs(tokens, 1, 10, 0).values.tolist() == tokens.values.tolist()


def test_batches_of_about_one_length():
    lengths = torch.randint(1, 500, (1000,), generator=torch.Generator().manual_seed(0))
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(1))
    made = alike(order, lengths, 32, 7, 0)
    assert sorted(made.tolist()) == list(range(1000)) and torch.equal(made, alike(order, lengths, 32, 7, 0))
    assert not torch.equal(made, alike(order, lengths, 32, 7, 1))
    spread = [int(lengths[each].max() - lengths[each].min()) for each in made[:992].split(32)]
    assert sorted(spread)[len(spread) // 2] < 30


def test_disturbed_in_training_only():
    torch.manual_seed(0)
    ids, there = torch.arange(1, 801).reshape(100, 8), torch.ones(100, 8, dtype=torch.bool)
    there[:, 6:] = False
    ids = ids.masked_fill(~there, 0)
    dropped = disturbed(ids, there, 0.25, 0.0)
    assert 0.2 < float((dropped[:, :6] == 0).float().mean()) < 0.3 and torch.equal(dropped[dropped > 0], ids[dropped > 0])
    swapped = disturbed(ids, there, 0.0, 0.3)
    assert torch.equal(swapped.sort(1).values, ids.sort(1).values) and not torch.equal(swapped, ids) and not swapped[:, 6:].any()
    model = built("lstm", drop=0.5, swap=0.2)
    assert torch.equal(model(BATCH), model(BATCH))


def test_recurrent_models_answer_on_one_thread_and_leave_the_others_as_they_were():
    """Barriers at each token make a second thread several times slower on a busy machine."""
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        for name in ("lstm", "textcnn"):
            model = built(name)
            model.register_forward_hook(lambda *_: seen.append(torch.get_num_threads()))
            predict_all(model, TASKS["classify"](), HEAD, BATCH, None)
        assert seen == [1, 2] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_long_pass_over_rows_tells_how_far_it_has_come(monkeypatch, caplog):
    model = built("lstm")
    model.flops = lambda: 1e10  # two rows a pass
    with caplog.at_level("INFO", "luban"):
        predict_all(model, TASKS["classify"](), HEAD, BATCH, None)
        assert not caplog.records  # it was quick
        monkeypatch.setattr(notes, "EVERY", 0.0)
        predict_all(model, TASKS["classify"](), HEAD, BATCH, None)
    assert [record.getMessage() for record in caplog.records] == ["rows answered: 2 of 5", "rows answered: 4 of 5"]


@pytest.mark.parametrize(("topics", "last"), [(0, "solving for"), (3, "finding 3 topics in 150 rows")])
def test_what_takes_long_in_tfidf_is_told(monkeypatch, caplog, clock, topics, last):
    rows = SCHEMA.encode(ROWS, with_target=False)
    for most, told in ((10**9, []), (0, ["counting the n-grams", last])):
        monkeypatch.setattr(linear, "MANY", most)
        monkeypatch.setattr(tfidf, "MANY", most)
        caplog.clear()
        with caplog.at_level("INFO", "luban"):
            model = tfidf.Tfidf(tfidf.Tfidf.Config(size=2**15, topics=topics), SCHEMA, HEAD)
            model.solve(examples({**rows, "y0": torch.tensor([1, 2] * 75)}), None, clock)
        said = [record.getMessage() for record in caplog.records]
        assert len(said) == len(told) and all(line.startswith(start) for line, start in zip(said, told, strict=True))
