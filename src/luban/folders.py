"""Run folders: runs/<name>/ with config.yaml, metrics.jsonl, checkpoints/, report.json, report.html and model/ (the bundle)."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

from luban.core.errors import UserError, did_you_mean
from luban.core.files import home, read_json, write_json, write_text
from luban.core.notes import warn

RUNS = Path("runs")
_HALF_WRITTEN = re.compile(r"\.((asked|report|plan)\.json|config\.yaml|metrics\.jsonl|(last|best)\.safetensors)\.\w{8}")
"""What a kill in the middle of an atomic write leaves behind."""


class RunFolder:
    """Paths inside one run, and the few reads and writes that more than one stage does."""

    def __init__(self, path: str | Path):
        self.path = Path(path).resolve()
        self.config = self.path / "config.yaml"
        self.asked = self.path / "asked.json"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.model = self.path / "model"
        self.report = self.path / "report.json"
        self.learned = self.path / "learned.npy"
        self.page = self.path / "report.html"

    @property
    def finished(self) -> bool:
        return self.report.exists() and (self.model / "luban.json").exists()

    def begin(self, asked: dict[str, Any], resume: bool) -> None:
        """Makes the folder, or takes it up again when `asked` is what it was begun with. Raises UserError where neither can be."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--out {self.path} is a file. Name a folder that does not exist yet.")
        if resume:
            for file in [*self.path.glob(".*"), *self.checkpoints.glob("*/.*")]:
                if _HALF_WRITTEN.fullmatch(file.name):
                    file.unlink()
        if self.path.exists() and any(self.path.iterdir()):
            if not resume:
                raise UserError(f"the run folder {self.path} exists already. Go on with it by --resume, or name another with --out.")
            if not self.asked.exists():
                raise UserError(f"{self.path} is not a run folder that can be resumed (no asked.json in it). Name another with --out.")
            before = read_json(self.asked)
            changed = [key for key in asked if asked[key] != before.get(key)]
            if changed:
                key = changed[0]
                raise UserError(
                    f"the run in {self.path} was begun with {key} = {before.get(key)!r}, now it is {asked[key]!r}. "
                    "Resume it with the same words and data, or start another run with another --out."
                )
            return
        write_json(self.asked, asked)

    def lines(self) -> list[dict[str, Any]]:
        """metrics.jsonl; a last line cut short by a crash is left out."""
        if not self.metrics.exists():
            return []
        complete = self.metrics.read_text(encoding="utf-8").rpartition("\n")[0]
        return [json.loads(line) for line in complete.splitlines()]

    def forget_lines(self, model: str, after: int) -> None:
        """Cuts from metrics.jsonl what `model` wrote after step `after`, its last checkpoint: it will come again."""
        lines = [line for line in self.lines() if line["model"] != model or line["step"] <= after]
        write_text(self.metrics, "".join(json.dumps(line) + "\n" for line in lines))

    def add_line(self, line: dict[str, Any]) -> None:
        try:
            with open(self.metrics, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise UserError(f"could not write {self.metrics}: {error.strerror}. Free the disk and go on with --resume.") from error


def new_run(data: str, model: str) -> Path:
    """runs/<data>-<model>, with a suffix where that exists."""
    stem = re.sub(r"[^\w.-]+", "-", f"{data}-{model}").strip("-.") or "run"
    path, n = RUNS / stem, 1
    while path.exists():
        n += 1
        path = RUNS / f"{stem}-{n}"
    return path


def keep_at_home(room: str, name: str, text: str) -> None:
    """Notes something for convenience. A home that cannot be written is no reason to lose a training: it is said, and that is all."""
    try:
        write_text(home() / room / name, text)
    except UserError as error:
        warn(f"{error} Nothing else is lost; $LUBAN_HOME names another place.")


def kept_at_home(room: str, name: str) -> bool:
    return (home() / room / name).is_file()


def remember(path: Path) -> None:
    """Makes `path` what `last` means in this working directory."""
    keep_at_home("last", _here(), str(path))


def _here() -> str:
    return hashlib.sha256(str(Path.cwd()).encode()).hexdigest()[:16]


def find(run: Any) -> RunFolder:
    """The run folder that `run` names: a folder, its model/ inside or copied elsewhere, a name under runs/, `last`, a luban.Run."""
    run = getattr(run, "path", run)
    if str(run) == "last":
        memory = home() / "last" / _here()
        if memory.exists() and (path := Path(memory.read_text(encoding="utf-8"))).is_dir():
            return RunFolder(path)
        runs = all_runs()
        if not runs:
            raise UserError("there is no last run here: no run was made from this folder yet. Train one: luban train DATA --target COLUMN.")
        return runs[-1]
    for path in (Path(run), RUNS / run):
        if path.is_dir():
            path = path.resolve()
            if not (path / "luban.json").exists():
                folder = RunFolder(path)
                if not folder.asked.exists():
                    raise UserError(
                        f"{path} is not a model (luban.json is missing) and not a run (asked.json is). `luban runs` lists the runs."
                    )
                return folder
            # a bundle: inside its run, or copied elsewhere under any name
            folder = RunFolder(path.parent if path.name == "model" and (path.parent / "config.yaml").exists() else path)
            folder.model = path
            return folder
    names = [folder.path.name for folder in all_runs()]
    raise UserError(f"there is no run {str(run)!r}.{did_you_mean(str(run), names)} `luban runs` lists those under {RUNS}/.")


def all_runs() -> list[RunFolder]:
    """The runs under runs/, oldest first."""
    found = [RunFolder(path) for path in RUNS.glob("*") if (path / "asked.json").exists()]
    return sorted(found, key=lambda folder: folder.asked.stat().st_mtime)


def remove(folder: RunFolder) -> None:
    if not folder.asked.exists():
        raise UserError(f"{folder.path} is not a run folder; nothing was removed.")
    shutil.rmtree(folder.path)


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The settings of a config.yaml under their whole names: {"train.lr": 0.003}."""
    pairs: dict[str, Any] = {}
    for key, value in settings.items():
        pairs |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return pairs


def age(folder: RunFolder) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(folder.asked.stat().st_mtime))
