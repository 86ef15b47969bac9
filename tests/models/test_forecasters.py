"""Models of windows, on windows made by hand and on waves whose continuation is known."""

from types import SimpleNamespace

import pytest
import torch

from luban.core.batch import Examples, Spans, Store
from luban.core.contract import Clock, Head, Part, Schema
from luban.core.registry import MODELS

L, H, C, SEASON = 36, 6, 2, 12
NAMES = [name for name, cls in MODELS.items() if "series" in cls.gives and not cls.joins]


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


def trained(model, batch: dict, steps=150, lr=3e-3):
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
    assert model.linear.bias.grad.abs().max() < 1e-2


def test_dlinear_adds_up_the_trend_and_the_rest():
    model, x = built("dlinear", schema(C=1), head(C=1), kernel=3), torch.arange(36.0).square().unsqueeze(0)
    seen, base = model.view({"c0": x})
    assert base == 0 and torch.equal(seen[0, 0, :L] + seen[0, 0, L:], x[0])
    assert seen[0, 0, 0] == pytest.approx((0 + 0 + 1) / 3) and seen[0, 0, 5] == pytest.approx((16 + 25 + 36) / 3)
