"""LubanClassifier and LubanRegressor as scikit-learn takes them: all of its own checks, and what its users do all day."""

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.datasets import load_diabetes, load_iris, load_wine
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import luban
from luban import LubanClassifier, LubanRegressor
from luban.core.errors import UserError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """An empty folder, which has to stay empty: an estimator leaves nothing behind."""
    monkeypatch.chdir(tmp_path)
    yield
    assert {each.name for each in tmp_path.iterdir()} <= {"模型"}


@parametrize_with_checks([LubanClassifier(), LubanRegressor()])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def mixed(n=120):
    """A frame of words, dates, gaps and numbers, and its labels."""
    frame = pd.DataFrame(
        {
            "城市": ["北京", "上海", "广州"] * (n // 3),
            "价格": np.arange(n) * 1.5,
            "日期": pd.date_range("2024-01-01", periods=n),
            "缺": [None, 1.0, 2.0] * (n // 3),
            "y": pd.Categorical(["a", "b", "b"] * (n // 3)),  # a column may be called what the target is called inside
        }
    )
    return frame, np.where((frame["城市"] == "北京") ^ (frame["价格"] > 90), "是", "否")


def test_frames_keep_their_words_and_names():
    X, y = mixed()
    model = LubanClassifier().fit(X, y)
    assert model.score(X, y) > 0.95 and list(model.classes_) == ["否", "是"] and list(model.feature_names_in_) == list(X.columns)
    assert model.predict_proba(X).sum(1) == pytest.approx(1) and model.n_features_in_ == 5
    with pytest.raises(ValueError, match="same order as they were in fit"):
        model.predict(X[["价格", "城市", "日期", "缺", "y"]])
    frame = pl.DataFrame({"城市": X["城市"].tolist(), "价格": X["价格"].to_numpy()})
    dear = (X["价格"] > 90).to_list()
    of_polars = LubanClassifier().fit(frame, pl.Series(dear))
    assert of_polars.score(frame, dear) > 0.95 and list(of_polars.feature_names_in_) == ["城市", "价格"]


def test_pipelines_searches_and_cross_validation():
    X, y = load_iris(return_X_y=True)
    assert cross_val_score(make_pipeline(StandardScaler(), LubanClassifier()), X, y, cv=3).mean() > 0.9
    search = GridSearchCV(LubanClassifier(random_state=0), {"model": ["constant", "linear"]}, cv=3, n_jobs=2).fit(X, y)
    assert search.best_params_ == {"model": "linear"} and search.best_estimator_.predict(X).shape == y.shape
    assert cross_val_score(LubanRegressor(), *load_diabetes(return_X_y=True), cv=3).mean() > 0.35


@pytest.mark.parametrize("labels", [[False, True, True], [1.0, 2.0, 3.0], [-1, 0, 1], ["x", "y z", "Ä"]])
def test_labels_come_back_as_they_are(labels):
    X, y = load_iris(return_X_y=True)
    given = np.array(labels)[y]
    model = LubanClassifier(model="linear").fit(X, given)
    assert model.classes_.dtype == given.dtype and model.predict(X).dtype == given.dtype and model.score(X, given) > 0.6


def test_a_class_of_one_row_has_its_column():
    X, y = load_iris(return_X_y=True)
    p = LubanClassifier().fit(np.r_[X, X[:1] + 9], np.r_[y, 7]).predict_proba(X)
    assert p.shape == (150, 4) and p.sum(1) == pytest.approx(1)


def test_the_seed_decides_and_refitting_begins_anew():
    X, y = load_wine(return_X_y=True)

    def answers(seed):
        return LubanClassifier("mlp", set={"train.epochs": 5}, random_state=seed).fit(X, y).predict_proba(X)

    assert (answers(1) == answers(1)).all() and (answers(1) != answers(2)).any()
    assert (answers(np.random.RandomState(3)) == answers(np.random.RandomState(3))).all()
    network = torch.nn.Linear(13, 3)
    before, model = network.weight.clone(), LubanClassifier(network, set={"train.epochs": 5})
    assert (model.fit(X, y).predict_proba(X) == model.fit(X, y).predict_proba(X)).all() and (network.weight == before).all()


def test_copies_answer_alike_and_a_saved_one_is_a_bundle(tmp_path):
    X, y = mixed()
    model = LubanClassifier("mlp", set={"train.epochs": 5}).fit(X, y)
    for double in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert (double.predict_proba(X) == model.predict_proba(X)).all()
    path = model.save(tmp_path / "模型")
    assert luban.predict(path, X)["prediction"].to_list() == model.predict(X).tolist()
    with pytest.raises(UserError, match="exists already"):
        model.save(path)


def test_a_feature_called_split_is_a_feature(tmp_path):
    X, y = mixed()
    X["split"] = np.where(np.arange(len(X)) % 5 == 0, "test", np.where(np.arange(len(X)) % 2 == 0, "train", "valid"))
    model = LubanClassifier("linear").fit(X, y)
    assert "split" in {each.columns[0] for each in model.bundle_.schema.inputs.values()}
    found = luban.evaluate(model.bundle_, X.assign(label=y).rename(columns={"label": model.bundle_.schema.targets["y0"].columns[0]}))
    right = float((model.predict(X) == y).mean())
    assert found.metrics["accuracy"] == pytest.approx(right)  # of all rows, not of those that `split` calls test


def test_bad_bytes_in_a_copy_are_refused():
    X, y = load_iris(return_X_y=True)
    state = LubanClassifier("linear").fit(X, y).__getstate__()
    state["_files"]["schema.json"] = state["_files"]["schema.json"].replace(b"mean", b"meen")
    with pytest.raises(UserError, match=r"schema\.json was altered"):
        LubanClassifier().__setstate__(state)


IRIS, SPECIES = load_iris(return_X_y=True)


@pytest.mark.parametrize(
    ("model", "X", "y", "message"),
    [
        (LubanClassifier(), IRIS, np.where(SPECIES == 1, np.nan, SPECIES), "contains NaN"),
        (LubanClassifier(), IRIS, [None if each else "a" for each in SPECIES], "contains None"),
        (LubanClassifier(), IRIS, np.where(SPECIES == 1, "NA", "b"), "'NA' reads as a missing value"),
        (LubanClassifier(), IRIS, np.where(SPECIES == 1, " a", "a"), "'a' and ' a'|' a' and 'a'"),
        (LubanClassifier(), IRIS, np.zeros(150), "one class only"),
        (LubanClassifier(), IRIS, SPECIES[:100], "inconsistent numbers of samples"),
        (LubanClassifier(), IRIS[:, 0], SPECIES, "Expected 2D array"),
        (LubanClassifier("tres"), IRIS, SPECIES, "Did you mean 'trees'"),
        (LubanClassifier(set={"train.lrr": 1}), IRIS, SPECIES, "Did you mean 'lr'"),
        (LubanRegressor(), IRIS, np.c_[SPECIES, SPECIES], "1d array"),
        (LubanRegressor(), IRIS, np.ones(150), "same number in every row"),
        (LubanRegressor(), IRIS[:2], [1.0, 2.0], "rows to train on and"),
    ],
)
def test_what_cannot_be_fitted_is_a_value_error(model, X, y, message):
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(IRIS)
