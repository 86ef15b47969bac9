"""Generate: windows counted by hand, parts that share no character, and answers that follow from what is asked alone."""

import gzip
import json
import math

import polars as pl
import pytest
import torch

import luban
from luban.core.errors import UserError
from luban.core.registry import FIELDS, TASKS
from luban.planning import from_words
from luban.splitting import TEST, TRAIN, VALID
from luban.stages.prepare import prepare

VERSE = ["ab", "cde", "", "f"] * 30


def prepared(rows, *settings):
    return prepare(pl.DataFrame({"text": rows}), from_words({"task": "generate", "set": list(settings)}))


def spelt(made, part):
    characters = made.schema.inputs["c0"]
    return [(characters.spell(x), characters.spell(y)) for x, y in zip(*made.examples[part].whole().values(), strict=True)]


def test_windows_at_any_offset_and_side_by_side():
    made = prepared(VERSE, "task.context=4", "data.shares=[0.5,0.25,0.25]")
    written = "ab\ncde\n\nf\n" * 30  # 10 characters four rows
    train, valid = written[:150], written[150:225]
    assert made.rows.part.tolist().count(TRAIN) == 60
    whole = [(train[i : i + 4], train[i + 1 : i + 5]) for i in range(len(train) - 4)]
    assert spelt(made, TRAIN) == whole
    cut = valid[: len(valid) - len(valid) % 10 + (7 if len(valid) % 10 >= 7 else 3)]  # "ab|cde|" or "ab|"
    assert spelt(made, VALID) == [(cut[i : i + 4], cut[i + 1 : i + 5]) for i in range(0, len(cut) - 4, 4)]


def test_every_character_is_judged_once():
    made = prepared(VERSE, "task.context=4", "data.shares=[0.5,0.25,0.25]")
    for part in (VALID, TEST):
        starts = made.examples[part].spans.start
        assert (starts.diff() == 4).all()
        rows = sum(len(row) + 1 for row, each in zip(VERSE, made.rows.part, strict=True) if each == part)
        assert 0 <= rows - 1 - 4 * len(starts) < 4


def test_a_split_column_may_scatter_the_passages():
    table = pl.DataFrame({"text": ["abcdefgh", "ijklmnop"] * 6, "split": ["train", "valid", "train", "train"] * 3})
    made = prepare(table, from_words({"task": "generate", "target": ["text"], "set": ["task.context=3"]}))
    for part in (TRAIN, VALID):
        mine = "".join(sorted({letter for row, each in zip(table["text"], made.rows.part, strict=True) if each == part for letter in row}))
        assert {letter for x, y in spelt(made, part) for letter in x + y} <= {*mine, "\n"}
    lengths = [len(x) for x, _ in spelt(made, VALID)]
    assert lengths == [3] * len(lengths) and len(lengths) == 3 * ((9 - 1) // 3)


def test_characters_never_seen_are_left_out_of_the_figures():
    made = prepared(["abab"] * 40 + ["aéab"] * 10, "task.context=4", "data.shares=[0.8,0.2,0]")
    truth = made.examples[VALID].whole()
    judged = {"nats": torch.where(truth["y0"] == 0, 99.0, 1.0)}
    measured = made.task.measure(judged, truth, made.schema, made.task.metrics(made.schema))
    assert measured.metrics["loss"] == 1.0 and measured.metrics["perplexity"] == pytest.approx(math.e)
    assert measured.details["tokens_never_seen"] == 10 and measured.metrics["bits"] == pytest.approx(1 / math.log(2))


# ---------------------------------------------------------------- a trained model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generate")
    (folder / "诗.txt").write_text("床前明月光，\n疑是地上霜。\n举头望明月，\n低头思故乡。\n\n" * 60)
    words = {"task": "generate", "model": "gpt", "set": {"task.context": 16, "train.steps": 150, "model.layers": 1, "model.width": 32}}
    return luban.train(folder / "诗.txt", out=folder / "run", **words)


@pytest.fixture(scope="module")
def bundle(run):
    return run.load()


def test_it_learns_the_poem_by_heart(run, bundle):
    assert run.metrics["loss"] < 0.2 and {"constant", "linear"}.isdisjoint(run.report["baselines"]) and "ngram" in run.report["baselines"]
    (text,) = bundle.predict(ask={"prompt": "床前", "tokens": 30, "temperature": 0})["prediction"]
    assert text.startswith("明月光，\n疑是地上霜。\n举头望明月，\n")


def test_what_is_drawn_follows_from_the_question_alone(bundle):
    def wrote(prompt="床", **ask):
        return bundle.predict(ask={"prompt": prompt, "tokens": 40, "temperature": 2.0, **ask})["prediction"][0]

    assert wrote() == wrote() != wrote(seed=1) and len(wrote()) == 40
    assert wrote(top_k=1) == wrote(temperature=0) != wrote()
    alone = [wrote(prompt) for prompt in ("床", "低头", "")]
    assert bundle.predict({"text": ["床", "低头", ""]}, {"tokens": 40, "temperature": 2.0})["prediction"].to_list() == alone
    assert wrote("X床Y") == wrote("床")  # what training never had is left out


def test_a_prompt_and_data_are_too_much(bundle):
    with pytest.raises(UserError, match="prompt says what is asked, and so do the data"):
        bundle.predict({"text": ["床"]}, {"prompt": "床"})


def test_as_a_user_would(run, luban_in, tmp_path):
    done = luban_in(tmp_path, "predict", run.path, "--prompt", "床前", "--tokens", "5", "--temperature", "0")
    assert done.stdout == "床前明月光，\n\n"
    (tmp_path / "开头.txt").write_text("床前\n低头\n")
    luban_in(tmp_path, "predict", run.path, "开头.txt", "--tokens", "3", "--temperature", "0", "-o", "out.jsonl")
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == [
        {"text": "床前", "prediction": "明月光"}, {"text": "低头", "prediction": "思故乡"}]  # fmt: skip
    with gzip.open(tmp_path / "more.txt.gz", "wt") as file:
        file.write("床前明月光，\n疑是地上霜。\n举头望明月，\n" * 3)
    assert "perplexity" in luban_in(tmp_path, "evaluate", run.path, "more.txt.gz").stdout
    text = luban_in(tmp_path, "predict", run.path, "--help").stdout
    assert "--prompt" in text and "--temperature" in text and "--horizon VALUE" not in text


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--temperature", "-1"], "ask.temperature must lie between 0 and 100, not -1.0"),
        (["--tokens", "many"], "ask.tokens must be a whole number, not 'many'"),
        (["--top-k", "0"], "ask.top_k must be 1 or more"),
        (["--horizon", "3"], "No such option"),
        (["nowhere.txt"], "there is no file 'nowhere.txt'"),
    ],
)
def test_a_wrong_question(run, luban_in, tmp_path, words, sentence):
    done = luban_in(tmp_path, "predict", run.path, *words, code=2)
    assert sentence in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "more", "sentence"),
    [
        ("", [], "is empty"),
        ("a\nb\n", [], "2 characters to train on are too few for a context of 2"),
        ("abc\n" * 25, ["--set", "task.context=100"], "80 characters to train on are too few for a context of 100"),
        ("abc\n" * 500, ["--target", "txt"], "names the column 'txt', which the data do not have. Did you mean 'text'?"),
        ("abc\n" * 500, ["--model", "mlp"], "mlp cannot answer generate (tokens)"),
        ("abc\n" * 500, ["--set", "model.heads=3", "--model", "gpt"], "multiple of"),
        ("abc\n" * 500, ["--set", "data.shares=[9000,10,10]"], "asks for 9,020 characters, and there are 2,000"),
    ],
)
def test_data_that_cannot_be_learned(luban_in, tmp_path, content, more, sentence):
    (tmp_path / "文.txt").write_text(content)
    done = luban_in(tmp_path, "train", "文.txt", "--task", "generate", *more, code=2)
    assert sentence in done.stderr.splitlines()[-1] and not (tmp_path / "runs").exists()


def test_lines_are_rows_as_they_are_written(tmp_path):
    (tmp_path / "x.txt").write_bytes('  a  \r\n\r\n\tb,c;"d\n最后'.encode())
    table = luban.stages.prepare.reading.read(tmp_path / "x.txt", endings=TASKS["generate"].endings)
    assert table["text"].to_list() == ["  a  ", "", '\tb,c;"d', "最后"]
    characters = FIELDS["characters"](("text",)).fit([table["text"]])
    assert characters.decode(characters.encode(table["text"])) == table["text"].to_list()
