"""Hashes of cells, however many are made at a time."""

import numpy as np
import torch

from luban.checks import hashed
from luban.core.batch import Ragged


def test_the_same_by_any_number_at_a_time(monkeypatch):
    n, lengths = 50, torch.randint(0, 9, (50,), generator=torch.Generator().manual_seed(0))
    ragged = Ragged(torch.arange(int(lengths.sum())) % 5, torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))
    for column in (ragged, torch.arange(n) % 7, torch.arange(n, dtype=torch.float32)):
        all_ = hashed.cell_codes(column, 1)
        for piece in (1, 7, 40):
            monkeypatch.setattr(hashed, "PIECE", piece)
            assert (hashed.cell_codes(column, 1) == all_).all()
            assert (hashed.cell_codes(column, 1, np.arange(n)[::-1].copy()) == all_[::-1]).all()
        monkeypatch.undo()
    assert len(np.unique(hashed.cell_codes(ragged, 1))) > 10


def test_a_curve_is_known_by_its_steps_in_their_order_and_channels():
    rows = [[[1.5, 2], [-1, 3]], [[-1, 3], [1.5, 2]], [[2, 1.5], [3, -1]], [[1.5, 2], [-1, 3]], [[1.5, 2]], []]
    values = torch.tensor([step for row in rows for step in row])
    offsets = torch.tensor([0, *map(len, rows)]).cumsum(0)
    codes = hashed.cell_codes(Ragged(values, offsets), 0)
    assert codes[0] == codes[3] and len(set(codes.tolist())) == 5
    minus, plus = (hashed.cell_codes(Ragged(each * 0, offsets), 0).tolist() for each in (-values, values))
    assert minus == plus  # -0 is 0
