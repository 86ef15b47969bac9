"""Pictures that Python hands over (NumPy, PyTorch, Pillow) as a column: pl.Array(UInt8, (H, W)) or (H, W, C), of unequal sizes PNG bytes.

Pillow is imported only where a PNG must be written.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import polars as pl

from luban.core.errors import UserError

CHANNELS = (1, 3, 4)


def are(dtype: Any) -> bool:
    """Is this the type of a column of pixels?"""
    return isinstance(dtype, pl.Array) and dtype.shape[1:] != () and _innermost(dtype) == pl.UInt8


def _innermost(dtype: Any) -> Any:
    while isinstance(dtype, pl.Array):
        dtype = dtype.inner
    return dtype


def is_tensor(value: Any) -> bool:
    """A PyTorch tensor, recognised by its name, so that reading a list of numbers need not import torch."""
    return type(value).__module__.partition(".")[0] == "torch" and hasattr(value, "detach")


def series(name: str, values: Any) -> pl.Series | None:
    """A column of pixels or PNG bytes, or None where `values` are no pictures: neither an array of three or four dimensions nor a list
    of arrays of two or three. Raises UserError for pixels that are no bytes."""
    if is_tensor(values) or isinstance(values, np.ndarray):
        if values.ndim < 3 or (isinstance(values, np.ndarray) and values.dtype.kind == "O"):
            return None
        array = _bytes(name, values)
        return pl.Series(name, array)
    if not isinstance(values, (list, tuple)) or not any(map(_is_picture, values)):
        return None
    odd = next((i for i, value in enumerate(values) if value is not None and not _is_picture(value)), None)
    if odd is not None:
        raise UserError(
            f"the column {name!r} holds pictures, but {type(values[odd]).__name__} in row {odd + 1}. Give pictures only, or None."
        )
    if any(_needs_png(value) for value in values):
        return pl.Series(name, [None if value is None else _png_of(name, value) for value in values], pl.Binary)
    arrays = [None if value is None else _bytes(name, value) for value in values]
    shapes = {array.shape for array in arrays if array is not None}
    if len(shapes) == 1 and all(array is not None for array in arrays):
        return pl.Series(name, np.stack(arrays))
    if len(shapes) == 1:
        (shape,) = shapes
        there = iter(pl.Series(np.stack([array for array in arrays if array is not None])))
        return pl.Series(name, [None if array is None else next(there).to_list() for array in arrays], pl.Array(pl.UInt8, shape))
    return pl.Series(name, [None if array is None else png(array) for array in arrays], pl.Binary)


def _is_picture(value: Any) -> bool:
    return _is_pil(value) or ((isinstance(value, np.ndarray) or is_tensor(value)) and value.ndim in (2, 3))


def _is_pil(value: Any) -> bool:
    return type(value).__module__.startswith("PIL.") and hasattr(value, "getbands")


def _needs_png(value: Any) -> bool:
    """A picture of Pillow whose bytes are not simply its pixels: palettes, 16 bits, CMYK."""
    return _is_pil(value) and value.mode not in ("L", "RGB", "RGBA")


def _png_of(name: str, value: Any) -> bytes:
    if not _is_pil(value):
        return png(_bytes(name, value))
    file = io.BytesIO()
    (value if value.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I") else value.convert("RGB")).save(file, "PNG")
    return file.getvalue()


def _bytes(name: str, values: Any) -> np.ndarray:
    """uint8, channels last: torch, and many arrays of (N, C, H, W), put them first, which is seen by their number."""
    torch = is_tensor(values)
    array = values.detach().cpu().numpy() if torch else np.asarray(values)
    if array.dtype.kind not in "iu" or (array.dtype != np.uint8 and array.size and (array.min() < 0 or array.max() > 255)):
        held = f"{array.dtype} from {array.min():g} to {array.max():g}" if array.size and array.dtype.kind in "iuf" else str(array.dtype)
        low, high = (float(array.min()), float(array.max())) if array.size and array.dtype.kind in "iuf" else (0.0, 0.0)
        scale = "255 * x" if high <= 1 else "x" if high <= 255 else f"255 * x / {high:g}"
        shift = f"with x from {low:g} up moved to 0 first; " if low < 0 else ""
        raise UserError(f"the pictures of {name!r} must be whole numbers from 0 to 255 (uint8), not {held}: "
                        f"{shift}np.round({scale}).astype('uint8').")  # fmt: skip
    if array.ndim > (2 if torch else 3) and array.shape[-3] in CHANNELS and array.shape[-1] not in CHANNELS:
        array = np.moveaxis(array, -3, -1)
    return np.ascontiguousarray(array, dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    """The bytes of a PNG: (H, W), or (H, W, C) with C of 1, 3 or 4."""
    from PIL import Image  # a tenth of a second, needed by few

    file = io.BytesIO()
    Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array).save(file, "PNG")
    return file.getvalue()
