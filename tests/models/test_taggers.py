"""Models that answer each token: a row alone is the row beside a longer one, neighbours are seen, and memory is what was counted."""

import math

import polars as pl
import pytest
import torch

from luban.core.batch import Examples, Ragged, Spans, Store
from luban.core.contract import Head, Part, Schema
from luban.core.registry import FIELDS, MODELS

HEAD = Head((Part("y0", "tags", 3, "crf"),))
ROWS = pl.DataFrame(
    {"t": ['["Anna", "met", "Bo"]', '["Bo", "met", "Anna"]', '["Bo"]', "[]", '["a", "much", "longer", "row", "than", "all", "of"]']}
)
SCHEMA = Schema({"c0": FIELDS["words"](("t",))}, {}).fit(ROWS)
ENCODED = SCHEMA.encode(ROWS, with_target=False)["c0"]
BATCH = {"c0": Ragged(ENCODED.values[:, :-2], ENCODED.offsets)}


def built(name, **options):
    cls = MODELS[name]
    torch.manual_seed(0)
    config, _, _ = cls.plan(cls.Config(**options), SCHEMA, HEAD, 1000, "small")
    model = cls(config, SCHEMA, HEAD)
    for p in model.parameters():  # what starts as nothing sees nothing
        torch.nn.init.normal_(p, std=0.3)
    return model.eval()


@pytest.mark.parametrize("name", ["crf", "lstm", "gru", "rnn", "transformer"])
def test_a_row_alone_is_the_row_beside_a_longer_one(name):
    model = built(name)
    together = model(BATCH)
    assert together.shape == (5, 8, 3) and model.steps.shape == (4, 4)
    for i, length in enumerate(BATCH["c0"].lengths.tolist()):
        alone = model({"c0": BATCH["c0"][torch.tensor([i])]})
        assert torch.allclose(alone[0, :length], together[i, :length], atol=1e-5)


@pytest.mark.parametrize("name", ["crf", "lstm", "gru", "rnn", "transformer"])
def test_what_stands_around_a_token_is_seen_on_both_sides(name):
    out = built(name)(BATCH)
    assert (out[0, 1] - out[1, 1]).abs().max() > 1e-3  # "met" between others
    assert (out[1, 0] - out[2, 0]).abs().max() > 1e-3  # "Bo" before others, and alone


def test_every_parameter_gets_a_gradient():
    for name in ("crf", "lstm", "transformer"):
        model = built(name).train()
        (model(BATCH).square().sum() + model.steps.square().sum()).backward()
        assert [key for key, p in model.named_parameters() if p.grad is None] == [], name


def test_memory_is_what_was_counted():
    model = MODELS["memory"](None, SCHEMA, HEAD)
    tags = Ragged(torch.tensor([1, 0, 1, 1, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0]), BATCH["c0"].offsets)
    store = Store({**BATCH, "y0": tags}, torch.zeros(5, dtype=torch.uint8))
    rows = Examples(store, Spans(torch.arange(5)), lambda store, spans: {key: each[spans.start] for key, each in store.columns.items()})
    model.solve(rows, None, None)
    out = model(BATCH).exp()
    shares = [10 / 17, 5 / 17, 2 / 17]
    assert out[0, 0].tolist() == pytest.approx([(0 + shares[0]) / 3, (1 + shares[1]) / 3, (1 + shares[2]) / 3])  # Anna: PER once, LOC once
    assert model.scores[0].exp().tolist() == pytest.approx(shares) and math.isclose(float(out[2, 0].sum()), 1, abs_tol=1e-5)
