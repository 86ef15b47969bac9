"""The least of losses whose answer is known, with and without a penalty that leaves weights at 0."""

import torch

from luban.optim.owlqn import least

torch.manual_seed(0)
A = torch.randn(40, 8) * torch.logspace(0, 1.5, 8)
B = torch.randn(40)


def squares(x):
    """|Ax - b|^2 / 2"""
    off = A @ x - B
    return float(off @ off) / 2, A.T @ off


def test_without_a_penalty():
    x, steps = least(squares, torch.zeros(8), 0.0, 200)
    assert torch.allclose(x, torch.linalg.lstsq(A, B.unsqueeze(1)).solution[:, 0], atol=1e-2) and 5 < steps < 200


def test_a_penalty_each_on_its_own_is_a_threshold():
    a, bent = torch.tensor([3.0, -2.0, 0.5, -0.4, 0.0]), torch.tensor([1.0, 4.0, 2.0, 1.0, 1.0])

    def f(x):
        return float((bent * (x - a).square()).sum()) / 2, bent * (x - a)

    x, _ = least(f, torch.zeros(5), 0.6, 100)
    assert torch.allclose(x, a.sign() * (a.abs() - 0.6 / bent).clamp(min=0), atol=1e-3)
    assert (x == 0).tolist() == [False, False, False, True, True]


def test_nothing_gains_under_a_penalty():
    x, _ = least(squares, torch.ones(8), 20.0, 500)
    _, g = squares(x)
    assert (g[x != 0] + 20 * x[x != 0].sign()).abs().max() < 1 and (x == 0).any() and g[x == 0].abs().max() <= 20


def test_it_ends_when_it_is_told_to():
    assert least(squares, torch.zeros(8), 0.0, 200, lambda: True)[1] == 0
    assert least(squares, torch.zeros(8), 0.0, 3)[1] == 3
