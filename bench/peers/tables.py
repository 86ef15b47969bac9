"""A peer on a table: reads two CSV files, trains on one with its defaults, answers the other, prints the metric. One process a run.

python tables.py PEER TRAIN.csv TEST.csv TARGET SEED
"""

import json
import sys
import tempfile

import numpy as np
import pandas as pd

peer, train_file, test_file, target, seed = sys.argv[1:]
seed = int(seed)
train, test = pd.read_csv(train_file), pd.read_csv(test_file)
amounts = train[target].dtype.kind == "f"
words = [name for name in train.columns if name != target and train[name].dtype.kind not in "iuf"]


def parts():
    """Inputs with their words as categories, known from the training rows, and the answers."""
    x, x_test = train.drop(columns=target), test.drop(columns=target)
    for name in words:
        x[name] = x[name].astype("category")
        x_test[name] = pd.Categorical(x_test[name], x[name].cat.categories)
    return x, train[target], x_test


if peer == "LightGBM":
    import lightgbm

    x, y, x_test = parts()
    model = (lightgbm.LGBMRegressor if amounts else lightgbm.LGBMClassifier)(random_state=seed, verbose=-1)
    answer = model.fit(x, y).predict(x_test)
elif peer == "HistGradientBoosting":
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    x, y, x_test = parts()
    model = (HistGradientBoostingRegressor if amounts else HistGradientBoostingClassifier)(random_state=seed)
    answer = model.fit(x, y).predict(x_test)
elif peer == "scikit-learn MLP":
    from sklearn.compose import make_column_transformer
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    x, y, x_test = train.drop(columns=target), train[target], test.drop(columns=target)
    scaled = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), words), remainder=StandardScaler())
    model = make_pipeline(scaled, (MLPRegressor if amounts else MLPClassifier)(random_state=seed))
    answer = model.fit(x, y).predict(x_test)
elif peer == "AutoGluon tabular":
    from autogluon.tabular import TabularPredictor

    with tempfile.TemporaryDirectory() as folder:
        predictor = TabularPredictor(label=target, path=folder, verbosity=0).fit(train, time_limit=240)
        answer = predictor.predict(test.drop(columns=target)).to_numpy()
else:
    sys.exit(f"no peer {peer!r}")

truth = test[target].to_numpy()
value = float(np.sqrt(np.mean((truth - answer) ** 2))) if amounts else float(np.mean(truth == np.asarray(answer)))
print(json.dumps({"value": value}))
