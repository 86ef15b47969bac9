"""What is dear to make and can be made again: files and folders under home()/cache, named by a hash of all that they were made of.

Each is whole or absent: it is written beside its place and renamed, and renamed before it is removed, so runs side by side cannot spoil it,
at worst both make it; a folder lists its files and their sizes. Arrays come back mapped, not read: only what is touched is loaded, and what
is written to them stays in this process. The oldest in use go where all together pass `MOST`, but none that a process holds. Nothing is
ever unpickled. Whatever goes wrong with the disk is said.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from luban.core.files import home
from luban.core.notes import warn

try:
    import fcntl
except ImportError:  # Windows, which does not rename what is open
    fcntl = None  # type: ignore[assignment]

MOST = 10_000_000_000
"""Bytes of all together, some 200,000 colour pictures of 128 x 128; one that is larger alone is kept alone."""
_SPARE = 1_000_000_000
"""Bytes that the disk must have left beyond what is new."""
_STALE = 86_400.0
"""Seconds after which what is half written belongs to nobody."""
_LIST = "whole.json"
"""In a folder: {name: bytes} of its other files."""


def key_of(parts: Iterable[Any]) -> str:
    """A name for what these made: str, bytes, or what `repr` tells apart. Lengths count, so ("ab", "c") is not ("a", "bc")."""
    digest = hashlib.blake2b(digest_size=20)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


@functools.cache
def code() -> str:
    """Changes with every edit of ours, and with every version of what reads and counts for us."""
    files = sorted(Path(__file__).parent.parent.rglob("*.py"))
    versions = [importlib.metadata.version(name) for name in ("polars", "numpy", "torch")]
    return key_of([*versions, *((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)])


# ---------------------------------------------------------------- files and folders


def found(name: str) -> Path | None:
    """Where `name` is kept; None where it is not, or not whole. Looking counts as use."""
    path = home() / "cache" / name
    try:
        os.utime(path)  # the time of use, by which the oldest goes
    except OSError:
        return None
    if path.is_dir() and not _whole(path):
        _remove(path)
        return None
    return path


_held: dict[Path, int] = {}


def held(name: str) -> Path | None:
    """As `found`, of a folder whose files will be opened again: no process removes it before this one ends."""
    path = home() / "cache" / name
    if fcntl is None:
        return found(name)
    try:
        lock = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(lock, fcntl.LOCK_SH)
    if (before := _held.pop(path, None)) is not None:
        os.close(before)
    _held[path] = lock
    return found(name)


def _sizes(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in folder.iterdir() if file.name != _LIST}


def _whole(folder: Path) -> bool:
    try:
        return json.loads((folder / _LIST).read_text(encoding="utf-8")) == _sizes(folder)
    except (OSError, ValueError):
        return False


@contextmanager
def making(name: str, size: int) -> Iterator[Path | None]:
    """A new folder beside the place of `name`, in which the caller makes a file or folder called `name`; it is then moved there.

    None where the disk has no room for `size` bytes. Of what raises, nothing is kept.
    """
    folder = home() / "cache"
    draft = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _make_room(folder, size)
        if shutil.disk_usage(folder).free >= size + _SPARE:
            draft = Path(tempfile.mkdtemp(dir=folder, prefix=f".{name}."))
    except OSError as error:
        useless(error)
    if draft is None:
        yield None
        return
    try:
        yield draft
        if (draft / name).is_dir():
            (draft / name / _LIST).write_text(json.dumps(_sizes(draft / name)), encoding="utf-8")
            if found(name) is not None:  # another run was faster
                return
        (draft / name).replace(folder / name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def useless(error: OSError) -> None:
    """Says that the disk refused."""
    warn(f"the cache in {home() / 'cache'} cannot be used: {error.strerror}. This run goes on without; $LUBAN_HOME names another place.")


def _make_room(folder: Path, size: int) -> None:
    """Removes what was used longest ago until `size` more fit into MOST, and what crashed runs left half written."""
    kept = []
    for entry in folder.iterdir():
        try:
            used = entry.stat().st_mtime
            bytes_ = sum(file.stat().st_size for file in entry.rglob("*")) if entry.is_dir() else entry.stat().st_size
        except OSError:  # another run has just removed it
            continue
        if entry.name.startswith("."):
            if time.time() - used > _STALE:
                _remove(entry)
        else:
            kept.append((used, bytes_, entry))
    total = sum(each[1] for each in kept) + size
    for _, each, entry in sorted(kept):
        if total <= MOST:
            break
        if _remove(entry):
            total -= each


@contextmanager
def _unless_held(entry: Path) -> Iterator[None]:
    """Within it, nobody can come to hold it. Raises BlockingIOError where a process does."""
    if fcntl is None:
        yield
        return
    lock = os.open(entry, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(lock)


def _remove(entry: Path) -> bool:
    """At once for whoever looks; not where a process holds it. A run that still has it mapped keeps what it has."""
    gone = entry.with_name(f".{entry.name.lstrip('.')[:60]}.{os.getpid()}.gone")
    try:
        with _unless_held(entry):
            entry.rename(gone)
    except OSError:  # held, or removed by another run
        return False
    if gone.is_dir():
        shutil.rmtree(gone, ignore_errors=True)
    else:
        gone.unlink(missing_ok=True)
    return True


# ---------------------------------------------------------------- arrays


def array(key: str, shape: tuple[int, ...], fill: Callable[[np.ndarray], None]) -> np.ndarray:
    """The uint8 array of `shape` called `key`, kept or made: `fill` gets zeros and writes all of it; what it raises, nothing is kept of.

    Whatever goes wrong with the disk, the array is made in memory.
    """
    name, size = f"{key}.npy", int(np.prod(shape))
    kept = _opened(found(name), shape)
    if kept is not None:
        return kept
    try:
        with making(name, size) as folder:
            if folder is not None:
                _written(folder / name, shape, fill)
        kept = _opened(found(name), shape) if folder is not None else None
    except OSError as error:
        useless(error)
    if kept is None:
        kept = np.zeros(shape, np.uint8)
        fill(kept)
    return kept


def _opened(path: Path | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """None where there is none, or one cut short."""
    if path is None:
        return None
    try:
        kept = np.load(path, mmap_mode="c")  # copy on write: torch takes no array that cannot be written
    except (OSError, ValueError, EOFError):
        return None
    return kept if kept.shape == shape and kept.dtype == np.uint8 else None


def _written(path: Path, shape: tuple[int, ...], fill: Callable[[np.ndarray], None]) -> None:
    mapped = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):  # a hole that the disk cannot fill later kills the process, by SIGBUS
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    fill(mapped)
    mapped.flush()
