"""What a peer says of its run: one JSON line. Only the standard library, for it runs in each peer's venv."""

from __future__ import annotations

import json
import os
import time


def since_spawn() -> float:
    """Seconds since the parent started this process, imports included."""
    return time.time() - float(os.environ["BENCH_SPAWNED"])


def tell(**facts) -> None:
    print(json.dumps(facts), flush=True)
