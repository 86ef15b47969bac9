"""Approximate neighbours: of a large catalogue, only the items near to what a user wants are scored; for models of which a score is the
product of a user's vector and an item's.

The items' vectors are put into groups by k-means, and the groups are gone through in the order of the product of the user's vector with
each group's mean (an inverted file: Jegou et al. 2011, doi 10.1109/TPAMI.2010.57). The items of the first `probes` groups are scored as
they always are. How many these must be is measured on users of validation, so that RECALL of the KEPT best items are among them, and told
of others. Where that takes more than WORTH of the catalogue, all of it is scored, as it always is in judging.

Letters: B users, I items with the id 0, C groups, D numbers a vector, n ids at hand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from luban.core.batch import Batch, Ragged
from luban.core.notes import say

MANY = 500_000
"""Items from which it is tried. By ials, 64 numbers a vector, one thread: of 940,000 items, all take 47 ms a user and 5 % of them 7, the
rest of the answer included; of 185,000, all take 8, and half would have to be looked at."""
KEPT = 20
"""The longest list that is answered so."""
RECALL = 0.96
WORTH = 0.1
USERS = 200
"""Of validation: half to choose the number of groups by, half to tell what it finds."""
PIECE = 8192
"""Items put into groups at a time."""


class Groups(NamedTuple):
    items: Ragged
    """A row of ids a group, in order."""
    vectors: Tensor
    """(I - 1, D), in that order: to gather those of many ids from all over the memory costs more than to multiply them."""
    means: Tensor
    """(C, D)"""


@torch.no_grad()
def learn(model: Any, scored: Iterable[tuple[Batch, Tensor]]) -> None:
    """Fills the model's `group` and `search`, where it has them. scored: users of validation, with the scores (b, I) of all items."""
    if not hasattr(model, "search"):
        return
    model.group.copy_(_grouped(model))
    model.search.zero_()
    groups, owner, needed, looked = groups_of(model), model.group.long(), list[Tensor](), list[Tensor]()
    for batch, scores in scored:
        order = (model.user_side(batch) @ groups.means.T).argsort(1, descending=True)
        place = order.argsort(1).gather(1, owner[scores.topk(KEPT).indices])
        some = batch["history"].lengths > 0
        needed.append(place[some])
        looked.append(groups.items.lengths[order[some]].cumsum(1))
    place = torch.cat(needed) if needed else torch.zeros(0, KEPT)
    if len(place) < 2:
        return
    probes = int(place[::2].double().quantile(RECALL)) + 1
    share = float(torch.cat(looked)[:, probes - 1].double().mean()) / model.items
    if share > WORTH:
        say(f"of {model.items - 1:,} items, {share:.0%} would have to be looked at to find the best: predictions look at all")
        return
    model.search[0], model.search[1] = probes, (place[1::2] < probes).double().mean()
    say(f"predictions look at {share:.1%} of {model.items - 1:,} items, and find {float(model.search[1]):.1%} of the {KEPT} best (on "
        "validation); `exact` looks at all")  # fmt: skip


def found(model: Any) -> float | None:
    """The share of the best items that `nearest` finds; None where it is not to be asked."""
    return float(model.search[1]) if hasattr(model, "search") and model.search[0] else None


def nearest(model: Any, batch: Batch, k: int, out: Tensor, seen: bool) -> tuple[Tensor, Tensor, Tensor]:
    """(scores (B, k), items (B, k), done (B,) bool): the best of the groups looked at, less what the user had, unless `seen`, and those of
    `out` (I,) bool; not done for somebody without a history, or with whom fewer than k are left."""
    groups, history, wishes = groups_of(model), batch["history"], model.user_side(batch)
    firsts = (wishes @ groups.means.T).topk(int(model.search[0])).indices
    out = out.index_fill(0, out.new_zeros(1, dtype=torch.int64), True)  # a copy, without id 0
    score, item = wishes.new_zeros(len(wishes), k), torch.zeros(len(wishes), k, dtype=torch.int64, device=wishes.device)
    done = history.lengths > 0
    for b in done.nonzero().squeeze(1).tolist():
        ids = groups.items[firsts[b]].values
        ends = groups.items.offsets[torch.stack([firsts[b], firsts[b] + 1])].T.tolist()
        scores = torch.round(torch.cat([groups.vectors[start:stop] @ wishes[b] for start, stop in ends]), decimals=7)
        had = history.values[history.offsets[b] : history.offsets[b + 1]]
        before = out[had]
        out[had] = before if seen else True
        best, at = scores.masked_fill(out[ids], -torch.inf).topk(min(k, len(ids)))
        out[had] = before
        if len(best) < k or best[-1] == -torch.inf:
            done[b] = False
            continue
        ids, order = ids[at].sort()  # equals go by their id
        score[b], order = best[order].sort(descending=True, stable=True)
        item[b] = ids[order]
    return score, item, done


# ---------------------------------------------------------------- groups


def groups_of(model: Any) -> Groups:
    """The model's, made of its `group` once."""
    state = model.group.device, model.group._version
    if model.groups is None or model.groups[0] != state:
        owner = model.group[1:].long()
        count = torch.bincount(owner, minlength=_groups(model.items))
        items = Ragged(owner.argsort(stable=True) + 1, torch.nn.functional.pad(count.cumsum(0), (1, 0)))
        vectors = torch.cat([model.item_side(ids) for ids in items.values.split(PIECE)])
        sums = vectors.new_zeros(len(count), vectors.shape[1]).index_add_(0, items.owners, vectors)
        model.groups = state, Groups(items, vectors, sums / count.clamp(min=1).unsqueeze(1))
    return model.groups[1]


def _groups(items: int) -> int:
    return int(2 * items**0.5)


def _grouped(model: Any) -> Tensor:
    """(I,), by k-means on some items; drawn alike every time."""
    C, dice = _groups(model.items), torch.Generator().manual_seed(0)
    some = model.item_side(1 + torch.randperm(model.items - 1, generator=dice)[: 32 * C])
    means = some[:C].clone()
    for _ in range(5):
        owner = _nearest(some, means)
        count = torch.bincount(owner, minlength=C).unsqueeze(1)
        means = torch.where(count > 0, torch.zeros_like(means).index_add_(0, owner, some) / count.clamp(min=1), means)
    return torch.cat([_nearest(model.item_side(ids), means) for ids in torch.arange(model.items).split(PIECE)])


def _nearest(x: Tensor, means: Tensor) -> Tensor:
    half = means.square().sum(1) / 2
    return torch.cat([(each @ means.T - half).argmax(1) for each in x.split(PIECE)])
