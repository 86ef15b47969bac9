"""ngram and gpt: probabilities by hand, causality, and a batch learned by heart."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from luban.core.batch import Examples, Spans, Store
from luban.core.contract import Head, Part
from luban.core.errors import UserError
from luban.core.registry import MODELS

V, T = 4, 6
SCHEMA = SimpleNamespace(inputs={"c0": SimpleNamespace(kind="tokens", size=V, config=SimpleNamespace(context=T))})
HEAD = Head((Part("y0", "tokens", V, "cross_entropy"),))
WRITTEN = torch.tensor([1, 2, 1, 2, 1, 3, 1, 2, 2, 1, 2, 3, 1, 1, 2, 1])


def windows(tokens=WRITTEN):
    def batch(store, spans):
        cut = tokens.unfold(0, T + 1, 1)[spans.start]
        return {"c0": cut[:, :-1], "y0": cut[:, 1:]}

    return Examples(Store({}, torch.zeros(0)), Spans(torch.arange(len(tokens) - T), T + 1), batch)


def built(name, **options):
    cls = MODELS[name]
    config, _, _ = cls.plan(cls.Config(**options), SCHEMA, HEAD, 100, "small")
    torch.manual_seed(0)
    return cls(config, SCHEMA, HEAD)


def witten_bell(runs, history, order):
    """p(. | history), by the formula, from all runs of tokens that were counted."""
    p = [1 / V] * V
    for k in range(1, order + 1):
        if k - 1 > len(history):
            break
        h = tuple(history[len(history) - k + 1 :])
        counts = [sum(run[:k] == (*h, w) for run in runs) for w in range(V)]
        types, total = sum(count > 0 for count in counts), sum(counts)
        if total:
            p = [(counts[w] + types * p[w]) / (total + types) for w in range(V)]
    return p


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_ngram_is_witten_and_bells_formula(order, clock):
    model = built("ngram", order=order)
    model.solve(windows(), None, clock)
    runs = [tuple(WRITTEN[i : i + T + 1].tolist()) for i in range(len(WRITTEN) - T)]
    x = torch.tensor([[1, 2, 1, 3, 3, 2], [2, 2, 2, 0, 1, 2]])
    p = model({"c0": x}).exp()
    assert p.sum(2) == pytest.approx(torch.ones(2, T).numpy(), abs=1e-5)
    for b in range(2):
        for t in range(T):
            assert p[b, t].tolist() == pytest.approx(witten_bell(runs, x[b, : t + 1].tolist(), order), rel=1e-5)


def test_ngram_travels_with_as_many_counts_as_it_has(clock):
    model = built("ngram")
    model.solve(windows(), None, clock)
    other = built("ngram")
    other.load_state_dict(model.state_dict())
    x = {"c0": WRITTEN[:T].unsqueeze(0)}
    assert torch.equal(other(x), model(x))


def test_ngram_refuses_runs_that_are_no_number():
    schema = SimpleNamespace(inputs={"c0": SimpleNamespace(kind="tokens", size=50_000, config=SimpleNamespace(context=T))})
    with pytest.raises(UserError, match="3 or less for a vocabulary of 50,000"):
        MODELS["ngram"](MODELS["ngram"].Config(order=5), schema, HEAD)


def test_gpt_begins_knowing_nothing_and_learns_a_batch_by_heart():
    model = built("gpt")
    batch = windows()[torch.arange(4)]

    def loss():
        return F.cross_entropy(model(batch).flatten(0, 1), batch["y0"].flatten())

    assert loss().item() == pytest.approx(math.log(V))
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(300):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
    assert loss().item() < 0.35  # the first token of a window tells little of the second: that much is left


def test_gpt_sees_no_later_token():
    model = built("gpt")
    torch.nn.init.normal_(model.output.weight)
    for block in model.blocks:
        torch.nn.init.normal_(block.mix.weight)
        torch.nn.init.normal_(block.down.weight)
    x = WRITTEN[:T].unsqueeze(0)
    z = model({"c0": x})
    for t in range(T - 1):
        changed = x.clone()
        changed[0, t + 1 :] = (x[0, t + 1 :] + 1) % V
        other = model({"c0": changed})
        assert torch.allclose(other[0, : t + 1], z[0, : t + 1], atol=1e-5) and not torch.allclose(other[0, t + 1], z[0, t + 1], atol=1e-3)


def test_rotations_depend_on_distance_alone():
    from luban.layers.attention import rotated, rotations

    cos, sin = rotations(8, 4)
    q, k = torch.randn(1, 1, 8, 4), torch.randn(1, 1, 8, 4)
    q[:], k[:] = q[:, :, :1], k[:, :, :1]
    products = rotated(q, cos, sin)[0, 0] @ rotated(k, cos, sin)[0, 0].T
    for distance in range(8):
        assert products.diagonal(-distance) == pytest.approx(products[distance, 0].expand(8 - distance).numpy(), abs=1e-5)
