"""Pretrained backbones: the weights are read without a pickle, and the bundle needs no package. Skipped where the package is missing."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from conftest import examples, seen

from luban.core.contract import Clock, Head, Part
from luban.core.errors import UserError
from luban.core.registry import MODELS
from luban.layers import efficientnet, probe
from luban.layers.heads import log_odds
from luban.models import pretrained

RNG = np.random.default_rng(0)
HEAD = Head((Part("y0", "classes", 2, "cross_entropy", (), log_odds([1, 1])), Part("y1", "value", 1, "mse", (), (0.0,))))


@pytest.fixture(scope="module")
def weights():
    pytest.importorskip(efficientnet.PACKAGE)
    return efficientnet.weights_file()


def data():
    """Squares and stripes, grey; the number is how bright."""
    y, bright = RNG.integers(0, 2, 48), RNG.uniform(0.3, 1, 48)
    x = RNG.integers(0, 60, (48, 1, 20, 24))
    x[y == 0, :, 5:15, 5:15] += 150
    x[y == 1, :, ::4] += 150
    schema, batch = seen((x * bright[:, None, None, None]).astype(np.uint8))
    z = torch.tensor((bright - bright.mean()) / bright.std(), dtype=torch.float32)
    return schema, {**batch, "y0": torch.from_numpy(y) + 1, "y1": z}


def test_the_reader_gives_what_torch_reads(weights):
    ours, theirs = efficientnet.read(weights), torch.load(weights, weights_only=True)
    assert list(ours) == list(theirs) and all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_another_file_is_refused(weights, tmp_path, monkeypatch):
    monkeypatch.setattr(efficientnet, "SHA256", "0" * 64)
    with pytest.raises(UserError, match=r"0\.1\.0"):
        efficientnet.weights_file()


def test_the_head_is_solved_and_the_bundle_needs_no_package(weights, clock, monkeypatch):
    cls, (schema, batch) = MODELS["pretrained"], data()
    config, _, _ = cls.plan(cls.Config(side=64), schema, HEAD, 48, "small")
    model = cls(config, schema, HEAD)
    assert model.solves
    model.solve(examples(batch), None, clock)
    out = model.eval()(batch)
    assert (out[:, :2].argmax(1) + 1 == batch["y0"]).all() and (out[:, 2] - batch["y1"]).square().mean() < 0.1
    monkeypatch.setattr(efficientnet, "PACKAGE", "not_installed_here")
    again = cls(config, schema, HEAD)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(batch), out)


def test_tuning_all_starts_from_the_solved_head_and_keeps_the_statistics(weights):
    cls, (schema, batch) = MODELS["pretrained"], data()
    config, _, _ = cls.plan(cls.Config(side=32, tune="all"), schema, HEAD, 48, "small")
    model = cls(config, schema, HEAD).train()
    assert not model.solves
    model.look(examples(batch))
    assert model.training
    before = {key: value.clone() for key, value in model.named_buffers()}
    model(batch).square().sum().backward()
    assert all(torch.equal(before[key], value) for key, value in model.named_buffers())
    assert [key for key, p in model.named_parameters() if p.grad is None] == []
    with torch.no_grad():
        assert (model.eval()(batch)[:, :2].argmax(1) + 1 == batch["y0"]).float().mean() > 0.9


def test_a_backbone_that_is_not_here_is_a_sentence(monkeypatch):
    cls, (schema, _) = MODELS["pretrained"], data()
    monkeypatch.setattr(efficientnet, "PACKAGE", "not_installed_here")
    for backbone, word in (("efficientnet-lite0", "pip install"), ("resnet999", "there is no backbone")):
        with pytest.raises(UserError, match=word):
            cls.plan(cls.Config(backbone=backbone), schema, HEAD, 48, "small")


def test_a_folder_of_transformers(tmp_path, clock):
    transformers = pytest.importorskip("transformers")
    settings = {
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": 64,
        "patch_size": 16,
    }
    transformers.ViTModel(transformers.ViTConfig(**settings)).save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}')
    cls, (schema, batch) = MODELS["pretrained"], data()
    config, _, _ = cls.plan(cls.Config(backbone=f"hf:{tmp_path}"), schema, HEAD, 48, "small")
    assert config.side == 64
    model = cls(config, schema, HEAD)
    model.solve(examples(batch), None, clock)
    (tmp_path / "config.json").unlink()  # the bundle goes elsewhere
    again = cls(config, schema, HEAD)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(batch), model.eval()(batch))


def test_a_folder_that_is_none_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", object())
    with pytest.raises(UserError, match=r"config\.json"):
        MODELS["pretrained"].plan(MODELS["pretrained"].Config(backbone=f"hf:{tmp_path}"), data()[0], HEAD, 48, "small")


def test_augmentation_that_nothing_would_use_is_refused(weights):
    cls, (schema, _) = MODELS["pretrained"], data()
    with pytest.raises(UserError, match="tune=all"):
        cls.plan(cls.Config(augment=("flip",)), schema, HEAD, 48, "small")


def test_auto_tries_it_on_few_pictures_where_its_weights_are(weights, monkeypatch):
    cls, (schema, _) = MODELS["pretrained"], data()
    assert cls.suits(schema, HEAD, 300) == 0  # 20 pixels are too few
    schema.inputs["c0"].shape = (1, 32, 32)
    assert cls.suits(schema, HEAD, 300) > 0 and cls.suits(schema, HEAD, 3_000) == 0
    monkeypatch.setattr(efficientnet, "SHA256", "0" * 64)
    assert cls.suits(schema, HEAD, 300) == 0


def test_a_time_limit_leaves_pictures_out(weights, monkeypatch):
    cls, (schema, batch) = MODELS["pretrained"], data()
    monkeypatch.setattr(pretrained, "PIECE", 16)

    class Hurried(Clock):
        seed, threads, left = 0, 1, 8.0

        def seconds_left(self):
            self.left -= 2
            return self.left

    config, _, _ = cls.plan(cls.Config(side=64), schema, HEAD, 48, "small")
    model, seen = cls(config, schema, HEAD), []
    monkeypatch.setattr(probe, "solved", lambda x, *rest, run=probe.solved: seen.append(len(x)) or run(x, *rest))
    model.solve(examples(batch), None, Hurried())
    assert 16 <= seen[0] < 48
