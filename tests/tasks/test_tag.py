"""Tag: from tokens and tags in any form to entities in the user's words, and what is refused or repaired by name."""

import json

import numpy as np
import polars as pl
import pytest
import torch

import luban
from luban.core.batch import Ragged
from luban.core.errors import UserError
from luban.core.notes import recorded
from luban.core.registry import FIELDS, TASKS
from luban.planning import from_words
from luban.splitting import TRAIN
from luban.stages.prepare import prepare

GIVEN, SPELLED, KINDS = TASKS["tag"].samples()


def prepared(table, *settings):
    return prepare(table, from_words({"task": "tag", "set": list(settings)}))


def rows(*pairs):
    """(tokens, tags) as a table, beside enough others to train on."""
    odd = pl.DataFrame({"tokens": [json.dumps(a) for a, _ in pairs], "tags": [json.dumps(b) for _, b in pairs]})
    return pl.concat([odd, GIVEN.select("tokens", "tags")])


def tags_of(made, i=0):
    return made.task.batch(made.store, type(made.examples[TRAIN].spans)(torch.tensor([i])))["y0"].values.tolist()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return luban.train(GIVEN, task="tag", model="crf", out=tmp_path_factory.mktemp("tag") / "run")


# ---------------------------------------------------------------- what it reads


@pytest.mark.parametrize(("scheme", "wanted"), [("bio", [3, 4, 4, 0, 1]), ("bioes", [5, 6, 7, 0, 4])])
def test_spans_become_tags(scheme, wanted):
    """Labels in order: LOC, PER."""
    table = rows((["Eva", "Maria", "Sol", "in", "Bonn"], ["B-PER", "I-PER", "I-PER", "O", "B-LOC"]))
    assert tags_of(prepared(table, f"task.scheme={scheme}")) == wanted


def test_entities_cover_the_tokens_that_they_touch():
    """Of two that overlap, the first and longest stays; a space alone is nothing."""
    odd = pl.DataFrame({"text": ["Anna Berg 在北京"], "entities": ['[[11, 13, "地"], [0, 4, "人"], [0, 9, "人"], [4, 5, "地"]]']})
    made = prepared(pl.concat([odd, SPELLED]))
    assert made.schema.targets["y0"].labels == ["人", "地"]
    assert tags_of(made) == [1, 2, 0, 3, 4]


def test_parts_of_speech_are_no_spans():
    made = prepared(KINDS)
    assert made.task.config.scheme == "none" and made.head.size == 2 and made.metric == "accuracy"
    assert sorted(set(tags_of(made))) == [0, 1]


def test_rows_that_cannot_be_are_named():
    with pytest.raises(UserError, match=r"row 1 has 2 tokens in 'tokens' and 1 tags in 'tags'"):
        prepared(rows((["a", "b"], ["O"])))
    with pytest.raises(UserError, match=r"row 1 has a text, not a list of tokens"):
        prepared(pl.DataFrame({"text": ["a b"] * 9, "tags": ['["O", "B-X"]'] * 9}))
    with pytest.raises(UserError, match=r"row 2 has an entity up to 9 in 'entities', and its 'text' ends at 3"):
        prepared(pl.DataFrame({"text": ["abc"] * 9, "entities": ['[[0, 1, "x"]]', '[[0, 9, "x"]]', *['[[0, 1, "x"]]'] * 7]}))
    with pytest.raises(UserError, match=r"marks nothing in all"):
        prepared(pl.DataFrame({"tokens": ['["a"]'] * 9, "tags": ['["O"]'] * 9}))
    with pytest.raises(UserError, match=r"no column of tags in 'tokens', 'x'.*--target"):
        prepared(pl.DataFrame({"tokens": ["a"], "x": ["b"]}))


def test_what_is_repaired_and_left_out_is_said():
    with recorded() as lines:
        made = prepared(rows(([], []), (["a", "b"], ["O", "I-PER"]), (["c"], ["I-LOC"])))
    said = [text for _, text in lines]
    assert any("read as a beginning in 2 rows (the first: row 2)" in text for text in said)
    assert any("1 rows have no tokens or no tags and are left out (the first: row 1)" in text for text in said)
    assert tags_of(made) == [0, 3] and tags_of(made, 1) == [1]


def test_overlapping_entities_are_told():
    odd = pl.DataFrame({"text": ["Anna"] * 2, "entities": ['[[0, 2, "人"], [2, 4, "地"]]', '[[0, 4, "人"], [2, 4, "地"]]']})
    with recorded() as lines:
        prepared(pl.concat([odd, SPELLED]))
    (told,) = [text for kind, text in lines if kind == "warn" and "overlap" in text]
    assert "overlap in 1 rows (the first: row 2)" in told


# ---------------------------------------------------------------- how it is judged


def test_counts_are_seqevals():
    """As seqeval 1.2.2 counts them (mode="strict", scheme=IOB2)."""
    made = prepared(rows((["x"] * 3, ["O"] * 3)))
    task, names = made.task, ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    truth = ["B-PER I-PER O B-LOC", "B-PER B-PER I-PER", "B-LOC I-LOC B-LOC", "B-LOC"]
    said = ["B-PER I-PER O B-PER", "B-PER O O", "O O O", "B-LOC"]
    offsets = torch.tensor([0, 4, 7, 10, 11])
    y, v = (Ragged(torch.tensor([names.index(tag) for row in each for tag in row.split()]), offsets) for each in (truth, said))
    found = task.measure({"tags": v}, {"y0": y}, made.schema, task.metrics(made.schema))
    # there: PER 3, LOC 4; said: PER 3, LOC 1; right: PER 2, LOC 1
    wanted = {"f1": 6 / 11, "precision": 3 / 4, "recall": 3 / 7, "accuracy": 5 / 11, "f1_PER": 2 / 3, "f1_LOC": 2 / 5}
    assert found.metrics == pytest.approx(wanted)
    assert found.details["by_class"]["LOC"] == pytest.approx({"precision": 1.0, "recall": 0.25, "f1": 0.4, "support": 4})
    drawn = task.resample({"tags": v}, {"y0": y}, made.schema, ["f1"], np.array([[1, 0], [1, 0], [1, 0], [1, 3]]))
    assert drawn["f1"] == pytest.approx([6 / 11, 1.0])


def test_a_label_that_training_never_had_is_missed(run):
    table = pl.DataFrame({"tokens": ['["Anna", "Berg", "x"]', '["Bonn"]'], "tags": ['["B-PER", "I-PER", "B-ORG"]', '["B-ORG"]']})
    with recorded() as lines:
        found = luban.evaluate(run, table)
    assert any("2 of the spans have a label that training never had" in text for _, text in lines)
    assert found.details["spans_of_unknown_labels"] == 2 and found.metrics["recall"] <= 1 / 3


def test_it_is_learned_and_memory_stands_beside(run):
    assert run.metrics["f1"] > 0.9
    report = json.loads((run.path / "report.json").read_text())
    assert set(report["baselines"]) == {"memory"}


@pytest.mark.parametrize("model", ["lstm", "gru", "rnn", "transformer"])
def test_networks_learn_it(model, tmp_path):
    wanted = {"train.epochs": 30, "train.lr": 0.01, "train.batch_size": 8}
    assert luban.train(GIVEN, task="tag", model=model, baselines=[], out=tmp_path / "run", set=wanted).metrics["f1"] > 0.8


def test_each_token_by_itself(tmp_path):
    run = luban.train(GIVEN, task="tag", model="crf", baselines=[], out=tmp_path / "run", set={"task.crf": False})
    assert run.metrics["f1"] > 0.9 and run.load().model.steps is None


# ---------------------------------------------------------------- what it answers


def test_entities_in_the_users_words(run):
    bundle = run.load()
    given = bundle.predict([{"tokens": ["Anna", "Berg", "lives", "in", "New", "York"]}, {"tokens": []}])
    assert all(0.3 < sure <= 1 for sure in given["confidence"].drop_nulls()) and given["confidence"].null_count() == 1
    assert given.drop("confidence").to_dicts() == [
        {"sentence": "Anna Berg lives in New York", "start": 0, "end": 2, "label": "PER", "text": "Anna Berg"},
        {"sentence": "Anna Berg lives in New York", "start": 4, "end": 6, "label": "LOC", "text": "New York"},
        {"sentence": "", "start": None, "end": None, "label": None, "text": None},
    ]
    (spelled,) = bundle.answer(ask={"text": "Anna  Berg lives in  Bonn"})["prediction"].to_list()
    assert [(each["start"], each["end"], each["text"]) for each in spelled] == [(0, 10, "Anna  Berg"), (21, 25, "Bonn")]


def test_empty_and_odd_questions(run):
    bundle = run.load()
    answers = bundle.answer([{"tokens": ""}, {"tokens": "[]"}, {"tokens": "Bonn"}])
    assert [len(each) for each in answers["prediction"].to_list()][:2] == [0, 0] and answers.height == 3
    with pytest.raises(UserError, match=r"lists of tokens, but row 2 has"):
        bundle.predict([{"tokens": "a"}, {"tokens": "[1]"}])


def test_a_row_that_cannot_be_read_is_passed_over(run):
    (answers,) = run.load().predict_chunks([pl.DataFrame({"tokens": ["[1]", '["Anna", "lives"]']})], skip_bad=True)
    assert answers.select("sentence", "start", "label").rows() == [("[1]", None, None), ("Anna lives", 0, "PER")]


def test_a_long_row_is_tagged_to_its_end(tmp_path):
    run = luban.train(GIVEN, task="tag", model="transformer", baselines=[], out=tmp_path / "run", set={"train.steps": 2})
    bundle = run.load()
    encoded = bundle.schema.encode(pl.DataFrame({"tokens": [json.dumps(["Bonn"] * 300)]}), with_target=False)
    predicted = bundle.task.predict(bundle.model, bundle.task.pose(encoded, {}), bundle.head, None)
    assert len(predicted["tags"].values) == 300


def test_a_file_of_conll_from_the_command_line(luban_in, tmp_path):
    lines = []
    for tokens, tags in GIVEN.iter_rows():
        lines += [f"{token}\t{tag}" for token, tag in zip(json.loads(tokens), json.loads(tags), strict=True)] + [""]
    (tmp_path / "names.train.txt").write_text("\n".join(lines))
    luban_in(tmp_path, "train", "names.train.txt", "--task", "tag", "--model", "memory", "--baselines", "none", "--out", "run")
    (tmp_path / "new.txt").write_text("Anna\nBerg\n")
    luban_in(tmp_path, "predict", "run", "new.txt", "-o", "out.csv")
    assert pl.read_csv(tmp_path / "out.csv").select("start", "end", "label", "text").rows() == [(0, 2, "PER", "Anna Berg")]
    luban_in(tmp_path, "predict", "run", "--text", "Bonn", "-o", "one.csv")
    assert pl.read_csv(tmp_path / "one.csv")["label"].to_list() == ["LOC"]


# ---------------------------------------------------------------- what the report shows


def test_the_report_of_wrong_rows(tmp_path, monkeypatch):
    """Trained on few rows, judged on many of which some cannot be known."""
    odd = pl.DataFrame({"tokens": [json.dumps(["Zed", "<b>", "Bonn"])] * 30, "tags": ['["B-PER", "I-PER", "O"]'] * 30})
    run = luban.train(GIVEN, task="tag", model="crf", baselines=[], out=tmp_path / "run")
    judged = pl.concat([odd, GIVEN.select("tokens", "tags")])
    luban.evaluate(run, judged, report=tmp_path / "eval.html")
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    luban.evaluate(run, judged, report=tmp_path / "zh.html")
    assert all(
        word in (tmp_path / "zh.html").read_text() for word in ("<th>真值</th><th>答案</th><th>最没把握的标签</th>", "实体数", "标错的比例")
    )
    page = (tmp_path / "eval.html").read_text()
    assert (
        "<td>[Zed &lt;b&gt;]PER Bonn</td>" in page
        and "[Zed]PER [&lt;b&gt; Bonn]LOC</td>" in page
        and "Most wrong" in page
        and "Confusion" in page
    )
    assert "entities" in page and "(length)" in page and 'style="--c:#228833">f1' in page


def test_what_is_ranked_counted_and_drawn():
    made = prepared(rows((["x"] * 3, ["O"] * 3)))
    task, names, offsets = made.task, ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"], torch.tensor([0, 3, 5, 5])
    y, v = (Ragged(torch.tensor([names.index(tag) for tag in each.split()]), offsets)
            for each in ("B-PER I-PER O B-LOC B-LOC", "B-PER O O B-LOC B-LOC"))  # fmt: skip
    judged, truth = {"tags": v, "p": Ragged(torch.tensor([0.9, 0.6, 0.8, 0.3, 0.5]), offsets)}, {"y0": y}
    order = task.ranked(judged, truth)
    assert order["Most wrong"].tolist() == pytest.approx([0.6, -np.inf, -np.inf])
    assert order["Most doubtful"].tolist() == pytest.approx([0.4, 0.7, -np.inf])
    assert task.losses(judged, truth, made.schema, "f1")[1] == pytest.approx([1 / 3, 0, np.nan], nan_ok=True)
    assert task.counted(truth, made.schema)["entities"].tolist() == [1, 2, 0]
    groups = task.charts(judged, truth, None, made.schema)["Precision and recall"]
    assert groups["names"] == ["LOC", "PER"] and groups["groups"]["recall"].tolist() == [1, 0]
    confusion = task.measure(judged, truth, made.schema, task.metrics(made.schema)).details
    assert confusion["classes"] == ["O", "LOC", "PER"] and confusion["confusion"] == [[1, 0, 0], [0, 2, 0], [1, 0, 1]]


def test_tags_and_entities_are_known_without_a_word(tmp_path, luban_in):
    tokens, marks = json.dumps(["Anna", "sees", "Bonn"]), json.dumps(["B-PER", "O", "B-LOC"])
    spans = json.dumps([{"start": 0, "end": 4, "label": "PER"}])
    pl.DataFrame({"tokens": [tokens] * 40, "tags": [marks] * 40}).write_csv(tmp_path / "lists.csv")
    pl.DataFrame({"text": ["Anna sees Bonn"] * 40, "spans": [spans] * 40}).write_csv(tmp_path / "spans.csv")
    for words in (["lists.csv"], ["spans.csv"], ["spans.csv", "--target", "spans"]):
        told = luban_in(tmp_path, "train", *words, "--model", "memory", "--baselines", "none").stderr
        assert "task: tag" in told
    assert FIELDS["tags"].sniff(pl.Series([json.dumps(["red", "green"])])) == FIELDS["tags"].sniff(pl.Series(["[1, 2]", "[x"])) == 0


def test_a_single_column_is_read_whatever_it_is_called(run):
    made = run.load().predict({"sentence": [json.dumps(["Anna", "Berg", "sees", "Bonn"])]})
    assert made["text"].to_list()[:1] == ["Anna Berg"]
