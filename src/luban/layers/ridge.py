"""Ridge regression on many features of few rows, its penalty chosen by leaving each row out in turn, which costs nothing.

Classes are learned as -1 and 1, one against the rest. What a ridge says of them is no probability, so it is stretched by one factor into
log odds, the one under which the answers to the rows left out are likeliest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from luban.core.contract import Head, Part

PENALTIES = torch.logspace(-7, 2, 19, dtype=torch.float64)
"""As shares of a row's squared length."""
STRETCHES = torch.logspace(-1, 1.5, 26, dtype=torch.float64)
BLOCK = 2048


def solved(x: Tensor, truths: Sequence[tuple[np.ndarray, np.ndarray]], head: Head) -> tuple[Tensor, Tensor]:
    """(weight (D, size), bias (size,)) of features x (N, D), N below some thousands; truths: (answers, rows that have one) of each part."""
    products = torch.zeros(len(x), len(x), dtype=torch.float64)
    for piece in x.split(BLOCK, 1):
        products += piece.double() @ piece.double().T
    scale = float(products.diagonal().mean().clamp(min=1e-12))
    weights, biases = [], []
    for part, (answers, index) in zip(head.parts, truths, strict=True):
        rows, y = torch.from_numpy(index), _targets(answers, part)
        if not len(rows):
            weights.append(torch.zeros(x.shape[1], part.size))
            biases.append(torch.zeros(part.size))
            continue
        w = torch.tensor(part.weights, dtype=torch.float64)[torch.from_numpy(answers)] if part.weights else torch.ones(len(rows)).double()
        dual, mean, without = _left_out(products[rows][:, rows] / scale, y, w)
        stretch = 1.0 if part.kind == "value" else _stretch(without, y, w, part)
        # on the same features: what makes the rows' answers, and their centre
        both = torch.cat([dual * stretch / scale, (w / w.sum()).unsqueeze(1)], 1)
        found = torch.cat([piece.double().T @ both for piece in x[rows].split(BLOCK, 1)])
        weights.append(found[:, :-1].float())
        biases.append((mean * stretch - found[:, -1] @ found[:, :-1]).float())
    return torch.cat(weights, 1), torch.cat(biases)


def _targets(answers: np.ndarray, part: Part) -> Tensor:
    """(n, size): numbers as they are, classes as -1 and 1."""
    y = torch.from_numpy(answers)
    if part.kind == "classes":
        y = F.one_hot(y, part.size)
    y = y.double().reshape(len(y), -1)
    return y if part.kind == "value" else 2 * y - 1


def _left_out(K: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(dual weights (n, size), the mean answer (size,), the answer to each row by all others (n, size)) under the best penalty.

    K: products of rows (n, n); w: the weight of each. The intercept is free: rows are centred, so that what a row has in its own answer is
    1 - p G_ii + w_i / sum(w), G the inverse of K + p I (Rifkin and Lippert 2007, "Notes on regularized least squares", sections 3 and 5).
    """
    share, root = w / w.sum(), w.sqrt().unsqueeze(1)
    mean = y.T @ share
    K = K - (K @ share).unsqueeze(1)
    K = K - (share @ K).unsqueeze(0)
    values, Q = torch.linalg.eigh(K * root * root.T)
    turned = Q.T @ ((y - mean) * root)
    best = None
    for penalty in PENALTIES:
        inverse = 1 / (values.clamp(min=0) + penalty)
        dual = Q @ (turned * inverse.unsqueeze(1))
        rest = penalty * (Q.square() @ inverse) - share
        off = penalty * dual / rest.clamp(min=1e-9).unsqueeze(1) / root
        error = float((off.square() * share.unsqueeze(1)).sum())
        if best is None or error < best[0]:
            best = error, dual * root, off
    _, dual, off = best
    dual = dual - share.unsqueeze(1) * dual.sum(0)  # centring again, on the rows' side
    return dual, mean, y - off


def _stretch(scores: Tensor, y: Tensor, w: Tensor, part: Part) -> Tensor:
    """The factor that makes log odds of the scores of rows left out (n, size): one for all classes, or one a label (size,). Each row is a
    little in doubt, so that it is finite where all are right."""
    doubt = 1 / (len(y) + 2)
    true = (y + 1) / 2 * (1 - 2 * doubt) + doubt
    losses = []
    for stretch in STRETCHES:
        z = scores * stretch
        if part.kind == "classes":
            losses.append(-((true / true.sum(1, keepdim=True)) * z.log_softmax(1)).sum(1) @ w)
        else:
            losses.append((F.binary_cross_entropy_with_logits(z, true, reduction="none") * w.unsqueeze(1)).sum(0))
    return STRETCHES[torch.stack(losses).argmin(0)]
