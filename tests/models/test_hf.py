"""A pretrained encoder by its folder: its own tokenizer, frozen, tuned and by LoRA; the bundle is plain, and transformers opens it."""

from __future__ import annotations

import json
import shutil

import polars as pl
import pytest
import torch

import luban
from luban.core.errors import UserError
from luban.core.registry import FIELDS
from luban.layers import encoders

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
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "##s", *sorted({*GOOD.split(), *BAD.split(), *NUMBERS})]
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


def test_quickened_it_computes_the_same(folder):
    theirs, mine = (transformers.AutoModel.from_pretrained(folder).train() for _ in range(2))
    encoders.quickened(mine, tables=True)
    names = {type(module) for module in mine.modules()}
    assert encoders.Dropout in names and torch.nn.Dropout not in names and mine.config._attn_implementation == encoders.NAME
    for module in [*theirs.modules(), *mine.modules()]:
        if isinstance(module, torch.nn.Dropout):
            module.p = 1e-9  # above 0, so that attention goes its own way; and nothing is left out
    ids, there = torch.randint(5, 20, (3, 7)), torch.arange(7) < torch.tensor([[7], [1], [4]])
    outs = [each(input_ids=ids, attention_mask=there.long()).last_hidden_state for each in (theirs, mine)]
    assert torch.allclose(outs[0][there], outs[1][there], atol=1e-5)
    for out in outs:
        out[there].square().sum().backward()
    for (name, a), b in zip(theirs.named_parameters(), mine.parameters(), strict=True):
        assert (a.grad is None and b.grad is None) or torch.allclose(a.grad, b.grad.to_dense(), atol=1e-3), name
    assert mine.get_input_embeddings().weight.grad.is_sparse


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_share_is_silenced_and_the_rest_is_louder(dtype):
    torch.manual_seed(0)
    x = torch.ones(333, 301, dtype=dtype, requires_grad=True)
    out = encoders.dropout(x, 0.1)
    out.sum().backward()
    silenced, mean = (out == 0).float().mean(), out.detach().float().mean()
    assert out.dtype == dtype and abs(silenced - 0.1) < 0.005 and abs(mean - 1) < 0.01
    assert torch.equal(x.grad, out.detach())  # what was silenced learns nothing
    assert not torch.equal(encoders.dropout(x, 0.1), out) and encoders.dropout(x, 0.0) is x


TAGGED = pl.DataFrame({
    "tokens": [json.dumps([NUMBERS[i % 10], word, "and", "a", "good", thing, *extra]) for i in range(20)
               for word, thing in (("kind", "hosts"), ("rude", "room")) for extra in ([], ["and", "rooms"])],
    "tags": [json.dumps(["O", kind, "O", "O", "O", "B-THING", *extra]) for i in range(20)
             for kind in ("B-GOOD", "B-BAD") for extra in ([], ["O", "B-THING"])],
})  # fmt: skip


def test_tags_of_tokens_that_are_cut_into_pieces(folder, tmp_path):
    """A token is answered by the state of its first piece, as transformers' own course aligns them; the bundle needs nothing else."""
    run = luban.train(
        TAGGED, task="tag", model=f"hf:{folder}", set=["train.lr=0.01", "train.epochs=8"], out=tmp_path / "run", baselines=[], seed=0
    )
    assert run.metrics["f1"] > 0.9
    bundle = luban.load(run.path / "model")
    rows = [["rooms", "and", "hosts"], ["a", "unheard", "room"], ["host"]]
    theirs, tokenizer = (each.from_pretrained(run.path / "model") for each in (transformers.AutoModel, transformers.AutoTokenizer))
    asked = tokenizer(rows, is_split_into_words=True, return_tensors="pt", padding=True)
    with torch.no_grad():
        states = theirs.eval()(**asked).last_hidden_state
        encoded = bundle.schema.inputs["c0"].encode(pl.Series("tokens", [json.dumps(row) for row in rows]))
        mine = bundle.model.eval().features(bundle.task.pose({"c0": encoded}, {}))
    for i, row in enumerate(rows):
        first = [asked.word_ids(i).index(k) for k in range(len(row))]
        assert torch.allclose(mine[i, : len(row)], states[i, first], atol=1e-5)
    answers = bundle.predict({"tokens": [json.dumps(["two", "rude", "and", "a", "good", "rooms"])]})
    assert list(zip(answers["text"], answers["label"], strict=True)) == [("rude", "BAD"), ("rooms", "THING")]


def test_a_row_longer_than_the_model_reads(folder, tmp_path):
    long = pl.DataFrame({"tokens": [json.dumps(["room"] * 700)] * 12, "tags": [json.dumps(["B-THING"] * 700)] * 12})
    run = luban.train(
        pl.concat([TAGGED, long]), task="tag", model=f"hf:{folder}", set=["train.epochs=1"], out=tmp_path / "run", baselines=[]
    )
    assert len(luban.load(run.path / "model").predict({"tokens": long["tokens"][:1]})) > 0


def test_a_model_that_reads_few_pieces_is_not_asked_for_more(folder, tmp_path):
    """It has no vectors for places behind its last; the tokenizer does not know of it."""
    short = shutil.copytree(folder, tmp_path / "short")
    config = transformers.BertConfig.from_pretrained(folder, max_position_embeddings=16)
    config.save_pretrained(short)
    transformers.BertModel(config).save_pretrained(short)
    run = luban.train(TAGGED, task="tag", model=f"hf:{short}", set=["train.epochs=1"], out=tmp_path / "run", baselines=[])
    bundle = luban.load(run.path / "model")
    assert bundle.schema.inputs["c0"].reads == 16
    assert len(bundle.predict({"tokens": [json.dumps(["room"] * 40)]})) > 0


def test_what_ends_a_row_may_have_nothing_before_it():
    """As T5's tokenizer has it."""
    hf = pytest.importorskip("tokenizers")
    tokenizer = hf.Tokenizer(hf.models.WordLevel({"<unk>": 0, "</s>": 1, "a": 2}, unk_token="<unk>"))
    tokenizer.post_processor = hf.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    words = FIELDS["words"](("tokens",), FIELDS["words"].Config(pieces="hf:t5")).restore(
        {"vocabulary": ["a"], "single": False, "length": 1, "has_missing": False, "tokenizer": json.loads(tokenizer.to_str()), "reads": 8}
    )
    assert words.around == ([], [1])


def test_tags_are_not_solved_on_frozen_features(folder, tmp_path):
    with pytest.raises(UserError, match="one a token"):
        luban.train(TAGGED, task="tag", model=f"hf:{folder}", set=["model.tune=head"], out=tmp_path / "run")


def test_a_text_longer_than_the_model_has_places_for(folder, tmp_path):
    short = tmp_path / "short"
    shutil.copytree(folder, short)
    about = json.loads((short / "config.json").read_text())
    weights = transformers.AutoModel.from_pretrained(short)
    weights.config.max_position_embeddings = about["max_position_embeddings"] = 16
    weights.embeddings.position_embeddings = torch.nn.Embedding(16, about["hidden_size"])
    weights.save_pretrained(short)
    long = TABLE.with_columns(review=pl.col("review") + " good" * 30)
    run = luban.train(long, target="label", model=f"hf:{short}", set=["train.epochs=1"], out=tmp_path / "run", baselines=[])
    assert luban.load(run.path / "model").schema.inputs["c0"].length == 16
    with pytest.raises(UserError, match="has places for 16 tokens"):
        luban.train(long, target="label", model=f"hf:{short}", out=tmp_path / "other",
                    set=[f"fields.review={{field: text, tokenizer: 'hf:{short}', max_length: 20}}"])  # fmt: skip
