"""The user's own file: run only by `from_file`, under its own neighbours, and every failure at its import is one sentence."""

import sys

import pytest

from luban.core.errors import UserError
from luban.core.registry import FIELDS, MODELS, TASKS, Later

NET = "from torch import nn\nclass Net(nn.Linear):\n    pass\n"


@pytest.mark.parametrize("registry", [FIELDS, MODELS, TASKS])
def test_a_name_that_is_looked_up_runs_no_file(tmp_path, registry):
    (tmp_path / "evil.py").write_text("raise RuntimeError('it ran')")
    with pytest.raises(UserError, match="there is no"):
        registry[f"{tmp_path}/evil.py:Net"]


def test_the_users_file_may_use_dataclasses_and_its_neighbours(tmp_path):
    (tmp_path / "neighbour_of_mine.py").write_text("WIDTH = 3\n")
    source = (
        b"from __future__ import annotations\r\nfrom dataclasses import dataclass, field\r\nfrom neighbour_of_mine import WIDTH\r\n"
        b"from torch import nn\r\n@dataclass\r\nclass Size:\r\n    width: int = field(default=WIDTH)\r\n"
        b"class Net(nn.Module):\r\n    size = Size()\r\n"
    )
    (tmp_path / "my.py").write_bytes(source)
    name = f"{tmp_path}/my.py:Net"
    path = list(sys.path)
    assert MODELS.from_file(name).size.width == 3
    assert MODELS.sources[name] == source and sys.path == path


def test_in_a_bundle_neighbours_are_not_imported(tmp_path):
    (tmp_path / "luban.json").write_text("{}")
    (tmp_path / "planted_beside.py").write_text("raise SystemExit('it ran')")
    (tmp_path / "my.py").write_text("import planted_beside\n" + NET)
    with pytest.raises(UserError, match=r"my\.py line 1: ModuleNotFoundError.*planted_beside"):
        MODELS.from_file(f"{tmp_path}/my.py:Net")


@pytest.mark.parametrize(
    ("source", "said"),
    {
        "import no_such_module_here\n": "my.py line 1: ModuleNotFoundError: No module named 'no_such_module_here'",
        "\nx = undefined\n": "my.py line 2: NameError",
        "def f():\n    return {}['a']\n\nf()\n": "my.py line 2: KeyError",
        "import json\n\njson.loads('{')\n": "my.py line 3: JSONDecodeError",
        "\n1 / 0\n": "my.py line 2: ZeroDivisionError",
        "import argparse\nargparse.ArgumentParser().error('no --epochs')\n": "my.py line 2: SystemExit: 2",
        "class Net(:\n": "my.py line 1: invalid syntax",
        "class Other:\n    pass\n": "my.py has no class 'Net'",
    }.items(),
)
def test_a_file_that_fails_is_one_sentence(tmp_path, source, said):
    (tmp_path / "my.py").write_text(source)
    with pytest.raises(UserError) as error:
        MODELS.from_file(f"{tmp_path}/my.py:Net")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_null_bytes_are_named(tmp_path):
    (tmp_path / "my.py").write_bytes(b"x = 1\n\0\n")
    with pytest.raises(UserError, match=r"my\.py line \d+: .*null byte"):
        MODELS.from_file(f"{tmp_path}/my.py:Net")


def test_a_package_that_is_missing_at_its_first_use_is_one_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "statsforecast", None)
    with pytest.raises(UserError, match=r"needs the package 'statsforecast.*not installed: pip install 'luban\[time\]'\.$"):
        Later("statsforecast.models").AutoETS  # noqa: B018 - to ask is to load
