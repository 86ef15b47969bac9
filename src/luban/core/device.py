"""The machine: which device to compute on, how many threads, and one line that says so in a report."""

from __future__ import annotations

import os
import platform
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import torch

from luban.core.errors import UserError


def pick_device(name: str | None) -> torch.device:
    """The device called `name` ("cpu", "cuda", "cuda:1", "mps"), or the best one that is here. Raises UserError where it is not."""
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name or best)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"the device {name!r} is not to be had here. Try --device {best}, the best one on this machine.") from error
    return device


def cores() -> int:
    """Processors that this process may use (a container's limit, not the host's count)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Bytes that this process may use: the machine's, or its container's where that allows less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8 << 30
    limit = Path("/sys/fs/cgroup/memory.max")
    allowed = limit.read_text(encoding="utf-8").strip() if limit.exists() else "max"
    return min(machine, int(allowed)) if allowed.isdigit() else machine


def fast_bf16(device: torch.device) -> bool:
    """Does the device multiply bf16 matrices faster than fp32? A processor says so by its flags: avx512_bf16 or amx_bf16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and any(flag in _cpuinfo("flags").split() for flag in ("avx512_bf16", "amx_bf16"))


def describe() -> dict[str, str | int]:
    """What a bug report or a result needs to know of the machine."""
    from importlib import metadata

    versions = {package: metadata.version(package) for package in ("luban", "torch", "numpy", "polars", "scikit-learn", "lightgbm")}
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": cores(),
        "memory": f"{memory() / 2**30:.0f} GiB",
        "accelerator": accelerator,
        **versions,
    }


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo(key: str) -> str:
    """The first value of `key` in /proc/cpuinfo; empty where there is none (not Linux, not x86)."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == key), "")


def side_by_side(make: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """As `map`, on up to 8 cores: in order, with no more items at hand than cores, within the caller's context. The first error in that
    order is raised."""
    most = min(cores(), 8)
    with ThreadPoolExecutor(most) as pool:
        waiting: deque[Any] = deque()
        for item in items:
            waiting.append(pool.submit(copy_context().run, make, item))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
