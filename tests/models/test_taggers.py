"""Models that answer each token: a row alone is the row beside a longer one, neighbours are seen, and memory is what was counted."""

import math

import polars as pl
import pytest
import torch

from luban.core.batch import Examples, Ragged, Spans, Store, padded
from luban.core.contract import Clock, Head, Part, Schema
from luban.core.registry import FIELDS, MODELS
from luban.layers.crf import log_likelihood

HEAD = Head((Part("y0", "tags", 3, "crf"),))
ROWS = pl.DataFrame(
    {"t": ['["Anna", "met", "Bo"]', '["Bo", "met", "Anna"]', '["Bo"]', "[]", '["a", "much", "longer", "row", "than", "all", "of"]']}
)
SCHEMA = Schema({"c0": FIELDS["words"](("t",))}, {}).fit(ROWS)
ENCODED = SCHEMA.encode(ROWS, with_target=False)["c0"]
BATCH = {"c0": Ragged(ENCODED.values[:, :-2], ENCODED.offsets)}


TAGS = Ragged(torch.tensor([1, 0, 1, 1, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0]), BATCH["c0"].offsets)


def examples(tags=TAGS):
    store = Store({**BATCH, "y0": tags}, torch.zeros(5, dtype=torch.uint8))
    return Examples(store, Spans(torch.arange(5)), lambda store, spans: {key: each[spans.start] for key, each in store.columns.items()})


class Patient(Clock):
    seed, threads = 0, 1

    def seconds_left(self):
        return math.inf


def solved(head=HEAD, **options):
    cls = MODELS["crf"]
    model = cls(cls.Config(**options), SCHEMA, head)
    model.solve(examples(), None, Patient())
    return model.eval()


def built(name, **options):
    cls = MODELS[name]
    torch.manual_seed(0)
    if name == "crf":
        model = solved(l1=0.0, min_count=1)
        torch.nn.init.normal_(model.weights)
        return model
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
    for name in ("lstm", "transformer"):
        model = built(name).train()
        (model(BATCH).square().sum() + model.steps.square().sum()).backward()
        assert [key for key, p in model.named_parameters() if p.grad is None] == [], name


def test_crf_learns_by_heart_where_nothing_holds_it():
    model = solved(l1=0.0, l2=1e-4, min_count=1)
    there = padded(BATCH["c0"])[1]
    tags = padded(TAGS)[0]
    rows = [0, 1, 2, 4]  # row 3 has no token
    assert log_likelihood(model(BATCH)[rows], tags[rows], there[rows], model.steps).min() > math.log(0.9)


def test_crf_is_where_no_weight_can_gain():
    """The loss that the task trains others by, of all rows: its gradient is the penalty's; a weight of 0 has less than l1 of it."""
    model = solved(l1=0.2, l2=0.1, min_count=1)
    weights, rows = model.weights.clone().requires_grad_(), [0, 1, 2, 4]
    model.weights = weights
    there, tags = padded(BATCH["c0"])[1], padded(TAGS)[0]
    log_likelihood(model(BATCH)[rows], tags[rows], there[rows], model.steps).sum().backward()
    moved = weights != 0
    assert (weights.grad - 0.2 * weights - 0.2 * weights.sign())[moved].abs().max() < 0.02 and moved.any() and not moved.all()
    assert weights.grad[~moved].abs().max() < 0.22


def test_what_crf_has_no_weight_for():
    few, all_ = solved(l1=0.0), solved(l1=0.0, min_count=1)
    assert len(few.ids) < len(all_.ids) and few.ids.diff().min() > 0
    assert len(solved(l1=1.0, min_count=1).ids) < len(all_.ids) / 2
    assert torch.equal(solved(l1=1e6)(BATCH), torch.zeros(5, 8, 3))


def test_crf_of_each_token_by_itself():
    model = solved(Head((Part("y0", "tags", 3, "cross_entropy"),)), l1=0.0, min_count=1)
    assert model.steps is None and model(BATCH)[0, :3].argmax(1).tolist() == [1, 0, 1]


def test_memory_is_what_was_counted():
    model = MODELS["memory"](None, SCHEMA, HEAD)
    model.solve(examples(), None, None)
    out = model(BATCH).exp()
    shares = [10 / 17, 5 / 17, 2 / 17]
    assert out[0, 0].tolist() == pytest.approx([(0 + shares[0]) / 3, (1 + shares[1]) / 3, (1 + shares[2]) / 3])  # Anna: PER once, LOC once
    assert model.scores[0].exp().tolist() == pytest.approx(shares) and math.isclose(float(out[2, 0].sum()), 1, abs_tol=1e-5)
