"""Models of windows, on windows made by hand and on waves whose continuation is known."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from luban.core.batch import Examples, Spans, Store
from luban.core.contract import Clock, Head, Part, Schema
from luban.core.errors import UserError
from luban.core.registry import MODELS
from luban.models import lags
from luban.models.theta import continued

L, H, C, SEASON = 36, 6, 2, 12
FITTED_ANEW = ["ets", "arima"]
NAMES = [name for name, cls in MODELS.items() if "series" in cls.gives and not cls.joins and name not in FITTED_ANEW]
COVARIATES = ["lstm", "gru", "rnn", "tcn", "lags"]


class Patient(Clock):
    seed, threads = 7, 1

    def seconds_left(self) -> float:
        return float("inf")


def field(kind: str, size: int = 1, **more) -> SimpleNamespace:
    """What a model may read of a field, and no more."""
    return SimpleNamespace(kind=kind, size=size, columns=(kind,), **more)


def schema(L=L, C=C, season=SEASON, known=0, past=0, static=0) -> Schema:
    series = {f"c{i}": field("series", missing=0.0, config=SimpleNamespace(look_back=L, season=season)) for i in range(C)}
    beside = {kind: field(kind, size) for kind, size in {"known": known, "past": past, "static": static}.items() if size}
    return Schema({**series, **beside}, {})


def head(H=H, C=C, loss="mse") -> Head:
    return Head(tuple(Part(f"y{i}", "series", H, loss, bias=(0.0,) * H) for i in range(C)))


def cut(rows: torch.Tensor, L=L, H=H) -> dict[str, torch.Tensor]:
    """Every window of rows (N, C), as a task would give it."""
    windows = rows.unfold(0, L + H, 1)  # (B, C, L + H)
    seen = {f"c{i}": windows[:, i, :L] for i in range(rows.shape[1])}
    return seen | {f"y{i}": windows[:, i, L:] for i in range(rows.shape[1])}


def examples(batch: dict) -> Examples:
    n = len(batch["c0"])
    store = Store(batch, torch.zeros(n, dtype=torch.uint8))
    return Examples(store, Spans(torch.arange(n)), lambda store, spans: {key: value[spans.start] for key, value in store.columns.items()})


def waves(n=400) -> torch.Tensor:
    """Two series of one season with a little noise: (n, 2)."""
    t, noise = torch.arange(n).float(), torch.randn(n, 2, generator=torch.Generator().manual_seed(0))
    return torch.stack([(t * 2 * torch.pi / SEASON).sin(), (t * 2 * torch.pi / SEASON).cos() + t / n], 1) + 0.05 * noise


def built(name: str, schema: Schema, head: Head, **options):
    cls = MODELS[name]
    config, _, _ = cls.plan(cls.Config(**options), schema, head, 300, "small")
    torch.manual_seed(0)
    return cls(config, schema, head)


def loss_of(model, batch) -> torch.Tensor:
    truth = torch.cat([batch[part.key] for part in model.head.parts], 1)
    return (model(batch) - truth).square().mean()


def trained(model, batch: dict, steps=60, lr=1e-2):
    if model.solves:
        model.solve(examples(batch), examples(batch), Patient())
        return model.eval()
    optimiser = torch.optim.Adam(model.parameters(), lr)
    for _ in range(steps):
        optimiser.zero_grad()
        loss_of(model, batch).backward()
        optimiser.step()
    return model.eval()


# ---------------------------------------------------------------- all of them


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


def test_it_answers_each_series_and_beats_zero_on_a_wave(name):
    batch = cut(waves())
    model = trained(built(name, schema(), head()), {key: value[:250] for key, value in batch.items()})
    late = {key: value[-60:] for key, value in batch.items()}
    with torch.no_grad():
        assert model(late).shape == (60, C * H) and model(late).dtype == torch.float32
        truth = torch.cat([late["y0"], late["y1"]], 1)
        assert loss_of(model, late) < (2.0 if MODELS[name].baseline else 0.15) * truth.square().mean()
        assert torch.allclose(torch.cat([model({key: value[i : i + 1] for key, value in late.items()}) for i in range(5)]), model(late)[:5],
                              atol=1e-5)  # fmt: skip


@pytest.mark.parametrize("name", COVARIATES)
def test_what_is_known_ahead_past_and_of_the_item_is_read(name):
    """Noise, but that each step is its moment's known feature plus the item's: without them there is nothing to find."""
    dice = torch.Generator().manual_seed(1)
    known, static = torch.randn(150, L + H, 1, generator=dice), torch.randn(150, 1, generator=dice)
    series = known[:, :, 0] + static
    batch = {"c0": series[:, :L], "y0": series[:, L:], "known": known, "static": static, "past": torch.randn(150, L, 2, generator=dice)}
    model = trained(built(name, schema(C=1, season=1, known=1, past=2, static=1), head(C=1)), batch, steps=100, lr=2e-2)
    with torch.no_grad():
        assert loss_of(model, batch) < 0.3 * batch["y0"].var()
        other = {**batch, "known": -known}
        assert not torch.allclose(model(other), model(batch), atol=0.1)


@pytest.mark.parametrize("name", ["lstm", "tcn"])
def test_networks_find_soon_what_is_linear(name):
    """Of noise, whose every moment counts. By convolutions alone .26 of the variance is left, with the map beside them .001."""
    dice = torch.Generator().manual_seed(2)
    x = torch.randn(400, L, generator=dice)
    step = (x - x[:, -1:]) @ torch.randn(L, H, generator=dice) / L**0.5
    batch = {"c0": x, "y0": x[:, -1:] + step}
    model = trained(built(name, schema(C=1), head(C=1)), batch, steps=100)
    assert loss_of(model, batch) < 0.05 * step.var()


def test_a_model_makes_nothing_of_what_it_leaves_and_something_of_the_rest(name):
    dice = torch.Generator().manual_seed(1)
    batch = cut(waves(150))
    n = len(batch["c0"])
    batch |= {"known": torch.randn(n, L + H, 1, generator=dice), "static": torch.randn(n, 1, generator=dice),
              "past": torch.randn(n, L, 1, generator=dice)}  # fmt: skip
    batch |= {key: batch[key] + batch["known"][:, L:, 0] + batch["static"] for key in ("y0", "y1")}
    model = built(name, schema(known=1, past=1, static=1), head())
    if model.solves:
        model.solve(examples(batch), examples(batch), Patient())
    else:  # untrained, most are the naive forecast
        torch.manual_seed(0)
        for each in model.parameters():
            torch.nn.init.normal_(each, std=0.3)
    model.eval()
    with torch.no_grad():
        said = model(batch)
        changed = {kind for kind in ("known", "past", "static") if not torch.equal(model({**batch, kind: -batch[kind]}), said)}
    assert {"known", "past", "static"} - model.leaves == changed


def test_saved_and_built_again_gives_the_same_bits(name):
    batch = cut(waves(150))
    first, second = trained(built(name, schema(), head()), batch, steps=2), built(name, schema(), head()).eval()
    second.load_state_dict(first.state_dict())
    if first.files():
        second.restore(first.files())
    assert torch.equal(first(batch), second(batch))


@pytest.mark.parametrize("name", [name for name in NAMES if not MODELS[name].solves])
def test_every_parameter_of_a_stepped_one_gets_a_gradient(name):
    model, batch = built(name, schema(known=2, static=1), head()).train(), cut(waves(150))
    batch |= {"known": torch.randn(len(batch["c0"]), L + H, 2), "static": torch.randn(len(batch["c0"]), 1)}
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(3):  # what starts at zero lets nothing through at first
        optimiser.zero_grad()
        loss_of(model, batch).backward()
        optimiser.step()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert model.flops() > 0


# ---------------------------------------------------------------- one by one


@pytest.mark.parametrize("name", ["nlinear", "dlinear"])
def test_a_solved_map_is_where_the_gradient_is_zero(name):
    """Of the sum of squares and the ridge: the exact solution, whatever the features."""
    batch = cut(waves())
    model = trained(built(name, schema(), head(), fit="solve", ridge=0.5), batch).double()
    doubled = {key: value.double() for key, value in batch.items()}
    truth = torch.cat([doubled["y0"], doubled["y1"]], 1)
    ((model(doubled) - truth).square().sum() + 0.5 * model.linear.weight.square().sum()).backward()
    assert model.linear.weight.grad.abs().max() < 1e-2 < 5.0 < truth.square().sum()
    assert not model.linear.bias.any()  # no drift is learned


def test_dlinear_adds_up_the_trend_and_the_rest():
    model, x = built("dlinear", schema(C=1), head(C=1), kernel=3), torch.arange(36.0).square().unsqueeze(0)
    seen, base = model.view({"c0": x})
    assert base == 0 and torch.equal(seen[0, 0, :L] + seen[0, 0, L:], x[0])
    assert seen[0, 0, 0] == pytest.approx((0 + 0 + 1) / 3) and seen[0, 0, 5] == pytest.approx((16 + 25 + 36) / 3)


def test_patchtst_follows_level_and_spread():
    """RevIN: a window moved and stretched is answered moved and stretched."""
    model, batch = built("patchtst", schema(C=1), head(C=1)).eval(), {"c0": torch.randn(4, L)}
    with torch.no_grad():
        assert torch.allclose(model({"c0": 5 * batch["c0"] - 7}), 5 * model(batch) - 7, atol=1e-3)


def test_patchtst_takes_patches_as_the_paper():
    model = built("patchtst", schema(L=336, C=1), head(96, C=1))
    assert (model.config.patch, model.config.stride, model.patches) == (16, 8, 42)  # PatchTST/42
    with pytest.raises(UserError, match=r"model\.patch must be at most task\.look_back = 36"):
        built("patchtst", schema(), head(), patch=40)
    with pytest.raises(UserError, match=r"model\.width must be a multiple of model\.heads = 4, not 18"):
        built("patchtst", schema(), head(), width=18, heads=4)


def test_patchtst_silences_each_patch_by_itself():
    """One mask for all patches of a window learned more slowly: after two epochs of ETTh1 mse .385 beside .381."""
    model, seen = built("patchtst", schema(L=336, C=1), head(96, C=1)).train(), []
    model.blocks[0].register_forward_pre_hook(lambda block, given: seen.append(given[0] == 0))
    model({"c0": torch.randn(8, 336)})
    (silent,) = seen  # (S, N, D)
    assert 0.25 < silent.float().mean() < 0.35 and not silent.all(1).any()


def test_the_textbooks_stack_of_two_lstms():
    model = built("lstm", schema(L=10, C=1), head(1, C=1), hidden=64, layers=2)
    assert [tuple(run.weight_ih_l0.shape) for run in model.trunk.runs] == [(256, 1), (256, 64)]
    assert model.output.direct.weight.shape == (1, 64) and not model.ragged
    one = torch.nn.LSTM(1, 64, 2, batch_first=True)
    assert sum(p.numel() for p in model.trunk.parameters()) == sum(p.numel() for p in one.parameters())


@pytest.mark.parametrize("name", ["lstm", "tcn"])
def test_networks_begin_as_the_naive_forecast(name):
    batch = cut(waves(100))
    assert torch.equal(built(name, schema(), head()).eval()(batch), built("naive", schema(), head())(batch))


def test_tcn_sees_the_whole_look_back_and_nothing_later():
    model = built("tcn", schema(C=1), head(C=1)).eval()
    x, there = torch.randn(1, L, 1, requires_grad=True), torch.ones(1, L, dtype=torch.bool)
    model.trunk(x, there).sum().backward()
    assert x.grad[0, 0, 0] != 0 and x.grad[0, -1, 0] != 0
    earlier = model.trunk.states(x, there)
    later = model.trunk.states(torch.cat([x[:, :20], torch.randn(1, L - 20, 1)], 1), there)
    assert torch.allclose(earlier[:, :20], later[:, :20], atol=1e-6) and not torch.allclose(earlier[:, 20:], later[:, 20:], atol=1e-2)


def test_drift_by_hand():
    model = built("drift", schema(L=3, C=1), head(2, C=1))
    assert model({"c0": torch.tensor([[1.0, 9.0, 5.0]])}).tolist() == [[7.0, 9.0]]


@pytest.mark.parametrize(("wave", "found"), [(3.0, [17.2509, 18.5993, 19.5233, 19.7511]), (0.0, [16.8305, 16.8817, 16.9330, 16.9843])])
def test_theta_is_that_of_statsforecast(wave, found):
    """With a season and without: auto_theta(x, 12, model="STM", decomposition_type="additive") of statsforecast 2.1.1."""
    t = torch.arange(60).double()
    x = 10 + 0.1 * t + wave * (2 * torch.pi * t / 12).sin() + (t * 7919) % 13 / 6
    assert continued(x.unsqueeze(0), 4, 12)[0].tolist() == pytest.approx(found, abs=0.05)


def test_theta_of_what_never_changes_and_of_a_line():
    still, line = torch.full((1, 24), 3.0).double(), torch.arange(24.0).double().unsqueeze(0)
    assert torch.allclose(continued(still, 3, 12), torch.full((1, 3), 3.0).double())
    assert torch.allclose(continued(line, 3, 1), torch.tensor([[23.5, 24.0, 24.5]]).double(), atol=0.02)  # half a trend


def test_lags_looks_at_the_same_point_of_the_last_season():
    model, x = built("lags", schema(C=1), head(H=14, C=1)), torch.arange(float(L)).unsqueeze(0)
    features, base = model._features({"c0": x}, torch.tensor([[0, 5, 13]]))
    assert base.flatten().tolist() == [x[0, -SEASON:].mean().item()]
    assert (features[0, 0, :, 0] == 0).all() and (features[0, 0, :, 1] + base[0, 0]).tolist() == [24.0, 29.0, 25.0]


def test_lags_learns_from_some_steps_of_many_windows(monkeypatch):
    monkeypatch.setattr(lags, "ROWS", 600)
    x, y = built("lags", schema(), head(H=12))._rows(examples(cut(waves(), H=12)), 600, seed=1)
    assert len(y) <= 600 and len(x) == len(y) and not np.isnan(x).any()


@pytest.mark.parametrize("name", FITTED_ANEW)
def test_classical_models_are_fitted_to_each_window(name):
    pytest.importorskip("statsforecast")
    batch = {key: value[:3] for key, value in cut(waves()).items()}
    model = built(name, schema(), head())
    assert loss_of(model, batch) < 0.05
    assert model({"c0": torch.full((1, L), 2.0), "c1": torch.full((1, L), 3.0)}).tolist() == [[2.0] * H + [3.0] * H]
    many = examples({key: value.repeat(10, 1) for key, value in cut(waves()).items()})
    with pytest.raises(UserError, match=r"is fitted to each window by itself, and the validation part alone has 7,180 of them"):
        model.solve(many, many, Patient())


def test_an_ensemble_is_the_mean_of_its_members():
    batch = cut(waves())
    config, _, _ = MODELS["ensemble"].plan(MODELS["ensemble"].Config(), schema(), head(), 300, "base")
    usual = [member["name"] for member in config.members]
    assert usual == ["nlinear", "lags"]
    made, members = (
        MODELS["ensemble"](config, schema(), head()),
        [trained(built(name, schema(), head()), batch) for name in ("nlinear", "lags")],
    )
    made.adopt(members)
    assert torch.allclose(made(batch).mean(1), (members[0](batch) + members[1](batch)) / 2)
