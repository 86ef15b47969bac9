"""What many tests need: a home of their own, the real data where they lie, and the command line as a user calls it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

DATA = Path(os.environ.get("LUBAN_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """Keeps `last`, trusted sources and downloads out of the user's own home."""
    monkeypatch.setenv("LUBAN_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def real_data():
    """The folder of real data sets beside the project; the test is skipped where there is none."""
    if not DATA.is_dir():
        pytest.skip("no LUBAN_DATA and no ../shared/data")
    return DATA


@pytest.fixture
def luban_cli(tmp_path):
    """luban_cli("train", "x.csv", ...) -> the finished process, run in an empty folder."""

    def call(*arguments, code=0, stdin=None, env=None):
        done = subprocess.run([sys.executable, "-m", "luban", *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True,
                              input=stdin, env={**os.environ, **(env or {})}, timeout=300)  # fmt: skip
        assert done.returncode == code, f"{arguments} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    return call
