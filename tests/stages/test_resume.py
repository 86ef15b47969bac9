"""kill -9 at any moment, then --resume: on a CPU the final weights have the same bits as those of the run that was never killed."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import safetensors

ADULT = ["adult", "--target", "income", "--set", "data.shares=[0.2,0.02,0.78]", "--set", "train.epochs=24"]
PLAYS = ["tinyshakespeare", "--set", "data.shares=[0.9,0.002,0.098]", "--set", "train.steps=1000", "--size", "small"]
SMALL = ["--size", "small", "--set", "train.batch_size=32", "--set", "train.ema=0", "--set", "train.steps=3000"]
MODELS = {
    "mlp": [*ADULT, "--model", "mlp", "--set", "model.dropout=0.1"],
    "traced": ["adult", "--target", "income", "--model", "mlp", *SMALL],
    "tabm": [*ADULT, "--model", "tabm", "--set", "model.k=4", "--set", "model.width=32", "--set", "train.precision=bf16"],
    "gpt": [*PLAYS, "--model", "gpt", "--set", "model.dropout=0.1", "--set", "task.context=16"],
}
SETTINGS = ["train.ema=0.99", "train.eval_every=40", "train.patience=0"]


def start(folder, *more, model="mlp"):
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    words = ["train", "--baselines", "none", *settings, *MODELS[model], "--out", str(folder), *more]
    return subprocess.Popen([sys.executable, "-m", "luban", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out


def kill_after(folder, lines, model="mlp"):
    """Starts or resumes the run and kills it once metrics.jsonl holds `lines` lines. Returns False where it finished before."""
    process = start(folder, "--resume", model=model)
    metrics = folder / "metrics.jsonl"
    while process.poll() is None:
        if metrics.exists() and metrics.read_text().count("\n") >= lines:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.002)
    assert process.returncode == 0
    return False


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that was never killed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    finish(start(folder))
    return folder


def same_bits(folder, whole):
    for name in ("model.safetensors", "golden.json", "schema.json"):
        assert (folder / "model" / name).read_bytes() == (whole / "model" / name).read_bytes(), name


def metrics_of(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in line if "second" not in key} for line in lines]


def killed_and_resumed(folder, whole, rng, model="mlp", kills=1):
    """Returns the step from which the last resume went on; 0 where there was no checkpoint yet."""
    total = len(metrics_of(whole))
    for _ in range(kills):
        kill_after(folder, rng.randint(1, total - 1), model)
    process = start(folder, "--resume", model=model)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    same_bits(folder, whole)
    assert metrics_of(folder) == metrics_of(whole)
    going_on = re.search(r"going on from step ([\d,]+)", err)
    return int(going_on[1].replace(",", "")) if going_on else 0


def test_killed_twice_ends_with_the_same_bits(tmp_path, whole):
    assert killed_and_resumed(tmp_path / "run", whole, random.Random(5), kills=2) > 0


def test_windows_of_passages_are_resumed_with_the_same_bits(tmp_path):
    finish(start(tmp_path / "whole", model="gpt"))
    assert killed_and_resumed(tmp_path / "run", tmp_path / "whole", random.Random(3), "gpt", kills=2) > 0


def test_recorded_steps_are_resumed_with_the_same_bits(tmp_path):
    finish(start(tmp_path / "whole", model="traced"))
    assert killed_and_resumed(tmp_path / "run", tmp_path / "whole", random.Random(3), "traced", kills=2) > 0
    with safetensors.safe_open(tmp_path / "run" / "checkpoints" / "mlp" / "last.safetensors", "pt") as file:
        assert json.loads(file.metadata()["state"])["traced"] is True


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_killed_twenty_times_ends_with_the_same_bits(tmp_path, model):
    finish(start(tmp_path / "whole", model=model))
    rng = random.Random(7)
    steps = [killed_and_resumed(tmp_path / f"run{run}", tmp_path / "whole", rng, model) for run in range(20)]
    print(f"{model}: went on from steps {steps}")
    assert sum(step > 0 for step in steps) >= 10  # the others were killed before the first checkpoint


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path, whole):
    folder = tmp_path / "run"
    process = start(folder)
    while not (folder / "metrics.jsonl").exists() or (folder / "metrics.jsonl").read_text().count("\n") < 3:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "--resume" in err and "Traceback" not in err
    assert (folder / "checkpoints" / "mlp" / "last.safetensors").exists()
    finish(start(folder, "--resume"))
    same_bits(folder, whole)


def test_resume_of_a_finished_run_says_so(whole):
    process = start(whole, "--resume")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "finished" in err and out.strip().endswith(str(whole))


def test_killed_behind_its_last_step(tmp_path, whole):
    folder = shutil.copytree(whole, tmp_path / "run")
    shutil.rmtree(folder / "model")
    for file in folder.glob("report.*"):
        file.unlink()
    with safetensors.safe_open(folder / "checkpoints" / "mlp" / "last.safetensors", "pt") as file:
        assert set(file.keys()) == {"losses", "rng"}  # the best weights stand beside it, and no step follows
    finish(start(folder, "--resume"))
    same_bits(folder, whole)


def test_resume_with_other_words_is_refused(whole, tmp_path):
    kill_after(tmp_path / "run", 2)
    process = start(tmp_path / "run", "--resume", "--set", "train.lr=0.5")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and "train.lr" in err
