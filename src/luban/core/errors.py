"""Errors that a user can act on. A UserError says what was received, where, and what to do; the CLI prints it and exits with 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """The user's input cannot be used. The message is one paragraph: what we got, why it cannot be, what to do."""


class BadCells(UserError):
    """Some cells of a column cannot be read; the rest can. `rows`: their numbers in the column at hand, from 0.

    A run may leave these rows out and go on; where nobody says so, it is the error that it is. column: its name.
    """

    def __init__(self, message: str, rows: Iterable[int], column: str = ""):
        super().__init__(message)
        self.rows, self.column = [int(row) for row in rows], column


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Returns " Did you mean 'x'?" for the nearest of `options`, or "" where nothing is near."""
    by_lower = {option.lower(): option for option in options}
    # a Chinese name has two characters as often as not: one of them is half of it
    near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6 if name.isascii() else 0.5)
    return f" Did you mean {by_lower[near[0]]!r}?" if near else ""


def listed(names: Iterable[str], most: int = 12) -> str:
    """Returns "'a', 'b', 'c' and 9 more", so that a table with 500 columns does not fill the screen."""
    names = [repr(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
