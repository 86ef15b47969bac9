"""Metrics: agreement with scikit-learn, decided answers where there is none, and a price that a training loop can pay."""

from __future__ import annotations

import math
import pkgutil
import time
import warnings

import numpy as np
import pytest
import sklearn.metrics as sk
from scipy import stats

from luban import metrics
from luban.core.errors import UserError
from luban.metrics import better, compute, direction, family, names, resampled
from luban.metrics.several import mean_skill

rng = np.random.default_rng(0)
Y3 = rng.integers(0, 3, 400)
P3 = rng.dirichlet([1, 1, 1], 400).astype(np.float32) + 0.5 * np.eye(3, dtype=np.float32)[Y3]
P3 /= P3.sum(1, keepdims=True)
Y2, P2 = (Y3 > 0).astype(int), np.stack([P3[:, 0], 1 - P3[:, 0]], 1)
FAMILIES = ("classification", "regression", "labels")


@pytest.fixture(autouse=True)
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def every(of: str, truth, predicted) -> dict[str, float]:
    return compute(of, tuple(family(of)), truth, predicted)


def test_agreement_is_that_of_scipy_in_each_sample():
    y, v = rng.integers(0, 5, 60) / 2, rng.integers(0, 9, 60) / 8
    w = rng.multinomial(60, np.full(60, 1 / 60), 3).T
    for d in range(3):
        a, b = np.repeat(y, w[:, d]), np.repeat(v, w[:, d])
        found = resampled("agreement", ("spearman", "pearson"), y, v, w)
        assert found["spearman"][d] == pytest.approx(stats.spearmanr(a, b).statistic)
        assert found["pearson"][d] == pytest.approx(stats.pearsonr(a, b).statistic)
    assert every("agreement", y, np.ones(60)) == {}


def test_binary_agrees_with_scikit_learn():
    found, chosen = every("classification", Y2, P2), P2.argmax(1)
    assert set(found) == set(family("classification"))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(Y2, chosen))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(Y2, chosen))
    assert found["f1"] == pytest.approx(sk.f1_score(Y2, chosen))
    assert found["f1_macro"] == pytest.approx(sk.f1_score(Y2, chosen, average="macro"))
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(Y2, chosen))
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(Y2, P2[:, 1]))
    assert found["pr_auc"] == pytest.approx(sk.average_precision_score(Y2, P2[:, 1]))
    assert found["log_loss"] == pytest.approx(sk.log_loss(Y2, P2)) and found["brier"] == pytest.approx(sk.brier_score_loss(Y2, P2[:, 1]))


def test_many_classes_agree_with_scikit_learn():
    found = every("classification", Y3, P3)
    assert set(family("classification")) - set(found) == {"precision", "recall", "f1"}
    chosen = P3.argmax(1)
    for name, score in (("precision_macro", sk.precision_score), ("recall_macro", sk.recall_score), ("f1_macro", sk.f1_score)):
        assert found[name] == pytest.approx(score(Y3, chosen, average="macro"))
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(Y3, chosen))
    assert found["f1_weighted"] == pytest.approx(sk.f1_score(Y3, chosen, average="weighted"))
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(Y3, P3, multi_class="ovr"))
    assert found["pr_auc"] == pytest.approx(sk.average_precision_score(np.eye(3)[Y3], P3))
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(Y3, P3.argmax(1)))


def test_calibration_error_of_known_confidence():
    p = np.tile([0.25, 0.75], (1000, 1))
    assert compute("classification", ["ece"], np.arange(1000) % 4 > 0, p) == {"ece": pytest.approx(0)}
    assert compute("classification", ["ece"], np.ones(1000, int), p) == {"ece": pytest.approx(0.25)}
    sure = np.tile([0.0, 1.0], (10, 1))
    assert compute("classification", ["ece"], np.arange(10) % 2, sure) == {"ece": pytest.approx(0.5)}


def test_regression_in_units():
    found = every("regression", np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 7.0]))
    assert found["rmse"] == pytest.approx(math.sqrt(3)) and found["mae"] == 1 and found["median_ae"] == 0 and found["mse"] == 3
    assert found["mape"] == pytest.approx(0.25) and found["r2"] == pytest.approx(1 - 9 / (14 / 3))


def test_labels_agree_with_scikit_learn():
    y, p = rng.integers(0, 2, (300, 4)), rng.random((300, 4))
    found = every("labels", y, p)
    assert found["f1_micro"] == pytest.approx(sk.f1_score(y, p >= 0.5, average="micro"))
    assert found["hamming_loss"] == pytest.approx(sk.hamming_loss(y, p >= 0.5))
    assert found["subset_accuracy"] == pytest.approx(sk.accuracy_score(y, p >= 0.5))
    assert found["pr_auc"] == pytest.approx(sk.average_precision_score(y, p)) and found["roc_auc"] == pytest.approx(sk.roc_auc_score(y, p))
    assert found["log_loss"] == pytest.approx(np.mean([sk.log_loss(y[:, i], p[:, i]) for i in range(4)]))


@pytest.mark.parametrize("truth, predicted, of, absent", [
    (np.ones(9, int), P2[:9], "classification", {"roc_auc", "pr_auc", "mcc"}),
    (np.zeros(9, int), P2[:9], "classification", {"roc_auc", "pr_auc", "mcc", "recall", "f1"}),
    (np.array([0, 1, 0]), P3[:3], "classification", {"precision", "recall", "f1"}),
    (np.ones(5), np.arange(5.0), "regression", {"r2"}),
    (np.array([0.0, 1.0]), np.ones(2), "regression", {"mape"}),
    (np.array([3.0]), np.ones(1), "regression", {"r2"}),
    (np.zeros((5, 2), int), np.full((5, 2), 0.1), "labels", {"f1_micro", "f1_macro", "pr_auc", "roc_auc"}),
    (np.array([[0, 1], [0, 0]]), np.array([[1.0, 0.0], [0.0, 1.0]]), "labels", set()),
])  # fmt: skip
def test_what_has_no_value_is_left_out(truth, predicted, of, absent):
    assert set(family(of)) - set(every(of, truth, predicted)) == absent


@pytest.mark.parametrize("of", FAMILIES)
def test_no_rows_and_no_finite_predictions_give_nothing(of):
    shape = {"classification": (3, 2), "regression": (3,), "labels": (3, 2)}[of]
    assert every(of, np.zeros((0, *shape[1:])), np.zeros((0, *shape[1:]))) == {}
    assert every(of, np.ones(shape if of != "classification" else 3, int), np.full(shape, np.nan)) == {}


def test_a_name_means_one_direction_everywhere():
    families = [family(module.name) for module in pkgutil.iter_modules(metrics.__path__)]
    for name in names():
        assert len({each[name].direction for each in families if name in each}) == 1
    assert better("rmse", 1.0, 2.0) and better("accuracy", 0.9, 0.8) and not better("accuracy", 0.8, 0.8)
    assert direction("price.rmse") == "min" and direction("f1_猫") == "max" and direction("a.b.f1_no.1") == "max"
    with pytest.raises(UserError, match="Did you mean 'accuracy'"):
        direction("acuracy")
    with pytest.raises(UserError, match="no regression metric 'f1_macro'"):
        compute("regression", ["f1_macro"], np.ones(2), np.ones(2))


def test_mean_skill_is_one_for_perfect_and_zero_for_constant():
    def skill(reference, reached):
        return mean_skill(*({key: np.array([value]) for key, value in each.items()} for each in (reference, reached)))[0]

    reference = {"a.accuracy": 0.6, "b.rmse": 10.0}
    assert skill(reference, {"a.accuracy": 1.0, "b.rmse": 0.0}) == 1
    assert skill(reference, reference) == 0
    assert skill(reference, {"a.accuracy": 0.8, "b.rmse": 20.0}) == pytest.approx(-0.25)
    assert math.isnan(skill({"a.accuracy": 1.0}, {"a.accuracy": 1.0}))


def test_mean_skill_is_added_up_in_the_order_of_the_targets():
    """Of numbers of all sizes another order gives another sum, and that of a set changes from process to process."""
    reached = {f"t{i}.rmse": np.array([10.0 ** (i * 7 % 20)]) for i in range(40)}
    total = np.zeros(1)
    for value in reached.values():
        total = total + (value - 1.0) / (0.0 - 1.0)
    assert mean_skill(dict.fromkeys(reached, np.ones(1)), reached)[0] == total[0] / 40


@pytest.mark.parametrize("of", ["classification", "regression", "labels"])
def test_a_sample_counts_like_its_rows_written_out(of):
    """A row that counts twice is that row twice: each metric on each of the draws, against the metric of the rows drawn."""
    rows = np.random.default_rng(1)
    truth = {"classification": Y3[:60], "regression": rows.normal(size=60).round(1) + 9, "labels": rows.integers(0, 2, (60, 3))}[of]
    guess = {
        "classification": P3[:60].round(1),
        "regression": truth + rows.normal(size=truth.shape).round(1),
        "labels": rows.random((60, 3)),
    }[of]
    counts = rows.integers(0, 3, (60, 5)).astype(float)
    drawn = resampled(of, tuple(family(of)), truth, guess, counts)
    for d in range(5):
        times = counts[:, d].astype(int)
        alone = every(of, truth.repeat(times, 0), guess.repeat(times, 0))
        assert {name: values[d] for name, values in drawn.items() if math.isfinite(values[d])} == pytest.approx(alone)


@pytest.mark.parametrize("path", ["classification.accuracy", "classification.roc_auc", "regression.rmse", "labels.f1_micro"])
def test_first_metrics_are_cheap(path):
    """They are computed at every evaluation: milliseconds for 10,000 rows (the bound is wide, for busy machines)."""
    of, name = path.split(".")
    p = rng.random((10_000, 2)).astype(np.float32)
    truth = {"classification": rng.integers(0, 2, 10_000), "regression": p[:, 1], "labels": rng.integers(0, 2, (10_000, 2))}[of]
    predicted = p[:, 0] if of == "regression" else p
    compute(of, [name], truth, predicted)
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        compute(of, [name], truth, predicted)
        best = min(best, time.perf_counter() - start)
    assert best < 0.03
