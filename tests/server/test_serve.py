"""What a client of `luban serve` relies on: the model's own answers bit for bit, and a sentence with the right status for what is wrong."""

import contextlib
import http.client
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import date, datetime
from urllib.parse import urlsplit

import numpy as np
import polars as pl
import pytest

import luban
from luban.core.errors import UserError
from luban.server import app, serve


def visits():
    """200 rows: 结果 follows 年龄 and 城市; `when` is a date, and some ages are missing."""
    rng = np.random.default_rng(0)
    age, city = rng.integers(18, 80, 200), rng.choice(["北京", "上海", "Köln"], 200)
    day = [date(2024, 1 + i % 12, 1 + i % 28) for i in range(200)]
    age_or_none = pl.Series([None if i % 17 == 0 else int(each) for i, each in enumerate(age)])
    return pl.DataFrame({"年龄": age_or_none, "城市": city, "when": day, "结果": np.where(age + 9 * (city == "北京") > 50, "是", "否")})


ROW = {"年龄": 41, "城市": "北京", "when": "2024-05-06"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    words = {"target": "结果", "model": "mlp", "baselines": [], "set": {"train.epochs": 3}}
    return luban.load(luban.train(visits(), out=tmp_path_factory.mktemp("serve") / "run", **words))


@contextlib.contextmanager
def served(bundle):
    with serve.bound("127.0.0.1", 0) as sock, serve.running(app.application(bundle), sock):
        yield serve.address(sock)


@pytest.fixture(scope="module")
def url(bundle):
    with served(bundle) as url:
        yield url


def call(url, body=None, path="/predict", method=None):
    """(status, the answer); `body`: bytes, pieces of them, or what becomes JSON."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request(
        method or ("GET" if body is None else "POST"), path, json.dumps(body) if isinstance(body, (dict, list, str)) else body
    )
    reply = connection.getresponse()
    text = reply.read().decode()
    connection.close()
    return reply.status, json.loads(text) if reply.headers["content-type"] == "application/json" else text


def predicted(url, rows):
    status, answer = call(url, {"rows": rows})
    assert status == 200, answer
    return answer["predictions"]


# ---------------------------------------------------------------- answers


def test_answers_are_the_models_own_bit_for_bit(bundle, url):
    rows = visits().drop("结果")
    expected = luban.predict(bundle, rows)
    assert predicted(url, json.loads(json.dumps(rows.to_dicts(), default=str))) == expected.to_dicts()
    assert set(expected.columns) == {"prediction", "confidence", "p_否", "p_是"} and set(expected["prediction"]) == {"是", "否"}


def test_the_golden_question_is_answered_as_in_process(bundle, url):
    assert serve.prove(bundle, url) == "16 golden rows"


def test_a_cell_may_be_spelt_in_many_ways(url):
    (plain,) = predicted(url, [ROW])
    spelt = [{**ROW, "年龄": age} for age in ("41", 41.0, " 41 ", "４１", 41)]
    assert all(serve.alike(each, plain) for each in predicted(url, spelt)) and [predicted(url, [row]) for row in spelt] == [[plain]] * 5
    (missing,) = predicted(url, [{**ROW, "年龄": None}])
    assert missing != plain
    assert [predicted(url, [{**ROW, "年龄": age}])[0] for age in ("", "NA")] == [missing] * 2
    beyond_a_float = json.dumps({"rows": [{**ROW, "年龄": 41}]}).replace("41", "1e999").encode()
    assert call(url, beyond_a_float) == (200, {"predictions": [missing]})
    (unseen,) = predicted(url, [{**ROW, "城市": "Ürümqi 乌鲁木齐 🙂"}])
    assert predicted(url, [{**ROW, "城市": ["北京"]}]) == predicted(url, [{**ROW, "城市": {"a": 1}}]) == [unseen]


def test_what_is_no_column_is_ignored(url, caplog):
    odd = {"结果": "是", "更多": [1, {"a": None}], "": 10**50, "n": 10**400}
    assert predicted(url, [{**odd, **ROW}, ROW]) == predicted(url, [ROW, ROW])
    assert "said" not in call(url, {"rows": [ROW]})[1]
    assert call(url, {"rows": [{**ROW, "多": 1}]})[1]["said"] == ["ignored: '多', which the model was not trained with."]


def test_a_user_that_training_had_not_is_told_and_errors_speak_of_the_body(tmp_path):
    log = pl.DataFrame({"user": [f"u{i % 8}" for i in range(48)], "item": [i * 5 % 23 for i in range(48)]})
    words = {"task": "recommend", "model": "popular", "baselines": []}
    with served(luban.load(luban.train(log, out=tmp_path / "run", **words))) as url:
        assert "said" not in call(url, {"user": "u1"})[1]
        assert "users that were not in training: 1 of 1" in call(url, {"user": "nobody"})[1]["said"][0]
        assert "users that were not in training: 1 of 2" in call(url, {"rows": [{"user": "nobody"}, {"user": "u1"}]})[1]["said"][0]
        for body, said in (
            ({}, 'send {"rows": [{...}]}, or {"user": ...}'),
            ({"user": "u1", "rows": [{"user": "u1"}]}, "Send one of them"),
            ({"user": "u1", "liked": [0]}, "user and liked both say for whom"),
        ):
            status, answer = call(url, body)
            assert status == 422 and said in answer["error"] and "--" not in answer["error"] and "file" not in answer["error"]


def test_a_reply_holds_nothing_that_json_lacks():
    table = pl.DataFrame({
        "prediction": [[{"when": datetime(2024, 1, 5, 12), "value": float("nan")}], []], "day": [date(2024, 1, 5), None],
        "x": [float("inf"), 0.1], "b": [True, None], "n": [2**60, 0], "words": [["a"], None],
    })  # fmt: skip
    assert app.jsonable(table) == [
        {"prediction": [{"when": "2024-01-05T12:00:00", "value": None}], "day": "2024-01-05", "x": None, "b": True, "n": 2**60,
         "words": ["a"]},
        {"prediction": [], "day": None, "x": 0.1, "b": None, "n": 0, "words": None},
    ]  # fmt: skip


# ---------------------------------------------------------------- refusals


def without(name):
    return {key: value for key, value in ROW.items() if key != name}


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (422, {"rows": []}, "rows is empty"),
        (422, {"rows": ROW}, "rows must be a list"),
        (422, {"rows": None}, "not null"),
        (422, {"rows": [ROW, 7]}, "row 2 must be an object"),
        (422, {"rows": [{}]}, "row 1 has no '年龄'"),
        (422, {"rows": [ROW, ROW, without("城市")]}, "row 3 has no '城市'"),
        (422, {"rows": [{**without("when"), "When": 1}]}, "Did you mean 'When'?"),
        (422, {"rows": [ROW, {**ROW, "年龄": "old"}]}, "row 2 has 'old'"),
        (422, {"rows": [{**ROW, "年龄": [41]}]}, "'年龄'"),
        (422, {"rows": [ROW], "k": 5}, "cannot be asked 'k'"),
        (422, {"row": [ROW]}, "Did you mean 'rows'?"),
        (422, {}, "this model answers rows"),
        (422, [ROW], "must be an object"),
        (422, "rows", "must be an object"),
        (400, b"", "not JSON"),
        (400, b'{"rows": [', "not JSON"),
        (400, b'{"rows": [{"x": NaN}]}', "write null"),
        (400, '{"rows": "年龄"}'.encode("gbk"), "not JSON in UTF-8"),
        (400, b'{"rows": [{"x": "\\ud83d"}]}', "not JSON in UTF-8"),
        (400, b'{"rows": ' + b"[" * 100_000, "not JSON"),
    ],
)
def test_a_wrong_question_gets_a_sentence(url, status, body, words):
    got, answer = call(url, body)
    assert got == status and answer.keys() == {"error"} and words in answer["error"] and "\n" not in answer["error"]


def test_wrong_paths_and_methods(url):
    for method, path in (("GET", "/predictions"), ("POST", "/"), ("GET", "/predict"), ("POST", "/health"), ("PUT", "/predict")):
        status, answer = call(url, None, path, method)
        assert (status, answer.keys()) == (404 if path == "/predictions" else 405, {"error"}), (method, path)


def test_a_body_too_large(url, monkeypatch):
    monkeypatch.setattr(app, "LIMIT", 1000)
    status, answer = call(url, {"rows": [{**ROW, "pad": "x" * 5_000_000}]})
    assert status == 413 and "5,000,0" in answer["error"]
    assert call(url, iter([b"x" * 600, b"y" * 600]))[0] == 413  # chunked, so no length is told
    assert len(predicted(url, [ROW])) == 1


def test_what_luban_did_wrong_is_told_to_its_owner_only(bundle, url, monkeypatch, caplog):
    monkeypatch.setattr(bundle, "answer", lambda *question: 1 / 0)
    assert call(url, {"rows": [ROW]}) == (500, {"error": "internal error"})
    for _ in range(100):  # it is printed after the answer was sent
        if "ZeroDivisionError" in caplog.text:
            break
        time.sleep(0.05)
    assert "ZeroDivisionError" in caplog.text
    monkeypatch.undo()
    assert len(predicted(url, [ROW])) == 1


def test_a_client_that_leaves_leaves_no_trace(url, caplog):
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as sock:
        sock.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert len(predicted(url, [ROW])) == 1 and caplog.text == ""


# ---------------------------------------------------------------- beside the answers


def test_health_says_what_is_served(bundle, url):
    assert call(url, path="/health") == (200, {
        "status": "ok", "task": "classify", "model": "mlp", "luban": luban.__version__, "columns": ["年龄", "城市", "when"], "ask": {},
    })  # fmt: skip
    status, text = call(url, path="/")
    assert status == 200 and "/health" in text
    command = shlex.split(text.splitlines()[-1])
    assert command[1] == f"{url}/predict" and len(call(url, command[3].encode())[1]["predictions"]) == 1


def test_questions_wait_for_each_other_and_health_does_not(bundle, url, monkeypatch):
    free, running, most, answer = threading.Event(), [], [], bundle.answer

    def slow(*question):
        running.append(1)
        most.append(len(running))
        assert free.wait(30)
        running.pop()
        return answer(*question)

    monkeypatch.setattr(bundle, "answer", slow)
    got = []
    threads = [threading.Thread(target=lambda: got.append(call(url, {"rows": [ROW]}))) for _ in range(3)]
    for each in threads:
        each.start()
    assert call(url, path="/health")[0] == 200
    free.set()
    for each in threads:
        each.join()
    assert [status for status, _ in got] == [200] * 3 and most == [1] * 3


def test_an_answer_that_changed_on_its_way_is_found(bundle, monkeypatch):
    answer = bundle.answer

    def wrong_in_the_server(*question):
        table = answer(*question)
        in_server = threading.current_thread() is not threading.main_thread()
        return table.with_columns(confidence=pl.col("confidence") * 1.01) if in_server else table

    monkeypatch.setattr(bundle, "answer", wrong_in_the_server)
    with served(bundle) as url, pytest.raises(UserError, match="golden row 1 "):
        serve.prove(bundle, url)


@pytest.mark.parametrize(("a", "b", "same"), [(1, 1.0000001, True), (1.0, 1.1, False), ("a", "a", True), ([1.0, None], [1.0, None], True),
                                              ([1.0], [], False), ({"a": 1.0}, {"b": 1.0}, False), (None, 0.0, False)])  # fmt: skip
def test_alike(a, b, same):
    assert serve.alike(a, b) is same


# ---------------------------------------------------------------- the socket and the process


def test_a_port_in_use_and_a_host_that_is_none():
    with serve.bound("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port}: address already in use. Name another"):
            serve.bound("127.0.0.1", port)
    with pytest.raises(UserError, match=r"cannot listen on no\.such\.host\.invalid"):
        serve.bound("no.such.host.invalid", 0)


def test_other_machines_are_let_in_only_aloud(caplog):
    with serve.bound("127.0.0.1", 0) as sock:
        assert caplog.text == "" and serve.address(sock) == f"http://127.0.0.1:{sock.getsockname()[1]}"
    with serve.bound("0.0.0.0", 0) as sock:
        assert "no authentication" in caplog.text and serve.address(sock).startswith("http://127.0.0.1:")


def test_luban_serve_from_start_to_end(bundle, tmp_path, luban_in):
    """A process as a user starts it: the line it prints, the command it offers, SIGTERM, exit code 0; meanwhile its port is taken."""
    bundle.save(tmp_path / "model", {})
    command = [sys.executable, "-m", "luban", "serve", tmp_path / "model", "--port", "0", "--verbose"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    try:
        line, example = (process.stdout.readline().decode().strip() for _ in range(2))
        url = line.partition(" on ")[2].partition(";")[0]
        assert line == f"serving {tmp_path / 'model'} (classify, mlp) on {url}; 16 golden rows answered as when it was saved"
        status, answer = call(url, shlex.split(example)[3].encode())
        assert status == 200 and answer["predictions"] == bundle.answer(bundle.golden["rows"][:1]).to_dicts()
        taken = luban_in(tmp_path, "serve", "model", "--port", urlsplit(url).port, code=2)
        assert "address already in use" in taken.stderr and taken.stderr.count("\n") == 1 and taken.stdout == ""
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0 and out == b"" and err.decode().count('"POST /predict HTTP/1.1" 200') == 2
    finally:
        process.kill()


def test_the_first_question_shown_has_no_nonsense_for_a_text(tmp_path):
    said = [f"{word} and nothing else was here {i}" for i in range(40) for word in ("good", "bad")]
    table = pl.DataFrame({"said": said, "n": range(80), "y": ["a", "b"] * 40})
    set = {"fields.said": "text", "fields.n": "number"}
    bundle = luban.train(table, target="y", model="linear", baselines=[], out=tmp_path / "run", set=set).load()
    (row,) = json.loads(shlex.split(app.example(bundle, "http://x"))[3])["rows"]
    assert row["said"] == "a short text to ask about" and isinstance(row["n"], (int, float))
    assert bundle.golden["rows"][0]["said"] != row["said"]  # what proves the bundle stays as it is
