"""The time axis of a series: moments that are missing, for its rows are taken as if evenly spaced."""

from __future__ import annotations

from typing import Any

import numpy as np

from luban.checks.finding import DOUBT, Finding, Look

UNEVEN = 0.1
"""The share of odd steps from which on there is no pace that a moment could be missing from."""


def gaps(look: Look) -> list[Finding]:
    """How many moments are missing, and after which rows. The usual step is the median one, so that a gap of 4.9 steps lacks 4."""
    found = []
    for key, each in look.schema.inputs.items():
        if not type(each).__module__.endswith(".moment"):
            continue
        moment: Any = each
        stamps, name = look.store.columns[key], each.columns[0]
        odd = (moment.after(stamps[:-1], 1)[:, 0] != stamps[1:]).numpy()
        steps = len(odd)
        for other, item in look.schema.inputs.items():
            if item.kind == "item":  # from one item to the next is no step
                same = np.diff(look.store.columns[other].numpy()) == 0
                odd, steps = odd & same, int(same.sum())
        at = np.flatnonzero(odd)
        if not len(at):
            continue
        lacking = np.rint(np.diff(stamps.numpy())[at] / moment.step).astype(np.int64) - 1
        after, total = str(moment.decode(stamps[at[:1]])[0]), int(lacking.clip(min=0).sum())
        what = f"{len(at):,} of {steps:,} steps of {name!r} are not {moment.pace()}, the first after {after}"
        if total and len(at) < UNEVEN * steps:
            at = at[lacking > 0]
            after = str(moment.decode(stamps[at[:1]])[0])
            what = (
                f"{total:,} moment{'s are' if total > 1 else ' is'} missing from {name!r} ({moment.pace()} apart), the first after {after}"
            )
        found.append(
            Finding(
                "gaps",
                DOUBT,
                what,
                round(1 - int(odd.sum()) / steps, 3),
                "share of steps that are the usual one",
                name,
                "Rows are taken as if evenly spaced. Add a row for each missing moment; its values may be empty"
                + ("" if moment.form == "number" else f", or --set 'task.resample={moment.pace()}'"),
                **look.places(at),
            )
        )
    return found
