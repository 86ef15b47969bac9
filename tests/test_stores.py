"""A column that grew piece by piece is the whole one, in memory and on disk."""

import pytest
import torch

from luban import stores
from luban.core.batch import Ragged

COLUMNS = [torch.randn(100, 3), torch.arange(100), torch.zeros(100, 1, 4, 4, dtype=torch.uint8), torch.rand(100), torch.zeros(0, 2)]


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: f"{column.dtype}-{tuple(column.shape)}")
@pytest.mark.parametrize("size", [1, 30, 1000])
@pytest.mark.parametrize("on_disk", [False, True])
def test_plain(tmp_path, column, size, on_disk):
    pieces = (column[i : i + size] for i in range(0, max(len(column), 1), size))
    made = stores.column(pieces, tmp_path / "store" if on_disk else None, "c0")
    assert made.dtype == column.dtype and torch.equal(made, column)
    if on_disk:
        assert torch.equal(stores.opened(tmp_path / "store", "c0"), column)


@pytest.mark.parametrize("cuts", [[5], [2, 3], [0, 1, 0, 4], [1, 1, 1, 1, 1]])
@pytest.mark.parametrize("on_disk", [False, True])
def test_ragged(tmp_path, cuts, on_disk):
    whole = Ragged(torch.arange(2000), torch.tensor([0, 3, 3, 1200, 1999, 2000]))
    starts = [sum(cuts[:i]) for i in range(len(cuts))]
    pieces = [whole[torch.arange(start, start + cut)] for start, cut in zip(starts, cuts, strict=True)]
    made = stores.column(iter(pieces), tmp_path / "store" if on_disk else None, "c0")
    assert torch.equal(made.values, whole.values) and torch.equal(made.offsets, whole.offsets)


def test_what_is_written_to_a_mapped_column_stays_here(tmp_path):
    column = stores.column([torch.ones(5000)], tmp_path / "store", "c0")
    column.zero_()
    assert stores.opened(tmp_path / "store", "c0").sum() == 5000


def test_another_field_leaves_no_offsets_of_the_first(tmp_path):
    stores.column([Ragged(torch.arange(9), torch.tensor([0, 4, 9]))], tmp_path / "store", "c0")
    assert torch.equal(stores.column([torch.ones(2)], tmp_path / "store", "c0"), torch.ones(2))
