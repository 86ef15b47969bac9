"""From a model's scores to lists, and to the places of true items among all that a user has not had. Letters: B users, I items with 0."""

from __future__ import annotations

import torch
from torch import Tensor

from luban.core.batch import Batch, Ragged
from luban.core.contract import Head, Model
from luban.layers.ranked import scored

RANKS = 100
"""Places of true items that are kept of each user, the best: more than any list has that a metric asks about."""
FEW = 8
"""True items of a user up to which each is compared with all scores; beyond, the scores are sorted."""


def best(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(scores (B, k), items (B, k)) of the best, equals by their id; 0 and item 0 where fewer are left."""
    k = min(k, scores.shape[1])
    found, item = scores.topk(k)
    tied = torch.nonzero((scores >= found[:, -1:]).sum(1) != k).squeeze(1)  # at the end of the list: which of them is for the id to say
    item, order = item.sort(1)
    found, order = found.gather(1, order).sort(dim=1, descending=True, stable=True)
    item = item.gather(1, order)
    if len(tied):
        again, by_id = scores[tied].sort(dim=1, descending=True, stable=True)
        found[tied], item[tied] = again[:, :k], by_id[:, :k]
    over = found == -torch.inf
    return found.masked_fill(over, 0.0), item.masked_fill(over, 0)


def ranks_of(scores: Tensor, true: Ragged) -> Tensor:
    """(B, RANKS): the places of the true items, the best first, then 0. Those that training never had have none."""
    owner = true.owners
    owner, item = owner[known := true.values > 0], true.values[known]
    rivals = scores.nan_to_num(torch.inf, neginf=-torch.inf)
    mine = scores[owner, item].nan_to_num(torch.finfo(scores.dtype).min, neginf=-torch.inf)
    order = torch.argsort(mine, descending=True, stable=True)
    order = order[torch.argsort(owner[order], stable=True)]  # by user, the best first
    owner, item, mine = owner[order], item[order], mine[order]
    rivals[owner, item] = -torch.inf  # other true items are in nobody's way: they are counted below
    count = torch.bincount(owner, minlength=len(true))
    place = torch.arange(len(owner), device=scores.device) - (count.cumsum(0) - count)[owner]  # among the user's own, from 0
    laid = mine.new_full((len(true), max(1, int(count.max()))), torch.inf)
    laid[owner, place] = mine
    if laid.shape[1] <= FEW:
        ahead = torch.stack([(rivals >= each.unsqueeze(1)).sum(1) for each in laid.unbind(1)], 1)
    else:
        ahead = rivals.shape[1] - torch.searchsorted(rivals.sort(1).values, laid)
    ranks = torch.zeros(len(true), max(RANKS, laid.shape[1]), dtype=torch.int64, device=scores.device)
    ranks[owner, place] = ahead[owner, place] + place + 1
    return ranks[:, :RANKS]


def placed(model: Model, batch: Batch, head: Head) -> Batch:
    """score (B,) and place (B,) of the item of each row, 0 where training never had it; that of an item that the user had, as if they had
    not."""
    score, place = [], []
    for piece, scores in scored(model, batch, head, seen=True):
        mine = scores.gather(1, piece["y0"].unsqueeze(1))
        had, rows = piece["history"], torch.arange(len(scores), device=scores.device)
        scores[rows.repeat_interleave(had.lengths), had.values] = -torch.inf
        score.append(mine.squeeze(1).nan_to_num(neginf=0.0))
        before = torch.arange(scores.shape[1], device=scores.device) < piece["y0"].unsqueeze(1)  # equals go by their id
        ahead = (scores > mine) | ((scores == mine) & before)
        place.append((ahead.sum(1) + 1).masked_fill(piece["y0"] == 0, 0))
    return {"score": torch.cat(score), "place": torch.cat(place)}


def because(model: Model, batch: Batch, head: Head, items: Tensor) -> Tensor:
    """(B, k): of the items that each user had, the one that, alone, gives the recommended item its highest score; 0 without a history."""
    had, rows, at = batch["history"], list[Tensor](), 0
    each = torch.arange(len(had.values) + 1, device=items.device)
    noted: Batch = {name: Ragged(batch[name].values, each) for name in ("history", "weight") if name in batch}
    alone = {"c0": torch.zeros_like(had.values), **noted}
    asked = items.repeat_interleave(had.lengths, 0)  # (E, k)
    for _, scores in scored(model, alone, head, seen=True):
        rows.append(scores.gather(1, asked[at : at + len(scores)]))
        at += len(scores)
    found = torch.zeros_like(items)
    if rows:
        owner = torch.arange(len(had), device=items.device).repeat_interleave(had.lengths)
        order = torch.cat(rows).argsort(dim=0, descending=True, stable=True)
        order = order.gather(0, owner[order].argsort(dim=0, stable=True))  # by user, what speaks most first
        some = had.lengths > 0
        found[some] = had.values[order[had.offsets[:-1][some]]]
    return found.masked_fill(items == 0, 0)
