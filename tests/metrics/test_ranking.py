"""Ranking metrics against figures counted by hand, and `at`: one function, several names."""

import math

import numpy as np
import pytest

from luban.metrics import compute, direction, family, metric

RANK = np.array([1, 3, 11, 0])  # first, third, just below ten, not in the catalogue
Y = np.array([7, 8, 9, 0])


def test_by_hand():
    found = compute("ranking", tuple(family("ranking")), Y, RANK)
    third, eleventh = 1 / math.log2(4), 1 / math.log2(12)
    assert found == pytest.approx({
        "ndcg@5": (1 + third) / 4, "ndcg@10": (1 + third) / 4, "ndcg@20": (1 + third + eleventh) / 4,
        "hit_rate@5": 0.5, "hit_rate@10": 0.5, "hit_rate@20": 0.75,
        "mrr": (1 + 1 / 3 + 1 / 11) / 4})  # fmt: skip


def test_the_last_place_that_counts():
    for k in (5, 10, 20):
        assert compute("ranking", [f"hit_rate@{k}"], Y[:1], np.array([k])) == {f"hit_rate@{k}": 1.0}
        assert compute("ranking", [f"ndcg@{k}"], Y[:1], np.array([k + 1])) == {f"ndcg@{k}": 0.0}


def test_nobody_has_no_figure():
    assert compute("ranking", ["ndcg@10", "mrr"], Y[:0], RANK[:0]) == {}


def test_one_function_has_a_name_for_each_k():
    assert all(direction(name) == "max" for name in family("ranking"))
    assert "ndcg" not in family("ranking") and family("ranking")["ndcg@20"].__doc__.startswith("Is the true item")

    @metric("min", at=(1, 2))
    def odd(y, v, w, *, k):
        return np.array([k])

    assert odd.at == (1, 2) and odd.direction == "min"
