"""Embed: pairs counted by hand, vectors as gensim and transformers have them, and questions answered or refused in words."""

import math
import os
from pathlib import Path

import polars as pl
import pytest
import torch
from scipy import stats

import luban
from luban.core.batch import Ragged
from luban.core.errors import UserError
from luban.layers.words import WINDOW, near
from luban.models.word2vec import _hash, _pieces

DATA = Path(os.environ.get("LUBAN_DATA") or Path(__file__).parents[3] / "shared" / "data")
LINES = [f"the {who} {does} in the {where}" for who in ("king", "queen", "lord", "lady") for does in ("sits", "sleeps")
         for where in ("castle", "garden", "tower")]  # fmt: skip
LINES += [f"a {who} {does} on the {where}" for who in ("ship", "boat") for does in ("sails", "sinks") for where in ("sea", "river")]
TABLE = pl.DataFrame({"text": [f"{line} {i % 7}" for i in range(12) for line in LINES]})


@pytest.fixture(scope="module", params=["svd", "word2vec"])
def bundle(request, tmp_path_factory):
    if request.param == "word2vec":
        pytest.importorskip("gensim")
    options = {"model.width": 16} | ({"model.subwords": True, "model.buckets": 500} if request.param == "word2vec" else {})
    out = tmp_path_factory.mktemp(request.param) / "run"
    return luban.train(TABLE, task="embed", model=request.param, baselines=[], out=out, set=options).load()


def test_pairs_are_all_of_a_row_and_drawn_alike():
    tokens, share = Ragged(torch.tensor([1, 2, 3, 0, 4, 2]), torch.tensor([0, 4, 6])), torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4])
    found = list(near(tokens, share))
    pairs = sorted((int(a), int(b[0])) for word, other, _ in found for a, b in zip(word, other, strict=True))
    assert pairs == [(1, 2), (1, 3), (2, 1), (2, 3), (2, 4), (3, 1), (3, 2), (4, 2)]
    drawn = torch.cat([other[:, 1:] for _, other, _ in found])
    assert drawn.shape == (8, WINDOW) and drawn.min() >= 1
    alone = torch.cat([other for _, other, _ in near(Ragged(tokens.values[:4], torch.tensor([0, 4])), share)])
    assert {tuple(row) for row in alone.tolist()} < {tuple(row) for _, other, _ in found for row in other.tolist()}


def test_what_is_drawn_follows_the_shares():
    share = torch.tensor([0.0, 0.1, 0.2, 0.7])
    tokens = Ragged(torch.randint(1, 4, (20_000,), generator=torch.Generator().manual_seed(0)), torch.arange(0, 20_001, 20))
    drawn = torch.bincount(torch.cat([other[:, 1:] for _, other, _ in near(tokens, share)]).flatten(), minlength=4).double()
    assert torch.allclose(drawn / drawn.sum(), share.double() ** 0.75 / (share.double() ** 0.75).sum(), atol=0.01)


def test_answers(bundle):
    vectors = bundle.predict({"text": ["the king sits", "qqq", None]})
    assert vectors.columns == ["text", *(f"v{i}" for i in range(16))] and vectors.row(1)[1:] == (0.0,) * 16 == vectors.row(2)[1:]
    neighbours = bundle.predict(ask={"neighbours": "King", "k": 3})
    assert neighbours["rank"].to_list() == [1, 2, 3] and "king" not in neighbours["word"].to_list()
    assert neighbours["score"].is_sorted(descending=True) and neighbours["score"].max() <= 1 + 1e-6
    assert not {"king", "lord", "queen"} & set(bundle.predict(ask={"analogy": "king,lord,queen", "k": 30})["word"])


def test_search_is_over_all_rows(bundle):
    rows = {"text": [*LINES, "a boat sinks on the sea", *LINES]}
    found = bundle.predict(rows, {"search": "a boat sinks on the sea", "k": 2})
    assert found.height == 2 and found["prediction"][0] == pytest.approx(1, abs=1e-5)
    assert found["text"].to_list() == ["a boat sinks on the sea"] * 2 and found["row"][0] == LINES.index(found["text"][0]) + 1
    chunks = [pl.DataFrame(rows)[start : start + 5] for start in range(0, len(rows["text"]), 5)]
    assert pl.concat(bundle.predict_chunks(chunks, {"search": "a boat sinks on the sea", "k": 2})).equals(found)


@pytest.mark.parametrize(("ask", "words"), [
    ({"neighbours": "king", "k": 0}, "must lie between 1"), ({"analogy": "king,man"}, "takes three words"),
    ({"search": "king"}, "Name the file"),
    ({"neighbours": "a", "search": "b"}, "three questions"), ({}, "name a file"),
])  # fmt: skip
def test_refused_questions(bundle, ask, words):
    with pytest.raises(UserError, match=words):
        bundle.predict(ask=ask)


def test_a_word_never_seen(bundle):
    if getattr(bundle.model.config, "subwords", False):
        assert bundle.predict(ask={"neighbours": "kinglike", "k": 1}).height == 1
    else:
        with pytest.raises(UserError, match=r"'kinng' has no vector.* Did you mean 'king'"):
            bundle.predict(ask={"neighbours": "kinng"})
    with pytest.raises(UserError, match="no word that training had"):
        bundle.predict({"text": LINES}, {"search": "qqq"})


def test_pieces_are_fasttexts():
    inner = pytest.importorskip("gensim.models.fasttext_inner")
    for word in ("where", "naïve", "早餐店"):
        assert sorted(piece.encode() for piece in _pieces(word)) == sorted(inner.compute_ngrams_bytes(word, 3, 6))
        assert [_hash(piece) for piece in _pieces(word)] == [inner.ft_hash_bytes(piece.encode()) for piece in _pieces(word)]


@pytest.mark.parametrize("model", ["svd", "word2vec"])
def test_the_same_seed_gives_the_same_vectors(model, tmp_path):
    if model == "word2vec":
        pytest.importorskip("gensim")
    words = {"task": "embed", "model": model, "baselines": [], "set": {"model.width": 8}}
    one, two = (luban.train(TABLE, out=tmp_path / name, **words).load().model.vectors for name in "ab")
    assert torch.equal(one, two) and one.any()


@pytest.mark.parametrize(("rows", "words"), [([""] * 40, "is empty in all"), (["so"] * 20 + ["so so"] * 40, "different words stand")])
def test_what_cannot_be_learned(rows, words, tmp_path):
    with pytest.raises(UserError, match=words):
        luban.train({"text": rows}, task="embed", model="svd", baselines=[], out=tmp_path / "run", set={"data.split": ""})


def test_emoji_are_words(tmp_path):
    table = {"text": [f"{a}{b} {c}" for a in "🙂😀🎉" for b in "🐶🐱🐭" for c in "🍎🍐🍇"] * 6}
    run = luban.train(table, task="embed", model="svd", baselines=[], out=tmp_path / "run", set={"model.width": 4})
    assert math.isfinite(run.metrics["pair_loss"]) and run.load().predict(ask={"neighbours": "🐶", "k": 2}).height == 2


def test_a_pretrained_encoder_as_transformers_has_it(tmp_path):
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({word for line in LINES for word in line.split()})]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(vocab=str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    transformers.BertModel(transformers.BertConfig(vocab_size=len(words), **sizes)).save_pretrained(tmp_path / "bert")
    run = luban.train(TABLE, task="embed", model=f"hf:{tmp_path / 'bert'}", baselines=["svd"], out=tmp_path / "run")
    assert set(run.metrics) == {"half_mrr"}
    rows = [*LINES, " ".join(LINES[:5])]  # none of training was as long, and it is not cut for that
    mine = torch.tensor(run.load().predict({"text": rows}).drop("text").to_numpy())
    asked = transformers.AutoTokenizer.from_pretrained(tmp_path / "bert")(rows, padding=True, return_tensors="pt")
    with torch.no_grad():
        h = transformers.AutoModel.from_pretrained(tmp_path / "bert").eval()(**asked).last_hidden_state
    there = asked["attention_mask"].unsqueeze(2)
    theirs = torch.nn.functional.normalize((h * there).sum(1) / there.sum(1), dim=1)
    assert (mine - theirs).abs().max() < 1e-5
    with pytest.raises(UserError, match="encoder of rows"):
        run.load().predict(ask={"neighbours": "king"})


def test_pairs_are_scored_by_the_cosine_of_their_vectors(bundle):
    pairs = pl.DataFrame({"a": LINES, "b": LINES[5:] + LINES[:5], "score": [f"{i % 4},5" for i in range(len(LINES))]})
    measured = luban.evaluate(bundle, pairs)
    a, b = (torch.tensor(bundle.predict({"text": pairs[name]}).drop("text").to_numpy()) for name in "ab")
    cosine = torch.nn.functional.cosine_similarity(a, b).numpy()
    gold = [i % 4 + 0.5 for i in range(len(LINES))]
    assert measured.metrics["spearman"] == pytest.approx(stats.spearmanr(gold, cosine).statistic, abs=1e-4)
    assert measured.metrics["pearson"] == pytest.approx(stats.pearsonr(gold, cosine).statistic, abs=1e-4)
    assert measured.intervals["spearman"][0] < measured.metrics["spearman"] < measured.intervals["spearman"][1]
    assert bundle.task.compared(pl.DataFrame({"id": ["1", "2"], "text": ["a king", "a boat"], "score": ["1", "2"]}), None) is None
    with pytest.raises(UserError, match="have no order to agree with"):
        luban.evaluate(bundle, {"a": ["the king", "a boat"], "b": ["the queen", "a ship"], "score": ["1", "1"]})
    with pytest.raises(UserError, match="row 2 has the score 'much', which is no number"):
        luban.evaluate(bundle, {"a": ["the king", "a boat"], "b": ["the queen", "a ship"], "score": ["1", "much"]})
    with pytest.raises(UserError, match="no page about pairs"):
        luban.evaluate(bundle, pairs, report="page.html")


@pytest.mark.slow
def test_sentences_of_a_published_encoder_agree_with_people_as_published(tmp_path):
    """STS benchmark, test part: .8203 in MTEB's results of all-MiniLM-L6-v2, there with 256 tokens a sentence."""
    weights, pairs = os.environ.get("LUBAN_MINILM"), DATA / "stsb" / "stsb-en-test.csv"
    if weights is None or not pairs.is_file():
        pytest.skip("LUBAN_MINILM names no folder of all-MiniLM-L6-v2, or the sentences are not on this machine")
    table = pl.read_csv(pairs, has_header=False, new_columns=["first", "second", "score"])
    run = luban.train(table, task="embed", target="first", model=f"hf:{weights}", baselines=[], out=tmp_path / "run")
    assert luban.evaluate(run.path, table).metrics["spearman"] == pytest.approx(0.8203, abs=1e-4)
