"""constant: shares, means and medians."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import examples, numeric

from luban.core.contract import Head, Part
from luban.models.constant import Constant

SCHEMA, BATCH = numeric(np.zeros((10, 1), dtype=np.float32))


@pytest.mark.parametrize(
    ("part", "y", "answer"),
    [
        (Part("y0", "classes", 3), torch.tensor([1, 1, 1, 1, 1, 2, 2, 2, 3, 3]), torch.tensor([6, 4, 3]).log() - torch.tensor(13.0).log()),
        (Part("y0", "binary", 1), torch.tensor([1.0] * 2 + [0.0] * 8), torch.tensor([3 / 9]).log()),
        (Part("y0", "binary", 1, weights=(1.0, 4.0)), torch.tensor([1.0] * 2 + [0.0] * 8), torch.tensor([0.0])),
        (Part("y0", "value", 1, "mse"), torch.tensor([0.0] * 9 + [10.0]), torch.tensor([1.0])),
        (Part("y0", "value", 1, "mae"), torch.tensor([0.0] * 9 + [10.0]), torch.tensor([0.0])),
        (Part("y0", "value", 1, "mse"), torch.tensor([2.0] * 5 + [torch.nan] * 5), torch.tensor([2.0])),
    ],
)
def test_answer(part, y, answer, clock):
    model = Constant(Constant.Config(), SCHEMA, Head((part,)))
    model.solve(examples({**BATCH, "y0": y}), None, clock)
    assert torch.allclose(model(BATCH), answer.expand(10, -1), atol=1e-6)
