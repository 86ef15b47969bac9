"""A linear-chain conditional random field (Lafferty et al. 2001): how well a row's tags go with its tokens and with each other.

    score(y | x) = sum_t emissions[t, y_t] + sum_t step[y_t-1, y_t],   p(y | x) = exp(score) / sum over all y'

The sum is that of the forward algorithm, the best sequence that of Viterbi. `step` is (S + 1, S + 1): its last row is from before the
first token, its last column to behind the last; steps that the scheme forbids have no probability, in training by the loop and in
answering; models/crf.py learns over all sequences, as crfsuite does, and only answers so.

Tags are numbered: 0 outside, then for each label its positions: B, I of BIO, or B, I, E, S of BIOES. Letters: B rows, T tokens, S tags.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

NEVER = -1e4
"""Log of no probability: -inf would make a gradient of NaN."""
TINY = 1e-30
"""What a sum of probabilities is at least, before its logarithm."""
POSITIONS = {"none": 1, "bio": 2, "bioes": 4}


def allowed(size: int, scheme: str) -> Tensor:
    """(S + 1, S + 1) bool: may the second tag stand behind the first?"""
    if scheme == "none":
        return torch.ones(size + 1, size + 1, dtype=torch.bool)
    P = POSITIONS[scheme]
    tag = torch.arange(size + 1)
    position, label = (tag - 1) % P, (tag - 1) // P
    inner = (tag > 0) & (tag < size) & ((position == 1) | (position == 2))  # goes on with what has begun: I, E
    open_ = (tag > 0) & (tag < size) & (position <= 1)  # B, I: may go on and, where there is an E, must
    follows = open_.unsqueeze(1) & (label.unsqueeze(1) == label)
    fine = torch.where(inner, follows, ~open_.unsqueeze(1) if P == 4 else torch.ones_like(follows))
    return fine


def masked(step: Tensor | None, size: int, scheme: str, like: Tensor) -> Tensor:
    """Scores of steps, NEVER where the scheme forbids them."""
    scores = torch.zeros(size + 1, size + 1, device=like.device) if step is None else step
    return scores.masked_fill(~allowed(size, scheme).to(like.device), NEVER)


def log_likelihood(emissions: Tensor, tags: Tensor, there: Tensor, step: Tensor) -> Tensor:
    """log p(tags | x) of each row, (B,). emissions: (B, T, S); tags, there: (B, T), the first token there; step: (S + 1, S + 1)."""
    T, S = emissions.shape[1:]
    inner, first, last = step[:S, :S], step[S, :S], step[:S, S]
    ends = tags.gather(1, there.sum(1, keepdim=True) - 1).squeeze(1)
    taken = emissions.gather(2, tags.unsqueeze(2)).squeeze(2)
    between = inner[tags[:, :-1], tags[:, 1:]]
    score = (taken * there).sum(1) + (between * there[:, 1:]).sum(1) + first[tags[:, 0]] + last[ends]
    alpha = first + emissions[:, 0]  # (B, S): log of the sum over all ways that end here in this tag
    for t in range(1, T):
        alpha = torch.where(there[:, t, None], _onward(alpha, inner, emissions[:, t]), alpha)
    return score - torch.logsumexp(alpha + last, 1)


def marginals(emissions: Tensor, there: Tensor, step: Tensor) -> Tensor:
    """p(tag at t | x), over all sequences, (B, T, S): forward and backward sums."""
    T, S = emissions.shape[1:]
    inner, alphas = step[:S, :S], [step[S, :S] + emissions[:, 0]]
    for t in range(1, T):
        alphas.append(_onward(alphas[-1], inner, emissions[:, t]))
    beta = step[:S, S].expand_as(alphas[0])  # (B, S): log of the sum over all ways that go on from this tag here
    found = [alphas[-1] + beta]
    for t in range(T - 1, 0, -1):
        beta = torch.where(there[:, t, None], _onward(beta + emissions[:, t], inner.T, 0), beta)
        found.append(alphas[t - 1] + beta)
    return torch.stack(found[::-1], 1).softmax(2)


def slopes(emissions: Tensor, tags: Tensor, going: list[int], step: Tensor) -> tuple[float, Tensor, Tensor]:
    """(-log p of all rows together, its gradient by emissions (N, S), by step (S + 1, S + 1)), three times as fast as by autograd.

    The N tokens stand by their place, rows with the longest first: all first tokens, all second ones; going: how many rows have each.
    """
    S = emissions.shape[1]
    inner, first, last = step[:S, :S].exp(), step[S, :S], step[:S, S]
    x, y = emissions.split(going), tags.split(going)
    alphas = [first + x[0]]
    for each in x[1:]:
        alpha = alphas[-1][: len(each)]
        top = alpha.amax(1, keepdim=True)
        alphas.append(((alpha - top).exp() @ inner).clamp(min=TINY).log() + top + each)
    total = torch.logsumexp(_ends(alphas) + last, 1)

    beta, pairs = last.expand(going[-1], S), torch.zeros(S + 1, S + 1)
    betas = [beta]
    for t in range(len(going) - 1, 0, -1):
        n, top = going[t], (beta + x[t]).amax(1, keepdim=True)
        onward = (beta + x[t] - top).exp()
        before = alphas[t - 1][:n] + top - total[:n, None]
        pairs[:S, :S] += before.clamp(max=60).exp().T @ onward  # above 1 only where the step between has hardly a probability
        beta = torch.cat([(onward @ inner.T).clamp(min=TINY).log() + top, last.expand(going[t - 1] - n, S)])
        betas.append(beta)
    p = (torch.cat(alphas) + torch.cat(betas[::-1]) - torch.cat([total[:n] for n in going]).unsqueeze(1)).exp()
    pairs[:S, :S] *= inner
    pairs[S, :S], pairs[:S, S] = p[: going[0]].sum(0), _ends(p.split(going)).sum(0)

    outside = torch.full((going[0],), S)
    before = torch.cat([outside, *(each[:n] for each, n in zip(y, going[1:], strict=False)), _ends(y)])
    true = torch.bincount(before * (S + 1) + torch.cat([tags, outside]), minlength=(S + 1) ** 2).view(S + 1, S + 1)
    taken = emissions.gather(1, tags.unsqueeze(1)).sum() + (true * step).sum()
    return float(total.sum() - taken), p.scatter_add(1, tags.unsqueeze(1), -torch.ones(len(tags), 1)), pairs - true


def _ends(places: Sequence[Tensor]) -> Tensor:
    """Of what stands by place, that of the last token of each row."""
    behind = [len(each) for each in places[1:]] + [0]
    return torch.cat([each[n:] for each, n in zip(places, behind, strict=True)][::-1])


def _onward(score: Tensor, inner: Tensor, emitted: Tensor | int) -> Tensor:
    return torch.logsumexp(score.unsqueeze(2) + inner, 1) + emitted


def viterbi(emissions: Tensor, there: Tensor, step: Tensor) -> Tensor:
    """The likeliest tags, (B, T); 0 behind the end."""
    B, T, S = emissions.shape
    inner, best = step[:S, :S], step[S, :S] + emissions[:, 0]
    stay = torch.arange(S, device=best.device).expand(B, S)
    back = []
    for t in range(1, T):
        score, came = (best.unsqueeze(2) + inner).max(1)  # (B, S)
        best = torch.where(there[:, t, None], score + emissions[:, t], best)
        back.append(torch.where(there[:, t, None], came, stay))
    path = [(best + step[:S, S]).argmax(1)]
    for came in reversed(back):
        path.append(came.gather(1, path[-1].unsqueeze(1)).squeeze(1))
    return torch.stack(path[::-1], 1) * there
