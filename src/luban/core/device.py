"""The machine: which device to compute on, how many threads, and one line that says so in a report."""

from __future__ import annotations

import os
import platform

import torch

from luban.core.errors import UserError


def pick_device(name: str | None) -> torch.device:
    """The device called `name` ("cpu", "cuda", "cuda:1", "mps"), or the best one that is here. Raises UserError where it is not."""
    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name or best)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"the device {name!r} cannot be used here: {str(error).splitlines()[0]} Try --device {best}.") from error
    return device


def cores() -> int:
    """Processors that this process may use (a container's limit, not the host's count)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        "accelerator": accelerator,
        **versions,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), platform.machine())
    except OSError:  # not Linux
        return platform.processor() or platform.machine()
