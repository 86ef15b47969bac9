"""Optimisers: the flat buffer changes nothing but the time, a resumed run is bit-equal, and nobody's bias decays."""

from __future__ import annotations

import copy

import pytest
import safetensors.torch
import torch
from torch import nn

from luban import optim
from luban.core.errors import UserError

torch.set_num_threads(1)  # for so small a network a second thread only waits

KINDS = [(name, momentum, False) for name in optim.NAMES for momentum in (0.0, 0.9)] + [("sgd", 0.9, True)]


class Net(nn.Module):
    """An embedding, norms, scales of members, a tied matrix and a weight that no step uses."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 8)
        self.first = nn.Linear(8, 33)
        self.norm = nn.LayerNorm(33)
        self.scales = nn.Parameter(torch.ones(2, 33))
        self.hidden = nn.Linear(33, 33)
        self.again = self.hidden
        self.unused = nn.Linear(3, 3)
        self.frozen = nn.Parameter(torch.ones(4), requires_grad=False)
        self.last = nn.Linear(33, 1)

    def forward(self, ids):  # (B,) -> (B, 2)
        h = torch.relu(self.norm(self.first(self.embed(ids)))).unsqueeze(1) * self.scales
        return self.last(torch.relu(self.again(torch.relu(self.hidden(h))))).squeeze(-1)


def fresh(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net()


def train(model: nn.Module, optimiser: optim.Optimiser, steps: range, clip: float = 0.0) -> list[float]:
    losses = []
    for step in steps:
        ids = torch.randint(0, 7, (16,), generator=torch.Generator().manual_seed(step))
        optimiser.set_lr(0.01 / (1 + step / 10))
        loss = (model(ids) - ids.unsqueeze(1) / 3).square().mean()
        loss.backward()
        if clip:
            optimiser.clip(clip)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name, momentum, nesterov", KINDS)
def test_resumed_is_bit_equal(name, momentum, nesterov):
    options = {"momentum": momentum, "nesterov": nesterov, "weight_decay": 0.1}
    straight = fresh()
    train(straight, optim.build(name, straight, 0.01, **options), range(20))

    stopped = fresh()
    before = optim.build(name, stopped, 0.01, **options)
    train(stopped, before, range(9))
    saved = safetensors.torch.save({key: value.clone() for key, value in before.tensors().items()})
    weights = safetensors.torch.save({key: value.clone() for key, value in stopped.state_dict().items()})

    resumed = fresh(seed=1)
    resumed.load_state_dict(safetensors.torch.load(weights))
    after = optim.build(name, resumed, 0.5, **options)
    after.load(safetensors.torch.load(saved))
    train(resumed, after, range(9, 20))
    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("name, momentum, nesterov", KINDS)
@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_flat_gives_the_same_losses(name, momentum, nesterov, clip):
    losses = []
    for flat in (False, True):
        model = fresh()
        optimiser = optim.build(name, model, 0.01, momentum=momentum, nesterov=nesterov, weight_decay=0.1, flat=flat)
        losses.append(train(model, optimiser, range(40), clip))
    # muon orthogonalises in bfloat16, which turns a last bit into a third digit
    assert losses[0] == pytest.approx(losses[1], rel=1e-2 if name == "muon" else 1e-3)
    assert min(losses[1]) < losses[1][0]


def test_parameters_and_gradients_are_views():
    model = fresh()
    optimiser = optim.build("adamw", model, 0.01, flat=True)
    (buffer,) = optimiser.weights
    buffer.data.fill_(2.0)
    buffer.grad.fill_(3.0)
    learned = [p for p in model.parameters() if p.requires_grad]
    assert all((p == 2).all() and (p.grad == 3).all() for p in learned)
    assert (model.frozen == 1).all()
    assert model.hidden.weight is model.again.weight


def test_clip_returns_the_norm_before_and_scales_to_the_limit():
    for flat in (False, True):
        model = fresh()
        optimiser = optim.build("sgd", model, 0.01, flat=flat)
        (100 * model(torch.arange(7))).square().mean().backward()
        own = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm()
        assert optimiser.clip(1.0).item() == pytest.approx(own.item(), rel=1e-5)
        assert optimiser.clip(1.0).item() == pytest.approx(1.0, rel=1e-4)


def test_gradients_that_went_elsewhere_are_taken_in():
    """A loop that clears gradients its own way, and an embedding with sparse gradients, learn as ever."""
    models = []
    for sparse, flat in ((False, True), (True, True), (False, False)):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Embedding(5, 4, sparse=sparse), nn.Linear(4, 1))
        optimiser = optim.build("sgd", model, 0.1, flat=flat)
        for _ in range(3):
            model.zero_grad(set_to_none=True)
            model(torch.tensor([1, 2, 2])).square().sum().backward()
            optimiser.step()
        models.append(model)
    for model in models[1:]:
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(model.parameters(), models[0].parameters(), strict=True))


def test_biases_norms_and_scalars_do_not_decay():
    for flat in (False, True):
        model = fresh()
        before = copy.deepcopy(model.state_dict())
        optimiser = optim.build("sgd", model, 0.1, momentum=0.0, weight_decay=0.5, flat=flat)
        for p in model.parameters():
            p.grad = torch.zeros_like(p) if p.requires_grad else None
        optimiser.step()
        shrunk = {key for key, p in model.state_dict().items() if not torch.equal(p, before[key])}
        assert shrunk == {"embed.weight", "first.weight", "scales", "hidden.weight", "again.weight", "unused.weight", "last.weight"}


def test_muon_takes_hidden_matrices_only(caplog):
    model = fresh()
    muon = optim.build("muon", model, 0.01)._wrapped[1]
    taken = {id(p) for group in muon.param_groups for p in group["params"]}
    assert {name for name, p in model.named_parameters() if id(p) in taken} == {"hidden.weight", "unused.weight"}
    optim.build("muon", nn.Linear(2, 1), 0.01)
    assert "muon moves the matrices between hidden layers and this model has none" in caplog.text


def test_dtypes_are_kept_apart_and_strided_weights_stay():
    model = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4).double(), nn.Conv2d(2, 2, 3).to(memory_format=torch.channels_last)])
    optimiser = optim.build("adam", model, 0.1, flat=True)
    assert sorted(str(p.dtype) for p in optimiser.weights) == ["torch.float32", "torch.float32", "torch.float64"]
    assert model[2].weight.is_contiguous(memory_format=torch.channels_last)
    (model[0](torch.ones(1, 4)).sum() + model[1](torch.ones(1, 4).double()).sum() + model[2](torch.ones(1, 2, 3, 3)).sum()).backward()
    optimiser.step()


def test_weights_of_a_flat_model_can_be_saved_and_copied():
    model = fresh()
    optim.build("adamw", model, 0.01, flat=True)
    tensors = {"a": model.first.weight.detach(), "b": model.norm.weight.detach()}  # views of one storage, but apart
    loaded = safetensors.torch.load(safetensors.torch.save(tensors))
    assert all(torch.equal(loaded[key], tensors[key]) for key in tensors)
    copied = copy.deepcopy(model)
    copied.first.weight.data.add_(1)
    assert not torch.equal(copied.first.weight, model.first.weight)


@pytest.mark.parametrize("values, words", [
    ({"name": "adamm"}, "Did you mean 'adam'?"),
    ({"name": "sgd", "momentum": 1.5}, "momentum must be at least 0 and below 1, not 1.5"),
    ({"name": "sgd", "momentum": 0.0, "nesterov": True}, "nesterov looks ahead along the momentum, which is 0 here"),
])  # fmt: skip
def test_mistakes_are_named(values, words):
    with pytest.raises(UserError) as error:
        optim.build(values.pop("name"), nn.Linear(2, 1), 0.1, **values)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("sgd", lambda weights: torch.optim.SGD(weights, lr=0.1)),
        ("adagrad", lambda weights: torch.optim.Adagrad(weights, lr=0.1, eps=1e-8)),
        ("adamw", lambda weights: torch.optim.SparseAdam(weights, lr=0.1)),
    ],
)
def test_a_large_table_is_moved_by_the_rows_that_were_read(name, theirs):
    torch.manual_seed(0)
    ours, other = (nn.Embedding(40_000, 4, sparse=True) for _ in range(2))
    other.load_state_dict(ours.state_dict())
    before = ours.weight.detach().clone()
    mine, reference = optim.build(name, ours, lr=0.1, momentum=0.0), theirs(other.parameters())
    for step in range(5):
        ids = torch.randint(0, 100, (50,), generator=torch.Generator().manual_seed(step))
        for table, optimiser in ((ours, mine), (other, reference)):
            optimiser.zero_grad()
            (table(ids) * torch.arange(4.0)).square().sum().backward()
            optimiser.step()
    assert torch.allclose(ours.weight, other.weight, atol=1e-5)
    assert torch.equal(ours.weight[100:], before[100:]) and not torch.equal(ours.weight[:100], before[:100])


def test_gradients_of_rows_are_clipped_as_those_of_tables():
    moved = []
    for sparse in (True, False):
        torch.manual_seed(0)
        table = nn.Embedding(40_000, 4, sparse=sparse)
        before, mine = table.weight.detach().clone(), optim.build("sgd", table, lr=1.0, momentum=0.0)
        table(torch.tensor([1, 2, 2, 7])).square().sum().backward()
        mine.clip(0.5)
        mine.step()
        moved.append(table.weight.detach() - before)
    assert torch.allclose(*moved, atol=1e-6) and moved[0].norm() == pytest.approx(0.5, abs=1e-3)
