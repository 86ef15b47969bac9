"""A pretrained encoder by its folder: its own tokenizer, frozen, tuned and by LoRA; the bundle is plain, and transformers opens it."""

from __future__ import annotations

import json

import polars as pl
import pytest
import torch

import luban
from luban.core.errors import UserError

transformers = pytest.importorskip("transformers")

GOOD, BAD = "a good room and a kind host", "a bad room and a rude host"
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TABLE = pl.DataFrame({
    "review": [f"{NUMBERS[i // 10]} {NUMBERS[i % 10]} {text}" for i in range(60) for text in (GOOD, BAD)],
    "label": ["yes", "no"] * 60,
})  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A BERT as small as can be, as it would be downloaded."""
    path = tmp_path_factory.mktemp("tiny-bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({*GOOD.split(), *BAD.split(), *NUMBERS})]
    (path / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizerFast(vocab=str(path / "vocab.txt"))
    tokenizer.save_pretrained(path)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    transformers.BertModel(config).save_pretrained(path)
    return path


@pytest.mark.parametrize("tune", ["head", "all", "lora"])
def test_trained_moved_and_opened_by_transformers(folder, tune, tmp_path):
    if tune == "lora":
        pytest.importorskip("peft")
    run = luban.train(
        TABLE, target="label", model=f"hf:{folder}", set=[f"model.tune={tune}", "train.lr=0.01"], out=tmp_path / "run", baselines=[]
    )
    assert run.metrics["accuracy"] > 0.9
    bundle = luban.load(run.path / "model")
    assert not [key for key in bundle.model.state_dict() if "lora" in key]
    theirs = transformers.AutoModel.from_pretrained(run.path / "model")
    ids = bundle.schema.inputs["c0"].encode(pl.Series("review", [GOOD])).values[None]
    asked = transformers.AutoTokenizer.from_pretrained(run.path / "model")(GOOD, return_tensors="pt")
    assert torch.equal(asked["input_ids"], ids)
    with torch.no_grad():
        mine = getattr(bundle.model, bundle.model.name)(input_ids=ids).last_hidden_state
        assert torch.equal(theirs.eval()(input_ids=ids).last_hidden_state, mine)


def test_no_folder_no_network(tmp_path):
    with pytest.raises(UserError, match=r"no folder 'nowhere/at-all' here, and the hub gives no such model|is no model"):
        luban.train(TABLE, target="label", model="hf:nowhere/at-all", out=tmp_path / "run")


def test_the_tokenizer_must_be_the_models(folder, tmp_path):
    with pytest.raises(UserError, match="must be cut by the model's own tokenizer"):
        luban.train(
            TABLE, target="label", model=f"hf:{folder}", set=["fields.review={field: text, tokenizer: words}"], out=tmp_path / "run"
        )


def test_what_is_no_tokenizer(folder, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "tokenizer.json").write_text(json.dumps({"a": 1}))
    with pytest.raises(UserError, match=r"tokenizer\.json that is none"):
        luban.train(TABLE, target="label", model=f"hf:{tmp_path}", out=tmp_path / "run")


@pytest.mark.parametrize("tune", ["all", "lora", "head"])
def test_goes_on_from_the_weights_of_a_run_and_not_of_the_folder(folder, tune, tmp_path):
    settings = {"train.steps": 5, "train.lr": 1e-2, "train.threads": 1}
    first = luban.train(TABLE, target="label", model=f"hf:{folder}", set=settings, baselines=[], out=tmp_path / "first")
    more = {"model.tune": tune, "train.steps": 1, "train.lr": 1e-9}
    made = luban.train(TABLE, start=first.path, set=more, baselines=[], out=tmp_path / "more")
    old, new = (each.load().model.state_dict() for each in (first, made))
    assert all(torch.allclose(new[name], value, atol=1e-4) for name, value in old.items() if not name.startswith("output"))
