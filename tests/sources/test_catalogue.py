"""Built-in data sets: each as its YAML says, from the package, LUBAN_DATA, a URL or scikit-learn; and what is said when it cannot be."""

import gzip
import hashlib
import os
from pathlib import Path

import polars as pl
import pytest

from luban import catalogue, reading
from luban.core.errors import UserError
from luban.core.files import sha256
from luban.core.registry import TASKS

DATA = Path(os.environ.get("LUBAN_DATA") or Path(__file__).parents[3] / "shared" / "data")
EMBEDDED = [name for name in catalogue.names() if not {"url", "files", "advice"} & catalogue.describe(name).keys()]


@pytest.mark.parametrize("name", catalogue.names())
def test_a_description_is_whole(name):
    about = catalogue.describe(name)
    assert {"title", "task", "rows", "licence", "origin"} <= about.keys()
    assert ("target" in about) == TASKS[about["task"]].labelled
    for each in about.get("files", [about]):
        assert "sklearn" in about or len(each["sha256"]) == 64
        assert "url" in each or "advice" in about or "files" not in about
    if "file" in about and not {"url", "advice"} & about.keys():
        assert sha256(catalogue.HERE / about["file"]) == about["sha256"]
        assert (catalogue.HERE / f"{name}.LICENSE.txt").is_file()


@pytest.mark.parametrize("name", EMBEDDED)
def test_an_embedded_set_is_as_described(name):
    table, about = reading.read(name), catalogue.describe(name)
    assert len(table) == about["rows"]
    assert about.get("target") in (None, table.columns[-1])


@pytest.mark.parametrize("name", sorted(set(catalogue.names()) - set(EMBEDDED)))
def test_a_set_beside_the_package(name, monkeypatch):
    about = catalogue.describe(name)
    for each in about.get("files", [about]):
        path = DATA / about["folder"] / each["file"]
        if path.is_file():
            assert sha256(path) == each["sha256"]
        elif (zipped := path.with_name(f"{path.name}.gz")).is_file():
            assert hashlib.sha256(gzip.decompress(zipped.read_bytes())).hexdigest() == each["sha256"]
        else:
            pytest.skip("the data are not on this machine")
    monkeypatch.setenv("LUBAN_DATA", str(DATA))
    if "file" in about:
        assert catalogue.path_of(name) in (path, path.with_name(f"{path.name}.gz"))
    table = reading.read(name)
    assert len(table) == about["rows"]
    assert "target" not in about or about["target"] in table.columns


def test_the_official_part_of_adult():
    """11,687 of 48,842 earn more, 3,846 of them in the first 16,281 rows: UCI's adult.test has 3,846."""
    table = reading.read("adult")
    start, stop = catalogue.describe("adult")["test_rows"]
    assert (table["income"] == ">50K").sum() == 11687
    assert (table["income"][start:stop] == ">50K").sum() == 3846


def test_words_of_scikit_learn():
    assert set(reading.read("breast-cancer")["diagnosis"]) == {"malignant", "benign"}
    assert set(reading.read("iris")["species"]) == {"setosa", "versicolor", "virginica"}


def test_unknown_name():
    with pytest.raises(UserError, match="Did you mean 'iris'"):
        catalogue.table("iriss")
    with pytest.raises(UserError, match="has no file of its own"):
        catalogue.path_of("iris")


def test_save(tmp_path):
    path = tmp_path / "california.csv"
    catalogue.save("california", path)
    assert reading.read(path).equals(reading.read("california"))
    with pytest.raises(UserError, match="exists already"):
        catalogue.save("california", path)


# ---------------------------------------------------------------- downloads, from a file:// URL


@pytest.fixture
def far(tmp_path, monkeypatch):
    """A data set `far` whose file is elsewhere: (that file, where it will be cached)."""
    remote = tmp_path / "remote.csv"
    remote.write_text("a,b\n1,2\n", encoding="utf-8")
    about = f"title: t\ntarget: b\nfile: far.csv\nurl: {remote.as_uri()}\nsha256: {sha256(remote)}\n"
    (tmp_path / "far.yaml").write_text(about, encoding="utf-8")
    monkeypatch.setattr(catalogue, "HERE", tmp_path)
    monkeypatch.setenv("LUBAN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LUBAN_DATA", raising=False)
    return remote, tmp_path / "home" / "data" / "far" / "far.csv"


def test_download_once(far):
    remote, cached = far
    assert reading.read("far").equals(pl.DataFrame({"a": ["1"], "b": ["2"]}))
    remote.unlink()
    assert catalogue.path_of("far") == cached
    cached.write_text("a,b\n1,3\n", encoding="utf-8")
    with pytest.raises(UserError, match="SHA-256 differs"):
        catalogue.path_of("far")


def test_offline(far):
    remote, cached = far
    remote.unlink()
    with pytest.raises(UserError) as caught:
        catalogue.table("far")
    assert remote.as_uri() in str(caught.value)
    assert str(cached) in str(caught.value)
    assert not cached.exists()


def test_another_file(far):
    remote, cached = far
    remote.write_text("a,b\n1,9\n", encoding="utf-8")
    with pytest.raises(UserError, match="another file than expected"):
        catalogue.table("far")
    assert not cached.exists()
