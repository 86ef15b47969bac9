"""The chain: its likelihood and its best path against all sequences counted one by one, and steps that a scheme forbids."""

import itertools

import pytest
import torch

from luban.layers.crf import NEVER, allowed, log_likelihood, masked, slopes, viterbi


def every(emissions, length, step):
    """{tags: score} of every sequence of one row."""
    S = emissions.shape[1]
    found = {}
    for tags in itertools.product(range(S), repeat=length):
        path = [S, *tags, S]
        steps = sum(float(step[a, b]) for a, b in itertools.pairwise(path))
        found[tags] = steps + sum(float(emissions[t, tag]) for t, tag in enumerate(tags))
    return found


@pytest.mark.parametrize("scheme", ["none", "bio"])
def test_against_every_sequence(scheme):
    torch.manual_seed(0)
    S, lengths = 5 if scheme == "bio" else 3, torch.tensor([4, 1, 2])
    emissions, step = torch.randn(3, 5, S), masked(torch.randn(S + 1, S + 1), S, scheme, torch.zeros(1))
    there = torch.arange(5) < lengths.unsqueeze(1)
    best = viterbi(emissions, there, step)
    for i, length in enumerate(lengths.tolist()):
        scores = every(emissions[i], length, step)
        total = torch.logsumexp(torch.tensor(list(scores.values())), 0)
        top = max(scores, key=lambda tags: scores[tags])
        assert best[i].tolist() == [*top, *[0] * (5 - length)]
        said = log_likelihood(emissions, best, there, step)[i]
        assert said.item() == pytest.approx(scores[top] - total.item(), abs=1e-4)


def test_steps_that_a_scheme_forbids():
    bio = allowed(5, "bio")  # O, B-a, I-a, B-b, I-b; outside the row
    assert [[b for b in range(6) if not bio[a, b]] for a in range(6)] == [[2, 4], [4], [4], [2], [2], [2, 4]]
    bioes = allowed(5, "bioes")  # O, B, I, E, S; outside the row
    assert [[b for b in range(6) if bioes[a, b]] for a in range(6)] == [
        [0, 1, 4, 5],
        [2, 3],
        [2, 3],
        [0, 1, 4, 5],
        [0, 1, 4, 5],
        [0, 1, 4, 5],
    ]
    assert allowed(4, "none").all()


def test_what_is_forbidden_is_never_answered_and_has_a_gradient():
    emissions = torch.zeros(1, 3, 3)
    emissions[0, :, 2] = 50.0  # I, all along
    emissions.requires_grad_()
    step, there = masked(None, 3, "bio", emissions), torch.ones(1, 3, dtype=torch.bool)
    tags = viterbi(emissions, there, step)
    assert tags.tolist() == [[1, 2, 2]]
    log_likelihood(emissions, tags, there, step).sum().backward()
    assert emissions.grad.isfinite().all() and step.min() == NEVER


@pytest.mark.parametrize("scheme", ["none", "bio"])
def test_slopes_are_those_of_the_likelihood(scheme):
    torch.manual_seed(0)
    S, lengths = 5, torch.tensor([6, 4, 4, 1])
    there = torch.arange(6) < lengths.unsqueeze(1)
    emissions, tags = (3 * torch.randn(4, 6, S)).requires_grad_(), torch.tensor([1, 2, 0, 3, 4, 0]).expand(4, 6) * there
    free = torch.randn(S + 1, S + 1, requires_grad=True)
    step = masked(free, S, scheme, emissions)
    wanted = -log_likelihood(emissions, tags, there, step).sum()
    wanted.backward()
    by_place = there.T  # all first tokens, all second ones
    found, by_emission, by_step = slopes(
        emissions.detach().transpose(0, 1)[by_place], tags.T[by_place], by_place.sum(1).tolist(), step.detach()
    )
    assert found == pytest.approx(wanted.item(), rel=1e-5)
    assert torch.allclose(by_emission, emissions.grad.transpose(0, 1)[by_place], atol=1e-5)
    assert torch.allclose(by_step[step > NEVER], free.grad[step > NEVER], atol=1e-4) and by_step[step == NEVER].abs().sum() == 0
