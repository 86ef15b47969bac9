"""How a tree of pictures is meant: `train/<class>/*`, `<class>/*`, a list beside the pictures, or none of these; from a disk or an archive.

Names go in (`Found`), a Table comes out: `picture` (the name that went in), `label` where folders are classes, `split` where they are
parts. Nothing here opens a picture, so one that is damaged is found by the field that reads it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import polars as pl

from luban.core import cells
from luban.core.contract import Table
from luban.core.errors import UserError, listed
from luban.core.notes import say, warn

ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif",
           ".jp2", ".heic", ".heif")  # fmt: skip
"""HEIC is not read, but that is to be told, not passed over."""
PARTS = {"train": "train", "training": "train", "val": "valid", "valid": "valid", "validation": "valid", "dev": "valid", "test": "test",
         "testing": "test"}  # fmt: skip
LISTS = ("metadata.csv", "metadata.jsonl")
"""Tables beside the pictures that name them in `file_name`, as Hugging Face's imagefolder has them."""
_SHELLS = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir"})
"""What file managers leave behind; names that begin with a dot (.DS_Store, ._x) are theirs, too."""


@dataclass
class Found:
    """Names below a folder, or in an archive, with / between their parts."""

    pictures: list[str] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    """Files that are neither."""
    folders: list[str] = field(default_factory=list)

    def add(self, name: str) -> None:
        """A file's name, to where it belongs."""
        last = name.rpartition("/")[2].lower()
        kind = self.pictures if last.endswith(ENDINGS) else self.lists if last in LISTS else self.others
        kind.append(name)


def hidden(name: str) -> bool:
    """Is this one part of a name a file manager's?"""
    return name.startswith(".") or name.lower() in _SHELLS


def arrange(found: Found, where: str, read_list: Callable[[str], Table], more: bool = False) -> Table:
    """The pictures as a Table in the order of their names. where: how the user calls the tree. read_list: opens a name of `found.lists`.

    more: other parts are elsewhere, so that `split` is given even where it says "train" throughout.
    """
    for each in (found.pictures, found.lists, found.others, found.folders):
        each.sort()
    if found.others:
        say(f"{len(found.others):,} files in {where} are no pictures by their endings and are left out (the first: {found.others[0]})")
    base = _base(found)
    pictures = found.pictures
    split = [name[len(base) :].split("/") for name in pictures]
    parts = _parts(split, [name[len(base) :] for name in found.lists], where)
    if parts:
        kept = [i for i, each in enumerate(split) if each[0] in parts]
        pictures, split = [pictures[i] for i in kept], [split[i] for i in kept]
    if len(set(parts.values())) == 1 and not more:
        say(f"{where} has the part {listed(parts)} only; it is split as data without parts are.")
        parts = dict.fromkeys(parts, "")
    lists = [name for name in found.lists if name[len(base) :].count("/") <= (name[len(base) :].partition("/")[0] in parts)]
    if len(lists) < len(found.lists):
        say(f"{listed([name for name in found.lists if name not in lists], 3)} in {where} stand too deep to be lists of all pictures.")
    if lists:
        return _listed(lists, pictures, base, parts, where, read_list)
    table = _by_folder(pictures, split, parts, where)
    if "label" in table.columns:
        _tell_empty(found.folders, pictures, base, parts)
    return table


def _base(found: Found) -> str:
    """The folders that only wrap the others ("cifar10/"), to be disregarded: all pictures lie deeper, in several folders or in a part."""
    base = ""
    while True:
        inside = {name[len(base) :].partition("/")[0] for name in (*found.pictures, *found.lists)}
        if len(inside) != 1 or (first := inside.pop()).lower() in PARTS:
            return base
        deeper = f"{base}{first}/"
        if not all("/" in name[len(deeper) :] for name in found.pictures) and not any(name.startswith(deeper) for name in found.lists):
            return base
        base = deeper


def _parts(split: Sequence[Sequence[str]], lists: Sequence[str], where: str) -> dict[str, str]:
    """{folder: train | valid | test} where the first folders are parts; {} where they are classes, one of which may be called "train"."""
    tops = Counter(each[0] for each in split if len(each) > 1)
    parts = {top: PARTS[top.lower()] for top in tops if top.lower() in PARTS}
    deep = {each[0] for each in split if len(each) > 2} | {name.partition("/")[0] for name in lists if "/" in name}
    if not parts or (len(parts) < len(tops) and not deep & parts.keys()):
        return {}
    beside = {top: n for top, n in tops.items() if top not in parts}
    if beside:
        warn(f"{where} has the parts {listed(parts)} and beside them {listed(beside, 4)} with {sum(beside.values()):,} pictures, left out.")
    loose = [each[0] for each in split if len(each) == 1]
    if loose:
        warn(f"{len(loose):,} pictures in {where} lie beside the parts {listed(parts)} and are left out (the first: {loose[0]})")
    return parts


def _by_folder(pictures: Sequence[str], split: Sequence[Sequence[str]], parts: dict[str, str], where: str) -> Table:
    """A class is the first folder (below the part); what lies deeper belongs to it. Without folders there are no classes."""
    depth = 1 if parts else 0
    classed = [i for i, each in enumerate(split) if len(each) > depth + 1]
    if not classed:
        return pl.DataFrame({"picture": pictures, **_split(split, parts)})
    if len(classed) < len(split):
        first = next(name for name, each in zip(pictures, split, strict=True) if len(each) <= depth + 1)
        warn(f"{len(split) - len(classed):,} pictures in {where} lie outside of the class folders and are left out (the first: {first})")
        pictures, split = [pictures[i] for i in classed], [split[i] for i in classed]
    return pl.DataFrame({"picture": pictures, **_split(split, parts), "label": [each[depth] for each in split]})


def _split(split: Sequence[Sequence[str]], parts: dict[str, str]) -> dict[str, list[str]]:
    """The column `split`, where there are parts to tell apart."""
    return {"split": [parts[each[0]] for each in split]} if any(parts.values()) else {}


def _tell_empty(folders: Iterable[str], pictures: Iterable[str], base: str, parts: dict[str, str]) -> None:
    """Class folders without a picture: a class that will not be learned, or in one part only."""
    depth = 2 if parts else 1
    full = {"/".join(name[len(base) :].split("/")[:depth]) for name in pictures}
    inside = (name[len(base) :] for name in folders if name.startswith(base) and len(name) > len(base))
    empty = [name for name in inside if name.count("/") == depth - 1 and name not in full and (not parts or name.split("/")[0] in parts)]
    if empty:
        warn(f"no pictures are in the class folder{'s' if len(empty) > 1 else ''} {listed(empty, 6)}.")


# ---------------------------------------------------------------- a list beside the pictures


def _listed(
    lists: Sequence[str], pictures: Sequence[str], base: str, parts: dict[str, str], where: str, read_list: Callable[[str], Table]
) -> Table:
    """The rows of metadata.csv or metadata.jsonl, one a part or one for all; `file_name` becomes `picture`, other columns stay."""
    there, tables, used = set(pictures), [], set()
    for name in lists:
        folder = name.rpartition("/")[0]
        table = read_list(name)
        if "file_name" not in table.columns:
            raise UserError(f"{name} in {where} has no column 'file_name' that names the pictures. There are: {listed(table.columns)}.")
        shown = cells.words(table["file_name"]).str.replace_all("\\", "/", literal=True).str.strip_prefix("./")
        if shown.null_count():
            raise UserError(f"{name} in {where} names no file in row {shown.is_null().arg_true()[0] + 1}. Fill it, or remove the row.")
        full = [f"{folder}/{each}" if folder else each for each in shown]
        gone = next((i for i, each in enumerate(full) if each not in there), None)
        if gone is not None:
            raise UserError(f"{name} in {where} names {shown[gone]!r} in row {gone + 1}, and there is no such picture"
                            f"{f' in {folder!r}' if folder else ''}. Correct the name, or remove the row.")  # fmt: skip
        used.update(full)
        table = table.with_columns(pl.Series("file_name", full))
        if "picture" not in table.columns:
            table = table.rename({"file_name": "picture"})
        if "split" not in table.columns:
            column = _split([each[len(base) :].split("/") for each in full], parts)
            table = table.with_columns(pl.Series(key, words) for key, words in column.items())
        tables.append(table)
    unnamed = [name for name in pictures if name not in used]
    if unnamed:
        warn(f"{len(unnamed):,} pictures in {where} are in no row of {listed(lists, 3)} and are left out (the first: {unnamed[0]})")
    return pl.concat(tables, how="diagonal_relaxed")
