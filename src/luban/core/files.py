"""Files that are either whole or absent: atomic writes, the hashes that prove a folder, and where Luban keeps its own."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from luban.core.errors import UserError, did_you_mean


def home() -> Path:
    """Where Luban keeps what is not the user's: $LUBAN_HOME, else ~/.cache/luban."""
    return Path(os.environ.get("LUBAN_HOME") or Path.home() / ".cache" / "luban")


def need_file(data: str | Path) -> None:
    """Raises UserError where `data` has the look of a path, an ending or a folder, and nothing is there. The command line asks before
    it loads what is heavy."""
    path = Path(data).expanduser()
    if (path.suffix or len(path.parts) > 1) and not path.exists():
        raise UserError(f"there is no file {str(data)!r}.{beside(path)}")


def beside(path: Path) -> str:
    """As `did_you_mean`, of the files beside one that is not there. Raises UserError where there is no such folder."""
    try:
        near = did_you_mean(path.name, [each.name for each in path.parent.iterdir()])
    except OSError:
        raise UserError(f"there is no file {str(path)!r}: the folder {str(path.parent)!r} is not there or cannot be read.") from None
    return f"{near} (in {path.parent})" if near and path.parent != Path() else near


@contextmanager
def atomic(path: Path, mode: str = "wb") -> Iterator[IO]:
    """Opens a temporary file beside `path` and renames it into place at the end: a reader sees the old file or the new one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        why = "its folder is a file" if isinstance(error, (FileExistsError, NotADirectoryError)) else error.strerror
        raise UserError(f"cannot write {path}: {why}. Choose another place, or free this one.") from error
    try:
        # mkstemp makes files private (0600); a result should be as readable as any other file that the user makes
        Path(temporary).chmod(0o666 & ~_umask())
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8", newline=None if "b" in mode else "") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise UserError(
            f"could not write {path}: {error.strerror}. Nothing was left half written; free the disk or choose another place."
        ) from error
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    with atomic(path, "w") as file:
        file.write(text)


def write_json(path: Path, value: Any) -> None:
    """Writes sorted, indented JSON. A NaN is refused: the file must open in any language."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing. The folder is not complete: copy it again as a whole.") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged: {error}. Copy the folder again as a whole.") from error


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def amount(bytes_: float) -> str:
    """Bytes in words: "312 bytes", "5.1 kB", "64 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if bytes_ < 999.5 or unit == "GB":
            break
        bytes_ /= 1000
    return f"{bytes_:,.1f} {unit}" if bytes_ < 9.95 and unit != "bytes" else f"{bytes_:,.0f} {unit}"
