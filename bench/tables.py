"""Tables beside scikit-learn and LightGBM, on the splits that the recipes use; the figures of recipes/*.yaml come from here.

    python bench/tables.py [adult] [california] [breast-cancer]

Each peer gets the same training and test rows (the peers train on training and validation rows together, for they need no checkpoint
picked), categories as categories, and its defaults. Prints one line a split and a mean.
"""

from __future__ import annotations

import sys
import time

import lightgbm
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from luban.planning import from_words
from luban.splitting import TEST
from luban.stages.prepare import prepare

SETS = {
    "adult": {"target": ["income"], "set": ["data.test_rows=[0,16281]"]},
    "california": {"target": ["MedHouseVal"]},
    "breast-cancer": {"target": ["diagnosis"]},
}


def parts(name: str, split: int):
    """(x_train, y_train, x_test, y_test, which columns are categories) as luban split and encoded them."""
    words = {"data": name, **SETS[name]}
    words["set"] = [*words.get("set", []), f"data.split_seed={split}"]
    ready = prepare(name, from_words(words))
    batch, target = ready.store.columns, ready.schema.targets["y0"]
    x = np.stack([batch[key].numpy().astype(np.float64) for key in ready.schema.inputs], 1)
    y = batch["y0"].numpy() - 1 if target.kind == "id" else np.array(target.decode(batch["y0"]))
    test = ready.rows.part == TEST
    return x[~test], y[~test], x[test], y[test], [field.kind == "id" for field in ready.schema.inputs.values()]


def peers(name: str, categories: list[bool]) -> dict:
    if name == "california":
        return {"HistGradientBoosting": HistGradientBoostingRegressor(random_state=0), "LightGBM": lightgbm.LGBMRegressor(verbose=-1)}
    made = {
        "HistGradientBoosting": HistGradientBoostingClassifier(categorical_features=categories, random_state=0),
        "LightGBM": lightgbm.LGBMClassifier(verbose=-1),
    }
    if not any(categories):
        made["LogisticRegression"] = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return made


def score(name: str, truth: np.ndarray, answer: np.ndarray) -> float:
    return float(np.sqrt(np.mean((truth - answer) ** 2)) if name == "california" else np.mean(truth == answer))


def main(names: list[str]) -> None:
    for name in names or list(SETS):
        found: dict[str, list[float]] = {}
        for split in range(1 if name == "adult" else 5):
            x, y, x_test, y_test, categories = parts(name, split)
            for peer, model in peers(name, categories).items():
                began = time.perf_counter()
                value = score(name, y_test, model.fit(x, y).predict(x_test))
                found.setdefault(peer, []).append(value)
                print(f"{name} split {split} {peer:<22} {value:.4f}  {time.perf_counter() - began:.1f} s", flush=True)
        for peer, values in found.items():
            print(f"{name} mean    {peer:<22} {np.mean(values):.4f} over {len(values)} (spread {np.std(values):.4f})")


if __name__ == "__main__":
    main(sys.argv[1:])
