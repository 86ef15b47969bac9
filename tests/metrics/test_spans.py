"""Figures of spans, by hand, resampled, and as seqeval's strict mode has them."""

import numpy as np
import pytest

from luban.metrics import compute, resampled

# labels: unknown, PER, LOC; then tokens. PER: 3 there, 2 said, 1 right; LOC: 1, 2, 1; one of a label that nobody knows
Y = np.array([[0, 2, 0, 6], [1, 1, 1, 4]])
V = np.array([[[0, 1, 1, 6], [0, 1, 0, 4]], [[0, 1, 1, 4], [0, 0, 1, 3]]])
LABELS = {"f1_PER": 1, "f1_LOC": 2}


def test_by_hand():
    found = compute("tags", ["f1", "precision", "recall", "accuracy", *LABELS], Y, V, LABELS)
    assert found == pytest.approx({"f1": 4 / 9, "precision": 1 / 2, "recall": 2 / 5, "accuracy": 0.7, "f1_PER": 2 / 5, "f1_LOC": 2 / 3})


def test_a_draw_counts_spans_and_not_rows():
    drawn = resampled("tags", ["f1", "precision"], Y, V, np.array([[2, 0], [0, 2]]))
    assert drawn["f1"] == pytest.approx([2 / 4, 2 / 5]) and drawn["precision"] == pytest.approx([1 / 2, 1 / 2])


def test_nothing_said_has_no_precision():
    assert compute("tags", ["f1", "precision", "recall"], Y, V * 0) == {"f1": 0.0, "recall": 0.0}
