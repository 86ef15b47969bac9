"""What many tests need: a home of their own, the real data where they lie, and the command line as a user calls it."""

import contextlib
import io
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # read once, when torch loads; see cli/main.py
os.environ["LC_ALL"] = "C.UTF-8"  # reports in English, wherever the tests run

import torch

from luban.cli import main

torch.set_num_threads(1)  # tiny tensors; more threads only wait for each other

DATA = Path(os.environ.get("LUBAN_DATA") or Path(__file__).parents[2] / "shared" / "data")


@pytest.fixture(scope="session", autouse=True)
def first_home(tmp_path_factory):
    """For what a module trains once for all its tests, before `home` is there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUBAN_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def home(tmp_path_factory, monkeypatch):
    """Keeps `last`, trusted sources and downloads out of the user's own home."""
    monkeypatch.setenv("LUBAN_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def real_data(monkeypatch):
    """The folder of real data sets beside the project, also as LUBAN_DATA; the test is skipped where there is none."""
    if not DATA.is_dir():
        pytest.skip("no LUBAN_DATA and no ../shared/data")
    monkeypatch.setenv("LUBAN_DATA", str(DATA))
    return DATA


@pytest.fixture
def luban_cli(tmp_path):
    """luban_cli("train", "x.csv", ...) -> the finished process, run in an empty folder."""

    def call(*arguments, code=0, stdin=None, env=None, preexec=None):
        done = subprocess.run([sys.executable, "-m", "luban", *map(str, arguments)], cwd=tmp_path, capture_output=True, text=True,
                              input=stdin, env={**os.environ, **(env or {})}, timeout=300, preexec_fn=preexec)  # fmt: skip
        assert done.returncode == code, f"{arguments} exited with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done

    return call


@pytest.fixture(scope="session")
def luban_in():
    """luban_in(folder, "train", "x.csv", ...): the same command line inside this process, which saves the seconds of importing torch.

    What is not an error that the command line words is raised, and so fails the test.
    """

    def call(folder, *arguments, code=0, stdin=b""):
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        log, level = logging.getLogger("luban"), logging.getLogger("luban").level
        with (
            contextlib.chdir(folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(sys, "argv", ["luban", *map(str, arguments)])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            patch.setattr(log, "handlers", [])
            with pytest.raises(SystemExit) as stop:
                main.run()
        log.setLevel(level)
        texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
        assert stop.value.code == code, f"{arguments} exited with {stop.value.code}:\n{texts[0]}\n{texts[1]}"
        return subprocess.CompletedProcess(arguments, stop.value.code, *texts)

    return call
