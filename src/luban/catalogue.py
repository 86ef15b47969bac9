"""Built-in data sets: real tables under a name, with licence and origin. One YAML in datasets/ a set; adding a set is adding that file.

A set comes from the package itself, else from $LUBAN_DATA (there also gzipped), else from its URL into a cache ($LUBAN_HOME, default
~/.cache/luban) where its SHA-256 must agree, or from scikit-learn's own wheel. Keys of a YAML: title, task, target, rows, licence, origin;
then either `file` (with `folder` under $LUBAN_DATA, `url`, `sha256`, `delimiter`, `columns` where the file has no line of names) or
`sklearn`, a loader's name (with `brightest`, its highest pixel, for its pictures instead of its columns); `test_rows: [start, stop]` where
an official test part exists; `source` where the file is no CSV; `classes`, the words for the labels 0, 1, ...; `data` and
`options`, settings of the data and of the task that go with the set.

A set of several files lists them under `files`, each with file, sha256 and url; the source reads the folder that holds them, or, with
`parts: true`, each for itself, train in one and test in another; or each file says its `split`: train, valid or test. `advice` says how
to get what no URL gives. A URL that ends in .gz is unpacked on the way where the file's name does not; the hash is that of the unpacked
file, for two gzips of one file differ in their heads.
"""

from __future__ import annotations

import gzip
import http.client
import os
import shutil
import urllib.request
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import yaml

from luban import folders, pixels
from luban.core.errors import UserError, did_you_mean, listed
from luban.core.files import atomic, sha256, write_text
from luban.core.notes import say
from luban.core.registry import SOURCES

if TYPE_CHECKING:
    from luban.core.contract import Table  # which loads torch, two seconds that a list of names should not take

HERE = Path(__file__).parent / "datasets"
TIMEOUT = 30  # seconds without a byte


def names() -> list[str]:
    return sorted(path.stem for path in HERE.glob("*.yaml"))


def describe(name: str) -> dict[str, Any]:
    """What the YAML says. Raises UserError for an unknown name."""
    path = HERE / f"{name}.yaml"
    if name not in names():
        raise UserError(f"there is no built-in data set {name!r}.{did_you_mean(name, names())} There are: {listed(names(), 40)}.")
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def table(name: str) -> Table:
    """The whole data set, official test part included."""
    about = describe(name)
    if "sklearn" in about:
        return _from_sklearn(about)
    options: dict[str, Any] = {key: about[key] for key in ("delimiter", "encoding") if key in about}
    if "columns" in about:
        options["names"] = tuple(about["columns"])
    if about.get("parts") and "source" in about:
        options["more"] = True
    source = SOURCES[about.get("source", "csv")](**options)
    files = about.get("files", [about])
    paths = [_path_of(name, about, each) for each in files]
    if "split" in files[0]:
        read = [source.read(path).with_columns(split=pl.lit(each["split"])) for path, each in zip(paths, files, strict=True)]
        found = pl.concat(read)
    elif about.get("parts"):
        found = pl.concat([source.read(path) for path in paths], how="diagonal", rechunk=False)
    else:
        found = source.read(paths[0] if len(paths) == 1 else _one_folder(name, paths))
    if "classes" in about:
        words = pl.Series(about["target"], about["classes"])
        found = found.with_columns(words.gather(found[about["target"]]))
    return found


def pictures(name: str) -> bool:
    """Is it a set of pictures, which no CSV can hold?"""
    about = describe(name)
    return "brightest" in about or about.get("source") in ("idx", "archive")


def save(name: str, path: Path) -> None:
    """Writes the data set as a CSV file, UTF-8 with a line of names, or a folder of pictures (`luban data get`). Refuses to overwrite."""
    if path.exists():
        raise UserError(f"{path} exists already; choose another {'folder' if pictures(name) else 'file'} with -o.")
    if not pictures(name):
        write_text(path, table(name).write_csv())
        return
    draft = path.with_name(f".{path.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        _write_pictures(table(name), describe(name)["target"], draft)
        draft.replace(path)
    except OSError as error:
        raise UserError(f"could not write {path}: {error.strerror}. Free the disk, or choose another folder with -o.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_pictures(content: Table, target: str, folder: Path) -> None:
    """PART/CLASS/00001.png, or CLASS/00001.png where there are no parts; pictures that came as files keep their bytes."""
    parts = content["split"] if "split" in content.columns else [""] * content.height
    classes = [str(label) for label in content[target]]
    places = {name: name.replace("/", "-") for name in classes}
    for name, place in places.items():
        if name != place:
            say(f"the class {name!r} is in the folders {place!r}, for a folder's name holds no /")
    column = content["picture"]
    counts = Counter[Path]()
    for picture, part, label in zip(column if column.dtype == pl.Binary else column.to_numpy(), parts, classes, strict=True):
        place = folder / part / places[label]
        if not counts[place]:
            place.mkdir(parents=True)
        counts[place] += 1
        encoded = picture if isinstance(picture, bytes) else pixels.png(picture)
        kind = "jpg" if encoded.startswith(b"\xff\xd8") else "png"
        (place / f"{counts[place]:05}.{kind}").write_bytes(encoded)


def path_of(name: str) -> Path:
    """The data set's file on this machine, downloaded if need be. Raises UserError where it cannot be had."""
    about = describe(name)
    if "file" not in about:
        raise UserError(f"the data set {name!r} has no file of its own that holds all of it. `luban data get {name}` writes it.")
    return _path_of(name, about, about)


def _path_of(name: str, about: dict[str, Any], each: dict[str, Any]) -> Path:
    """As `path_of`, of one of its files: {file, sha256, url}."""
    embedded = HERE / each["file"]
    if embedded.is_file():
        return embedded
    folder = Path(about.get("folder", name))
    if root := os.environ.get("LUBAN_DATA"):
        for local in (Path(root) / folder / each["file"], Path(root) / folder / f"{each['file']}.gz"):
            if local.is_file():
                return local
    cached = folders.home() / "data" / folder / each["file"]
    if not cached.is_file():
        if "url" not in each:
            raise UserError(f"the data set {name!r} is not on this machine, and no address gives its file {each['file']!r}. "
                            f"{about['advice']} Or put the file into {cached.parent}.")  # fmt: skip
        _download(each, cached)
    elif sha256(cached) != each["sha256"]:
        raise UserError(f"{cached} is not the file that {name!r} means (its SHA-256 differs). Remove it, and it is downloaded again.")
    return cached


def _one_folder(name: str, paths: Sequence[Path]) -> Path:
    """The folder of all files. Each is looked for by itself, so they could lie in two."""
    if len({path.parent for path in paths}) > 1:
        raise UserError(f"the files of {name!r} are in several folders: {listed(map(str, paths))}. Put them all into {paths[0].parent}.")
    return paths[0].parent


def _download(about: dict[str, Any], path: Path) -> None:
    url = about["url"]
    say(f"downloading {url} to {path}")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, atomic(path) as file:
            zipped = url.endswith(".gz") and path.suffix != ".gz"
            shutil.copyfileobj(gzip.GzipFile(fileobj=answer) if zipped else answer, file)
    except (OSError, EOFError, zlib.error, http.client.HTTPException, UserError) as error:  # atomic makes a UserError of an OSError
        raise UserError(
            f"cannot download {url}: {getattr(error, 'reason', error)}. "
            f"On a machine without network, get that file elsewhere and put it at {path}."
        ) from error
    if (got := sha256(path)) != about["sha256"]:
        path.unlink()
        raise UserError(
            f"{url} gave another file than expected (SHA-256 {got[:12]}..., not {about['sha256'][:12]}...), so it was removed. "
            f"Get the right file and put it at {path}."
        )


def _from_sklearn(about: dict[str, Any]) -> Table:
    """Features under their own names, the target last; a target of classes in the words of scikit-learn (malignant, setosa, 7)."""
    from sklearn import datasets  # a second to import, and most tables come from elsewhere

    loaded = getattr(datasets, about["sklearn"])()
    columns = {str(name): loaded.data[:, i] for i, name in enumerate(loaded.feature_names)}
    if "brightest" in about:
        columns = {"picture": (loaded.images * (255 / about["brightest"])).round().astype(np.uint8)}  # (N, H, W)
    words = getattr(loaded, "target_names", None)
    target = loaded.target if words is None else [str(words[i]) for i in loaded.target]
    return pl.DataFrame({**columns, about["target"]: target})
