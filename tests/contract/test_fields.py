"""What every field must do, whoever wrote it: each column of `samples()` of each registered field goes through the same mill."""

from __future__ import annotations

import base64
import json

import numpy as np
import polars as pl
import pytest
import torch

from luban.core import cells
from luban.core import config as configs
from luban.core.batch import Ragged
from luban.core.contract import Field
from luban.core.errors import BadCells, UserError
from luban.core.registry import FIELDS

CASES = [pytest.param(cls, column, id=f"{name}-{column.name}") for name, cls in FIELDS.items() for column in cls.samples()]
CLASSES = [pytest.param(cls, id=name) for name, cls in FIELDS.items()]


def fitted(cls: type[Field], *chunks: pl.Series) -> Field:
    return cls((chunks[0].name,)).fit(chunks)


def same(a, b) -> bool:
    """Bit-equal, NaN included."""
    if isinstance(a, Ragged):
        return torch.equal(a.values, b.values) and torch.equal(a.offsets, b.offsets)
    return a.dtype == b.dtype and a.shape == b.shape and a.numpy().tobytes() == b.numpy().tobytes()


@pytest.mark.parametrize("cls, column", CASES)
def test_shape_and_kind(cls, column):
    field = fitted(cls, column)
    encoded = field.encode(column)
    assert len(encoded) == len(column)
    if field.kind == "scalar":
        assert encoded.dtype == torch.float32
        assert encoded.shape == ((len(column),) if field.size == 1 else (len(column), field.size))
        assert not encoded.isinf().any()
        assert encoded.isnan().any() == field.has_missing
        assert list(field.edges) == sorted(set(np.float32(field.edges).tolist()))
        assert not field.edges or (encoded[~encoded.isnan()].min() == field.edges[0] and encoded[~encoded.isnan()].max() == field.edges[-1])
    elif field.kind == "grid":  # a missing one is the mean
        assert encoded.dtype == torch.uint8 and encoded.shape == (len(column), *field.shape) and encoded.is_contiguous()
        assert len(field.mean) == len(field.std) == field.shape[0] in (1, 3)
        assert all(0 <= mean <= 1 for mean in field.mean) and all(0 < std <= 1 for std in field.std)
    elif field.kind in ("series", "time"):  # an entry a row
        assert encoded.shape == (len(column),)
        assert encoded.dtype == (torch.float32 if field.kind == "series" else torch.int64)
        assert encoded.isnan().any() == (field.kind == "series" and field.has_missing)
    elif field.kind in ("known", "past", "static"):
        assert encoded.dtype == torch.float32 and encoded.shape == ((len(column),) if field.size == 1 else (len(column), field.size))
    elif field.kind == "item":  # any number, one for each word
        assert encoded.dtype == torch.int64 and len(encoded.unique()) == cells.words(column).n_unique()
    elif field.kind == "words":  # what tells a token, then where it begins and ends
        assert encoded.values[:, 0].min() >= 1 and encoded.values[:, :-2].max() < field.size
        assert (encoded.values[:, -2] < encoded.values[:, -1]).all() and encoded.lengths.max() == field.length
    elif field.kind == "spans":
        assert (encoded.values[:, 0] < encoded.values[:, 1]).all()
        assert encoded.values[:, 2].min() >= 1 and encoded.values[:, 2].max() < field.size
    else:
        ids = encoded.values if field.kind == "tokens" else encoded
        assert ids.dtype == torch.int64
        assert ids.min() >= 1 and ids.max() < field.size  # 0 is for what training never saw


@pytest.mark.parametrize("cls, column", CASES)
def test_decode_gives_back_the_value(cls, column):
    """The user's word may be spelt otherwise ("$5" -> 5.0, "2024/1/5" -> a date), but it means the same and stays as it is."""
    field = fitted(cls, column)
    encoded = field.encode(column)
    decoded = field.decode(encoded)
    assert len(decoded) == len(column)
    if not getattr(field, "invertible", True):
        assert all(each is None or isinstance(each, str) for each in decoded)
        return
    again = field.encode(pl.Series(column.name, decoded, strict=False))
    if isinstance(again, Ragged):
        assert decoded == column.to_list() and same(again, encoded)
        return
    if field.kind == "grid":
        assert same(again, encoded)
        return
    assert torch.allclose(again.double(), encoded.double(), rtol=1e-5, atol=1e-6, equal_nan=True)
    typed = column.drop_nulls().to_list()
    if column.dtype.is_integer() or column.dtype == pl.Boolean or isinstance(column.dtype, pl.Date):
        assert [value for value in decoded if value is not None] == typed


@pytest.mark.parametrize("cls, column", CASES)
def test_state_travels_as_json(cls, column):
    field = fitted(cls, column)
    state = json.loads(json.dumps(field.state(), allow_nan=False))
    config = configs.build(cls.Config, json.loads(json.dumps(configs.to_dict(field.config))))
    restored = cls(field.columns, config).restore(state)
    assert same(restored.encode(column), field.encode(column))
    assert restored.decode(restored.encode(column)) == field.decode(field.encode(column))
    assert (restored.size, restored.edges, restored.has_missing) == (field.size, field.edges, field.has_missing)
    assert restored.state() == field.state()


@pytest.mark.parametrize("cls, column", CASES)
def test_one_row_equals_the_row_in_a_batch(cls, column):
    field = fitted(cls, column)
    batch = field.encode(column)
    for i in range(len(column)):
        assert same(field.encode(column.slice(i, 1)), batch[torch.tensor([i])])


@pytest.mark.parametrize("cls, column", CASES)
def test_text_of_a_typed_value_encodes_alike(cls, column):
    """A model trained on a CSV is asked in JSON, and the reverse."""
    if column.dtype in (pl.String, pl.Categorical):
        return
    field = fitted(cls, column)
    if field.kind == "grid":  # bytes and pixels have no text but what `decode` writes
        if column.dtype == pl.Binary:
            text = [base64.b64encode(value).decode() for value in column]
            assert same(field.encode(pl.Series(column.name, text)), field.encode(column))
        return
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone:
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    as_text = column.cast(pl.String)
    assert same(field.encode(as_text), field.encode(column))
    assert same(fitted(cls, as_text).encode(as_text), fitted(cls, column).encode(column))


@pytest.mark.parametrize("cls, column", CASES)
def test_chunks_do_not_matter(cls, column):
    """But for the last bits of a sum. Pieces are cut alike in memory and from disk, so that those are one there."""
    whole = fitted(cls, column).state()
    for cut in range(len(column) + 1):
        parts = fitted(cls, column.slice(0, cut), column.slice(cut)).state()
        for key, value in whole.items():
            if isinstance(value, float) or (isinstance(value, list) and value and isinstance(value[0], float)):
                assert parts[key] == pytest.approx(value, rel=1e-6, abs=1e-6)
            else:
                assert parts[key] == value, key


@pytest.mark.parametrize("cls, column", CASES)
def test_imagined_rows_are_understood(cls, column):
    field = fitted(cls, column)
    made = field.imagine(50, np.random.default_rng(0))
    assert made == field.imagine(50, np.random.default_rng(0))
    assert json.loads(json.dumps(made, allow_nan=False)) == made  # golden rows are kept as JSON
    encoded = field.encode(pl.Series(column.name, made, strict=False))
    assert len(encoded) == 50
    if field.kind == "id":
        assert (encoded > 0).all()
    if field.kind == "scalar" and not field.has_missing:
        assert not encoded.isnan().any()


@pytest.mark.parametrize("cls, column", CASES)
def test_missing_values_at_prediction(cls, column):
    """Null, a null token and NaN are missing, whether or not the training rows had any."""
    for training in (column, column.drop_nulls().slice(0, 1)):
        field = fitted(cls, training)
        if isinstance(training.dtype, pl.Datetime) and training.dtype.time_zone:
            continue
        as_written = field.kind == "tokens" and cls.invertible  # there, "" and NA are words like any other
        for asked in ([None],) if as_written else ([None], [""], [" NA "], ["?"], [float("nan")], ["null"]):
            encoded = field.encode(pl.Series(column.name, asked))
            assert same(encoded, field.encode(pl.Series(column.name, [None], dtype=pl.String)))
            assert field.decode(encoded) == [None]
            if field.kind == "scalar":
                assert encoded.isnan().all()


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("dtype", [pl.Null, pl.String, pl.Float64])
@pytest.mark.parametrize("n", [0, 3])
def test_empty_and_all_missing_columns(cls, dtype, n):
    """The schema leaves such columns out, but nothing may break where a user insists."""
    column = pl.Series("c", [None] * n, dtype=dtype)
    field = fitted(cls, column)
    assert len(field.encode(column)) == n
    assert field.decode(field.encode(column)) == [None] * n
    assert field.has_missing == (n > 0)
    assert field.doubts == []
    assert cls(("c",)).restore(json.loads(json.dumps(field.state(), allow_nan=False))).size == field.size
    assert len(field.encode(pl.Series("c", field.imagine(5, np.random.default_rng(0)), strict=False))) == 5
    assert 0 <= cls.sniff(column) <= 1


@pytest.mark.parametrize("cls", CLASSES)
def test_fit_without_a_row(cls):
    assert len(cls(("c",)).fit([pl.Series("c", [], dtype=pl.String)]).encode(pl.Series("c", [], dtype=pl.String))) == 0


@pytest.mark.parametrize("cls, column", CASES)
def test_values_that_cannot_be(cls, column):
    """Lists are refused by name. A strange word is unseen or hashed; elsewhere an error that names column, row and value."""
    field = fitted(cls, column)
    with pytest.raises(UserError, match=f"'{column.name}'.*List"):
        field.encode(pl.Series(column.name, [[1, 2]]))
    strange = pl.Series(column.name, [None, "§ zebra", "§ zebra"])
    if field.kind == "scalar":
        with pytest.raises(UserError, match=f"'{column.name}'.*row 2 has '§ zebra', and 1 more"):
            field.encode(strange)
        # where training rows had such cells too, they are missing then and later
        lenient = fitted(cls, pl.concat([column.cast(pl.String), strange])) if column.dtype == pl.String else None
        if lenient is not None:
            assert lenient.encode(strange).isnan().all()
            assert "§ zebra" in " ".join(lenient.doubts)
        with pytest.raises(UserError, match=r"row 2 has '§ zebra'.*fields"):
            fitted(cls, strange)
    elif field.kind == "grid":
        with pytest.raises(BadCells, match=f"2 of 2 .*'{column.name}'.*row 2 '§ zebra'.*row 3 ") as error:
            field.encode(strange)
        assert error.value.rows == [1, 2]
    elif field.kind == "id":
        assert field.encode(strange)[1:].tolist() == [0, 0]


@pytest.mark.parametrize("cls, column", CASES)
def test_sniff_is_a_share_for_any_column(cls, column):
    for _, other in FIELDS.items():
        assert 0 <= other.sniff(column) <= 1
    assert cls.sniff(pl.Series("c", [[1], [2]])) == 0
    assert cls.sniff(pl.Series("c", [b"\x00"])) == 0
