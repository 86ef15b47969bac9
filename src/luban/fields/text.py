"""Words of any script as tokens: cleaned, cut by a tokenizer that was trained on the training rows, an id each, in order.

Cleaning is polars', cutting Hugging Face's `tokenizers`, whose JSON is what travels. Byte-level BPE (Sennrich et al. 2016, arXiv
1508.07909; GPT-2's bytes) knows no unknown character and needs no word segmenter: in Chinese its merges find words by themselves. The id
0 is the unknown piece, and what models pad with. With `hf:PATH` the tokenizer is that of a pretrained model, ids and special tokens as
they were.
"""

from __future__ import annotations

import html
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from luban.core import cache, cells
from luban.core.batch import Encoded, Ragged, beneath, cut
from luban.core.contract import Field
from luban.core.errors import UserError
from luban.core.hub import LONGEST, tokenizer_of
from luban.core.registry import Later
from luban.fields import _translate

hf = Later("tokenizers")

UNKNOWN = "<unk>"
GAP = r"(?i)\s*\[mask\]"
"""What a user writes for a token that is to be guessed: it is read as the unknown one, with the space before it as of a usual token."""
TRAINED_ON = 10_000_000
"""Characters that a tokenizer is trained on, at most: the first of every so many rows."""
WIDEST = 16
"""Characters that a token may stand for: what lies beyond max_length times as many is not even looked at."""
UNITS = rf"[A-Za-z0-9\p{{L}}&&[^{cells.UNSPACED}]]+|[{cells.UNSPACED}]{{2}}"
"""Roughly a word each, for the sniff: letters and digits, or two characters where no spaces are written."""
LEARNED = ("missing", "has_missing", "length", "usual", "cut", "unknown", "scripts")
"""What `fit` learned, beside the tokenizer."""
SCRIPTS = {"Latin": r"\p{Latin}", "Han": r"\p{Han}", "kana": r"[\p{Hiragana}\p{Katakana}]", "Hangul": r"\p{Hangul}",
           "Cyrillic": r"\p{Cyrillic}", "Greek": r"\p{Greek}", "Arabic": r"\p{Arabic}", "Hebrew": r"\p{Hebrew}",
           "Devanagari": r"\p{Devanagari}", "Thai": r"\p{Thai}"}  # fmt: skip
"""Of Unicode, which says in which letters a text is, and not in which language."""
SYLLABLES = ("ba", "ke", "lo", "mi", "nu", "ra", "so", "ti", "鲁", "班", "木", "工", "尺", "墨")
PHRASES = {"Latin": "a short text to ask about", "Han": "在这里写一句话", "kana": "ここに文を書いてください",
           "Hangul": "여기에 짧은 글을 쓰세요", "Cyrillic": "короткий текст для вопроса"}  # fmt: skip
KINDS = ("bpe", "unigram", "words", "characters")
_TAG = r"</?[A-Za-z][^<>]*>"


class Text(Field):
    kind = "tokens"
    invertible = False  # letter case, spaces and what was cut are gone
    whole = 1_000_000
    """The max_length that cuts no row, or with a pretrained tokenizer only what is beyond its own limit."""

    @dataclass(frozen=True)
    class Config:
        tokenizer: str = "bpe"
        """bpe | unigram: pieces of words, learned; unigram cuts more like a dictionary, takes ten times as long to learn, and not the same
        to the bit twice (so it is kept). words: runs of letters, one character each where no spaces are written. characters. hf:PATH: that
        of a pretrained model in a folder."""
        vocab_size: int = 10_000
        """Pieces that are learned, at most. 10,000 is usual for some thousand reviews, 30,000 (BERT) for much more."""
        max_length: int | None = None
        """Tokens of a row that are read; what follows is cut. Unset: as long as 99 in 100 training rows, at most 512."""
        lowercase: bool = True
        """A and a are the same letter. BERT's uncased models did as well as the cased ones in all but names."""
        nfkc: bool = True
        """Forms of one character are the same: １ and 1, ﬁ and fi (Unicode's NFKC)."""
        html: bool = True
        """Tags are left out and entities spelled: <br/> is a space, &amp; is &."""
        controls: bool = True
        """Control characters, NUL among them, are a space."""
        back: tuple[str, ...] = ()
        """Back-translation: two pretrained models that translate there and back, folders or ids of the hub. Each training row is trained on
        as it comes back, too. Wants `luban[text]`."""

        def __post_init__(self) -> None:
            if self.tokenizer not in KINDS and not self.tokenizer.startswith("hf:"):
                raise UserError(f"tokenizer must be one of {', '.join(KINDS)} or hf:PATH, not {self.tokenizer!r}.")
            if self.vocab_size < 300:
                raise UserError(f"vocab_size must be 300 or more (256 are the bytes), not {self.vocab_size}.")
            if self.max_length is not None and self.max_length < 1:
                raise UserError(f"max_length must be 1 or more, not {self.max_length}.")

    missing = 0.0
    """Share of the training rows that are empty."""
    usual = 0.0
    """Tokens of a training row, on average."""
    cut = 0.0
    """Share of the training rows that are longer."""
    unknown = 0.0
    """Share of the training tokens that are the unknown piece."""
    scripts: Mapping[str, float] = {}
    """Share of the letters in each script, the most frequent first."""

    @classmethod
    def sniff(cls, column: pl.Series) -> float:
        if column.dtype != pl.String:
            return 0.0
        text = cells.present(column)
        if not len(text):
            return 0.0
        units = text.str.head(200).str.count_matches(UNITS).to_numpy().mean()
        distinct = text.n_unique() / len(text)
        if units >= 5 and distinct >= 0.3:
            return 0.9
        return 0.6 if units >= 2 and distinct >= 0.5 else 0.05

    def about(self) -> str:
        said = [f"{self.size:,} {self.config.tokenizer.partition(':')[0]} tokens", f"{self.usual:.0f} a row, at most {self.length}"]
        said += [f"{self.cut:.1%} of the rows are cut there"] if self.cut else []
        said += [f"{self.unknown:.2%} unknown"] if self.unknown else []
        shares = [f"{share:.0%} {name}" for name, share in self.scripts.items() if share >= 0.005]
        return ", ".join([*said, *(["letters: " + " + ".join(shares)] if shares else [])])

    # ---- learning

    def fit(self, chunks: Iterable[pl.Series]) -> Text:
        gone = rows = characters = 0
        for column in chunks:
            gone, rows = gone + int(cells.empty(column).sum()), rows + len(column)
            characters += int(cells.raw(column).str.len_chars().sum() or 0)
        self.missing, self.has_missing = gone / max(rows, 1), gone > 0
        every = -(-characters // TRAINED_ON) or 1
        sample = pl.concat([self._clean(column.gather_every(every)) for column in chunks]) if rows else pl.Series([], dtype=pl.String)
        if self.config.tokenizer.startswith("hf:"):
            self._saved, limit, places = tokenizer_of(self.config.tokenizer.removeprefix("hf:"))
            if self.config.max_length and places < self.config.max_length < self.whole:
                raise UserError(f"max_length is {self.config.max_length}, and {self.config.tokenizer} has places for {places} tokens.")
        else:
            self._saved, limit, places = _trained(sample, self.config), self.whole, self.whole
        self._tokenizer = hf.Tokenizer.from_str(json.dumps(self._saved))
        self.scripts = _scripts(sample.gather_every(-(-len(sample) // 2_000) or 1))
        some = self._encoded(sample.gather_every(-(-len(sample) // 20_000) or 1))
        lengths = some.lengths.numpy()
        self.usual = float(lengths.mean()) if len(lengths) else 0.0
        unknown = next((id for name in (UNKNOWN, "[UNK]") if (id := self._tokenizer.token_to_id(name)) is not None), -1)
        self.unknown = float((some.values == unknown).float().mean()) if len(some.values) else 0.0
        usual = int(np.quantile(lengths, 0.99, method="higher")) if len(lengths) else 1
        self.length = self.config.max_length or max(1, min(LONGEST, usual, places))
        if self.length == self.whole:
            self.length = limit
        self.cut = float((lengths > self.length).mean()) if len(lengths) else 0.0
        self._ready()
        if self.cut > 0.02:
            self.doubts.append(f"{self.cut:.0%} of the rows are longer than the {self.length} tokens that are read (max_length)")
        return self

    def _ready(self) -> None:
        self.size = self._tokenizer.get_vocab_size()
        self._tokenizer.enable_truncation(self.length)

    def reworded(self, chunks: Iterable[pl.Series]) -> pl.Series | None:
        if not self.config.back:
            return None
        column = cells.whole(chunks, self.columns[0])
        rows = cells.raw(column).fill_null("").to_list()
        name = f"{cache.key_of(['back', self.config.back, *rows])}.json"
        if (kept := cache.found(name)) is not None:
            return pl.Series(column.name, json.loads(kept.read_text(encoding="utf-8")), dtype=pl.String)
        for model in self.config.back:
            rows = _translate.translated(rows, model)
        with cache.making(name, sum(map(len, rows)) * 4) as place:
            if place is not None:
                (place / name).write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
        return pl.Series(column.name, rows, dtype=pl.String)

    # ---- encoding

    def encode(self, column: pl.Series) -> Ragged:
        """Ragged int64, the ids of each row in order; an empty row where missing."""
        rows = self._encoded(self._clean(column).str.head(WIDEST * self.length))
        longer = bool((rows.lengths > self.length).any())
        return cut(rows.values, rows.offsets[:-1], rows.lengths.clamp(max=self.length)) if longer else rows

    def _encoded(self, clean: pl.Series) -> Ragged:
        """A stretch from one space to the next is cut once, however often it comes: none of our tokens goes on over a space."""
        if self.config.tokenizer.startswith("hf:") or not self.config.controls:  # where spaces in a row may be one token
            return self._cut(clean)
        parts = clean.str.replace_all(" ", "\0 ", literal=True).str.split("\0")
        all_ = parts.explode().alias("part").to_frame()
        kinds = all_.unique(maintain_order=True).with_row_index("kind")
        kind = all_.join(kinds, on="part", how="left", maintain_order="left")["kind"]
        made = self._cut(kinds["part"])[torch.from_numpy(kind.cast(pl.Int64).to_numpy(writable=True))]
        ends = torch.from_numpy(parts.list.len().cast(pl.Int64).cum_sum().to_numpy(writable=True))
        return Ragged(made.values, torch.cat([made.offsets[:1], made.offsets[ends]]))

    def _cut(self, clean: pl.Series) -> Ragged:
        if len(clean) > 1000:  # what the tokenizer answers takes 100 bytes a token
            return beneath([self._cut(clean.slice(start, 1000)) for start in range(0, len(clean), 1000)])
        made = [each.ids for each in self._tokenizer.encode_batch_fast(clean.to_list())]
        lengths = torch.tensor([len(ids) for ids in made], dtype=torch.int64)
        values = torch.from_numpy(np.fromiter(itertools.chain.from_iterable(made), np.int64, int(lengths.sum())))
        return Ragged(values, torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))

    def _clean(self, column: pl.Series) -> pl.Series:
        """As the tokenizer reads it; "" where missing. A pretrained model's tokenizer has a cleaning of its own, all but the tags."""
        text = cells.words(column).alias("cell")
        text = text.to_frame().select(pl.when(cells.empty(column).alias("gone")).then(pl.lit("")).otherwise("cell")).to_series()
        if self.config.html:
            marked = text.str.contains(rf"{_TAG}|&#?\w+;")
            if marked.any():
                spelled = pl.Series([_unmarked(cell) for cell in text.filter(marked)], dtype=pl.String)
                text = text.scatter(marked.arg_true(), spelled)
        if self.config.tokenizer.startswith("hf:"):
            return text
        text = text.str.normalize("NFKC") if self.config.nfkc else text
        text = text.str.to_lowercase() if self.config.lowercase else text
        text = text.str.replace_all(r"[\p{Cc}\s]+", " ") if self.config.controls else text
        return text.str.replace_all(GAP, UNKNOWN)

    # ---- and back

    def decode(self, encoded: Encoded) -> list:
        """The words that were read, as the tokenizer writes them; None for a missing one."""
        assert isinstance(encoded, Ragged)
        rows = [encoded.values[start:stop].tolist() for start, stop in itertools.pairwise(encoded.offsets.tolist())]
        return [text.strip() if row else None for row, text in zip(rows, self._tokenizer.decode_batch(rows), strict=True)]

    def pieces(self, ids: Tensor) -> list[str] | None:
        return self._tokenizer.decode_batch([[id] for id in ids.tolist()], skip_special_tokens=False)

    def state(self) -> dict[str, Any]:
        return {**{key: getattr(self, key) for key in LEARNED}, "tokenizer": self._saved}

    def restore(self, state: dict[str, Any]) -> Text:
        for key in LEARNED:
            setattr(self, key, state.get(key, {}) if key == "scripts" else state[key])  # an older run counted none
        self._saved = state["tokenizer"]
        self._tokenizer = hf.Tokenizer.from_str(json.dumps(self._saved))
        self._ready()
        return self

    def imagine(self, n: int, rng: np.random.Generator) -> list:
        """Words of no language: no user's text leaves in a model."""
        rows = [" ".join("".join(rng.choice(SYLLABLES, rng.integers(1, 4))) for _ in range(rng.integers(3, 13))) for _ in range(n)]
        return [None if gone else row for row, gone in zip(rows, rng.random(n) < self.missing, strict=True)]

    def phrase(self) -> str:
        return PHRASES.get(max(self.scripts, key=lambda name: self.scripts[name], default=""), PHRASES["Latin"])

    @classmethod
    def samples(cls) -> list[pl.Series]:
        return [
            pl.Series("review", ["Not bad, not bad at all!", "NOT BAD", "", None, "don't — ever", "привет мир", "<b>AT&amp;T</b>\x00x"]),
            pl.Series("评论", ["房间很大，早餐太差。", "iPhone很好", "？？？", "１２３ ABC", "🙂🙂"]),
            pl.Series("number", [12, 3, None]),
        ]


def _scripts(texts: pl.Series) -> dict[str, float]:
    letters = int(texts.str.count_matches(r"\p{L}").sum() or 0)
    counts = {name: int(texts.str.count_matches(rf"[{signs}&&\p{{L}}]").sum() or 0) for name, signs in SCRIPTS.items()}
    counts["other"] = letters - sum(counts.values())
    return {name: counts[name] / letters for name in sorted(counts, key=lambda name: -counts[name]) if counts[name]}


# ---------------------------------------------------------------- the tokenizer


def _trained(texts: pl.Series, config: Text.Config) -> dict[str, Any]:
    """A tokenizer of our own, trained on these texts; or found, where it was trained before: unigram's is not the same to the bit twice."""
    name = f"{cache.key_of(['tokenizer', version('tokenizers'), config, *texts])}.json"
    if (kept := cache.found(name)) is not None:
        return json.loads(kept.read_text(encoding="utf-8"))
    saved = json.loads(_train(texts, config).to_str())
    with cache.making(name, 2_000_000) as place:
        if place is not None:
            (place / name).write_text(json.dumps(saved, ensure_ascii=False), encoding="utf-8")
    return saved


def _train(texts: pl.Series, config: Text.Config) -> Any:
    pre, decoders = hf.pre_tokenizers, hf.decoders
    special = {"special_tokens": [UNKNOWN], "show_progress": False, "vocab_size": config.vocab_size}
    if config.tokenizer == "bpe":
        made = hf.Tokenizer(hf.models.BPE())
        made.pre_tokenizer, made.decoder = pre.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = hf.trainers.BpeTrainer(min_frequency=2, initial_alphabet=sorted(pre.ByteLevel.alphabet()), **special)
    elif config.tokenizer == "unigram":
        made = hf.Tokenizer(hf.models.Unigram())
        made.pre_tokenizer, made.decoder = pre.Metaspace(), decoders.Metaspace()
        trainer = hf.trainers.UnigramTrainer(unk_token=UNKNOWN, **special)
        least = len({"\u2581", *"".join(texts.unique())} - {" "})  # each is a piece of its own, the space as Metaspace writes it
        if least > config.vocab_size:
            raise UserError(f"vocab_size is {config.vocab_size}, and these texts hold {least:,} different characters, each of which the "
                            f"tokenizer unigram must know: set vocab_size to {least} or more, or take bpe.")  # fmt: skip
    else:
        made = hf.Tokenizer(hf.models.WordLevel(unk_token=UNKNOWN))
        one = r"\X" if config.tokenizer == "characters" else rf"[{cells.UNSPACED}]|[^\s\p{{L}}\p{{N}}]"
        made.pre_tokenizer = pre.Sequence([pre.WhitespaceSplit(), pre.Split(hf.Regex(one), "isolated")])
        made.decoder = decoders.Fuse() if config.tokenizer == "characters" else None
        trainer = hf.trainers.WordLevelTrainer(min_frequency=2, **special)
    made.train_from_iterator(_batches(texts), trainer, len(texts))
    return made


def _batches(texts: pl.Series) -> Iterator[list[str]]:
    return (texts.slice(start, 1000).to_list() for start in range(0, len(texts), 1000))


def _unmarked(cell: str) -> str:
    return html.unescape(re.sub(_TAG, " ", cell)).strip()
