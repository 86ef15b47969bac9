"""The user's own network: taken as it is where it fits, refused in one sentence where it does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import numeric, seen
from torch import nn

from luban.core.contract import Head, Model, Part
from luban.core.errors import UserError
from luban.layers.own import adapt

X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
X[0, 1] = np.nan
SCHEMA, BATCH = numeric(X)  # 3 numbers and a flag: 4 features
ONE, THREE = Head((Part("y0", "binary", 1),)), Head((Part("y0", "classes", 3),))


def wrap(network, schema, head):
    return adapt(network)(None, schema, head)


class Net(nn.Module):
    def __init__(self, n_inputs, n_outputs, width=8):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.5), nn.Linear(width, n_outputs)
        )

    def forward(self, x):
        return self.layers(x)


class Lazy(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.LazyLinear(5), nn.Linear(5, 1)

    def forward(self, x):
        return self.last(self.first(x).relu()).squeeze(1)


def test_a_class_is_built_with_its_sizes():
    model = wrap(Net, SCHEMA, THREE)
    assert isinstance(model, Model) and model(BATCH).shape == (20, 3)


def test_a_class_without_arguments_may_answer_flat():
    assert wrap(Lazy, SCHEMA, ONE)(BATCH).shape == (20, 1)


def test_an_instance_is_taken_with_its_weights_and_norms_untouched():
    net = Net(4, 3)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = torch.get_rng_state()
    model = wrap(net, SCHEMA, THREE)
    assert model.network is net and all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state) and net.training


def test_a_luban_model_is_used_as_it_is():
    class Mine(Model):
        def forward(self, batch):
            return batch["c0"].unsqueeze(1)

    assert adapt(Mine) is Mine and isinstance(wrap(Mine, SCHEMA, ONE), Mine)


@pytest.mark.parametrize(
    ("network", "head", "says"),
    [
        (Net(5, 3), THREE, r"failed in eval mode on a batch of shape \(2, 4\).*must take 4 inputs"),
        (Net(4, 2), THREE, r"shape \(2, 2\).*must make floats of shape \(2, 3\)"),
        (nn.Sequential(nn.Linear(4, 1), nn.Flatten(0)), THREE, r"shape \(2,\)"),
        (nn.LSTM(4, 3), THREE, "made tuple"),
        (nn.Bilinear, THREE, r"Bilinear\(in1_features, in2_features, out_features.*\) cannot be built here"),
        ("resnet", THREE, "must be a torch.nn.Module or its class, not 'resnet'"),
        (lambda x: x, THREE, "must be a torch.nn.Module"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(network, head, says):
    with pytest.raises(UserError, match=says):
        wrap(network, SCHEMA, head)


def test_a_softmax_before_the_loss_is_said_aloud(caplog):
    wrap(nn.Sequential(nn.Linear(4, 3), nn.Softmax(1)), SCHEMA, THREE)
    assert "leave the softmax out" in caplog.text


class Settings(nn.Linear):
    def __init__(self, features=4, classes=3):
        super().__init__(features, classes)


class Sizes(nn.Linear):
    def __init__(self, in_features=1, out_features=1):
        super().__init__(in_features, out_features)


def test_settings_with_defaults_are_left_alone_and_sizes_filled():
    assert wrap(Settings, SCHEMA, THREE)(BATCH).shape == wrap(Sizes, SCHEMA, THREE)(BATCH).shape == (20, 3)


# ---------------------------------------------------------------- pictures

PICTURES, SEEN = seen(np.random.default_rng(0).integers(0, 256, (6, 3, 12, 10), dtype=np.uint8))


class Eyes(nn.Module):
    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(n_inputs, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 10 * 8, n_outputs))

    def forward(self, x):
        return self.net(x)


def test_a_network_gets_pictures_as_pictures():
    model = wrap(Eyes, PICTURES, THREE)
    assert model(SEEN).shape == (6, 3)
    assert model.flops() == 2 * (27 * 4 * 80 + 4 * 80 * 3)
    with pytest.raises(UserError, match=r"pictures of shape \(3, 12, 10\)"):
        wrap(nn.Linear(5, 3), PICTURES, THREE)
