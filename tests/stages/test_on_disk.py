"""A table that stays on disk gives the same model to the bit, is found again by the next run, and doubted as before."""

import contextlib
import json
import logging
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import luban
from luban import reading
from luban.core import cache, table
from luban.core.errors import UserError
from luban.core.files import home
from luban.data import shuffled
from luban.planning import from_words
from luban.sources import _text as texts
from luban.sources import csv as csv_source
from luban.stages import kept
from luban.stages.prepare import prepare

SETTINGS = {"train.epochs": 2, "model.hidden": [16]}


@pytest.fixture
def csv(tmp_path, monkeypatch):
    """Breast cancer as 数据.csv with an id, words, gaps, a lost answer and cells that are no numbers; gone through 100 rows at a time."""
    monkeypatch.setattr(table, "PIECE", 100)
    monkeypatch.setattr(table, "BATCH", 64)
    monkeypatch.setattr(reading, "_PART", 150)
    whole = reading.read("breast-cancer")
    whole = whole.with_columns([pl.col(name).cast(pl.String) for name in whole.columns])
    n = whole.height
    words = pl.Series("城市", [["北京", "上海", None, "广州"][i % 4] for i in range(n)])
    patients = pl.Series("病人", [f"p{i // 7}" for i in range(n)])
    whole = whole.with_columns(words, patients, pl.Series("id", [str(100 + i) for i in range(n)]))
    spoilt = pl.Series(["soft" if i % 40 == 7 else None if i == 12 else value for i, value in enumerate(whole["mean radius"])])
    target = pl.Series([None if i == 30 else value for i, value in enumerate(whole["diagnosis"])])
    whole.with_columns(spoilt.alias("mean radius"), target.alias("diagnosis")).write_csv(tmp_path / "数据.csv")
    return tmp_path / "数据.csv"


def trained(path, out, on_disk, **settings):
    settings = {**SETTINGS, "data.on_disk": on_disk, **settings}
    return luban.train(path, target="diagnosis", model="mlp", baselines=[], set=settings, out=out)


def weights(run):
    return (run.path / "model" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("settings", [{}, {"data.group": "病人"}, {"data.train_rows": 200}, {"data.drop": ["id", "mean area"]}])
def test_the_same_model_to_the_bit(csv, tmp_path, settings):
    here, there = trained(csv, tmp_path / "memory", False, **settings), trained(csv, tmp_path / "disk", True, **settings)
    assert weights(here) == weights(there) and here.metrics == there.metrics
    for key in ("split", "columns", "findings"):
        assert here.report[key] == there.report[key]
    again = trained(csv, tmp_path / "again", True, **settings)
    assert weights(again) == weights(here) and again.report["columns"] == here.report["columns"]
    for run in (here, there):
        evaluated = luban.evaluate(run.path, csv)
        assert {key: evaluated.metrics[key] for key in here.metrics} == pytest.approx(here.metrics)


def test_parquet_is_read_where_it_lies(csv, tmp_path):
    frame = reading.read("california")
    frame.write_parquet(tmp_path / "房.parquet", row_group_size=3000)
    found = reading.read(tmp_path / "房.parquet", on_disk=True)
    assert isinstance(found, table.DiskTable) and not (home() / "cache").exists()
    words = {"target": "MedHouseVal", "model": "linear", "baselines": []}
    runs = [luban.train(tmp_path / "房.parquet", **words, out=tmp_path / str(on), set={"data.on_disk": on}) for on in (True, False)]
    assert runs[0].metrics == runs[1].metrics and weights(runs[0]) == weights(runs[1])


def test_the_second_run_finds_it_and_doubts_it_again(csv, tmp_path, caplog):
    caplog.set_level(logging.INFO, "luban")
    config = from_words({"data": str(csv), "target": ["diagnosis"], "set": ["data.on_disk=true"]})
    said = []
    for _ in range(2):
        caplog.clear()
        prepare(str(csv), config)
        said.append([line for line in caplog.messages if "it is read once" not in line and "prepared before" not in line])
    assert said[0] == said[1] and any("not numbers, so missing: " in line for line in said[1])
    assert any("have no diagnosis and are left out (the first: row 31)" in line for line in said[1])
    entries = {entry.name.rpartition(".")[2] for entry in (home() / "cache").iterdir()}
    assert entries == {"table", "store"}
    assert "prepared before" in caplog.text
    for changed in (["data.split_seed=1"], ["fields.城市=ignore"]):
        caplog.clear()
        prepare(str(csv), from_words({"data": str(csv), "target": ["diagnosis"], "set": ["data.on_disk=true", *changed]}))
        assert "prepared before" not in caplog.text
    os.utime(csv, (1, 1))
    caplog.clear()
    prepare(str(csv), config)
    assert "it is read once" in caplog.text


def test_bad_cells_name_their_rows_and_nothing_is_kept(csv, tmp_path):
    whole = pl.read_csv(csv, infer_schema=False)
    column = ["rough" if i in (410, 450) else value for i, value in enumerate(whole["mean texture"])]
    whole.with_columns(pl.Series("mean texture", column)).write_csv(csv)
    tested = {"data.test_rows": [400, 500]}
    with pytest.raises(UserError, match="'mean texture' should hold numbers, but row 411 has 'rough'") as told:
        trained(csv, tmp_path / "run", True, **tested)
    assert "data.skip_bad" in str(told.value)
    assert [entry.suffix for entry in (home() / "cache").iterdir()] == [".table"]
    runs = [trained(csv, tmp_path / str(on), on, **tested, **{"data.skip_bad": True}) for on in (True, False)]
    assert runs[0].report["data"]["unreadable"] == [410, 450] == runs[1].report["data"]["unreadable"]
    assert weights(runs[0]) == weights(runs[1])


def test_a_test_file_beside_it(csv, tmp_path):
    whole = pl.read_csv(csv, infer_schema=False)
    whole.tail(100).write_csv(tmp_path / "test.csv")
    whole.head(400).write_csv(csv)
    runs = [
        luban.train(csv, target="diagnosis", test=str(tmp_path / "test.csv"), model="linear", baselines=[], out=tmp_path / str(on),
                    set={"data.on_disk": on})
        for on in (True, False)
    ]  # fmt: skip
    assert runs[0].metrics == runs[1].metrics and "test 100" in runs[0].report["split"]
    assert len(list((home() / "cache").glob("*.table"))) == 2  # the test file, too, stays on disk
    again = luban.evaluate(runs[0].path, csv)
    assert again.metrics["accuracy"] == runs[0].metrics["accuracy"]


def test_without_room_it_is_done_in_memory(csv, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(cache, "_SPARE", 10**18)
    assert trained(csv, tmp_path / "run", True).metrics["accuracy"] > 0.8
    assert "there is no room" in caplog.text and "read into memory" in caplog.text
    monkeypatch.setattr(cache, "_SPARE", 0)
    luban.evaluate(tmp_path / "run", csv)  # now there is room: the data are known all the same
    assert "has changed" not in caplog.text
    reading.read(csv, on_disk=True)
    monkeypatch.setattr(cache, "_SPARE", 10**18)
    caplog.clear()
    assert trained(csv, tmp_path / "second", True).metrics["accuracy"] > 0.8
    assert "stay in memory" in caplog.text


@contextlib.contextmanager
def files_of_at_most(size):
    """What a full disk does to a file, without filling one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_up_is_told_and_nothing_is_left(csv, tmp_path, caplog):
    with files_of_at_most(4_000):
        assert isinstance(reading.read(csv, on_disk=True), pl.DataFrame)
    assert "File too large" in caplog.text and "read into memory" in caplog.text and not list((home() / "cache").iterdir())
    reading.read(csv, on_disk=True)
    caplog.clear()
    with files_of_at_most(1_000):
        prepared = prepare(str(csv), from_words({"data": str(csv), "target": ["diagnosis"], "set": ["data.on_disk=true"]}))
    assert "stay in memory" in caplog.text and len(prepared.rows.part) == 568
    assert [entry.suffix for entry in (home() / "cache").iterdir()] == [".table"]


def test_the_estimate_of_the_store_knows_texts(tmp_path):
    rng = np.random.default_rng(0)
    for number, (letters, between) in enumerate(
        ((np.array(list("abcdefghij")), " "), (np.array([chr(0x4E00 + i) for i in range(2000)]), ""))
    ):
        texts = [between.join("".join(word) for word in rng.choice(letters, (30, 4))) for _ in range(3000)]
        path = tmp_path / f"{number}.csv"
        pl.DataFrame({"said": texts, "y": rng.integers(0, 2, 3000)}).write_csv(path)
        prepared = prepare(str(path), from_words({"data": str(path), "target": ["y"], "set": ["data.on_disk=true"]}))
        (store,) = (home() / "cache").glob("*.store")
        taken = sum(file.stat().st_size for file in store.iterdir())
        assert 0.5 < kept._size(prepared.rows.table) / taken < 2
        shutil.rmtree(store)


def test_a_table_cut_short_is_made_again(csv, caplog):
    caplog.set_level(logging.INFO, "luban")
    whole = reading.read(csv, on_disk=True)
    (folder,) = (home() / "cache").glob("*.table")
    sorted(folder.glob("*.parquet"))[-1].unlink()
    caplog.clear()
    assert reading.read(csv, on_disk=True).height == whole.height == 569 and "it is read once" in caplog.text


def test_long_texts_lie_in_more_files_and_are_cut_alike(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "BYTES", 20_000)
    monkeypatch.setattr(reading, "BYTES", 20_000)
    rows = [
        " ".join(["房间很小", "服务很好", "not", "bad", "at", "all", "!"][i * k % 7] for k in range(9, 90)) + f" {i}" for i in range(300)
    ]
    pl.DataFrame({"review": rows, "label": [str(i % 2) for i in range(300)]}).write_csv(tmp_path / "t.csv")
    monkeypatch.setattr(csv_source, "HEAD", 1000)
    monkeypatch.setattr(texts, "BLOCK", 4000)
    asked, whole = [], table.DiskTable.get_column
    monkeypatch.setattr(table.DiskTable, "get_column", lambda self, name: asked.append(name) or whole(self, name))
    settings = ["data.on_disk=true", "fields.review=text"]
    stores_ = [prepare(str(tmp_path / "t.csv"), from_words({"data": str(tmp_path / "t.csv"), "target": ["label"], "set": each})).store
               for each in (settings, settings[1:])]  # fmt: skip
    assert len(list((home() / "cache").glob("*.table/*.parquet"))) > 4
    assert set(asked) == {"label"}  # texts are never read as a whole
    here, there = (each.columns["c0"] for each in stores_)
    assert torch.equal(here.values, there.values) and torch.equal(here.offsets, there.offsets)


def test_bytes_in_one_part_are_bytes_in_all(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_PART", 100)
    cells_ = [b"abc"] * 200 + [b"\xff\x00"] * 100 + [None] * 100
    pl.DataFrame({"b": cells_, "n": range(400)}).write_parquet(tmp_path / "t.parquet", row_group_size=100)
    kept_ = reading.read(tmp_path / "t.parquet", on_disk=True)
    assert isinstance(kept_, table.DiskTable) and kept_.get_column("b").to_list() == cells_
    assert kept_.get_column("b").dtype == reading.read(tmp_path / "t.parquet").get_column("b").dtype


def test_quiet_stays_quiet(csv, tmp_path, luban_in):
    words = ("--target", "diagnosis", "--model", "linear", "--baselines", "none", "--set", "data.on_disk=true")
    done = luban_in(tmp_path, "train", csv, *words, "-q")
    assert "split" not in done.stderr and "left out" not in done.stderr
    assert "left out" in luban_in(tmp_path, "train", csv, *words).stderr


def test_evaluate_makes_its_own_folder(csv, tmp_path, monkeypatch):
    whole = reading.read(csv).drop("mean radius").drop_nulls()
    whole.write_parquet(tmp_path / "t.parquet")
    run = luban.train(
        tmp_path / "t.parquet", target="diagnosis", model="linear", baselines=[], out=tmp_path / "run", set={"data.on_disk": True}
    )
    monkeypatch.setenv("LUBAN_HOME", str(tmp_path / "elsewhere"))
    assert luban.evaluate(run.path, tmp_path / "t.parquet").metrics["accuracy"] > 0.8


def test_the_table_at_hand_is_not_removed_for_its_store(csv, tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "MOST", 1000)
    assert trained(csv, tmp_path / "run", True).metrics["accuracy"] > 0.8


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_a_store_is_larger_than_the_memory_it_takes(tmp_path):
    """Of memory that is the process's own; RLIMIT_DATA cannot be the judge, for what is mapped to be written privately counts in it."""
    rng, rows, width = np.random.default_rng(0), 4_000_000, 60
    columns = {f"x{i}": rng.standard_normal(rows, np.float32) for i in range(width)}
    columns["y"] = np.where(columns["x0"] + columns["x1"] > 0, "a", "b")
    pl.DataFrame(columns).write_parquet(tmp_path / "t.parquet", compression="uncompressed", row_group_size=100_000)
    words = ["--target", "y", "--model", "mlp", "--baselines", "none", "--set", "train.steps=200", "--set", "train.shuffle=100000"]
    command = [sys.executable, "-m", "luban", "train", tmp_path / "t.parquet", *words, "--out", tmp_path / "run"]
    process, most = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL), 0
    while process.poll() is None:
        found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
        most = max(most, 1024 * int(found[1]) if found else 0)
        time.sleep(0.02)
    (store,) = (home() / "cache").glob("*.store")
    taken = sum(file.stat().st_size for file in store.iterdir())
    assert process.returncode == 0 and taken > rows * width * 4 and most < 0.75 * taken, (most / 1e6, taken / 1e6)
    assert json.loads((tmp_path / "run" / "report.json").read_text())["metrics"]["accuracy"] > 0.95


def test_a_damaged_file_leaves_nothing(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3\n")
    with pytest.raises(UserError, match=r"line 3 of t\.csv has 1 cell"):
        reading.read(tmp_path / "t.csv", on_disk=True)
    assert list((home() / "cache").iterdir()) == []
    (tmp_path / "u.csv").write_text("a,b\n")
    with pytest.raises(UserError, match="no rows"):
        reading.read(tmp_path / "u.csv", on_disk=True)
    reading.read("iris").write_parquet(tmp_path / "whole.parquet")
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "whole.parquet").read_bytes()[:-100])
    with pytest.raises(UserError, match="not a whole Parquet file"):
        reading.read(tmp_path / "cut.parquet", on_disk=True)


def test_other_formats_stay_in_memory(tmp_path, caplog):
    reading.read("iris").write_ndjson(tmp_path / "iris.jsonl")
    assert isinstance(reading.read(tmp_path / "iris.jsonl", on_disk=True), pl.DataFrame)
    assert "only CSV and Parquet" in caplog.text
    assert isinstance(reading.read(tmp_path / "iris.jsonl", on_disk=None), pl.DataFrame)


def test_an_edit_of_ours_is_another_store():
    assert cache.code() == cache.code() and len(cache.code()) == 40


# ---------------------------------------------------------------- the order of rows


@pytest.mark.parametrize("among", [0, 640, 1000, 6400, 10**9])
def test_every_row_once_an_epoch(among):
    order = shuffled(5003, 42, 1, among)
    assert torch.equal(order.sort().values, torch.arange(5003)) and torch.equal(order, shuffled(5003, 42, 1, among))
    assert not torch.equal(order, shuffled(5003, 42, 2, among))


def test_rows_read_together_lie_in_a_few_places():
    order = shuffled(1_000_000, 42, 0, 64_000)
    for stretch in order[:640_000].split(64_000):
        places = stretch.sort().values
        assert int((places.diff() > 1).sum()) < 64
        assert int((stretch.diff().abs() > 1).sum()) > 60_000  # and yet are mixed
    assert order[:64_000].float().mean() == pytest.approx(500_000, rel=0.2)


def test_a_run_can_be_shuffled_in_stretches(csv, tmp_path):
    assert trained(csv, tmp_path / "run", True, **{"train.shuffle": 100}).metrics["accuracy"] > 0.8
