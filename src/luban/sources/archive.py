"""A tar or zip of pictures to a Table of their bytes, laid out as a folder is (`_pictures`).

Nothing is written: a member's name only says where it belongs, so that "../../x" and links can do no harm, and 60,000 pictures of 1.5 KB
cost two seconds and 90 MB. The sizes that an archive declares are added up before a content is read.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import polars as pl

from luban.core.cells import name_bytes
from luban.core.contract import Table
from luban.core.errors import UserError, listed
from luban.core.notes import warn
from luban.core.source import Source
from luban.sources._pictures import Found, arrange, hidden
from luban.sources.csv import Csv
from luban.sources.jsonl import Jsonl

LARGEST = 4 << 30
"""Bytes of all members together, as declared, that are read into memory. An archive of more is unpacked by the user, on a disk."""


PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"\xfd7zXZ\0": lzma.open, b"BZh": bz2.open}
"""How a packed tar is opened, by its first bytes. tarfile would do it, but takes a packed stream that was cut off for a whole one."""


class Archive(Source):
    """`more` says that other archives hold the other parts."""

    suffixes = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
    target = "label"

    def __init__(self, *, encoding: str | None = None, delimiter: str | None = None, more: bool = False):
        super().__init__(encoding=encoding, delimiter=delimiter)
        self.more = more

    def read(self, path: Path) -> Table:
        found, content, outside = Found(), {}, []
        try:
            entries = list(_zipped(path) if zipfile.is_zipfile(path) else _tarred(path))
            for name, data in zip(_spelt([name for name, _ in entries]), (data for _, data in entries), strict=True):
                clean = name.replace("\\", "/").removeprefix("./").removesuffix("/")
                parts = clean.split("/")
                if ".." in parts or clean.startswith("/") or (data is None and not name.endswith("/")):
                    outside.append(name)
                elif any(map(hidden, parts)):
                    continue
                elif data is None:
                    found.folders.append(clean)
                elif clean not in content:
                    found.add(clean)
                    content[clean] = data
                else:
                    content[clean] = data  # written twice, the later one counts, as when it is unpacked
        except NotImplementedError as error:
            raise UserError(f"{path.name} is packed in a way that is not read here ({error}). Unpack it, and give the folder.") from error
        except (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
            raise UserError(f"{path.name} is a damaged archive: {error}. Copy or download it again.") from error
        if outside:
            warn(f"{len(outside):,} entries of {path.name} are links or name places outside of it and are left out "
                 f"(the first: {outside[0]!r})")  # fmt: skip
        if not found.pictures:
            raise UserError(f"{path.name} holds no pictures. Unpack it, and give one of its files: {listed(sorted(content), 6) or 'none'}.")

        def read_list(name: str) -> Table:
            source = Csv() if name.lower().endswith(".csv") else Jsonl()
            return pl.concat(source.stream(io.BytesIO(content[name]), 1_000_000, name))

        table = arrange(found, path.name, read_list, self.more)
        column = "picture" if "file_name" not in table.columns else "file_name"
        for name in table[column]:
            name_bytes(content[name], name)
        return table.with_columns(pl.Series(column, [content[name] for name in table[column]], pl.Binary))


def _tarred(path: Path) -> Iterator[tuple[str | bytes, bytes | None]]:
    """(name, bytes) of each file, in one pass; (name + "/", None) of a folder, (name, None) of a link or device."""
    total = 0
    with open(path, "rb") as file:
        head = file.read(6)
    unpack = next((unpack for magic, unpack in PACKED.items() if head.startswith(magic)), open)
    with unpack(path, "rb") as unpacked, tarfile.open(fileobj=(watched := _Watched(unpacked)), mode="r|") as archive:  # type: ignore[call-overload]
        for member in archive:
            total += member.size  # of all: what is skipped is unpacked, too
            _refuse_large(total, path)
            if member.isfile():
                yield _raw(member.name), archive.extractfile(member).read() if _wanted(member.name) else b""
            else:
                yield _raw(f"{member.name}/" if member.isdir() else member.name), None
            archive.members = []  # type: ignore[attr-defined]  # tarfile keeps all that it has passed
        last = watched.last
        while rest := watched.read(1 << 20):  # to the checksum, which stands at the end
            total += len(rest)
            _refuse_large(total, path)
    if last.strip(b"\0"):
        raise UserError(f"{path.name} was cut off: it has no mark of its end. Copy or download it again.")


def _raw(name: str) -> bytes:
    return name.encode(errors="surrogateescape")


class _Watched:
    """A file whose last block is kept: tarfile takes the end of a file for the end of the archive, which is told by a block of zeros."""

    def __init__(self, file: IO[bytes]):
        self.file, self.last = file, b""

    def read(self, size: int) -> bytes:
        block = self.file.read(size)
        self.last = block[-tarfile.BLOCKSIZE :] or self.last
        return block


def _zipped(path: Path) -> Iterator[tuple[str | bytes, bytes | None]]:
    """As `_tarred`."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _refuse_large(sum(member.file_size for member in members if _wanted(member.filename)), path)
        for member in members:
            name = member.filename if member.flag_bits & 0x800 else member.filename.encode("cp437")  # the flag says UTF-8
            if member.flag_bits & 1:
                raise UserError(
                    f"{path.name} is encrypted ({member.filename!r} asks for a password). Unpack it first, and give the folder."
                )
            if member.is_dir() or (member.external_attr >> 28) == 0o12:  # a symbolic link, as Unix writes it
                yield name, None
            else:
                yield name, archive.read(member) if _wanted(member.filename) else b""


def _spelt(names: list[str | bytes]) -> list[str]:
    """Names that do not say their encoding are UTF-8 if all of them are, else what a Chinese Windows writes."""
    unsaid = b"".join(name for name in names if isinstance(name, bytes))
    for encoding in ("utf-8", "gb18030", "cp437"):
        with contextlib.suppress(UnicodeDecodeError):
            unsaid.decode(encoding)
            return [name if isinstance(name, str) else name.decode(encoding) for name in names]
    raise AssertionError("cp437 decodes everything")


def _wanted(name: str) -> bool:
    """Is its content read at all?"""
    one = Found()
    one.add(name)
    return not one.others


def _refuse_large(size: int, path: Path) -> None:
    if size > LARGEST:
        raise UserError(f"{path.name} holds {size / 1e9:.1f} GB or more when unpacked; more than {LARGEST / 1e9:.1f} GB are not read into "
                        "memory. Unpack it on a disk, and give the folder.")  # fmt: skip
