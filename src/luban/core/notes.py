"""What Luban says aloud while it works: one logger, on stderr. `--quiet` silences it; a library user sees nothing unless asked.

A thing that was ignored, guessed or left out is said here, once, in words; nothing is ever only hinted at by a number.
"""

from __future__ import annotations

import logging
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LOG = logging.getLogger("luban")
_LOG.addHandler(logging.NullHandler())


def padded(text: str, width: int) -> str:
    """`text` cut and filled to `width` cells of a terminal, where a Chinese character takes two."""
    while (cells := width_of(text)) > width:
        text = text[:-1]
    return text + " " * (width - cells)


def width_of(text: str) -> int:
    """Cells of a terminal."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


_records: list[list[tuple[str, str]]] = []


@contextmanager
def recorded() -> Iterator[list[tuple[str, str]]]:
    """What is said within it, as ("say" or "warn", text), whoever listens, so that it can be said again."""
    lines: list[tuple[str, str]] = []
    _records.append(lines)
    try:
        yield lines
    finally:
        _records[:] = [each for each in _records if each is not lines]  # `remove` would take an equal one


_unsaid: ContextVar[bool] = ContextVar("unsaid", default=False)


@contextmanager
def unsaid() -> Iterator[None]:
    """Within it nothing is said: what it is about are rows that no user gave."""
    token = _unsaid.set(True)
    try:
        yield
    finally:
        _unsaid.reset(token)


def say(text: str) -> None:
    """Tells the user what is being done or what was decided."""
    if _unsaid.get():
        return
    for lines in _records:
        lines.append(("say", text))
    _LOG.info(text)


EVERY = 10.0
"""Seconds of silence after which a long pass over many rows tells how far it has come."""


def passes(n: int, most: int, done: str) -> Iterator[int]:
    """Where each piece of `most` of n rows starts; now and then it says how many are `done`."""
    told = time.monotonic()
    for start in range(0, n, most):
        if start and time.monotonic() - told > EVERY:
            say(f"{done} {start:,} of {n:,}")
            told = time.monotonic()
        yield start


def warn(text: str) -> None:
    """Tells the user what may be wrong with the data or the result."""
    if _unsaid.get():
        return
    for lines in _records:
        lines.append(("warn", text))
    _LOG.warning(text)
