"""What is dear to make and can be made again: arrays on disk under home()/cache, named by a hash of all that they were made of.

A file is whole or absent: it is written beside its place and renamed, so runs side by side cannot spoil it, at worst both make it. It comes
back mapped, not read: only what is touched is loaded, and what is written to it stays in this process. The oldest in use go where all
together pass `MOST`. Nothing is ever unpickled. Whatever goes wrong with the disk, the array is made in memory, and that is said.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from luban.core.files import home
from luban.core.notes import warn

MOST = 10_000_000_000
"""Bytes of all files together: some 200,000 colour pictures of 128 x 128."""
_SPARE = 1_000_000_000
"""Bytes that the disk must have left beyond the new file."""
_STALE = 86_400.0
"""Seconds after which a file half written belongs to nobody."""


def key_of(parts: Iterable[Any]) -> str:
    """A name for what these made: str, bytes, or what `repr` tells apart. Lengths count, so ("ab", "c") is not ("a", "bc")."""
    digest = hashlib.blake2b(digest_size=20)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def array(key: str, shape: tuple[int, ...], fill: Callable[[np.ndarray], None]) -> np.ndarray:
    """The uint8 array of `shape` called `key`, kept or made: `fill` gets zeros and writes all of it; what it raises, nothing is kept of."""
    path = home() / "cache" / f"{key}.npy"
    kept = _opened(path, shape)
    if kept is not None:
        return kept
    size = int(np.prod(shape))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(path.parent, size)
        made = _written(path, shape, size, fill)
    except OSError as error:
        warn(f"the cache in {path.parent} cannot be used: {error.strerror}. This run goes on without; $LUBAN_HOME names another place.")
        made = None
    if made is None:
        made = np.zeros(shape, np.uint8)
        fill(made)
    return made


def _opened(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """None where there is none, or one cut short."""
    try:
        kept = np.load(path, mmap_mode="c")  # copy on write: torch takes no array that cannot be written
        os.utime(path)  # the time of use, by which the oldest goes
    except (OSError, ValueError, EOFError):
        return None
    return kept if kept.shape == shape and kept.dtype == np.uint8 else None


def _written(path: Path, shape: tuple[int, ...], size: int, fill: Callable[[np.ndarray], None]) -> np.ndarray | None:
    """Made in a file of its own, which then takes its name; None where there is no room for it."""
    if size > MOST or shutil.disk_usage(path.parent).free < size + _SPARE:
        return None
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        mapped = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        if hasattr(os, "posix_fallocate"):  # a hole that the disk cannot fill later kills the process, by SIGBUS
            with open(temporary, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
        fill(mapped)
        mapped.flush()
        del mapped
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return _opened(path, shape)


def _make_room(folder: Path, size: int) -> None:
    """Removes the files used longest ago until `size` more fit into MOST, and what crashed runs left half written."""
    found = []
    for file in folder.iterdir():
        try:
            facts = file.stat()
        except OSError:  # another run has just removed it
            continue
        if file.name.startswith("."):
            if time.time() - facts.st_mtime > _STALE:
                file.unlink(missing_ok=True)
        elif file.suffix == ".npy":
            found.append((facts.st_mtime, facts.st_size, file))
    total = sum(each[1] for each in found) + size
    for _, each, file in sorted(found):
        if total <= MOST:
            break
        file.unlink(missing_ok=True)
        total -= each
