"""What is told to others is read back by their own readers: TensorBoard's event files, an MLflow store on disk."""

import json
import shutil
import sys

import pytest

import luban
from luban.core.errors import UserError

FOLLOWED = {"model": "mlp", "baselines": [], "target": "species"}


@pytest.fixture
def runs_of():
    """runs_of(folder) -> the runs in the MLflow store there."""
    mlflow = pytest.importorskip("mlflow")

    def read(folder):
        client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
        runs = client.search_runs([client.get_experiment_by_name("luban").experiment_id])
        return client, runs

    return read


def test_tensorboard_reads_the_curves_and_the_test(tmp_path):
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = luban.train("iris", out=tmp_path / "鸢尾", set={"train.epochs": 6, "tracking.tensorboard": True}, folds=2, **FOLLOWED)
    assert sorted(each.name for each in (run.path / "tensorboard").iterdir()) == ["fold_1_mlp", "fold_2_mlp", "mlp"]
    events = reader.EventAccumulator(str(run.path / "tensorboard/mlp"))
    events.Reload()
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [each.step for each in events.Scalars("train_loss")] == [line["step"] for line in lines]
    assert [each.value for each in events.Scalars("accuracy")] == pytest.approx([line["accuracy"] for line in lines])
    assert events.Scalars("test/f1_setosa")[0].value == pytest.approx(run.metrics["f1_setosa"])


def test_mlflow_has_settings_curves_test_and_report(tmp_path, runs_of):
    store = tmp_path / "记 录"
    run = luban.train("iris", out=tmp_path / "a", set={"train.epochs": 6, "tracking.mlflow": str(store)}, **FOLLOWED)
    client, (told,) = runs_of(store)
    assert told.info.status == "FINISHED" and told.info.run_name == "a"
    assert told.data.params["train.epochs"] == "6" and told.data.params["model.hidden"] == "[32]"
    assert told.data.metrics["test/accuracy"] == run.metrics["accuracy"]
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    history = client.get_metric_history(told.info.run_id, "mlp/train_loss")
    assert [(each.step, each.value) for each in history] == [(line["step"], line["train_loss"]) for line in lines]
    assert {each.path for each in client.list_artifacts(told.info.run_id)} == {"report.html", "report.json", "config.yaml"}


def test_a_stopped_run_goes_on_under_its_name(tmp_path, runs_of):
    class Killer:
        def on_step(self, name, step, total):
            if step == total // 2:
                raise KeyboardInterrupt

        def on_eval(self, line): ...
        def on_end(self, name): ...

    def train(hooks=None, resume=False):
        setting = {"train.epochs": 6, "tracking.mlflow": str(tmp_path / "store")}
        return luban.train("iris", out=tmp_path / "a", set=setting, hooks=hooks, resume=resume, **FOLLOWED)

    with pytest.raises(KeyboardInterrupt):
        train(Killer())
    assert runs_of(tmp_path / "store")[1][0].info.status == "FAILED"
    train(resume=True)
    _, (told,) = runs_of(tmp_path / "store")
    assert told.info.status == "FINISHED" and "test/accuracy" in told.data.metrics


@pytest.mark.parametrize("setting", ["tracking.tensorboard", "tracking.mlflow"])
def test_a_tracker_that_fails_loses_no_run(tmp_path, caplog, setting):
    """A file stands where the event files should go, and where the id of MLflow's run is kept, when the training has begun."""
    pytest.importorskip("mlflow")
    pytest.importorskip("tensorboardX")

    class Spoiler:
        def on_step(self, name, step, total):
            if step == 1 and setting.endswith("board"):
                shutil.rmtree(tmp_path / "a/tensorboard")
                (tmp_path / "a/tensorboard").write_text("")
            elif step == 1:
                (tmp_path / "store/mlflow.db").unlink()

        def on_eval(self, line): ...
        def on_end(self, name): ...

    where = True if setting.endswith("board") else str(tmp_path / "store")
    run = luban.train("iris", out=tmp_path / "a", set={"train.epochs": 3, setting: where}, hooks=Spoiler(), **FOLLOWED)
    assert "is told no more of this run" in caplog.text and (run.path / "report.json").exists()


def test_a_folder_that_cannot_be_is_said_before_anything_is_done(tmp_path):
    pytest.importorskip("mlflow")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"tracking\.mlflow: MLflow cannot use .*file"):
        luban.train("iris", out=tmp_path / "a", set={"tracking.mlflow": str(tmp_path / "file/store")}, **FOLLOWED)
    assert not (tmp_path / "a").exists()


def test_tracking_changes_no_bit_of_the_model(tmp_path):
    pytest.importorskip("tensorboardX")
    plain = luban.train("iris", out=tmp_path / "a", set={"train.epochs": 3}, **FOLLOWED)
    told = luban.train("iris", out=tmp_path / "b", set={"train.epochs": 3, "tracking.tensorboard": True}, **FOLLOWED)
    assert (plain.path / "model/model.safetensors").read_bytes() == (told.path / "model/model.safetensors").read_bytes()
    assert not (plain.path / "tensorboard").exists()


@pytest.mark.parametrize(("setting", "package"), [("tracking.tensorboard", "tensorboardX"), ("tracking.mlflow", "mlflow")])
def test_a_missing_package_is_said_before_anything_is_done(tmp_path, monkeypatch, setting, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"{setting} needs the package '{package}': pip install"):
        luban.train("iris", out=tmp_path / "a", set={setting: True}, **FOLLOWED)
    assert not (tmp_path / "a").exists()


def test_a_store_that_nobody_answers_at_is_said_before_anything_is_done(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UserError, match=r"tracking\.mlflow: MLflow cannot use http://127\.0\.0\.1:9"):
        luban.train("iris", out=tmp_path / "a", set={"tracking.mlflow": "http://127.0.0.1:9"}, **FOLLOWED)
    assert not (tmp_path / "a").exists()
