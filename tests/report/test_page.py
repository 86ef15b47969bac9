"""The page and its numbers: whole runs on real and odd data, read back as a person would and as a program would."""

import ast
import html.parser
import json
import re
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import yaml

import luban
from luban import metrics, reading
from luban.core.errors import UserError
from luban.core.registry import TASKS
from luban.report import threshold
from luban.report.curves import charts
from luban.report.page import heat, page
from luban.report.words import CHINESE, of_metric, speaker

QUICK = {"model": "linear", "baselines": ["constant"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Breast cancer, with a network, so that there is a learning curve."""
    words = {"model": "mlp", "baselines": ["constant", "linear"], "set": {"train.epochs": 8, "report.costs": [1, 5]}}
    return luban.train("breast-cancer", target="diagnosis", out=tmp_path_factory.mktemp("page") / "run", **words)


def text_of(run):
    return (run.path / "report.html").read_text(encoding="utf-8")


class Reader(html.parser.HTMLParser):
    """Collects tags with their attributes, and what stands between <script> tags; complains of what is closed but was not open."""

    def __init__(self):
        super().__init__()
        self.tags, self.scripts, self.open = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "br", "img", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open[-3:], self.getpos())
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


def read(written):
    reader = Reader()
    reader.feed(written)
    assert reader.open == []
    return reader


# ---------------------------------------------------------------- what stands there


def test_the_page_stands_alone_and_is_well_formed(run):
    reader = read(text_of(run))
    for tag, attributes in reader.tags:
        assert tag not in ("link", "iframe", "object", "base")
        for key in ("src", "href", "xlink:href", "action"):
            assert attributes.get(key, "#").startswith(("#", "data:image/png;base64,")), (tag, attributes)
    assert "url(" not in text_of(run).replace("url(#", "") and "@import" not in text_of(run)
    assert len(text_of(run)) < 1_000_000


def test_every_part_of_a_run_is_there(run):
    written = text_of(run)
    for title in ("What was asked", "How good it is", "Curves", "Threshold and costs", "Where it fails", "Examples", "Learning curves",
                  "Doubts about the data", "Columns", "Why so", "How to repeat it", "Machine"):  # fmt: skip
        assert f"<h2>{title}</h2>" in written, title
    for drawing in ("ROC curve", "Precision and recall", "Calibration", "mlp: training loss"):
        assert f"<figcaption>{drawing}</figcaption>" in written
    assert "constant" in written and "Most doubtful" in written and "luban train --config config.yaml" in written
    assert run.report["verdict"] in written.replace("&#x27;", "'")


def test_the_same_is_in_the_json(run):
    for path in (run.path / "report.json", run.path / "model" / "report.json"):
        report = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda word: pytest.fail(word))
        assert {"accuracy", "log_loss"} < report["intervals"].keys() <= report["metrics"].keys()
        assert "recall" not in report["intervals"] and report["metrics"]["recall"] == 1  # without an error there is none
        for name, (low, high) in report["intervals"].items():
            assert low <= high and (name == "ece" or low <= report["metrics"][name] <= high), name
        for chart in report["curves"].values():
            assert all(len(x) == len(y) <= 200 for x, y in chart.get("lines", {}).values())
        assert report["learning"]["mlp"]["step"] == sorted(report["learning"]["mlp"]["step"])
        assert {"metric", "judged_by", "tested", "columns"} <= report["slices"].keys()
        assert report["judgement"]["outcome"] in ("level", "better", "worse")
        assert ("config" in report) == ("path" in report) == (path.parent == run.path)  # where the data lie does not travel


def test_a_run_is_repeated_by_its_configuration(run, luban_in, tmp_path):
    luban_in(tmp_path, "train", "--config", run.path / "config.yaml", "--out", "again")
    again = json.loads((tmp_path / "again" / "report.json").read_text())
    assert again["metrics"] == run.metrics and again["intervals"] == {key: list(each) for key, each in run.report["intervals"].items()}
    assert (tmp_path / "again" / "config.yaml").read_text() == (run.path / "config.yaml").read_text()
    first, second = (re.sub(r"[\d.]+ seconds", "", each) for each in (text_of(run), (tmp_path / "again" / "report.html").read_text()))
    # the drawings too: no date, no random ids; what was a rule is a setting now, so that its reason has gone
    assert first.split("<h2>Why so")[0] == second.split("<h2>Why so")[0]


def test_folds_are_shown(run):
    folds = {"k": 3, "model": "mlp", "done": [1, 2, 3], "metrics": {"accuracy": [0.9, 0.95, 1.0], "roc_auc": [0.5, None, 0.7]}}
    written = page({**run.report, "folds": folds}, {}, "en")
    assert "<td>accuracy</td><td>0.9500</td><td>0.0500</td><td>0.9000</td><td>0.9500</td><td>1.0000</td>" in written
    assert "<td>roc_auc</td><td>0.6000</td><td>0.1414</td><td>0.5000</td><td></td><td>0.7000</td>" in written


# ---------------------------------------------------------------- thresholds


def test_the_cheapest_threshold_is_the_cheapest(run):
    of = run.report["curves"]["Threshold"]
    for costs in ((1, 1), (1, 5), (20, 1), (0, 1)):
        total = [costs[0] * fp + costs[1] * (of["positives"] - tp) for tp, fp in zip(of["tp"], of["fp"], strict=True)]
        assert total[threshold.best(of, costs)] == min(total)
    assert of["tp"][0] == of["positives"] and of["fp"][0] == of["negatives"]  # from 0 on, all are called positive
    bundle, table = run.load(), reading.read("breast-cancer")
    p = bundle.predict(table)[f"p_{of['positive']}"].to_numpy()
    at = of["threshold"].index(0.5)
    confusion = run.report["details"]["confusion"]
    assert of["tp"][at] == confusion[1][1] and of["fp"][at] == confusion[0][1] and len(p) > 0


def test_of_equal_thresholds_the_usual_one_is_kept():
    of = {"threshold": [0.0, 0.3, 0.5, 0.7], "tp": [5, 5, 5, 4], "fp": [9, 1, 1, 1], "positives": 5, "negatives": 9}
    assert threshold.best(of, (1, 1)) == 2 and threshold.best({**of, "fp": [9, 0, 1, 1]}, (1, 1)) == 1


def test_figures_say_of_which_class_they_are(run):
    assert run.report["called"]["precision"] == "precision of 'malignant'" and "accuracy" not in run.report["called"]
    assert "<td>f1 of &#x27;malignant&#x27; <small>" in text_of(run)
    assert "| recall of 'malignant' |" in (run.path / "model/README.md").read_text(encoding="utf-8")


def test_a_class_without_a_row_stands_last(run):
    of = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    by_class = {"none": of, "some": {**of, "f1": 0.5, "support": 9}}
    written = page({**run.report, "details": {"by_class": by_class}}, {}, "en")
    assert written.index("<td>some</td>") < written.index("<td>none</td>")


def test_the_costs_of_the_configuration_are_shown(run):
    written = text_of(run)
    assert "Here a false malignant costs 1, a missed one 5; where they cost something else, train with --set report.costs=[1,5]" in written
    assert ">threshold</text>" in written and ">cost</text>" in written  # the axes of what can be moved, too


@pytest.mark.parametrize("costs", ["[1]", "[1,-2]", "[1,2,3]", "cheap", "[.nan,1]"])
def test_costs_that_are_none(costs, luban_in, tmp_path):
    done = luban_in(tmp_path, "train", "iris", "-t", "species", "--set", f"report.costs={costs}", "--out", "run", code=2)
    assert "costs" in done.stderr and not (tmp_path / "run").exists()


# ---------------------------------------------------------------- two languages


def test_a_chinese_page(tmp_path, luban_in, monkeypatch):
    table = reading.read("iris")
    table = table.rename(dict(zip(table.columns, ["花萼长", "花萼宽", "花瓣长", "花瓣宽", "品种"], strict=True)))
    table.write_csv(tmp_path / "鸢尾花.csv")
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    luban_in(tmp_path, "train", "鸢尾花.csv", "-t", "品种", "-m", "linear", "--baselines", "constant", "--out", "运行")
    written = (tmp_path / "运行" / "report.html").read_text(encoding="utf-8")
    read(written)
    for word in ('lang="zh"', "<h2>效果</h2>", "校准", "混淆矩阵", "物有所值", "花瓣长", "训练集", "如何重现", "平衡准确率", "3 个取值"):
        assert word in written, word
    assert "<h2>How good" not in written and "was worth it" not in written
    luban_in(
        tmp_path, "train", "鸢尾花.csv", "-t", "品种", "-m", "linear", "--baselines", "none", "--set", "report.language=en", "--out", "e"
    )
    assert "<h2>How good it is</h2>" in (tmp_path / "e" / "report.html").read_text(encoding="utf-8")


def test_a_chinese_sentence_has_the_places_of_the_english_one():
    for english, chinese in CHINESE.items():
        assert set(re.findall(r"{\w+}", english)) >= set(re.findall(r"{\w+}", chinese)), english
        assert english.count("{}") == chinese.count("{}"), english
    t = speaker("zh")
    assert t("no such word") == "no such word" and t("10,000 bpe tokens") == "10,000 个 bpe 词元" and t("by size base") == "按规模 base"
    assert t("about 32 steps an epoch or more, from 6,213 rows") == "32 步左右或更多为一轮，训练数据有 6,213 行"


def test_metrics_are_named_in_the_language_of_the_page():
    called = ["accuracy", "precision of 'a.b of'", "价.rmse", "v.x.mse (z-scored)", "ndcg@10", "f1_cat", "f1_a cat"]
    chinese = ["准确率", "精确率（'a.b of'）", "价.均方根误差", "v.x.均方误差（标准化后）", "nDCG@10", "f1_cat", "f1_a cat"]
    assert [of_metric(name, speaker("zh")) for name in called] == chinese
    assert [of_metric(name, speaker("en")) for name in called] == called


def said_in_code():
    """(all strings of the code that speaks of a run; those that are translated: the first of a call of t or say, the axes, titles and
    notes of charts)."""
    root, every, worded = Path(luban.__file__).parent, set(), set()
    rooms = ("report", "tasks", "models", "stages", "checks", "fields", "layers")
    files = [
        *(file for room in rooms for file in root.glob(f"{room}/*.py")),
        *(root / f"{name}.py" for name in ("data", "columns", "planning")),
    ]
    for file in files:
        if file.name != "words.py":
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                text = isinstance(node, ast.Constant) and isinstance(node.value, str)
                every |= {node.value} if text else set()
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Name)
                    and node.func.id in ("t", "say")
                    and "report" in file.parts
                ):
                    worded |= {node.args[0].value} if isinstance(node.args[0], ast.Constant) else set()
                if isinstance(node, ast.List) and len(node.elts) == 2 and isinstance(node.elts[1], ast.Dict):  # a chart's note
                    worded |= {node.elts[0].value}
                if isinstance(node, ast.Dict):
                    pairs = {key.value: value for key, value in zip(node.keys, node.values, strict=True) if isinstance(key, ast.Constant)}
                    if {"x", "y"} <= pairs.keys():
                        worded |= {each.value for each in (pairs["x"], pairs["y"]) if isinstance(each, ast.Constant)}
    return every, worded


def test_every_fixed_word_has_a_translation_and_every_translation_a_use():
    every, worded = said_in_code()
    worded |= {name.partition("@")[0] for name in metrics.names()}
    assert len(worded) > 80 and worded <= CHINESE.keys(), worded - CHINESE.keys()
    every |= worded
    loose = "\n".join(each.replace("_", " ") for each in every)  # the keys of details, and what stands inside of a sentence
    assert [word for word in CHINESE if word not in every and not all(part.strip(" %") in loose for part in word.split("{}"))] == []


# ---------------------------------------------------------------- words of the user's


def test_what_a_user_names_by_one_of_our_words_is_not_translated(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=600)
    table = {
        "x": x,
        "train": rng.choice(["(missing)", "true", "rows"], 600),
        "by": np.where(x > 0.5, "value", np.where(x > -0.5, "test", "true")),
    }
    table["by"][:300] = "step"
    run = luban.train(table, target="by", out=tmp_path / "run", set={"report.language": "zh", "data.shares": [0.4, 0.1, 0.5]}, **QUICK)
    written = text_of(run)
    for word in ("value", "test", "true", "step"):
        assert re.search(rf"<span class=key[^>]*>{word}</span>", written) and f"<td>{word}</td>" in written, word
    for word in ("取值", "测试集", "真值", "步"):
        assert not re.search(rf"<span class=key[^>]*>{word}</span>", written), word
    table["by"] = x  # a series by the name of a chart, a group by the name of a part
    run = luban.train(
        {**table, "test": np.arange(600) // 4}, target="by", group="test", out=tmp_path / "b", set={"report.language": "zh"}, **QUICK
    )
    assert "<td>按 test，同一值的行在一起</td>" in text_of(run)
    hours = {"Residuals": np.sin(np.arange(600))}
    run = luban.train(hours, task="forecast", model="naive", out=tmp_path / "c", set={"report.language": "zh", "task.horizon": 8})
    assert "<figcaption>Residuals: 一个典型的预测</figcaption>" in text_of(run) and ">预测</span>" in text_of(run)
    run = luban.train({"wanted": x, "mean": x}, task="forecast", model="naive", out=tmp_path / "d",
                      set={"report.language": "zh", "task.horizon": 8})  # fmt: skip
    assert "<td>wanted</td>" in text_of(run) and "<td>应有</td>" in text_of(run)


def test_whatever_a_user_names_is_escaped(tmp_path):
    """In a column, a label, a cell and a series; also inside of JSON, and where matplotlib would take $ for mathematics."""
    evil = "</script><script>alert(1)</script>"
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    table = {
        evil: x,
        "<b>$x_1$": rng.choice(["<i>a</i>", "b'\"&", "$\\frac{"], 400),
        "<img src=x onerror=alert(2)>": np.where(x > 0, evil, "{no}"),
    }
    table["long"] = [f"<u>text {i} of some words</u> that no field can give back" for i in range(400)]
    run = luban.train(table, target="<img src=x onerror=alert(2)>", out=tmp_path / "run", set={"fields.long": "text"}, **QUICK)
    reader = read(text_of(run))
    assert not {"i", "u", "img"} & {tag for tag, _ in reader.tags}
    assert [tag for tag, _ in reader.tags].count("script") == 2 and not any("alert" in each for each in reader.scripts)
    assert "onerror" not in {key for _, attributes in reader.tags for key in attributes}
    data = next(each for each in reader.scripts if each.startswith("{"))
    assert len(json.loads(data)["threshold"]) == len(run.report["curves"]["Threshold"]["threshold"])
    front = yaml.safe_load((run.path / "model" / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert front["library_name"] == "luban"


def test_the_card_has_the_hubs_front_matter(run):
    text = (run.path / "model" / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    (index,) = front["model-index"]
    (result,) = index["results"]
    assert index["name"] == "breast-cancer-mlp" and front["language"] == ["en"] and "license" not in front
    assert result["task"]["type"] == front["pipeline_tag"] == "tabular-classification" and result["dataset"]["name"] == "breast-cancer"
    assert {each["type"]: each["value"] for each in result["metrics"]}["accuracy"] == run.metrics["accuracy"]
    low, high = run.report["intervals"]["accuracy"]
    assert f"| accuracy | {run.metrics['accuracy']:.4f} [{low:.4f}, {high:.4f}] |" in text


# ---------------------------------------------------------------- other questions


@pytest.mark.parametrize(("data", "words", "charts"), [
    ("diabetes", {"target": "progression"}, {"Predicted and true", "Residuals", "How residuals are spread"}),
    ("iris", {"target": "species"}, {"ROC curve", "Precision and recall", "Calibration"}),
    ("iris", {"target": ["species", "petal width (cm)"]}, {"species: ROC curve", "petal width (cm): Residuals"}),
])  # fmt: skip
def test_each_question_gets_its_drawings(data, words, charts, tmp_path):
    table = reading.read(data)
    words["target"] = [each if each in table.columns else table.columns[3] for each in np.atleast_1d(words["target"])]
    run = luban.train(table, out=tmp_path / "run", **words, **QUICK)
    known = {title.replace(table.columns[3], "petal width (cm)") for title in run.report["curves"]}
    assert charts <= known
    assert run.report["intervals"][run.report["metric"]][0] < run.report["intervals"][run.report["metric"]][1]
    read(text_of(run))


@pytest.mark.parametrize(("task", "model", "chart"), [
    ("forecast", "nlinear", "Error by step"),
    ("recommend", "ease", "Hit rate by the length of the list"),
    ("generate", "ngram", "Loss by what was seen"),
])  # fmt: skip
def test_questions_without_a_target_column(task, model, chart, tmp_path):
    short = {"task.horizon": 5} if task == "forecast" else {}
    run = luban.train(TASKS[task].samples()[0], task=task, model=model, set=short, out=tmp_path / "run")
    assert chart in run.report["curves"] and run.report["slices"] is None
    assert all(low <= run.metrics[name] <= high for name, (low, high) in run.report["intervals"].items())
    enough = run.report["judgement"]["examples"] >= 10
    assert run.report["intervals"].keys() == (run.metrics.keys() if enough else set()) and enough == (task == "forecast")
    assert ("mse (z-scored)" in text_of(run)) == (task == "forecast")
    read(text_of(run))


def test_recommendations_in_chinese(tmp_path):
    words = {"report.language": "zh", "task.protocol": "random"}
    text = text_of(luban.train(TASKS["recommend"].samples()[0], task="recommend", model="ease", set=words, out=tmp_path / "run"))
    for word in (">训练中的行为</span>", ">推荐的物品</span>", "<td>1 至 4</td>", "逐个随机", "只用于排列先后"):
        assert word in text, word


def test_a_forecast_of_items_in_chinese(tmp_path):
    words = {"task.horizon": 5, "report.language": "zh"}
    run = luban.train(TASKS["forecast"].samples()[2], task="forecast", model="nlinear", set=words, out=tmp_path / "run")
    text = text_of(run)
    read(text)
    assert "wanted" not in text and "exact solution" not in text
    for word in (
        "按时间，每个序列最早的用于训练",
        "3 个序列",
        "区间覆盖率",
        "p10 至 p90",
        "应有",
        "平方误差有精确解",
        "误差最大的序列",
        "均方误差（按窗口标准化）",
        "平均绝对缩放误差",
    ):
        assert word in text, word


def test_labels_have_curves_and_slices(tmp_path):
    rng = np.random.default_rng(0)
    x, group = rng.normal(size=800), rng.choice(["甲", "乙"], 800)
    table = {"x": x, "组": group, "热": (x > 0).astype(int), "冷": (x + rng.normal(size=800) < 0).astype(int)}
    run = luban.train(table, target=["热", "冷"], out=tmp_path / "run", **QUICK)
    assert run.report["task"] == "multilabel" and set(run.report["curves"]["ROC curve"]["lines"]) == {"热", "冷"}
    assert "f1_冷" in run.report["intervals"] and {each["column"] for each in run.report["slices"]["columns"]} == {"x", "组"}


def test_a_chart_says_what_it_leaves_out():
    rng = np.random.default_rng(0)
    y = rng.normal(size=1000)
    residuals = charts({"": {"amounts": True, "truth": y, "said": y + np.where(np.arange(1000), rng.normal(size=1000), 1e6)}})
    x, heights = residuals["How residuals are spread"]["bars"]
    assert min(x) > -4 and max(x) < 4 and sum(heights) == 980
    assert residuals["How residuals are spread"]["notes"][0][1] == {"n": "20"}
    p = np.append(rng.random(300) * 0.3, 0.95)  # a single row in the last tenth
    made = charts({"": {"classes": ["a", "b"], "truth": (rng.random(301) < p).astype(int), "said": np.stack([1 - p, p], 1)}})["Calibration"]
    assert max(made["dots"]["b"][0]) < 0.4 and made["notes"][0][1] == {"n": 1, "of": 10, "few": 10}
    p = rng.dirichlet(np.ones(12), 500)
    made = charts({"": {"classes": [f"c{i}" for i in range(12)], "truth": rng.integers(0, 12, 500), "said": p}})
    assert made["ROC curve"]["notes"] == [["Drawn are the {n} most frequent of {of}.", {"n": 8, "of": "12"}]]


def test_of_many_series_the_page_says_which_are_drawn(tmp_path):
    hours = {f"s{i}": np.sin(np.arange(300) / (i + 1)) for i in range(9)}
    run = luban.train(hours, task="forecast", model="naive", baselines=[], out=tmp_path / "run", set={"task.horizon": 8})
    assert "Drawn are the first 8 of 9 series." in text_of(run)


def test_dark_cells_have_light_letters():
    assert heat(["a", "b"], [[98, 2], [40, 60]]).count("class=dark") == 1


def test_serious_findings_stand_beside_the_verdict(tmp_path):
    table = reading.read("breast-cancer")
    leak = pl.Series("paid", np.where(table["diagnosis"] == "benign", 1.0, 2.0))
    run = luban.train(table.with_columns(leak), target="diagnosis", out=tmp_path / "run", **QUICK)
    top, _, _ = text_of(run).partition("<h2>")
    assert "serious: the column &#x27;paid&#x27; alone gives &#x27;diagnosis&#x27; away" in top and "--drop &#x27;paid&#x27;" in top
    assert "time of the whole run" in text_of(run) and "<td>parameters</td>" not in text_of(run)  # linear has none that steps would move


# ---------------------------------------------------------------- odd rows


def odd(rows, out, test, **more):
    """A run whose test rows are `test`, the last of the table."""
    table = pl.concat([rows, test], how="vertical_relaxed")
    return luban.train(table, target="y", out=out, set={"data.test_rows": [rows.height, table.height]}, **{**QUICK, **more})


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    return pl.DataFrame({"x": x, "y": np.where(x + rng.normal(size=300) / 2 > 0, "yes", "no")})


def test_one_row_to_test(rows, tmp_path):
    run = odd(rows, tmp_path / "run", rows[:1])
    assert run.report["intervals"] == {} and run.report["slices"] is None and run.report["resampling"] is None
    assert "too few independent examples" in text_of(run)
    read(text_of(run))


def test_one_class_to_test(rows, tmp_path):
    run = odd(rows, tmp_path / "run", rows.filter(pl.col("y") == "yes")[:60])
    assert "roc_auc" not in run.metrics and "roc_auc" not in run.report["intervals"] and "accuracy" in run.report["intervals"]
    assert set(run.report["curves"]) == {"Calibration"}
    read(text_of(run))


def test_a_network_that_answers_nan(rows, tmp_path):
    class Brittle(torch.nn.Module):
        """Breaks beyond what training showed it."""

        def __init__(self, inputs, outputs):
            super().__init__()
            self.linear = torch.nn.Linear(inputs, outputs)

        def forward(self, x):
            return self.linear(x) + torch.where(x[:, :1].abs() > 50, torch.nan, 0.0)

    far = pl.DataFrame({"x": [1e6, *np.linspace(-1, 1, 39)], "y": ["yes", "no"] * 20})
    run = odd(rows, tmp_path / "run", far, model=Brittle)
    assert run.metrics == {} and "has no value" in run.report["verdict"] and run.report["curves"] == {}
    read(text_of(run))
    with pytest.raises(UserError, match="not finite"):
        luban.evaluate(run.path, far, model=Brittle)


def test_a_column_with_a_value_a_row_has_no_slices(rows, tmp_path):
    table = rows.with_columns(code=pl.Series([f"k{i:x}!" for i in range(300)]), amount=pl.Series(np.random.default_rng(1).normal(size=300)))
    run = luban.train(table, target="y", out=tmp_path / "run", set={"fields.code": "category", "data.shares": [0.4, 0.1, 0.5]}, **QUICK)
    sliced = {each["column"]: each["levels"] for each in run.report["slices"]["columns"]}
    assert all(level["value"] == "(new)" for level in sliced.get("code", [])) and len(sliced["amount"]) == 5


def test_many_columns_and_classes_stay_readable(tmp_path):
    rng = np.random.default_rng(0)
    table = {f"列{i}": rng.normal(size=4000) if i % 2 else rng.choice(["a", "b", "c"], 4000) for i in range(200)}
    table["y"] = [f"类别{i % 1000}" for i in range(4000)]
    run = luban.train(table, target="y", model="constant", baselines=[], out=tmp_path / "run")
    written = text_of(run)
    read(written)
    assert len(written) < 1_000_000 and len((run.path / "report.json").read_text(encoding="utf-8")) < 1_000_000
    assert len(run.report["slices"]["columns"]) == 20 and run.report["slices"]["of"] == 200
    assert written.count("<tr") < 2000 and len(run.report["curves"]["ROC curve"]["lines"]) == 8


# ---------------------------------------------------------------- evaluate


def test_evaluate_prints_intervals_and_writes_the_page(run, luban_in, tmp_path):
    done = luban_in(tmp_path, "evaluate", run.path, "breast-cancer", "--report", "p.html")
    name, value, low, high = done.stdout.splitlines()[0].split()
    assert name == "accuracy" and float(low.strip("[,")) <= float(value) <= float(high.strip("]"))
    written = (tmp_path / "p.html").read_text(encoding="utf-8")
    read(written)
    assert "<h2>Where it fails</h2>" in written and "breast-cancer" in written and "class=verdict" not in written
    answer = json.loads(luban_in(tmp_path, "evaluate", run.path, "breast-cancer", "--json").stdout)
    assert answer["intervals"] == run.report["intervals"]


def test_rows_without_answers_cannot_be_evaluated(run, luban_in, tmp_path):
    table = reading.read("breast-cancer")
    table.drop("diagnosis").write_csv(tmp_path / "none.csv")
    table.with_columns(diagnosis=pl.lit("")).write_csv(tmp_path / "empty.csv")
    for name, words in (("none.csv", "the target"), ("empty.csv", "the target is empty in all of them")):
        done = luban_in(tmp_path, "evaluate", run.path, name, "--report", "p.html", code=2)
        assert words in done.stderr and done.stderr.count("\n") <= 4 and done.stdout == ""
    done = luban_in(tmp_path, "evaluate", run.path, "breast-cancer", "--report", "p.pdf", code=2)
    assert "name an .html file, not 'p.pdf'" in done.stderr
    assert not list(tmp_path.glob("p.*"))


def test_a_loaded_bundle_writes_a_page_too(run, tmp_path):
    found = luban.evaluate(run.load(), "breast-cancer", report=tmp_path / "p.html")
    assert found.intervals["accuracy"][0] <= found.metrics["accuracy"]
    read((tmp_path / "p.html").read_text(encoding="utf-8"))


def test_the_library_that_draws_is_loaded_by_the_page_alone():
    assert "matplotlib.pyplot" not in sys.modules
