"""Built-in data sets: real tables under a name, with licence and origin. One YAML in datasets/ a set; adding a set is adding that file.

A set comes from the package itself, else from $LUBAN_DATA (there also gzipped), else from its URL into a cache ($LUBAN_HOME, default
~/.cache/luban) where its SHA-256 must agree, or from scikit-learn's own wheel. Keys of a YAML: title, task, target, rows, licence, origin;
then either `file` (with `folder` under $LUBAN_DATA, `url`, `sha256`, `delimiter`, `columns` where the file has no line of names) or
`sklearn`, a loader's name; `test_rows: [start, stop]` where an official test part exists; `source` where the file is no CSV; `data`,
settings that go with the set.
"""

from __future__ import annotations

import http.client
import os
import shutil
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml

from luban import folders
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
    return SOURCES[about.get("source", "csv")](**options).read(path_of(name))


def save(name: str, path: Path) -> None:
    """Writes the data set as a CSV file, UTF-8 with a line of names (`luban data get`). Refuses to overwrite."""
    content = table(name).write_csv()
    if path.exists():
        raise UserError(f"{path} exists already; choose another file with -o.")
    write_text(path, content)


def path_of(name: str) -> Path:
    """The data set's file on this machine, downloaded if need be. Raises UserError where it cannot be had."""
    about = describe(name)
    if "file" not in about:
        raise UserError(f"the data set {name!r} comes from scikit-learn and has no file of its own. `luban data get {name}` writes one.")
    embedded = HERE / about["file"]
    if embedded.is_file():
        return embedded
    folder = Path(about.get("folder", name))
    if root := os.environ.get("LUBAN_DATA"):
        for local in (Path(root) / folder / about["file"], Path(root) / folder / f"{about['file']}.gz"):
            if local.is_file():
                return local
    home = folders.home()
    cached = home / "data" / folder / about["file"]
    if not cached.is_file():
        _download(about, cached)
    elif sha256(cached) != about["sha256"]:
        raise UserError(f"{cached} is not the file that {name!r} means (its SHA-256 differs). Remove it, and it is downloaded again.")
    return cached


def _download(about: dict[str, Any], path: Path) -> None:
    url = about["url"]
    say(f"downloading {url} to {path}")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, atomic(path) as file:
            shutil.copyfileobj(answer, file)
    except (OSError, http.client.HTTPException, UserError) as error:  # URLError is an OSError; atomic turns a broken read into a UserError
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
    words = getattr(loaded, "target_names", None)
    target = loaded.target if words is None else [str(words[i]) for i in loaded.target]
    return pl.DataFrame({**columns, about["target"]: target})
