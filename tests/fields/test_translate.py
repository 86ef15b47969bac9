"""Back-translation: two sequence-to-sequence models in folders, and which rows are trained on in their words."""

import polars as pl
import pytest

import luban
from luban.core.errors import UserError
from luban.fields._translate import translated
from luban.planning import from_words
from luban.splitting import TEST, TRAIN, VALID
from luban.stages.prepare import prepare

transformers, tokenizers = pytest.importorskip("transformers"), pytest.importorskip("tokenizers")
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "good", "bad", "room", "the", "is", "a", "clean", "dirty"]


@pytest.fixture(scope="module")
def translator(tmp_path_factory):
    """A BART of a few thousand weights that nobody trained: what it says is nonsense, but it is said as by any other."""
    folder = tmp_path_factory.mktemp("bart")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    special = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=made, **special).save_pretrained(folder)
    size = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = transformers.BartConfig(vocab_size=len(WORDS), encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=64, **size)
    transformers.set_seed(0)
    transformers.BartForConditionalGeneration(config).save_pretrained(folder)
    return str(folder)


def table(n=80):
    said = ["the room is good", "a bad room", "the room is clean", "a dirty room is bad"]
    rows = [f"{said[i % 4]} {WORDS[4 + i % 7]} {WORDS[4 + i % 5]}" for i in range(n)]
    return pl.DataFrame({"said": rows, "good": ["yes", "no"] * (n // 2)})


def test_rows_come_back_in_their_order_and_alone_as_among_others(translator):
    rows = ["the room is good", "bad", "a room"]
    made = translated(rows, translator)
    assert translated(["", "bad"], translator)[0] == ""
    assert len(made) == 3 and made[1] == translated(["bad"], translator)[0]


def test_training_rows_alone_are_read_again(translator, tmp_path):
    settings = [f"fields.said={{field: text, tokenizer: words, back: [{translator}, {translator}]}}"]
    ready = prepare(table(), from_words({"target": ["good"], "set": settings}))
    alone = prepare(table(), from_words({"target": ["good"], "set": ["fields.said={field: text, tokenizer: words}"]}))
    n = len(alone.rows.of(TRAIN))
    assert len(ready.rows.of(TRAIN)) == 2 * n
    assert all(len(ready.rows.of(part)) == len(alone.rows.of(part)) for part in (VALID, TEST))
    behind, before = ready.rows.table[-n:], alone.rows.table[alone.rows.of(TRAIN)]
    assert behind["good"].to_list() == before["good"].to_list()
    assert behind["said"].to_list() == translated(translated(before["said"].to_list(), translator), translator)
    assert ready.rows.names(len(alone.rows.part)) == alone.rows.names(int(alone.rows.of(TRAIN)[0]))
    made = luban.train(table(), target="good", model="fasttext", baselines=[], out=tmp_path / "run", set=[*settings, "train.steps=3"])
    assert made.load().predict({"said": ["the room"]}).height == 1


def test_a_folder_that_does_not_translate_is_refused(tmp_path):
    with pytest.raises(UserError, match="there is no folder 'nowhere here'"):
        translated(["a"], "nowhere here")
    encoder = tmp_path / "encoder"
    small = {"vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    transformers.BertModel(transformers.BertConfig(**small)).save_pretrained(encoder)
    with pytest.raises(UserError, match="is no model that translates"):
        translated(["a"], str(encoder))
