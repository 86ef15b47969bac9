"""The bytes of a text file, as blocks of UTF-8: unzipped by content, encoding found, everything that is not text refused.

Nothing here knows what the text means. Blocks are cut anywhere but inside a character. What an ASCII file could be in stays open until its
first other byte, however late it comes, so that a column of Chinese after a gigabyte of numbers is still read rightly.
"""

from __future__ import annotations

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from luban.core.errors import UserError
from luban.core.notes import say, warn

BLOCK = 4 << 20
"""Bytes read at once. Larger blocks leave the processor's cache (counting 133 MB: 0.53 s at 16 MB, 0.43 s at 4 MB), smaller cost calls."""

BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}

LOOKS = {b"PK\x03\x04": "a zip archive or an Excel workbook (.xlsx)", b"\xd0\xcf\x11\xe0": "an old Excel or Word file",
         b"PAR1": "a Parquet file", b"\x1f\x8b": "a gzip archive inside another", b"\x89PNG": "a PNG picture",
         b"\xff\xd8\xff": "a JPEG picture", b"GIF8": "a GIF picture", b"%PDF": "a PDF document", b"7z\xbc\xaf": "a 7z archive",
         b"BZh": "a bzip2 archive", b"\xfd7zXZ": "an xz archive", b"\x28\xb5\x2f\xfd": "a Zstandard archive",
         b"SQLite format 3": "an SQLite database", b"ARROW1": "an Arrow file", b"\x93NUMPY": "a NumPy array",
         b"\x89HDF": "an HDF5 file", b"\x7fELF": "a program"}  # fmt: skip


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file, unzipped if its first two bytes say gzip, whatever its name says."""
    with open(path, "rb") as file:
        zipped = file.peek(2)[:2] == b"\x1f\x8b"
        if not zipped:
            yield file
            return
        with gzip.open(file) as unzipped:
            yield unzipped


def utf8_blocks(file: IO[bytes], name: str, encoding: str | None = None) -> Iterator[bytes]:
    """The file's text as UTF-8, without a byte order mark, line ends as they are (but old Mac's single \\r becomes \\n)."""
    block = _read(file, name)
    for magic, what in LOOKS.items():
        if block.startswith(magic):
            raise UserError(f"{name} is not a text file: it looks like {what}. Unpack it, or give it the ending that tells what it is.")
    for bom, meant in BOMS.items():
        if block.startswith(bom):
            block, encoding = block[len(bom) :], meant
            break
    old_mac = b"\r" in block and b"\n" not in block and encoding is None
    decoder = _decoder(encoding) if encoding else None
    start, lines = 0, 1  # of the block at hand: its offset in the file, the number of its first line
    while block:
        if decoder is None and not block.isascii():
            encoding = _sniff(block, name, start, lines)
            decoder = _decoder(encoding)
        text = _decode(decoder, block, name, start, lines) if decoder else block
        if b"\0" in text:
            raise UserError(f"{name} is not a text file: it holds a zero byte in line {lines + text[: text.index(0)].count(10)}. "
                            "Save it as text (CSV in UTF-8).")  # fmt: skip
        yield text.replace(b"\r", b"\n") if old_mac else text
        start, lines = start + len(block), lines + text.count(b"\n")
        block = _read(file, name)
    if decoder and decoder.getstate()[0]:
        raise UserError(f"{name} ends in the middle of a character ({encoding}, line {lines}). It was cut off, it seems: copy it again.")


def text_lines(file: IO[bytes], name: str, encoding: str | None = None) -> Iterator[str]:
    """The same, line by line, without their ends; a last one that is empty, too."""
    rest = b""
    for block in utf8_blocks(file, name, encoding):
        *whole, rest = (rest + block).split(b"\n")
        yield from (line.removesuffix(b"\r").decode() for line in whole)
    yield rest.removesuffix(b"\r").decode()


def _read(file: IO[bytes], name: str) -> bytes:
    try:
        return file.read(BLOCK)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{name} is a damaged gzip file: {error}. Copy or download it again.") from error


def _decoder(encoding: str) -> codecs.IncrementalDecoder:
    try:
        return codecs.getincrementaldecoder(encoding)()
    except LookupError:
        raise UserError(f"there is no encoding {encoding!r}. Common ones: utf-8, gb18030, big5, shift_jis, latin-1, cp1252.") from None


def _decode(decoder: codecs.IncrementalDecoder, block: bytes, name: str, start: int, line: int) -> bytes:
    kept = len(decoder.getstate()[0])  # the bytes of a character that the last block began
    try:
        return decoder.decode(block).encode()
    except UnicodeError as error:
        at = getattr(error, "start", 0) - kept
        raise UserError(f"{name} is not {getattr(error, 'encoding', 'text')} throughout: {_where(block, at, start, line)}. "
                        "Save it again in one encoding, or name the right one: --set data.encoding=latin-1.") from error  # fmt: skip


def _sniff(block: bytes, name: str, start: int, line: int) -> str:
    """utf-8, else gb18030 if what it would read is Chinese that people write, else a UserError. `block` may end inside a character."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(block)
        return "utf-8"
    except UnicodeDecodeError as error:
        at = error.start
    try:
        text = codecs.getincrementaldecoder("gb18030")().decode(block)
        foreign = "".join(letter for letter in text if not letter.isascii())
        # GB 2312, the older and smaller set, is what daily Chinese is made of: both of its bytes are >= 0xA1. Latin-1 letters before an
        # ASCII letter read as GB 18030 give rare hanzi with a low second byte; two accented letters in a row are too rare to matter.
        if len(foreign.encode("gb2312", "ignore")) / 2 > 0.8 * len(foreign):
            say(f"{name} is read as GB18030 (it is not UTF-8).")
            if other := _utf8_line(block, line):
                warn(f"{name} has several encodings: line {other} is UTF-8, and will be misread; the first that is none is line "
                     f"{line + block[:at].count(10)}. {ONE}")  # fmt: skip
            return "gb18030"
    except UnicodeDecodeError:
        pass
    wrong = _where(block, at, start, line)
    if other := _utf8_line(block, line):
        raise UserError(f"{name} has several encodings: line {other} is UTF-8, and the first that is none has {wrong}. {ONE}")
    raise UserError(f"{name} is neither UTF-8 nor GB18030 text: {wrong}. "
                    "If it has several encodings, save it again in one. If you know its encoding, name it: --set data.encoding=latin-1 "
                    "(or cp1252, big5, shift_jis, ...).")  # fmt: skip


CHINESE = re.compile(r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]")
ONE = "Save it again in one encoding, best UTF-8: where it was put together of two files, convert one of them before."


def _utf8_line(block: bytes, line: int) -> int:
    """The first line that is Chinese in UTF-8, which GB18030 would read as other Chinese; 0 where there is none."""
    for number, each in enumerate(block.splitlines(), line):
        if not each.isascii():
            foreign = [letter for letter in each.decode(errors="replace") if not letter.isascii()]
            if len(foreign) > 1 and all(CHINESE.match(letter) for letter in foreign):
                return number
    return 0


def _where(block: bytes, at: int, start: int, line: int) -> str:
    byte = f"byte 0x{block[at]:02X} " if 0 <= at < len(block) else "a byte "
    return f"{byte}at offset {start + at:,} (line {line + block[: max(at, 0)].count(10)})"
