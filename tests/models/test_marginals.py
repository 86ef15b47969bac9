"""Probabilities of tags against the sum over every sequence."""

import itertools

import torch

from luban.layers.crf import NEVER, log_likelihood, marginals


def test_marginals_are_sums_over_all_sequences():
    torch.manual_seed(0)
    S, lengths = 3, (4, 1, 2)
    emissions, step = torch.randn(3, 4, S), torch.randn(S + 1, S + 1)
    step[0, 2] = NEVER
    there = torch.arange(4) < torch.tensor(lengths).unsqueeze(1)
    found = marginals(emissions, there, step)
    for i, n in enumerate(lengths):
        wanted = torch.zeros(n, S)
        for tags in itertools.product(range(S), repeat=n):
            at = (slice(i, i + 1), slice(0, n))
            p = log_likelihood(emissions[at], torch.tensor([tags]), there[at], step).exp()
            wanted[torch.arange(n), list(tags)] += p
        torch.testing.assert_close(found[i, :n], wanted)
