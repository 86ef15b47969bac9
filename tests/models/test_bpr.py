"""BPR: two tastes are told apart, what a user had is drawn against nothing of theirs, and a stranger is answered as a user alike."""

from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from conftest import found

from luban import optim
from luban.core.batch import Ragged
from luban.core.errors import UserError
from luban.core.registry import MODELS
from luban.models import bpr
from luban.planning import from_words
from luban.stages.prepare import prepare

BPR, TASTE = MODELS["bpr"], 15


def planted() -> pl.DataFrame:
    """Even users have items of the first fifteen, odd ones of the others."""
    rng = np.random.default_rng(0)
    pairs = [(u, int(u % 2 * TASTE + item)) for u in range(80) for item in rng.permutation(TASTE)[:8]]
    return pl.DataFrame(pairs, schema=["user", "item"], orient="row")


@pytest.fixture(scope="module")
def data() -> SimpleNamespace:
    return prepare(planted(), from_words({"task": "recommend"}))


def built(data, **options):
    torch.manual_seed(0)
    config, _, _ = BPR.plan(BPR.Config(**options), data.schema, data.head, 80, "small")
    return BPR(config, data.schema, data.head)


@pytest.fixture(scope="module")
def model(data):
    model = built(data, width=8).train()
    model.look(data.examples[0])
    optimiser = optim.build("adam", model, 2e-2)
    for step in range(240):
        model.loss(data.examples[0][torch.arange(20) + step % 4 * 20]).backward()
        optimiser.step()
        optimiser.zero_grad()
    return model.eval()


def hits(model, data, stranger=False) -> float:
    examples = data.examples[2]
    if stranger:
        batch = examples.batch
        examples = type(examples)(examples.store, examples.spans, lambda *of: batch(*of) | {"c0": torch.zeros(len(of[1])).long()})
    return found(model, data, "hit_rate@10", examples)


def test_two_tastes_are_told_apart_for_users_and_for_strangers(data, model):
    """Of fifteen items seven were had: eight are left, and fifteen of the other taste, among which popularity goes astray."""
    popular = MODELS["popular"](MODELS["popular"].Config(), data.schema, data.head)
    popular.count(data.examples[0])
    assert hits(model, data) > 0.85 and hits(model, data, stranger=True) > 0.85 and hits(popular, data) < 0.7


def test_only_whom_training_had_has_a_vector(data, model):
    """Whom a table of users alone knows is answered as a stranger: by what is popular, or by their history."""
    nobody = Ragged(torch.zeros(0, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    assert torch.equal(model({"c0": torch.tensor([3, 0]), "history": nobody})[1], model.popular)
    some = data.examples[2][torch.arange(4)]
    stranger = model(some | {"c0": torch.zeros(4, dtype=torch.int64)})
    assert not torch.allclose(model(some), stranger)
    before = model.seen.clone()
    model.seen[some["c0"]] = False
    assert torch.equal(model(some), stranger)
    assert torch.equal(model(some | {"history": Ragged(nobody.values, torch.zeros(5).long())})[0], model.popular)
    model.seen.copy_(before)


def test_what_is_drawn_was_not_had():
    """Of ten items one user had nine, the other one: drawn again where it was had, and left out where it still was."""
    owner, had = torch.tensor([0] * 9 + [1]), torch.tensor([*range(1, 10), 4])
    torch.manual_seed(0)
    pairs = [bpr.drawn(owner, had, 11) for _ in range(200)]
    other, apart = torch.stack([each for each, _ in pairs]), torch.stack([each for _, each in pairs]).bool()
    assert (other[:, :9][apart[:, :9]] == 10).all() and not (other[:, :9] == 10)[~apart[:, :9]].any()
    assert apart[:, :9].float().mean().item() == pytest.approx(1 - 0.9**2, abs=0.03)  # two draws of one in ten
    assert set(other[:, 9][apart[:, 9]].tolist()) == {1, 2, 3, 5, 6, 7, 8, 9, 10}


def test_only_what_was_read_is_moved(data):
    model = built(data).train()
    before = model.person.weight.detach().clone()
    batch = data.examples[0][torch.arange(5)]
    optimiser = optim.build("adam", model, 1e-2)
    model.loss(batch).backward()
    optimiser.step()
    assert sorted((model.person.weight != before).any(1).nonzero().squeeze(1).tolist()) == sorted(batch["c0"].tolist())


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match=r"model\.l2 must lie between"):
        BPR.Config(l2=-1)
