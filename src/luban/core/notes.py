"""What Luban says aloud while it works: one logger, on stderr. `--quiet` silences it; a library user sees nothing unless asked.

A thing that was ignored, guessed or left out is said here, once, in words; nothing is ever only hinted at by a number.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

_LOG = logging.getLogger("luban")
_LOG.addHandler(logging.NullHandler())


def padded(text: str, width: int) -> str:
    """`text` cut and filled to `width` cells of a terminal, where a Chinese character takes two."""
    while (cells := cells_of(text)) > width:
        text = text[:-1]
    return text + " " * (width - cells)


def cells_of(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


@contextmanager
def recorded() -> Iterator[list[tuple[str, str]]]:
    """What is said within it, as ("say" or "warn", text), so that it can be said again."""
    lines: list[tuple[str, str]] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(("warn" if record.levelno > logging.INFO else "say", record.getMessage()))  # type: ignore[method-assign]
    before = _LOG.level
    _LOG.addHandler(handler)
    _LOG.setLevel(min(logging.INFO, _LOG.getEffectiveLevel()))
    try:
        yield lines
    finally:
        _LOG.removeHandler(handler)
        _LOG.setLevel(before)


def say(text: str) -> None:
    """Tells the user what is being done or what was decided."""
    _LOG.info(text)


def warn(text: str) -> None:
    """Tells the user what may be wrong with the data or the result."""
    _LOG.warning(text)
