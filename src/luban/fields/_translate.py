"""Rows in other words: translated into another language and back, by two pretrained models (Sennrich et al. 2016, arXiv 1511.06709)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from luban.core.errors import UserError
from luban.core.hub import folder_of
from luban.core.notes import say
from luban.core.registry import Later

transformers = Later("transformers")

TOGETHER = 32
"""Rows that are translated at once, of about one length."""
LONGEST = 512
"""Tokens of a row that are translated; what follows is cut, as most such models were trained."""


def translated(rows: Sequence[str], path: str) -> list[str]:
    """Each row by the model in a folder, or of an id of the hub, with its likeliest next word each time. Raises UserError where it is none
    that translates."""
    folder = folder_of(path)
    transformers.utils.logging.disable_progress_bar()
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModelForSeq2SeqLM.from_pretrained(folder, use_safetensors=True).eval()
    except (ValueError, OSError, ImportError) as error:
        raise UserError(f"{path} is no model that translates: {' '.join(str(error).split())[:200]}") from error
    say(f"{path} translates {len(rows):,} rows")
    order = sorted((i for i, row in enumerate(rows) if row.strip()), key=lambda i: len(rows[i]))
    made = [""] * len(rows)
    for start in range(0, len(order), TOGETHER):
        some = order[start : start + TOGETHER]
        asked = tokenizer([rows[i] for i in some], return_tensors="pt", padding=True, truncation=True, max_length=LONGEST)
        asked.pop("token_type_ids", None)
        with torch.inference_mode():
            ids = model.generate(**asked, num_beams=1, do_sample=False, max_new_tokens=min(LONGEST, 2 * asked["input_ids"].shape[1] + 10))
        for i, text in zip(some, tokenizer.batch_decode(ids, skip_special_tokens=True), strict=True):
            made[i] = text
    return made
