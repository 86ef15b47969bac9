"""One picture, however it was given, as pixels of one shape: opened, turned, made grey or RGB, scaled. Knows neither columns nor cells.

Only formats that are pictures for certain are opened: Pillow also knows some that run programs (EPS) or hold no pixels. What cannot be read
raises Unreadable with the reason in a few words; whatever a damaged file makes Pillow raise becomes one.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import os
import re
import stat
import struct
import urllib.parse
import zlib
from typing import IO

import numpy as np
from PIL import Image, ImageOps

SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm", ".pnm", ".avif",
            ".jp2", ".heic", ".heif")  # fmt: skip
"""Names of pictures. HEIC is not read, but that is to be told, not passed over."""
MAGIC = (rb"\xff\xd8\xff", rb"\x89PNG\r\n\x1a\n", rb"GIF8[79]a", rb"RIFF....WEBP", rb"BM", rb"II\*\x00", rb"MM\x00\*", rb"P[1-6]\s",
         rb"....ftypavi[fs]", rb"\x00\x00\x00\x0cjP  ")  # fmt: skip
BASE64 = r"^(?:iVBORw0KGgo|/9j/|R0lGOD|UklGR|SUkq|TU0AK)[A-Za-z0-9+/\s]{24,}={0,2}\s*$"
"""How bytes of PNG, JPEG, GIF, WebP and TIFF begin in base64. A path has a point before its suffix, base64 has none."""
GONE = "there is no such file"
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000")
_KNOWN = re.compile(b"|".join(MAGIC), re.DOTALL)
_COLOURED = ("RGB", "RGBA", "CMYK", "YCbCr", "LAB")
_ORIENTATION = 0x0112
_MOVING = ("GIF", "WEBP", "PNG", "AVIF")
"""Formats in which several frames are a film; a TIFF's are pages, a camera's MPO holds views of one picture."""

DAMAGE = (OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, AssertionError,
          MemoryError, struct.error, zlib.error, Image.DecompressionBombError, Image.DecompressionBombWarning)  # fmt: skip
"""What Pillow's decoders raise on damaged bytes; SyntaxError is how its PNG reader says so."""


class Unreadable(Exception):
    """Why this is no picture, in a few words."""


Cell = str | bytes | np.ndarray


def is_picture(head: bytes) -> bool:
    """Do the first bytes (16 are enough) begin a known picture?"""
    return _KNOWN.match(head) is not None


def is_path(cell: str) -> bool:
    return not cell.startswith("data:") and not re.match(BASE64, cell)


# ---------------------------------------------------------------- opening


def opened(cell: Cell, files: bool) -> Image.Image:
    """The picture with its header read, its pixels not yet. files: may a path be followed?"""
    if isinstance(cell, np.ndarray):  # (H, W) or (H, W, C)
        return Image.fromarray(cell[..., 0] if cell.shape[2:] == (1,) else cell)
    data = cell if isinstance(cell, bytes) else _bytes(cell, files)
    if not data:
        raise Unreadable("0 bytes")
    try:
        return Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.UnidentifiedImageError:
        raise Unreadable(_told(data)) from None


def size(cell: Cell, files: bool) -> tuple[int, int, bool]:
    """(width, height, stored in colour?) from the header alone; zeros where there is none."""
    try:
        if isinstance(cell, str) and is_path(cell):
            with _file(cell, files) as file, Image.open(file, formats=_FORMATS) as header:
                return *header.size, header.mode in _COLOURED
        image = opened(cell, files)
        return *image.size, image.mode in _COLOURED
    except (Unreadable, *DAMAGE):
        return 0, 0, False


def _bytes(cell: str, files: bool) -> bytes:
    if is_path(cell):
        with _file(cell, files) as file:
            return file.read()
    head, comma, body = cell.partition(",") if cell.startswith("data:") else (";base64", ",", cell)
    if not comma:
        raise Unreadable("a data URI without data")
    if not head.endswith(";base64"):
        return urllib.parse.unquote_to_bytes(body)
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Unreadable("broken base64") from None


def _file(path: str, files: bool) -> IO[bytes]:
    if not files:
        raise Unreadable("a path; who asks from elsewhere has no files here: send the picture itself, as a data URI")
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (here and in picture.py: of 60,000 files, making Paths costs more than asking)
        if not stat.S_ISREG(mode):  # a pipe or a device might never end
            raise Unreadable("a folder" if stat.S_ISDIR(mode) else "not a file")
        return open(path, "rb", buffering=0)
    except PermissionError:
        raise Unreadable("may not be read by this user") from None
    except (OSError, ValueError):  # a name too long, a NUL in it
        raise Unreadable(GONE) from None


def _told(data: bytes) -> str:
    """What is in a file that Pillow does not know."""
    if is_picture(data[:16]):
        return "damaged or truncated at its beginning"
    if data[4:8] == b"ftyp":
        return "HEIC or a film, which is not read here; save it as JPEG"
    try:
        text = data[:200].decode()
    except UnicodeDecodeError as error:
        text = data[: error.start].decode() if error.start > 190 else ""  # a character cut in two is still text
    return (
        "text, not a picture" if text and text.replace("\n", " ").replace("\r", " ").replace("\t", " ").isprintable() else "not a picture"
    )


def why(error: BaseException) -> str:
    """The reason in a few words."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        pixels = re.search(r"\d+", str(error))
        return f"a decompression bomb of {int(pixels[0]):,} pixels" if pixels else "a decompression bomb"
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, Unreadable):
        return text
    return "truncated" if "truncated" in text.lower() else f"damaged: {text[:60]}"


# ---------------------------------------------------------------- pixels


def pixels(cell: Cell, shape: tuple[int, ...], files: bool) -> tuple[np.ndarray, bool]:
    """((C, H, W) uint8, has it more frames?). Raises Unreadable, or one of DAMAGE."""
    channels, height, width = shape
    mode = "L" if channels == 1 else "RGB"
    image: Image.Image = opened(cell, files)
    image.draft(mode, (max(height, width), max(height, width)))  # a JPEG is decoded at 1/2, 1/4 or 1/8, where that still covers
    moving = image.format in _MOVING and getattr(image, "is_animated", False)
    image.load()
    with contextlib.suppress(*DAMAGE):  # a damaged note on how it was held is no damage to the picture
        if image.getexif().get(_ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(image)
    made = np.asarray(_covering(_plain(image, mode), width, height))
    return made[None] if channels == 1 else made.transpose(2, 0, 1), moving


def _plain(image: Image.Image, mode: str) -> Image.Image:
    """In `mode`, L or RGB: 16 bits to the upper 8, what is transparent over white."""
    if image.mode.startswith("I"):  # PGM and old Pillows widen 16 bits to 32
        values = np.asarray(image)
        image = Image.fromarray((np.clip(values, 0, 65535) >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise Unreadable("floating-point pixels, of which nobody knows how bright is white; save it with 8 or 16 bits")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        image = white
    return image if image.mode == mode else image.convert(mode)


def _covering(image: Image.Image, width: int, height: int) -> Image.Image:
    """The middle of it, as large as the sides' ratio allows, scaled to width x height; each pixel weighs all that it stands for."""
    w, h = image.size
    if (w, h) == (width, height):
        return image
    scale = max(width / w, height / h)
    left, top = max(0.0, (w - width / scale) / 2), max(0.0, (h - height / scale) / 2)
    return image.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, w - left, h - top), reducing_gap=3.0)


def as_uri(picture: np.ndarray) -> str:
    """(C, H, W) uint8 as the data URI of a PNG."""
    file = io.BytesIO()
    Image.fromarray(picture[0] if len(picture) == 1 else np.ascontiguousarray(picture.transpose(1, 2, 0))).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
