"""Whatever a user may hand over: exit code 2, one paragraph that begins `error:`, nothing half written, no traceback; or it works.

Most go through the command line inside this process (`luban_in`); those that are about the process go through a real one.
"""

import os
import random
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

QUICK = ("--model", "linear", "--baselines", "none")
RNG = random.Random(0)
LINES = [f"{RNG.random():.3f},{RNG.choice('uvw')},{RNG.choice(['yes', 'no'])}" for _ in range(60)]
GOOD = "a,b,y\n" + "\n".join(LINES) + "\n"
AMOUNTS = "a,b,y\n" + "".join(f"{RNG.random():.3f},{RNG.choice('uvw')},{100 * RNG.random():.3f}\n" for _ in range(80))
ID_NAMES = [f"id{i}" for i in range(200)]
ID_ROWS = [[*(f"{n * 7919 % 9973}x{i}" for i in range(200)), "pq"[n % 2]] for n in range(60)]
IDS = "\n".join(",".join(row) for row in [[*ID_NAMES, "y"], *ID_ROWS]) + "\n"


def everything(folder):
    return {path: path.stat().st_size for path in sorted(folder.rglob("*"))}


def error_of(done):
    """The one paragraph: the last line of stderr. Nothing goes to stdout."""
    *notes, last = done.stderr.splitlines()
    assert last.startswith("error: ") and not any(line.startswith("error") for line in notes), done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    return last


@pytest.fixture
def refused(tmp_path, luban_in):
    """refused("train", ..., says="words") -> the error; the folder is as it was."""

    def call(*arguments, says=()):
        before = everything(tmp_path)
        error = error_of(luban_in(tmp_path, *arguments, code=2))
        assert everything(tmp_path) == before
        for words in [says] if isinstance(says, str) else says:
            assert words in error, error
        return error

    return call


@pytest.fixture(scope="module")
def trained(tmp_path_factory, luban_in):
    """A folder with good.csv and run/, made of it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "good.csv").write_text(GOOD)
    luban_in(folder, "train", "good.csv", "-t", "y", *QUICK, "--out", "run")
    return folder


@pytest.fixture
def run(trained, tmp_path):
    """A copy of that run in the test's own folder, to be spoiled."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run"


# ---------------------------------------------------------------- files

FILES = {
    "empty.csv": (b"", ["empty.csv is empty", "data in it"]),
    "blank.csv": (b"\n\n  \n", ["blank.csv is empty"]),
    "header.csv": (b"a,b,y\n", ["header.csv", "'a', 'b', 'y'", "no rows"]),
    "ragged.csv": (GOOD.encode() + b"1,2\n", ["line 62", "2 cells where 3", "double quotes"]),
    "rubbish.csv": (random.Random(1).randbytes(4000), ["rubbish.csv", "0x", "line 1"]),
    "zeros.csv": (GOOD.encode() + b"\0\0", ["zeros.csv is not a text file", "line 62"]),
    "picture.csv": (b"\x89PNG\r\n\x1a\n" + bytes(100), ["looks like a PNG picture"]),
    "latin.csv": ((GOOD + "1,café,yes\n").encode("latin-1"), ["0xE9", "line 62", "data.encoding=latin-1"]),
    "twice.csv": (b"a,a,y\n1,2,yes\n", ["2 columns named 'a'", "columns 1, 2"]),
    "carets.csv": (GOOD.replace(",", "^").encode(), ["'y'", "only 'a^b^y'", "data.delimiter=^"]),
    "cut.csv.gz": (b"\x1f\x8b\x08" + bytes(9), ["damaged gzip"]),
    "letters.parquet": (b"hello", ["not a whole Parquet file"]),
    "letters.xlsx": (b"hello", ["not a whole workbook"]),
    "broken.jsonl": (b'{"a": 1}\n{"a":\n', ["line 2 of broken.jsonl", "one object a line"]),
    "thesis.pdf": (b"%PDF", ["'.pdf'", "It reads"]),
    "one.csv": (GOOD.replace("no\n", "yes\n").encode(), ["one class only", "'yes'", "60 rows"]),
    "none.csv": (b"a,y\n" + b"1,\n2,NA\n" * 20, ["'y' is empty in all 40 rows"]),
    "ids.csv": (IDS.encode(), ["no column is left", "'id0': looks like an id", "fields.COLUMN=category"]),
    "nan.csv": (AMOUNTS.encode() + b"1,u,NaN\n", ["'NaN' in row 81", "leave the cell empty"]),
    "inf.csv": (AMOUNTS.encode() + b"1,u,inf\n1,u,-inf\n", ["'inf' in row 81", "1 more"]),
    "constant.csv": (b"a,y\n1,5.5\n2,5.5\n3,5.5\n", ["'y'", "5.5"]),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_used(tmp_path, refused, name):
    content, says = FILES[name]
    (tmp_path / name).write_bytes(content)
    refused("train", name, "-t", "y", *QUICK, says=says)


def test_a_file_that_is_not_there(tmp_path, refused):
    (tmp_path / "good.csv").write_text(GOOD)
    refused("train", "goood.csv", "-t", "y", says=["'goood.csv'", "Did you mean 'good.csv'?"])
    refused("train", "no/where.csv", "-t", "y", says="the folder 'no'")
    refused("train", "irs", "-t", "y", says=["built-in", "Did you mean 'iris'?", "luban data list"])
    refused("train", ".", "-t", "y", says=["is a folder", "'good.csv'"])
    refused("train", "good.csv", "-t", "y", "--test", "bad.csv", says="'bad.csv'")


def test_the_process_itself_and_debug(luban_cli, tmp_path):
    error = error_of(luban_cli("train", "missing.csv", "--target", "y", code=2))
    assert "no file 'missing.csv'" in error and list(tmp_path.iterdir()) == []
    done = luban_cli("train", "missing.csv", "--target", "y", "--debug", code=2)
    assert "Traceback" in done.stderr and "luban.core.errors.UserError: there is no file 'missing.csv'" in done.stderr
    assert done.stderr.splitlines()[-1] == error


def test_the_delimiter_that_was_given_is_wrong(tmp_path, refused):
    (tmp_path / "good.csv").write_text(GOOD)
    refused("train", "good.csv", "-t", "y", "--set", "data.delimiter=;", says=["not divided by ';'", "by ','"])
    refused("train", "good.csv", "-t", "y", "--set", "data.delimiter=ab", says=["'ab'", "one ASCII character"])
    refused("train", "good.csv", "-t", "y", "--set", "data.encoding=utf-88", says=["'utf-88'", "gb18030"])


def test_a_class_with_one_row_and_empty_targets_are_told_and_work(tmp_path, luban_in):
    (tmp_path / "single.csv").write_text(GOOD + "0.5,u,maybe\n")
    assert "'maybe' (row 61)" in luban_in(tmp_path, "train", "single.csv", "-t", "y", *QUICK).stderr
    (tmp_path / "gaps.csv").write_text(AMOUNTS + "1,u,\n2,v,\n")
    assert "2 rows have no y and are left out (the first: row 81)" in luban_in(tmp_path, "train", "gaps.csv", "-t", "y", *QUICK).stderr


# ---------------------------------------------------------------- words

WORDS = {
    ("-t", "Y"): ["--target", "'Y'", "Did you mean 'y'?", "'a', 'b', 'y'"],
    (): ["--target COLUMN", "'a', 'b', 'y'"],
    ("-t", "y", "--drop", "c"): ["--drop", "'c'", "'a', 'b', 'y'"],
    ("-t", "y", "--drop", "y"): ["both the target and to be dropped"],
    ("-t", "y", "--drop", "a", "--drop", "b"): ["no column is left", "left out as asked"],
    ("-t", "y", "--group", "c"): ["--group", "'c'"],
    ("-t", "y", "--time", "c"): ["--time", "'c'"],
    ("-t", "y", "--time", "b"): ["the time column 'b'", "row 1", "--time"],
    ("-t", "y", "--model", "liner"): ["no model 'liner'", "Did you mean 'linear'?"],
    ("-t", "y", "--model", "my.py:Net"): ["no file", "my.py"],
    ("-t", "y", "--task", "clasify"): ["no task 'clasify'", "Did you mean 'classify'?"],
    ("-t", "y", "--task", "regress"): ["regress needs numbers, but in the target 'y' row 1 has 'yes'", "row 1"],
    ("-t", "y", "--task", "multilabel"): ["at least two targets", "--target A --target B"],
    ("-t", "a", "--task", "classify"): ["'a'", "--task regress"],
    ("-t", "y", "--metric", "acuracy"): ["'acuracy'", "Did you mean 'accuracy'?"],
    ("-t", "y", "--size", "bsae"): ["--size", "'bsae'", "'base'"],
    ("-t", "y", "--seed", "x"): ["--seed", "'x'"],
    ("-t", "y", "--modle", "x"): ["No such option '--modle'", "--model"],
    ("-t", "y", "--time-limit", "soon"): ["'soon'", "10m"],
    ("-t", "y", "--time-limit", "-3m"): ["'-3m'", "10m"],
    ("-t", "y", "--set", "train.lr"): ["KEY=VALUE", "'train.lr'"],
    ("-t", "y", "--set", "train.lrr=3"): ["'train.lrr'", "Did you mean 'lr'?"],
    ("-t", "y", "--set", "train.lr=fast"): ["train.lr must be a number", "'fast'"],
    ("-t", "y", "--set", "train=3"): ["train must be a mapping", "3"],
    ("-t", "y", "--set", "fields.c=category"): ["fields names the column 'c'", "'a', 'b', 'y'"],
    ("-t", "y", "--set", "fields.a=categry"): ["no field 'categry'", "Did you mean 'category'?"],
    ("-t", "y", "--set", "fields.a=3"): ["fields.a must be a field's name", "3"],
    ("-t", "y", "--set", "model.hidden=[3]"): ["model.hidden belongs to one model", "--model"],
    ("-t", "y", "--set", "data.shares=[1,1]"): ["data.shares", "add up to 1", "[1.0, 1.0]"],
    ("-t", "y", "--set", "data.split=b"): ["'b'", "train, valid or test"],
    ("-t", "y", "--set", "fields.a.field=text"): ["fields.a.field", "--set fields.a=text"],
    ("-t", "y", "--out", "good.csv"): ["good.csv is a file"],
    ("-t", "y", "--out", "good.csv/under"): ["good.csv/under", "is a file"],
    ("-t", "y", "--out", "run"): ["run exists already", "--resume"],
    ("-t", "y", "--out", "run/model", "--resume"): ["no asked.json"],
    ("-t", "y", "--device", "gpu0"): ["device 'gpu0'", "--device"],
    ("-t", "y", "--baselines", "tres"): ["no model 'tres'", "Did you mean 'trees'?"],
    ("-t", "y", "--config", "nothing.yaml"): ["nothing.yaml", "No such file"],
}


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_words_of_train_that_cannot_be(run, refused, words):
    refused(
        "train",
        "good.csv",
        *words,
        *(QUICK if not {"--model", "--baselines"} & set(words) and "model.hidden=[3]" not in words else ()),
        says=WORDS[words],
    )


CONFIGS = {
    "train: {epoch: 3}": ["'train.epoch'", "Did you mean 'epochs'?"],
    "trian: {epochs: 3}": ["'trian'", "Did you mean 'train'?"],
    "data: {taget: y}": ["'data.taget'", "Did you mean 'target'?"],
    "model: {name: mlp, hiden: [3]}": ["'model.hiden'", "Did you mean 'hidden'?"],
    "data: good.csv": ["'data.path'", "'data' is a value, not a group of keys"],
    "train: 3": ["train must be a mapping", "3"],
    "- a": ["luban init", "list"],
    "a: [": ["not YAML", "line 1"],
    "": ["keys and values"],
}


@pytest.mark.parametrize("text", CONFIGS)
def test_configurations_that_cannot_be(tmp_path, refused, text):
    (tmp_path / "good.csv").write_text(GOOD)
    (tmp_path / "my.yaml").write_text(text)
    refused("train", "good.csv", "-t", "y", "--config", "my.yaml", says=CONFIGS[text])


def test_commands_that_are_not(tmp_path, refused, luban_in):
    refused("trian", says=["'trian'", "Did you mean 'train'?"])
    refused("runs", "shw", says=["'shw'", "Did you mean 'show'?"])
    refused("list", "modles", says="'models'")
    refused("list", "models", "liner", says="Did you mean 'linear'?")
    refused("data", "get", "iriss", says="Did you mean 'iris'?")
    refused("completion", "tcsh", says="'bash'")
    refused("runs", "show", "last", says=["no last run", "luban train"])
    refused("runs", "rm", "none", says="no run 'none'")
    refused("init", "nothing.csv", says="'nothing.csv'")
    assert "Usage: luban" in luban_in(tmp_path, code=2).stderr


def test_nothing_is_overwritten(run, refused):
    (run.parent / "luban.yaml").write_text("mine")
    refused("init", "good.csv", says=["luban.yaml exists", "-o"])
    (run.parent / "iris.csv").write_text("mine")
    refused("data", "get", "iris", says=["iris.csv exists", "-o"])


# ---------------------------------------------------------------- prediction and evaluation


def test_rows_that_cannot_be_predicted(run, refused):
    folder = run.parent
    (folder / "lack.csv").write_text("a,B\n1,u\n")
    (folder / "retyped.csv").write_text("a,b\n1,u\nhello,v\n")
    (folder / "none.csv").write_text("a,b\n")
    refused("predict", "run", "lack.csv", says=["'b' is missing", "Did you mean 'B'?", "'a', 'b'"])
    for out in ((), ("-o", "out.csv"), ("-o", "out.parquet"), ("-o", "out.jsonl")):
        refused("predict", "run", "retyped.csv", *out, says=["'a' should hold numbers", "row 2", "'hello'"])
        refused("predict", "run", "none.csv", *out, says=["none.csv has no rows"])
    refused("predict", "run", "-", says="the input is empty")
    refused("predict", "run", "good.csv", "-o", "out.pdf", says=["'out.pdf'", ".parquet"])
    refused("predict", "run", "good.csv", "-o", "good.csv/out.csv", says=["good.csv/out.csv", "is a file"])
    (folder / "folder.csv").mkdir()
    refused("predict", "run", "good.csv", "-o", "folder.csv", says=["folder.csv", "directory"])
    refused("predict", "rum", "good.csv", says=["no run 'rum'", "luban runs"])
    refused("predict", "folder.csv", "good.csv", says=["is not a model", "luban.json"])


def test_columns_that_training_did_not_have_are_ignored_and_named_once(run, luban_in):
    (run.parent / "more.csv").write_text("z,a,b,y,q\n" + "3,1,u,yes,4\n" * 3)
    (run.parent / "same.csv").write_text("a,b\n" + "1,u\n" * 3)
    more, same = (luban_in(run.parent, "predict", "run", name) for name in ("more.csv", "same.csv"))
    assert more.stdout == same.stdout and same.stderr == ""
    assert more.stderr.count("'z', 'q'") == 1 and "ignored" in more.stderr


def test_rows_that_cannot_be_judged(run, refused):
    texts = {
        "lack.csv": "a,b\n1,u\n",
        "empty.csv": "a,b,y\n1,u,\n2,v,NA\n",
        "unseen.csv": "a,b,y\n1,u,perhaps\n",
        "new.csv": "a,b,y\n1,u,yes\n",
    }
    for name, text in texts.items():
        (run.parent / name).write_text(text)
    refused("evaluate", "run", "lack.csv", says=["the target", "'y'", "'a', 'b'"])
    refused("evaluate", "run", "empty.csv", says="the target is empty in all")
    refused("evaluate", "run", "unseen.csv", says="none of these rows can be judged")
    refused("evaluate", "run", "good.csv", "--split", "tset", says=["'tset'", "Did you mean 'test'?"])
    refused("evaluate", "run", "new.csv", "--split", "valid", says=["--split valid", "column `split`"])


def test_an_altered_or_missing_file_of_a_bundle_is_named(run, refused, luban_in):
    (run.parent / "one.csv").write_text("a,b\n1,u\n")
    for path in sorted((run / "model").iterdir()):
        content = path.read_bytes()
        if path.name == "README.md":  # the card is the user's to edit
            path.write_text("mine")
            luban_in(run.parent, "predict", "run", "one.csv")
            continue
        for at in (0, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            refused("predict", "run", "one.csv", says=[f"model/{path.name} ", "again"])
        path.unlink()
        refused("predict", "run", "one.csv", says=path.name)
        path.write_bytes(content)
    luban_in(run.parent, "predict", "run", "one.csv")


# ---------------------------------------------------------------- disks


@pytest.mark.parametrize(
    ("model", "most"), [("linear", 100), ("linear", 700), ("linear", 1200), ("linear", 2200), ("mlp", 1500), ("mlp", 4000)]
)
def test_a_full_disk_leaves_no_half_model_and_the_run_can_go_on(tmp_path, luban_in, model, most):
    """A limit on the size of a file stands for a full disk: `write` fails at a byte, as it would there."""
    (tmp_path / "good.csv").write_text(GOOD)
    words = ("train", "good.csv", "-t", "y", "--model", model, "--set", "train.epochs=2", "--baselines", "none", "--out", "run", "--resume")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        error = error_of(luban_in(tmp_path, *words, code=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "File too large" in error and str(tmp_path / "run") in error
    left = [path.relative_to(tmp_path).as_posix() for path in everything(tmp_path)]
    assert not [name for name in left if "/." in name or name.startswith("run/model")]
    luban_in(tmp_path, *words)
    luban_in(tmp_path, "predict", "run", "good.csv")


def test_a_full_disk_under_a_prediction(run, luban_in):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = everything(run.parent)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        for name in ("out.csv", "out.jsonl", "out.parquet"):
            assert name in error_of(luban_in(run.parent, "predict", "run", "good.csv", "-o", name, code=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert everything(run.parent) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_under_standard_output(run):
    command = f"{sys.executable} -m luban predict run good.csv > /dev/full"
    done = subprocess.run(["sh", "-c", command], cwd=run.parent, capture_output=True, text=True)
    assert done.returncode == 2 and error_of(done) == "error: No space left on device."


@pytest.fixture
def closed(tmp_path):
    """A folder in which nothing can be made, also by root."""
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o555)
        return tmp_path / "closed"
    if not Path("/proc/self").is_dir():
        pytest.skip("root, and no /proc")
    return "/proc/self"


def test_a_folder_that_may_not_be_written(run, refused, closed):
    refused(
        "train", "good.csv", "-t", "y", *QUICK, "--out", f"{closed}/run", says=[f"{closed}/run" if os.geteuid() else "/run", "cannot write"]
    )
    refused("predict", "run", "good.csv", "-o", f"{closed}/out.csv", says=["cannot write", "out.csv", "another place"])
    refused("init", "good.csv", "-o", f"{closed}/my.yaml", says=["cannot write", "my.yaml"])


# ---------------------------------------------------------------- odd, but to be served

NAMES = ["items", "type", "a.b", "", "价格", "城市"]
CITIES = ("北京", "上海")
ODD = [[f"{RNG.random():.3f}", RNG.choice("uvw"), RNG.choice("123"), f"{RNG.random():.2f}", f"{9 * RNG.random():.1f}", RNG.choice(CITIES)]
       for _ in range(80)]  # fmt: skip
REVIEWS = ",".join([*NAMES, "评价"]) + "\n" + "".join(",".join([*row, "好坏"[i % 2]]) + "\n" for i, row in enumerate(ODD))


@pytest.mark.parametrize("model", ["linear", "mlp", "trees"])
def test_odd_names_in_chinese_files_of_another_encoding(tmp_path, luban_in, model):
    (tmp_path / "数据.csv").write_bytes(REVIEWS.encode("gb18030"))
    (tmp_path / "新 数据.csv").write_text(REVIEWS, encoding="utf-8")
    words = (
        "--model",
        model,
        "--set",
        "train.epochs=2",
        "--set",
        "train.threads=1",
        "--baselines",
        "none",
        "--set",
        "fields.a.b=category",
        "--drop",
        "type",
    )
    done = luban_in(tmp_path, "train", "数据.csv", "-t", "评价", *words)
    assert done.stdout.splitlines()[-1] == str(tmp_path / "runs" / f"数据-{model}")
    assert "GB18030" in done.stderr and "type ignored" in " ".join(done.stderr.split())
    piped = luban_in(tmp_path, "predict", "last", "-", stdin=REVIEWS.encode("gb18030")).stdout
    luban_in(tmp_path, "predict", "last", "新 数据.csv", "-o", "预测.csv")
    assert (tmp_path / "预测.csv").read_text(encoding="utf-8") == piped
    assert pl.read_csv(piped.encode()).columns == ["prediction", "confidence", "p_坏", "p_好"]
    assert "scoring 8 rows" in luban_in(tmp_path, "evaluate", f"runs/数据-{model}", "新 数据.csv").stderr


def test_odd_names_as_targets_groups_and_in_configurations(tmp_path, luban_in):
    (tmp_path / "数据.csv").write_text(REVIEWS, encoding="utf-8")
    luban_in(tmp_path, "train", "数据.csv", "-t", "a.b", "-t", "", *QUICK, "--out", "两个")
    done = luban_in(tmp_path, "predict", "两个", "数据.csv")
    assert pl.read_csv(done.stdout.encode()).columns == ["prediction_a.b", "confidence_a.b", "p_a.b_1", "p_a.b_2", "p_a.b_3", "prediction_"]
    luban_in(tmp_path, "init", "数据.csv", "-t", "评价")
    luban_in(tmp_path, "train", "luban.yaml", *QUICK, "--drop", "", "--drop", "items", "--set", "fields.a.b=ignore", "--out", "三")
    assert pl.read_csv(luban_in(tmp_path, "predict", "三", "数据.csv").stdout.encode()).height == 80


def test_too_many_classes(tmp_path, refused, luban_in):
    (tmp_path / "many.csv").write_text("x,y\n" + "".join(f"{RNG.random():.4f},c{i % 5000}\n" for i in range(15_000)))
    refused("train", "many.csv", "-t", "y", *QUICK, says=["5,000 different values", "--set task.max_classes=5000"])
    words = ("train", "many.csv", "-t", "y", "--model", "constant", "--baselines", "none", "--set", "task.max_classes=5000", "--out", "run")
    assert "does not regard them" in luban_in(tmp_path, *words).stderr  # three rows a class: a tenth of them is none
    head = luban_in(tmp_path, "predict", "run", "many.csv").stdout.partition("\n")[0]
    assert head == "prediction,confidence,prediction_2,confidence_2,prediction_3,confidence_3"


def test_a_huge_cell_and_many_columns(tmp_path, luban_in):
    rows = "".join(f"{RNG.random():.3f},some words {i} here,{'pq'[i % 2]}\n" for i in range(60))
    (tmp_path / "huge.csv").write_text(f'x,t,y\n{rows}1,"{"word " * 1_000_000}",p\n')
    luban_in(tmp_path, "train", "huge.csv", "-t", "y", *QUICK, "--out", "huge")
    assert luban_in(tmp_path, "predict", "huge", "huge.csv").stdout.count("\n") == 62
    names = [f"x{i}" for i in range(300)]
    wide = "".join(",".join([f"{RNG.random():.3f}" for _ in names] + ["pq"[n % 2]]) + "\n" for n in range(40))
    (tmp_path / "wide.csv").write_text(",".join([*names, "y"]) + "\n" + wide)
    done = luban_in(tmp_path, "train", "wide.csv", "-t", "y", *QUICK, "--out", "wide")
    assert "... and 261 more columns" in done.stderr
