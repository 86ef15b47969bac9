"""Tagged sentences to a Table: a line a token, its tag in the last column, an empty line between sentences (CoNLL, BIO and BMES files).

A sentence is a row of two columns, `tokens` and `tags`, lists as their JSON text, as they are read from any other file. A file of one
column alone is a question and gives `tokens` only. Lines that begin with "-DOCSTART-" part documents and are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import polars as pl

from luban.core.contract import Table
from luban.core.errors import UserError
from luban.core.source import Source
from luban.sources._text import opened, text_lines

Sentence = list[list[str]]


class Conll(Source):
    suffixes = (".conll", ".conll.gz", ".bio", ".bio.gz", ".bmes", ".bmes.gz", ".iob", ".iob.gz")
    options = ("encoding",)

    def read(self, path: Path) -> Table:
        tables = list(self.chunks(path, 1_000_000))
        if not tables:
            raise UserError(f"{path.name} is empty. Give a file with a token and its tag a line, and an empty line between sentences.")
        return pl.concat(tables)

    def chunks(self, path: Path, rows: int) -> Iterator[Table]:
        with opened(path) as file:
            yield from self.stream(file, rows, path.name)

    def stream(self, file: IO[bytes], rows: int, name: str = "the input") -> Iterator[Table]:
        """From an open file that may be a pipe."""
        held: list[Sentence] = []
        for sentence in _sentences(text_lines(file, name, self.encoding), name):
            held.append(sentence)
            if len(held) == rows:
                yield _table(held)
                held = []
        if held:
            yield _table(held)


def _sentences(lines: Iterator[str], name: str) -> Iterator[Sentence]:
    """Each as its lines, [token, tag], or [token] where the first line of the file has nothing else."""
    sentence: Sentence = []
    width = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            if sentence:
                yield sentence
            sentence = []
        elif not line.startswith("-DOCSTART-"):
            cells = line.split("\t") if "\t" in line else line.split()
            found = [cells[0], *cells[1:][-1:]]
            width = width or len(found)
            if len(found) != width or not all(found):
                wanted = "a token and, in the last column, its tag" if width == 2 else "a token"
                raise UserError(f"line {number} of {name} should hold {wanted}, but is {line[:60]!r}. "
                                "Sentences are parted by an empty line.")  # fmt: skip
            sentence.append(found)
    if sentence:
        yield sentence


def _table(sentences: list[Sentence]) -> Table:
    columns = ("tokens", "tags")[: len(sentences[0][0])]
    return pl.DataFrame(
        {name: [json.dumps([line[i] for line in each], ensure_ascii=False) for each in sentences] for i, name in enumerate(columns)}
    )
