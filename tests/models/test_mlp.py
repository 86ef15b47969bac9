"""mlp and what it stands on: the textbook network, the options, and how columns become features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import numeric
from torch import nn

from luban.core import config as configs
from luban.core.batch import Ragged
from luban.core.contract import Head, Part
from luban.core.errors import UserError
from luban.layers.columns import PiecewiseLinear, frequencies, one_hot, thinned
from luban.models.mlp import MLP

HEAD = Head((Part("y0", "binary", 1, "bce", (), (0.7,)),))
SCHEMA, BATCH = numeric(np.random.default_rng(0).normal(size=(64, 30)).astype(np.float32))


def test_ten_hidden_relu_is_the_textbook_network():
    model = MLP(configs.build(MLP.Config, {"hidden": [10], "activation": "relu"}), SCHEMA, HEAD)
    first, last = (layer for layer in model.modules() if isinstance(layer, nn.Linear))
    x = torch.stack(list(BATCH.values()), 1)
    assert sum(p.numel() for p in model.parameters()) == 30 * 10 + 10 + 10 + 1
    assert torch.allclose(model(BATCH), (x @ first.weight.T + first.bias).relu() @ last.weight.T + last.bias)
    assert last.bias.item() == pytest.approx(0.7)


def test_options_take_part():
    options = {"hidden": [16, 8], "activation": "gelu", "dropout": 0.2, "norm": "batch"}
    kinds = [type(layer) for layer in MLP(configs.build(MLP.Config, options), SCHEMA, HEAD).hidden]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.GELU, nn.Dropout] * 2


def test_no_hidden_layer_is_logistic_regression():
    assert sum(p.numel() for p in MLP(MLP.Config(hidden=()), SCHEMA, HEAD).parameters()) == 31


@pytest.mark.parametrize(("options", "says"), [({"activation": "rleu"}, "Did you mean 'relu'"), ({"hiden": [10]}, "Did you mean 'hidden'"),
                                               ({"hidden": [0]}, "hidden"), ({"dropout": 1.5}, "dropout")])  # fmt: skip
def test_a_slip_is_named(options, says):
    with pytest.raises(UserError, match=says):
        MLP(configs.build(MLP.Config, options), SCHEMA, HEAD)


def test_one_hots_of_several_columns_stand_side_by_side():
    made = one_hot(torch.tensor([[0, 2], [1, 0]]), [2, 3])
    assert made.tolist() == [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]]


def test_frequencies_fold_and_stay_shares():
    tokens = Ragged(torch.tensor([1, 1, 40_000, 5]), torch.tensor([0, 3, 3, 4]))
    made = frequencies(tokens, 2**16)
    assert made.shape == (3, 512) and made[0, 2] == pytest.approx(2 / 3) and made.sum(1).tolist() == pytest.approx([1, 0, 1])


def test_piecewise_climbs_bin_by_bin_and_stops_at_the_edges():
    layer = PiecewiseLinear([(0.0, 1.0, 3.0)], 1, 48)
    with torch.no_grad():
        layer.linear.zero_(), layer.bias.zero_(), layer.missing.fill_(-1.0)
        layer.bins.copy_(torch.tensor([10.0, 1.0]).reshape(1, 2, 1))
    x = torch.tensor([-5.0, 0.5, 1.0, 2.0, 3.0, 99.0, torch.nan]).unsqueeze(1)
    assert layer(x)[:, 0].tolist() == [0.0, 5.0, 10.0, 10.5, 11.0, 11.0, -1.0]


def test_thinned_keeps_the_outer_edges():
    assert thinned(tuple(range(101)), 4) == (0, 25, 50, 75, 100) and thinned((1.0, 2.0), 48) == (1.0, 2.0)
