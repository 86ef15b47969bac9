"""Which field wins each column: made-up columns of each sort, and every column of real tables, as text and typed."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl
import pytest

from luban.core.registry import FIELDS

DATA = Path(os.environ.get("LUBAN_DATA", Path(__file__).parents[3] / "shared" / "data"))


def winner(column: pl.Series) -> str:
    return max(FIELDS.items(), key=lambda item: item[1].sniff(column))[0]


@pytest.mark.parametrize("field, column", [
    ("number", pl.Series([f"{i},{i:03}.5" for i in range(1, 99)])),
    ("number", pl.Series([str(i) for i in range(95)] + ["see note"] * 5)),
    ("category", pl.Series([str(i) for i in range(90)] + ["see note"] * 10)),
    ("number", pl.Series([1, 2, 3, 4, 5] * 20)),
    ("number", pl.Series(["1,5", "2,25", "-3,125"] * 9)),
    ("category", pl.Series([1, 2] * 20)),
    ("category", pl.Series(["007", "012", "100"] * 9)),
    ("category", pl.Series("user_id", [i % 700 for i in range(9000)])),
    ("number", pl.Series("paid", [i % 700 for i in range(9000)])),
    ("category", pl.Series([f"B{i * 7919:08}" for i in range(500)])),
    ("boolean", pl.Series([0, 1, 1])),
    ("boolean", pl.Series(["TRUE", "false", None])),
    ("category", pl.Series(["M", "F", "F"])),
    ("category", pl.Series(["yes", "no"], dtype=pl.Categorical)),
    ("date", pl.Series([20240105 + i % 20 for i in range(99)])),
    ("date", pl.Series(["3/14/2024", "12/1/2023"] * 9)),
    ("date", pl.Series(["2024年3月14日", "?"] * 9)),
    ("number", pl.Series([2019, 2020, 2021, 2022] * 9)),
    ("number", pl.Series([1704412800 + i for i in range(99)])),
    ("text", pl.Series([f"今天第{i}次来这家店，味道还是很好" for i in range(99)])),
    ("text", pl.Series([f"Braund{i}, Mr. Owen Harris" for i in range(99)])),
    ("category", pl.Series([None, None], dtype=pl.String)),
])  # fmt: skip
def test_made_up_columns(field, column):
    assert winner(column) == field


ADULT = {"age": "number", "workclass": "category", "fnlwgt": "number", "education": "category", "educational-num": "number",
         "marital-status": "category", "occupation": "category", "relationship": "category", "race": "category", "gender": "category",
         "capital-gain": "number", "capital-loss": "number", "hours-per-week": "number", "native-country": "category",
         "income": "category"}  # fmt: skip
ETT = {"date": "date"} | dict.fromkeys(("HUFL", "HULL", "MUFL", "MULL", "LUFL", "LULL", "OT"), "number")
RATINGS = {"userId": "category", "movieId": "category", "rating": "number", "timestamp": "number"}
TABLES = {
    "tabular/adult.csv.gz": ADULT,
    "tabular/california_housing.csv.gz": dict.fromkeys(
        ("MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude", "MedHouseVal"), "number"
    ),
    "sms-spam/sms.tsv": {"column_0": "category", "column_1": "text"},
    "chnsenticorp-htl/ChnSentiCorp_htl_all.csv": {"label": "boolean", "review": "text"},
    "ml-latest-small/ratings.csv.gz": RATINGS,
    "ml-latest-small/movies.csv.gz": {"movieId": "category", "title": "text", "genres": "category"},
    "ett1/ETTh1.csv": ETT,
}


@pytest.mark.parametrize("typed", [False, True], ids=["text", "typed"])
@pytest.mark.parametrize("path", TABLES)
def test_real_tables(path, typed):
    if not (DATA / path).is_file():
        pytest.skip(f"no {path} in LUBAN_DATA")
    plain = {"separator": "\t", "quote_char": None, "has_header": False} if path.endswith("tsv") else {}
    table = pl.read_csv(DATA / path, infer_schema=typed, infer_schema_length=9000, try_parse_dates=typed, **plain)
    assert {column.name: winner(column) for column in table.gather_every(max(1, table.height // 2000))} == TABLES[path]
