"""A model of pictures in use: files by their paths, folders, tables that name them, uploads; and what is said where one goes wrong."""

import base64
import http.client
import json
import warnings
from urllib.parse import urlsplit

import numpy as np
import polars as pl
import pytest

import luban
from luban import pixels
from luban.core.errors import UserError
from luban.server import app, serve
from luban.stages.predict import predict_to

RNG = np.random.default_rng(0)


def picture(bright):
    return pixels.png(RNG.integers(bright, bright + 60, (8, 8)).astype(np.uint8))


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """狗 are dark, 猫 are bright; 20 of each."""
    root = tmp_path_factory.mktemp("图片")
    for label, bright in (("狗", 20), ("猫", 160)):
        (root / label).mkdir()
        for i in range(20):
            (root / label / f"{i:02}.png").write_bytes(picture(bright))
    return root


@pytest.fixture(scope="module")
def run(pets):
    return luban.train(str(pets), task="classify", model="centroids", baselines=[], out=pets.parent / "run")


@pytest.fixture(scope="module")
def url(run):
    with serve.bound("127.0.0.1", 0) as sock, serve.running(app.application(luban.load(run)), sock):
        yield serve.address(sock)


def post(url, body, kind=None):
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request("POST", "/predict", body, {"Content-Type": kind} if kind else {})
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, json.loads(text)


def test_answers_to_files_name_them(run, pets):
    made = luban.predict(run.path, str(pets))
    assert made.columns[0] == "picture" and made.height == 40
    assert all((word in path) for path, word in zip(made["picture"], made["prediction"], strict=True))


def test_a_table_may_call_its_column_otherwise(run, pets, tmp_path):
    table = tmp_path / "表.csv"
    table.write_text(f"编号,照片\n1,{pets}/狗/01.png\n2,{pets}/猫/01.png\n", encoding="utf-8")
    assert luban.predict(run.path, str(table))["prediction"].to_list() == ["狗", "猫"]
    named = luban.train(pl.DataFrame({"照片": [str(path) for path in sorted(pets.rglob("*.png"))], "类": ["狗"] * 20 + ["猫"] * 20}),
                        target="类", model="centroids", baselines=[], out=tmp_path / "run")  # fmt: skip
    made = luban.predict(named.path, str(pets / "猫" / "02.png"))
    assert made.columns[0] == "照片" and made["prediction"].item() == "猫"


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", None])
def test_an_upload_is_answered_with_or_without_its_type(url, kind):
    status, answer = post(url, picture(160), kind)
    assert status == 200 and answer["predictions"][0]["prediction"] == "猫"
    assert "picture" not in answer["predictions"][0]


@pytest.mark.parametrize(
    "body, kind, status, words",
    [
        (b"", "image/png", 400, "the body is empty"),
        ("import os  # 你好".encode(), "image/png", 400, "the body is text"),
        (
            b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\n\x89PNG\r\n--x--',
            "multipart/form-data; boundary=x",
            415,
            "--data-binary",
        ),
        (b"\x89\xff\x00\x01", None, 422, "not a picture"),
    ],
)
def test_a_wrong_upload_gets_a_sentence(url, body, kind, status, words):
    got, answer = post(url, body, kind)
    assert got == status and words in answer["error"]


def test_base64_in_json(url):
    text = base64.b64encode(picture(20)).decode()
    assert post(url, json.dumps({"rows": [{"picture": text}]}))[1]["predictions"][0]["prediction"] == "狗"


def test_pictures_in_no_class_folder(pets, tmp_path):
    with pytest.raises(UserError, match="a folder of its own"):
        luban.train(str(pets / "狗"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_solved_model_says_what_it_does_not_use(pets, tmp_path, caplog):
    luban.train(str(pets), model="centroids", baselines=[], set={"train.lr": 0.1}, out=tmp_path / "run")
    assert "nothing comes of 'train.lr'" in caplog.text


def test_arrays_with_channels_first_and_floats(tmp_path):
    x = np.concatenate([RNG.integers(low, low + 60, (20, 3, 8, 8)) for low in (20, 160)]).astype(np.uint8)
    run = luban.train({"picture": x, "y": ["a"] * 20 + ["b"] * 20}, target="y", model="centroids", baselines=[], out=tmp_path / "run")
    assert run.metrics["accuracy"] == 1
    with warnings.catch_warnings(), pytest.raises(UserError, match=r"np\.round\(x\)\.astype"):
        luban.train({"picture": x.astype(np.float32), "y": ["a"] * 20 + ["b"] * 20}, target="y", out=tmp_path / "no")


def test_bad_pictures_stop_or_are_left_out(run, pets, tmp_path, caplog):
    table = tmp_path / "t.csv"
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    table.write_text(f"picture,label\n{pets}/狗/01.png,狗\n{bad},狗\n{pets}/猫/01.png,猫\n", encoding="utf-8")
    with pytest.raises(UserError, match="row 2"):
        predict_to(str(run.path), str(table), tmp_path / "out.csv", {})
    assert not (tmp_path / "out.csv").exists()
    assert predict_to(str(run.path), str(table), tmp_path / "out.csv", {}, skip_bad=True) == 3
    made = pl.read_csv(tmp_path / "out.csv")
    assert made["prediction"].to_list() == ["狗", None, "猫"] and made["picture"][1] == str(bad)
    assert "row 2" in caplog.text and "no answer" in caplog.text
    with pytest.raises(UserError, match="row 2"):
        luban.evaluate(run.path, str(table))
    assert luban.evaluate(run.path, str(table), skip_bad=True).metrics["accuracy"] == 1


def test_the_report_shows_wrong_answers_as_wrong_and_no_others(run):
    assert run.metrics["accuracy"] == 1
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "Most doubtful" in page and "Most wrong" not in page


def test_the_first_question_shown_is_a_file(run):
    assert app.example(luban.load(run), "http://x") == "curl http://x/predict --data-binary @FILE"
