"""Pretrained models of Hugging Face's hub: a folder here, or an id that is fetched. JSON and safetensors only."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from luban.core.errors import UserError
from luban.core.notes import say
from luban.core.registry import Later

hub = Later("huggingface_hub")

LONGEST = 512
"""Tokens of a row that are read where nothing else is said, at most: the usual limit of encoders."""
WANTED = ["*.json", "*.safetensors", "vocab.txt", "merges.txt", "*.model"]


def folder_of(name: str) -> Path:
    """The folder of a model: `name` itself, or what the hub has under that id. Raises UserError where there is none, or only a pickle."""
    path = Path(name).expanduser()
    if not path.is_dir():
        path = _fetched(name)
    read(path, "config.json")
    if not any(path.glob("*.safetensors")):
        pickles = [file.name for file in path.glob("*.bin")] + [file.name for file in path.glob("*.pt*")]
        why = f"only {pickles[0]}, whose format runs whatever is in it when it is loaded" if pickles else "none"
        raise UserError(f"{path} has no weights in safetensors ({why}). Take a model that has model.safetensors, or convert it where you "
                        "trust it.")  # fmt: skip
    return path


def read(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file of a model."""
    try:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder} is no model of transformers: it has no {name}.") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / name} cannot be read: {error}.") from error
    if not isinstance(found, dict):
        raise UserError(f"{folder / name} is not what it should be: a JSON object.")
    return found


def tokenizer_of(name: str) -> tuple[dict[str, Any], int, int]:
    """(the JSON of a model's tokenizer, how many tokens it reads, how many the model has places for). Raises UserError without."""
    folder = folder_of(name)
    saved, places = read(folder, "tokenizer.json"), read(folder, "config.json").get("max_position_embeddings") or sys.maxsize
    if not {"model", "added_tokens"} <= saved.keys():
        raise UserError(f"{name} has a tokenizer.json that is none of Hugging Face's `tokenizers`.")
    limit = (saved.get("truncation") or {}).get("max_length", LONGEST)
    return {**saved, "padding": None, "truncation": None}, min(limit, places), places


def _fetched(name: str) -> Path:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise UserError(f"there is no folder {name!r}, and it is no id of the hub either (owner/name).")
    say(f"looking for {name} on the hub")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=WANTED))
    except (OSError, ValueError, hub.errors.HfHubHTTPError, hub.errors.LocalEntryNotFoundError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"there is no folder {name!r} here, and the hub gives no such model ({type(error).__name__}: {reason}). "
                        "Without a network: name the folder of a model that was downloaded elsewhere.") from error  # fmt: skip
