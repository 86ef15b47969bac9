"""Ranking metrics against figures counted by hand, and `at`: one function, several names."""

import math

import numpy as np
import pytest

from luban.metrics import compute, direction, family, metric

RANK = np.array([[1, 4], [3, 0], [11, 0], [0, 0]])  # first and fourth of two, third, just below ten, not in the catalogue
Y = np.array([2, 1, 1, 1])


def test_by_hand():
    found = compute("ranking", tuple(family("ranking")), Y, RANK)
    second, third, fourth, eleventh = (1 / math.log2(1 + place) for place in (2, 3, 4, 11))
    two = (1 + fourth) / (1 + second)
    at = {"ndcg@10": (two + third) / 4, "ndcg@20": (two + third + eleventh) / 4, "recall@10": 0.5, "recall@20": 0.75,
          "hit_rate@10": 0.5, "hit_rate@20": 0.75, "precision@10": (0.2 + 0.1) / 4, "precision@20": (0.1 + 0.05 + 0.05) / 4,
          "map@10": ((1 + 2 / 4) / 2 + 1 / 3) / 4, "map@20": ((1 + 2 / 4) / 2 + 1 / 3 + 1 / 11) / 4,
          "mrr": (1 + 1 / 3 + 1 / 11) / 4}  # fmt: skip
    assert {name: found[name] for name in at} == pytest.approx(at)


def test_the_last_place_that_counts():
    for k in (5, 10, 20):
        assert compute("ranking", [f"hit_rate@{k}"], Y[1:2], np.array([[k]])) == {f"hit_rate@{k}": 1.0}
        assert compute("ranking", [f"ndcg@{k}"], Y[1:2], np.array([[k + 1]])) == {f"ndcg@{k}": 0.0}


def test_nobody_has_no_figure():
    assert compute("ranking", ["ndcg@10", "mrr"], Y[:0], RANK[:0]) == {}


def test_one_function_has_a_name_for_each_k():
    assert all(direction(name) == "max" for name in family("ranking"))
    assert "ndcg" not in family("ranking") and family("ranking")["ndcg@20"].__doc__.startswith("Are the true items")

    @metric("min", at=(1, 2))
    def odd(y, v, w, *, k):
        return np.array([k])

    assert odd.at == (1, 2) and odd.direction == "min"
