"""Pictures in networks: what augmentation does and leaves alone, when mirrors are plausible, and the models' own settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import examples, numeric, seen
from torch.nn import functional as F

from luban.core.contract import Head, Part
from luban.core.errors import UserError
from luban.core.registry import MODELS
from luban.layers.columns import Flat
from luban.layers.heads import log_odds
from luban.layers.pictures import KINDS, Pixels, mirrors

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (64, 3, 12, 10), dtype=np.uint8)
SCHEMA, BATCH = seen(NOISE)
HEAD = Head((Part("y0", "classes", 2, "cross_entropy", (), log_odds([1, 1])),))


def eyes(*augment: str) -> Pixels:
    return Pixels(SCHEMA.inputs["c0"], augment).train()


def model(name: str, schema=SCHEMA, head: Head = HEAD, **options):
    cls = MODELS[name]
    config, _, _ = cls.plan(cls.Config(**options), schema, head, 64, "small")
    torch.manual_seed(0)
    return cls(config, schema, head)


# ---------------------------------------------------------------- pixels


def test_bytes_become_floats_of_mean_0_and_deviation_1_channels_last():
    x = eyes()(BATCH["c0"])
    assert x.dtype == torch.float32 and x.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-3) and torch.allclose(x.std((0, 2, 3)), torch.ones(3), atol=1e-3)
    grey = Pixels(seen(NOISE[:, :1])[0].inputs["c0"])(BATCH["c0"][:, :1])
    assert grey.stride(1) == 1 and grey.stride(3) == 1  # one channel: the strides alone tell a convolution which order to take


def test_a_constant_picture_has_no_deviation_and_is_still_finite():
    schema, batch = seen(np.full((4, 1, 6, 6), 7, np.uint8))
    assert torch.isfinite(Pixels(schema.inputs["c0"])(batch["c0"])).all()


@pytest.mark.parametrize("kind", KINDS)
def test_augmentation_is_for_training_only_and_follows_the_generator(kind):
    pixels, x = eyes(kind), BATCH["c0"]
    if kind == "auto_flip":
        pixels.mirrored.fill_(0.5)
    torch.manual_seed(3)
    first, again = pixels(x), pixels(x)
    torch.manual_seed(3)
    assert torch.equal(pixels(x), first) and not torch.equal(again, first)
    assert torch.equal(pixels.eval()(x), eyes()(x)) and torch.equal(pixels(x), pixels(x))
    assert x.equal(torch.from_numpy(NOISE))  # what came in is left as it was


def test_flip_mirrors_about_half_and_nothing_else():
    x = BATCH["c0"]
    moved = eyes("flip").augmented(x)
    mirrored = (moved == x.flip(3)).flatten(1).all(1)
    assert (mirrored | (moved == x).flatten(1).all(1)).all() and 16 < mirrored.sum() < 48


def test_auto_flip_mirrors_nothing_before_it_has_looked():
    assert torch.equal(eyes("auto_flip").augmented(BATCH["c0"]), BATCH["c0"])


def test_shift_moves_whole_pictures_by_a_pixel_and_mirrors_the_border():
    x = BATCH["c0"]
    padded = F.pad(x.float(), (1, 1, 1, 1), mode="reflect").to(torch.uint8)
    allowed = torch.stack([padded[:, :, i : i + 12, j : j + 10] for i in range(3) for j in range(3)])  # (9, B, C, H, W)
    found = (allowed == eyes("shift").augmented(x)).flatten(2).all(2)  # (9, B)
    assert found.any(0).all() and found.any(1).all()


def test_erase_paints_a_square_in_the_mean_colour():
    x = BATCH["c0"]
    pixels = eyes("erase")
    erased = pixels.augmented(x)
    changed = (erased != x).any(1)  # (B, H, W)
    assert 16 < changed.flatten(1).any(1).sum() < 48 and changed.flatten(1).sum(1).max() <= 16
    assert torch.equal(erased.permute(0, 2, 3, 1)[changed].unique(dim=0), pixels.mean.flatten().round().to(torch.uint8).unsqueeze(0))


def test_affine_keeps_the_middle_of_a_smooth_picture():
    x = torch.arange(32, dtype=torch.uint8).mul(8).expand(8, 1, 32, 32).contiguous()
    moved = Pixels(seen(x.numpy())[0].inputs["c0"], ("affine",)).augmented(x)
    assert moved.dtype == torch.uint8 and (moved.float() - x.float())[:, :, 14:18, 14:18].abs().max() < 12 and not torch.equal(moved, x)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 9), (1, 2, 2)])
def test_the_smallest_pictures_can_be_augmented(shape):
    x = torch.randint(0, 256, (4, *shape), dtype=torch.uint8)
    assert Pixels(seen(x.numpy())[0].inputs["c0"], tuple(KINDS)).augmented(x).shape == x.shape


def test_an_unknown_augmentation_is_a_sentence():
    with pytest.raises(UserError, match="flip"):
        MODELS["cnn"].Config(augment=("flop",))


# ---------------------------------------------------------------- are mirrored pictures plausible?


def slopes(mirror: bool) -> tuple[np.ndarray, np.ndarray]:
    """Two classes: brighter at the left or the right; or, where a mirror changes nothing, above or below."""
    y = RNG.integers(0, 2, 400)
    ramp = np.linspace(-60, 60, 12) * (2 * y[:, None, None, None] - 1)
    ramp = np.broadcast_to(ramp if mirror else ramp.transpose(0, 1, 3, 2), (400, 1, 12, 12))
    return (128 + ramp + RNG.normal(0, 10, (400, 1, 12, 12))).clip(0, 255).astype(np.uint8), y


def test_pictures_that_mean_something_else_in_a_mirror_are_not_mirrored(caplog):
    caplog.set_level("INFO", "luban")
    for mirror, share in ((True, 0.0), (False, 0.5)):
        x, y = slopes(mirror)
        schema, batch = seen(x)
        made = model("cnn", schema)
        made.look(examples({**batch, "y0": torch.from_numpy(y) + 1}))
        assert float(made.pixels.mirrored) == share
    assert "not mirrored" in caplog.text and "mirrored in half" in caplog.text
    again = model("cnn", schema)
    again.load_state_dict(made.state_dict())
    assert float(again.pixels.mirrored) == 0.5  # it is resumed with what it saw


def test_a_class_that_is_rare_does_not_disturb_the_look():
    x, y = slopes(False)
    y[1] = 2  # one row, and no mean is known of it
    plain, mirrored = mirrors(torch.from_numpy(x), torch.from_numpy(y))
    assert plain > 0.95 and mirrored > 0.95


def test_without_classes_nothing_is_mirrored():
    made = model("cnn", head=Head((Part("y0", "value", 1, "mse"),)))
    made.look(examples({**BATCH, "y0": torch.zeros(64)}))
    assert float(made.pixels.mirrored) == 0


# ---------------------------------------------------------------- models


def test_pixels_stand_beside_the_other_columns():
    schema, batch = numeric(RNG.normal(size=(64, 2)))
    schema.inputs["c9"] = SCHEMA.inputs["c0"]
    flat = Flat(schema).eval()({**batch, "c9": BATCH["c0"]})
    assert flat.shape == (64, 2 + 3 * 12 * 10) and torch.equal(flat[:, 2:], eyes()(BATCH["c0"]).flatten(1))


@pytest.mark.parametrize("name", ["cnn", "resnet", "vit"])
def test_other_columns_are_joined_with_the_features(name):
    schema, batch = numeric(RNG.normal(size=(64, 2)))
    schema.inputs["c9"] = SCHEMA.inputs["c0"]
    made = model(name, schema).eval()
    row, other = {**batch, "c9": BATCH["c0"]}, {**batch, "c0": batch["c0"] + 1, "c9": BATCH["c0"]}
    assert not torch.allclose(made(row), made(other)) and not torch.allclose(made(row), made({**row, "c9": 255 - row["c9"]}))


def test_the_first_filters_and_the_moved_batch_are_shown():
    shown = model("cnn").show(BATCH)
    assert [(tuple(each.shape), each.dtype) for each in shown.values()] == [((32, 3, 12, 10), torch.uint8), ((16, 3, 3, 3), torch.uint8)]
    assert "first filters" in shown and len(model("cnn", augment=()).show(BATCH)) == 1


def test_flops_of_the_tutorials_network():
    schema, _ = seen(np.zeros((2, 1, 28, 28), np.uint8))
    made = model("cnn", schema, Head((Part("y0", "classes", 10, "cross_entropy", (), log_odds([1] * 10)),)), filters=(32, 64), dense=(128,))
    # 26 x 26 x 32 filters of 9, 11 x 11 x 64 of 288, 1600 -> 128 -> 10
    assert made.flops() == 2 * (26 * 26 * 32 * 9 + 11 * 11 * 64 * 288 + 1600 * 128 + 128 * 10)
    assert sum(p.numel() for p in made.parameters()) == 225_034  # Keras says so, too


def test_pictures_too_small_for_a_stack_are_a_sentence():
    with pytest.raises(UserError, match="padding"):
        model("cnn", filters=(8, 8, 8), padding="valid")
    assert model("cnn", filters=(8, 8, 8)).config.padding == "same"


@pytest.mark.parametrize("options", [{"pool": "avg", "norm": "batch", "dropout": 0.2}, {"kernel": 5}, {"pool_size": 1, "dense": ()}])
def test_settings_of_the_cnn(options):
    assert model("cnn", **options).eval()(BATCH).shape == (64, 2)


@pytest.mark.parametrize(("name", "options"), [("resnet", {"norm": "group", "squeeze": True}), ("resnet", {"widths": (16,), "blocks": 0}),
                                               ("vit", {"pool": "token", "patch": 4})])  # fmt: skip
def test_settings_of_the_others(name, options):
    made = model(name, **options).train()
    made(BATCH).square().sum().backward()
    assert [key for key, p in made.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("columns", [{}, {"c0": SCHEMA.inputs["c0"], "c1": SCHEMA.inputs["c0"]}])
def test_a_picture_model_wants_one_column_of_pictures(columns):
    class Columns:
        inputs = columns

    with pytest.raises(UserError, match="one column of pictures"):
        model("cnn", Columns)
    assert MODELS["resnet"].suits(Columns, HEAD, 9_000) == 0
    assert MODELS["mlp"].suits(Columns, HEAD, 9_000) == (0.3 if columns else 0)


def test_centroids_are_the_nearest_mean(clock):
    x, y = slopes(True)
    schema, batch = seen(x)
    made = model("centroids", schema)
    made.solve(examples({**batch, "y0": torch.from_numpy(y) + 1}), None, clock)
    flat = made.pixels(batch["c0"]).flatten(1)
    means = torch.stack([flat[torch.from_numpy(y == c)].mean(0) for c in (0, 1)])
    assert torch.equal(made(batch).argmax(1), torch.cdist(flat, means).argmin(1))
    assert next(iter(made.show(batch).values())).shape == (2, 1, 12, 12)


def test_group_norm_takes_any_width():
    assert model("resnet", norm="group", widths=(50, 100, 56))(BATCH).shape == (len(NOISE), 2)
