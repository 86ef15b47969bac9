"""What a cell is known by again."""

import torch

from luban.checks.hashed import cell_codes
from luban.core.batch import Ragged


def test_a_curve_is_known_by_its_steps_in_their_order_and_channels():
    rows = [[[1.5, 2], [-1, 3]], [[-1, 3], [1.5, 2]], [[2, 1.5], [3, -1]], [[1.5, 2], [-1, 3]], [[1.5, 2]], []]
    values = torch.tensor([step for row in rows for step in row])
    offsets = torch.tensor([0, *map(len, rows)]).cumsum(0)
    codes = cell_codes(Ragged(values, offsets), 0)
    assert codes[0] == codes[3] and len(set(codes.tolist())) == 5
    assert cell_codes(Ragged(-values * 0, offsets), 0).tolist() == cell_codes(Ragged(values * 0, offsets), 0).tolist()  # -0 is 0
