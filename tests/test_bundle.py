"""What a bundle promises: loading it runs no code of it and reads nothing outside it; it carries what was trained, byte by byte."""

import hashlib
import json
import logging
import shutil
from pathlib import Path

import pytest
import torch

import luban
from luban import bundle, folders
from luban.core.errors import UserError

NET = "from torch import nn\nclass Net(nn.Linear):\n    pass\n"


def quick(out, **words):
    return luban.train("iris", target="species", out=out, baselines=[], **{"set": {"train.epochs": 2}, **words})


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    return quick(tmp_path_factory.mktemp("linear") / "run", model="linear").path / "model"


@pytest.fixture
def copy(linear, tmp_path):
    return Path(shutil.copytree(linear, tmp_path / "copy"))


@pytest.fixture
def own(tmp_path):
    """A model of a network in the user's own file; the lines of the file end as on Windows."""
    (tmp_path / "my.py").write_bytes(NET.replace("\n", "\r\n").encode())
    return quick(tmp_path / "own", model=f"{tmp_path}/my.py:Net").path / "model"


def sign(folder, change):
    """Changes luban.json and signs everything anew, as anyone can."""
    info = json.loads((folder / "luban.json").read_text())
    info["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in info["files"]}
    change(info)
    (folder / "luban.json").write_text(json.dumps(bundle._signed(info)))


# ---------------------------------------------------------------- a stranger's bundle


@pytest.mark.parametrize("part", ["model", "task", "field", "member"])
def test_a_name_in_a_bundle_runs_no_file(copy, tmp_path, part):
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'it_ran')!r}, 'w')\n" + NET)
    evil = f"{tmp_path}/evil.py:Net"
    if part == "field":
        schema = json.loads((copy / "schema.json").read_text())
        schema["inputs"]["c0"]["field"] = evil
        (copy / "schema.json").write_text(json.dumps(schema))
        sign(copy, lambda info: None)
    elif part == "member":
        members = {"members": [{"name": evil}, {"name": "linear"}]}
        sign(copy, lambda info: info["model"].update(name="ensemble", config=members))
    else:
        sign(copy, lambda info: info[part].update(name=evil))
    with pytest.raises(UserError, match="cannot be a member" if part == "member" else f"there is no {part}"):
        luban.load(copy)
    assert not (tmp_path / "it_ran").exists()


@pytest.mark.parametrize("name", ["../outside.txt", "sub/inside.txt", "..\\outside.txt", "/etc/hostname", "C:x.txt", ".."])
@pytest.mark.parametrize("where", ["files", "model.files", "code"])
def test_a_file_outside_is_not_read(copy, tmp_path, name, where):
    (tmp_path / "outside.txt").write_text("secret")

    def change(info):
        if where == "files":
            info["files"][name] = hashlib.sha256(b"secret").hexdigest()
        else:
            info["model"].update({"files": [name]} if where == "model.files" else {"code": name})

    sign(copy, change)
    with pytest.raises(UserError, match="no file of this folder"):
        luban.load(copy)


def test_links_and_unlisted_python_are_refused(copy):
    (copy / "helper.py").write_text("")
    with pytest.raises(UserError, match=r"helper\.py is Python that does not belong"):
        luban.load(copy)
    (copy / "helper.py").unlink()
    (copy / "golden.json").replace(copy.parent / "golden.json")
    (copy / "golden.json").symlink_to(copy.parent / "golden.json")
    with pytest.raises(UserError, match=r"golden\.json is a link"):
        luban.load(copy)


# ---------------------------------------------------------------- the user's own network


def test_own_source_travels_unchanged_and_is_trusted_at_home_only(own, tmp_path, monkeypatch):
    assert (own / "my.py").read_bytes() == (tmp_path / "my.py").read_bytes()
    (tmp_path / "my.py").unlink()
    assert luban.load(own).predict("iris").height == 150
    monkeypatch.setenv("LUBAN_HOME", str(tmp_path / "another"))
    with pytest.raises(UserError, match="never run unasked"):
        luban.load(own)
    assert luban.load(own, f"{own}/my.py:Net").predict("iris").height == 150


def test_the_source_is_bundled_as_it_was_at_the_start(tmp_path):
    source = tmp_path / "my.py"
    source.write_text(NET)

    class Editing:
        def on_step(self, name, step, total):
            source.write_text(NET + "# edited while training\n")

        def on_eval(self, line): ...
        def on_end(self, name): ...

    run = quick(tmp_path / "run", model=f"{source}:Net", hooks=Editing())
    assert (run.path / "model" / "my.py").read_text() == NET != source.read_text()


def test_an_edited_source_is_not_resumed(tmp_path):
    source = tmp_path / "my.py"
    source.write_text(NET)
    run = quick(tmp_path / "run", model=f"{source}:Net")
    (run.path / "report.json").unlink()  # as if it had been stopped
    source.write_text(NET + "# edited\n")
    with pytest.raises(UserError, match="sha256 of its source"):
        quick(tmp_path / "run", model=f"{source}:Net", resume=True)
    source.write_text(NET)
    assert quick(tmp_path / "run", model=f"{source}:Net", resume=True).metrics == run.metrics


def test_a_file_is_no_member_of_an_ensemble(tmp_path):
    (tmp_path / "my.py").write_text(NET)
    members = [{"name": f"{tmp_path}/my.py:Net"}, {"name": "linear"}]
    with pytest.raises(UserError, match="cannot be a member of an ensemble"):
        quick(tmp_path / "run", model="ensemble", set={"model.members": members})


class Across(torch.nn.Module):
    """Its weight lies in memory by columns, as a channels-last convolution's does."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(inputs, outputs).t())

    def forward(self, x):
        return x @ self.weight.t()


def test_weights_that_are_not_contiguous_are_saved(tmp_path):
    run = quick(tmp_path / "run", model=Across, set={"train.epochs": 30, "train.lr": 0.05})
    assert run.metrics["accuracy"] > 0.7
    assert bundle.tensors_of(Across(4, 3))["weight"].is_contiguous()
    assert run.load(Across).predict("iris").height == 150


# ---------------------------------------------------------------- saving


def test_a_model_without_finite_answers_is_not_saved(linear, tmp_path):
    broken = luban.load(linear)
    broken.model.load_state_dict({key: torch.full_like(value, float("nan")) for key, value in broken.model.state_dict().items()})
    with pytest.raises(UserError, match=r"no finite answer.*train\.lr"):
        broken.save(tmp_path / "broken", {})
    assert list(tmp_path.iterdir()) == []


def test_how_the_data_were_read_is_kept(tmp_path):
    lines = [f"{i * 37 % 101 / 7},{'甲乙'[i % 2]}" for i in range(60)]
    (tmp_path / "数据.csv").write_bytes("\n".join(["数,类", *lines]).replace(",", "^").encode("gb18030"))
    settings = {"data.encoding": "gb18030", "data.delimiter": "^"}
    run = luban.train(tmp_path / "数据.csv", target="类", model="linear", baselines=[], out=tmp_path / "run", set=settings)
    assert run.load().info["reading"] == {"encoding": "gb18030", "delimiter": "^"}


# ---------------------------------------------------------------- run folders


def test_a_home_that_cannot_be_written_loses_nothing(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    (tmp_path / "my.py").write_text(NET)
    monkeypatch.setenv("LUBAN_HOME", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, "luban"):
        run = quick(tmp_path / "run", model=f"{tmp_path}/my.py:Net")
    assert (run.path / "model" / "luban.json").exists() and "$LUBAN_HOME" in caplog.text


def test_what_a_kill_leaves_half_written_is_swept_at_resume(tmp_path):
    folder = folders.RunFolder(tmp_path / "run")
    half = [folder.path / ".asked.json.ab12_xyz", folder.checkpoints / "mlp" / ".last.safetensors.abcdefgh"]
    for file in half:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{")
    half[1].unlink()
    half[1].parent.rmdir()
    folder.checkpoints.rmdir()
    folder.begin({"seed": 1}, resume=True)
    half[1].parent.mkdir(parents=True)
    for file in (*half, folder.path / ".mine"):
        file.write_text("{")
    folder.begin({"seed": 1}, resume=True)
    assert sorted(path.name for path in folder.path.rglob("*") if path.is_file()) == [".mine", "asked.json"]
