"""Models of curves: MiniRocket's features are the paper's, its ridge is scikit-learn's; padding changes nothing, other columns count."""

from __future__ import annotations

import json
import shutil

import numpy as np
import polars as pl
import pytest
import torch
from conftest import examples
from sklearn.linear_model import Ridge, RidgeCV
from torch.nn import functional as F

import luban
from luban.core import config as configs
from luban.core.batch import Ragged, padded
from luban.core.contract import Head, Part, Schema
from luban.core.errors import UserError
from luban.core.registry import FIELDS, MODELS
from luban.layers import ridge
from luban.models.rocket import KERNELS, Kernels, _dilations
from luban.server import app, serve

HEAD = Head((Part("y0", "binary", 1, "bce"),))
NAMES = ["rocket", "conv1d", "lstm", "gru", "rnn"]


def waves(n: int = 120, seed: int = 0) -> pl.DataFrame:
    """Slow or fast waves of 30 to 40 steps with noise, and an age that says nothing."""
    rng = np.random.default_rng(seed)
    fast = rng.random(n) < 0.5
    rows = [np.sin((1.2 if each else 0.6) * np.arange(rng.integers(30, 41)) + rng.random() * 6) + rng.normal() * 0.2 for each in fast]
    cells = [json.dumps([round(float(x) + 0.2 * rng.normal(), 3) for x in row]) for row in rows]
    return pl.DataFrame({"波": cells, "age": rng.integers(20, 60, n), "kind": np.where(fast, "fast", "slow")})


def read(table: pl.DataFrame, **fields: str) -> tuple[Schema, dict]:
    schema = Schema({f"c{i}": FIELDS[field]((name,)) for i, (name, field) in enumerate(fields.items())}, {}).fit(table)
    return schema, schema.encode(table, with_target=False)


def solved(schema: Schema, batch: dict, head: Head, clock, **options):
    model = MODELS["rocket"](MODELS["rocket"].Config(**options), schema, head)
    model.solve(examples(batch), None, clock)
    return model


# ---------------------------------------------------------------- rocket


def test_kernels_are_the_papers():
    """84 of 9 weights, which add up to 0; dilations 2^0 .. (T-1)/8, each with its share of the thresholds."""
    assert len(KERNELS) == 84
    assert _dilations(24, 119) == [(1, 79), (2, 40)]  # as aeon's, of 10,000 features in all
    assert _dilations(1, 119) == _dilations(9, 119) == [(1, 119)]
    for length in (24, 150, 427, 5000):
        found = _dilations(length, 119)
        assert found[0][0] == 1 and found[-1][0] <= (length - 1) / 8 and sum(n for _, n in found) == 119 and len(found) <= 32


@pytest.mark.parametrize("channels", [1, 3])
def test_features_are_shares_of_a_convolution(channels):
    """As torch's own convolution gives them; half of the kernels see only what lies within the row, and rows may be of unequal length."""
    schema = Schema({"c0": FIELDS["curve"](("x",))}, {})
    field = schema.inputs["c0"]
    field.length, field.size = 60, channels
    kernels = Kernels(field, 420)
    torch.manual_seed(0)
    rows = Ragged(torch.randn(60 + 33 + 5, channels), torch.tensor([0, 60, 93, 98]))
    others = Ragged(torch.randn(200, channels), torch.tensor([0, 60, 140, 200]))
    kernels.fit(others, torch.Generator().manual_seed(1))
    shares = kernels(*padded(rows)).reshape(3, -1)
    at = start = 0
    used = (kernels.channels < channels).sum(2)
    assert used.min() == 1 and used.max() == channels
    for d, (dilation, n) in enumerate(kernels.dilations):
        for k, places in enumerate(KERNELS):
            weight = torch.full((9,), -1.0)
            weight[list(places)] = 2
            for b, T in enumerate((60, 33, 5)):
                x = F.pad(rows.values[rows.offsets[b] : rows.offsets[b + 1]], (0, 1))[:, kernels.channels[d, k]].sum(1)
                y = F.conv1d(x.reshape(1, 1, -1), weight.reshape(1, 1, -1), padding=4 * dilation, dilation=dilation).flatten()
                inner = y[4 * dilation : T - 4 * dilation] if (d + k) % 2 else y
                y = inner if len(inner) else y
                theirs = (y.reshape(-1, 1) > kernels.thresholds[k, start : start + n]).float().mean(0)
                assert (shares[b, at : at + n] - theirs).abs().max() <= 1.01 / len(y)  # a last bit may decide once
            at += n
        start += n
    assert at == shares.shape[1] and 0.3 < shares.mean() < 0.7


def test_the_ridge_is_scikit_learns():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 70)), rng.normal(size=40)
    y += 2 * x[:, 0]
    rows = np.flatnonzero(rng.random(40) < 0.9)
    weight, bias = ridge.solved(torch.from_numpy(x).float(), [(y[rows], rows)], Head((Part("y0", "value", 1, "mse"),)))
    scale = (x**2).sum(1).mean()
    theirs = RidgeCV(ridge.PENALTIES.numpy() * scale).fit(x[rows], y[rows])
    assert np.allclose(weight[:, 0], theirs.coef_, atol=1e-4) and bias.item() == pytest.approx(theirs.intercept_, abs=1e-4)


def test_weights_of_classes_are_weights_of_rows():
    """A class that weighs three times is there three times, where the penalty is the same."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(30, 5))).float()
    y = (x[:, 0] + torch.randn(30, generator=torch.Generator().manual_seed(0)) > 0.4).long().numpy()
    weights = np.where(y, 3.0, 1.0)
    dual, mean, _ = ridge._left_out((x @ x.T).double(), torch.from_numpy(2.0 * y - 1).reshape(-1, 1), torch.from_numpy(weights))
    coefficients = x.double().T @ dual
    fits = [Ridge(p).fit(x, 2 * y - 1, sample_weight=weights).coef_ for p in ridge.PENALTIES]
    assert min(np.abs(coefficients[:, 0].numpy() - each).max() for each in fits) < 1e-6
    assert mean.item() == pytest.approx(((2 * y - 1) * weights).sum() / weights.sum())


def test_probabilities_are_calibrated_and_finite(clock):
    """Sure where it is right; and where labels are noise, near their shares and not sure of anything."""
    table = waves(200)
    schema, batch = read(table, 波="curve")
    y = torch.from_numpy((table["kind"] == "fast").to_numpy()).float()
    seen, new = ({"c0": batch["c0"][index], "y0": y[index]} for index in (torch.arange(120), torch.arange(120, 200)))
    p = solved(schema, seen, HEAD, clock)(new).sigmoid()[:, 0]
    assert ((p > 0.5) == (new["y0"] > 0)).float().mean() > 0.97 and (p - 0.5).abs().mean() > 0.35
    noise = torch.randint(0, 2, (120,), generator=torch.Generator().manual_seed(0)).float()
    p = solved(schema, {"c0": seen["c0"], "y0": noise}, HEAD, clock)(new).sigmoid()
    assert (p - 0.5).abs().mean() < 0.2


def test_columns_beside_are_heard_among_ten_thousand_features(clock):
    rng = np.random.default_rng(0)
    table = pl.DataFrame({"x": [str(row) for row in rng.normal(size=(150, 20)).tolist()], "age": rng.normal(size=150)})
    schema, batch = read(table, x="curve", age="number")
    batch["y0"] = (batch["c1"] > 0).float()
    seen, new = ({key: value[index] for key, value in batch.items()} for index in (torch.arange(100), torch.arange(100, 150)))
    right = ((solved(schema, seen, HEAD, clock)(new)[:, 0] > 0) == (new["y0"] > 0)).float().mean()
    assert right > 0.8


def test_several_columns_of_curves_are_all_read(clock):
    rng = np.random.default_rng(0)
    flat, wave = rng.normal(0, 0.3, (160, 24)), np.tile([1.0, -1.0], 12)
    first, second = rng.random(160) < 0.5, rng.random(160) < 0.5
    columns = {name: [str(row) for row in (flat + np.outer(on, wave)).tolist()] for name, on in (("a", first), ("b", second))}
    schema, batch = read(pl.DataFrame(columns), a="curve", b="curve")
    batch["y0"] = torch.from_numpy(2 * first + second) + 1
    head = Head((Part("y0", "classes", 4),))
    seen, new = ({key: value[index] for key, value in batch.items()} for index in (torch.arange(100), torch.arange(100, 160)))
    assert (solved(schema, seen, head, clock)(new).argmax(1) + 1 == new["y0"]).float().mean() > 0.95
    config, _, _ = MODELS["conv1d"].plan(MODELS["conv1d"].Config(), schema, head, 100, "small")
    assert len(MODELS["conv1d"](config, schema, head).trunks) == 2
    with pytest.raises(UserError, match="reads one column of curves, and there are 'a', 'b'"):
        config, _, _ = MODELS["lstm"].plan(MODELS["lstm"].Config(), schema, head, 100, "small")
        MODELS["lstm"](config, schema, head)


def test_it_says_what_it_leaves_out(clock, caplog, monkeypatch):
    caplog.set_level("INFO", "luban")
    monkeypatch.setattr("luban.models.rocket.MOST", 20)
    schema, batch = read(waves(40), 波="curve")
    solved(schema, {**batch, "y0": torch.zeros(40)}, Head((Part("y0", "value", 1, "mae"),)), clock, features=84)
    assert "solved from 20 of the 40 training rows" in caplog.text and "mae is not minimised" in caplog.text


# ---------------------------------------------------------------- all of them


@pytest.mark.parametrize("name", NAMES)
def test_a_row_alone_is_the_row_beside_a_longer_one(name, clock):
    """To the bit for rocket, whose features are counts; and one without a step, one of a single step are answered."""
    table = pl.DataFrame({"x": [*waves(30)["波"], "[0.5]", None, str([0.3, -0.2] * 200)]})
    schema, batch = read(table, x="curve")
    config, _, _ = MODELS[name].plan(MODELS[name].Config(), schema, HEAD, 30, "small")
    torch.manual_seed(0)
    model = MODELS[name](config, schema, HEAD)
    if model.solves:
        model.solve(examples({**batch, "y0": (torch.arange(33) % 2).float()}), None, clock)
    model.eval()
    alone = torch.cat([model.features({"c0": batch["c0"][torch.tensor([i])]}) for i in range(33)])
    together = model.features(batch)
    assert torch.equal(together, alone) if name == "rocket" else torch.allclose(together, alone, atol=1e-5)
    assert together.isfinite().all()


def test_options_of_the_convolutions_are_checked():
    with pytest.raises(UserError, match=r"model.widths are odd, one for each of model.filters, not \[4, 3, 3\]"):
        configs.build(MODELS["conv1d"].Config, {"widths": [4, 3, 3]})
    with pytest.raises(UserError, match=r"widths are odd, one for each of model.filters"):
        configs.build(MODELS["conv1d"].Config, {"filters": [8, 8]})


@pytest.mark.parametrize(("model", "least"), [("auto", 0.95), ("conv1d", 0.9), ("gru", 0.5)])
def test_a_bundle_moves_proves_itself_and_serves(model, least, tmp_path):
    words = {"set": {"train.epochs": 12}} if model != "auto" else {}
    run = luban.train(waves(200), target="kind", model=model, baselines=[], size="small", out=tmp_path / "run", **words)
    assert run.metrics["accuracy"] >= least
    assert "<polyline" in (run.path / "report.html").read_text(encoding="utf-8")
    shutil.move(run.path / "model", tmp_path / "别处")
    bundle = luban.load(tmp_path / "别处")
    cells = waves(5, seed=1)["波"].to_list()
    rows = [{"波": json.loads(cell), "age": 30} for cell in cells] + [{"波": None, "age": None}]
    as_text = bundle.answer([{"波": cell, "age": 30} for cell in cells] + [{"波": "", "age": None}])
    assert bundle.answer(rows).equals(as_text)
    with serve.bound("127.0.0.1", 0) as sock, serve.running(app.application(bundle), sock):
        url = serve.address(sock)
        assert "golden" in serve.prove(bundle, url)
        assert serve.post(url, {"rows": rows}) == (200, {"predictions": app.jsonable(as_text)})
        status, answer = serve.post(url, {"rows": [{"波": [1, 2], "age": 1}, {"波": [1, "x"], "age": 1}]})
        assert status == 422 and "'波' should hold a list of numbers in each cell, but row 2 has '[1, \"x\"]'" in answer["error"]


def test_auto_takes_the_convolutions_where_rows_are_many():
    schema, _ = read(waves(20), 波="curve")
    promises = {n: {name for name in NAMES if MODELS[name].suits(schema, HEAD, n) > 0} for n in (50, 5000)}
    assert promises == {50: {"rocket"}, 5000: {"rocket", "conv1d"}}


def test_gunpoint(tmp_path):
    """A built-in set on the archive's own split, where aeon's MiniRocket makes .993; and what cannot read it says so."""
    run = luban.train("gunpoint", out=tmp_path / "run")
    assert run.metrics["accuracy"] > 0.98
    with pytest.raises(UserError, match=r"linear cannot read the column 'series' \(curve\)"):
        luban.train("gunpoint", model="linear", out=tmp_path / "linear")


def test_a_number_and_labels_are_answered_too(tmp_path):
    """The height of a wave is a number; of two waves in a row any or none may be there."""
    rng = np.random.default_rng(0)
    height, on = rng.uniform(1, 5, 200), rng.random((200, 2)) < 0.5
    t = np.arange(32)
    rows = height[:, None] * np.sin(t) + rng.normal(0, 0.1, (200, 32))
    table = pl.DataFrame({"x": [str(row) for row in rows.tolist()], "height": height})
    assert luban.train(table, target="height", out=tmp_path / "value").metrics["r2"] > 0.9
    rows = np.outer(on[:, 0], np.sin(t)) + np.outer(on[:, 1], np.sin(2.5 * t)) + rng.normal(0, 0.1, (200, 32))
    table = pl.DataFrame({"x": [str(row) for row in rows.tolist()], "slow": on[:, 0], "fast": on[:, 1]})
    assert luban.train(table, target=["slow", "fast"], task="multilabel", out=tmp_path / "labels").metrics["f1_micro"] > 0.95
