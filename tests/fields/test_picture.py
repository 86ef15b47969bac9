"""Pictures of every make become pixels; what is none is told by its row; what was decoded once is not decoded again."""

from __future__ import annotations

import base64
import io
import os
import struct
import zlib

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from luban.core import cells
from luban.core.errors import BadCells, UserError
from luban.fields import _pixels, picture
from luban.fields.picture import Picture

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (24, 20, 3), np.uint8)
GREY = RNG.integers(0, 256, (24, 20), np.uint8)


def coded(image, kind="PNG", **options) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def fitted(*values, **config) -> Picture:
    column = values[0] if isinstance(values[0], pl.Series) else pl.Series("p", values)
    return Picture((column.name,), Picture.Config(**config)).fit([column])


def one(value, shape=(3, 24, 20)) -> np.ndarray:
    """(C, H, W) of one cell, at a size that was learned elsewhere."""
    field = Picture(("p",)).restore({"shape": shape, "mean": [0.5] * shape[0], "std": [0.2] * shape[0], "has_missing": False})
    return field.encode(pl.Series("p", [value]))[0].numpy()


# ---------------------------------------------------------------- makes


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_come_back_exactly(kind):
    assert (one(coded(COLOUR, kind)) == COLOUR.transpose(2, 0, 1)).all()
    assert (one(coded(GREY, kind), (1, 24, 20)) == GREY).all()


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
def test_lossy_formats_are_near(kind):
    smooth = np.linspace(0, 255, 24 * 20 * 3).reshape(24, 20, 3).astype(np.uint8)
    assert np.abs(one(coded(smooth, kind, quality=95)).astype(int) - smooth.transpose(2, 0, 1)).mean() < 5


def test_a_grey_picture_in_colour_is_grey_and_a_colour_in_grey_is_its_luma():
    assert (one(coded(GREY)) == GREY).all()
    luma = np.asarray(Image.fromarray(COLOUR).convert("L"))
    assert (one(coded(COLOUR), (1, 24, 20)) == luma).all()


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_camera_held_askew_is_turned(turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    seen = np.asarray(Image.fromarray(COLOUR))
    turned = (seen, seen[:, ::-1], seen[::-1, ::-1], seen[::-1], seen, seen[::-1], seen[::-1, ::-1], seen[:, ::-1])[turn - 1]
    turned = turned.transpose(1, 0, 2) if turn >= 5 else turned
    made = one(coded(COLOUR, exif=exif), (3, *turned.shape[:2]))
    assert (made == turned.transpose(2, 0, 1)).all()


def test_a_damaged_note_on_how_it_was_held_is_no_damage():
    whole = coded(COLOUR, "JPEG", exif=b"Exif\x00\x00no TIFF here at all")
    assert one(whole, (3, *COLOUR.shape[:2])).shape == (3, *COLOUR.shape[:2])


def test_sixteen_bits_are_scaled_not_cut_off():
    deep = (GREY.astype(np.uint16) << 8) + 77
    for kind in ("PNG", "TIFF", "PPM"):
        assert np.abs(one(coded(deep, kind), (1, 24, 20)).astype(int) - GREY).max() <= 1


def test_palette_alpha_one_bit_and_cmyk():
    grey = Image.fromarray(GREY)
    assert (one(coded(grey.convert("P"))) == GREY).all()
    clear = np.dstack([COLOUR, np.where(np.arange(20) < 10, 255, 0)[None].repeat(24, 0).astype(np.uint8)])
    made = one(coded(clear))
    assert (made[:, :, :10] == COLOUR.transpose(2, 0, 1)[:, :, :10]).all() and (made[:, :, 10:] == 255).all()
    assert (one(coded(np.dstack([GREY, np.zeros_like(GREY)])), (1, 24, 20)) == 255).all()
    assert (one(coded(grey, transparency=9))[:, np.equal(GREY, 9)] == 255).all()
    assert set(np.unique(one(coded(grey.convert("1"))))) == {0, 255}
    ink = Image.fromarray(np.full((24, 20, 3), (200, 30, 60), np.uint8)).convert("CMYK")
    assert np.abs(one(coded(ink, "JPEG", quality=100)).mean((1, 2)) - (200, 30, 60)).max() < 4


def test_any_size_covers_the_middle():
    wide = np.zeros((10, 10_000, 3), np.uint8)
    wide[:, 4995:5005] = 200
    assert (one(coded(wide), (3, 8, 8)) > 100).all()
    assert one(coded(np.full((10_000, 1), 9, np.uint8)), (3, 32, 32)).max() == 9
    assert (one(coded(np.full((1, 1, 3), 7, np.uint8)), (3, 32, 32)) == 7).all()


def test_a_large_jpeg_is_decoded_small_and_looks_the_same():
    ramp = np.add.outer(np.arange(1200), np.arange(1600))
    large = np.stack([ramp % 256 // 2 + 60, ramp // 12, 255 - ramp // 12], 2).astype(np.uint8)
    direct = np.asarray(Image.fromarray(large).resize((64, 64), Image.Resampling.BOX, box=(200, 0, 1400, 1200))).transpose(2, 0, 1)
    assert np.abs(one(coded(large, "JPEG", quality=95), (3, 64, 64)).astype(int) - direct).mean() < 4


def test_every_form_of_a_cell_is_the_same_picture(tmp_path):
    data = coded(COLOUR)
    (tmp_path / "ein bild.PNG").write_bytes(data)
    text = base64.b64encode(data).decode()
    forms = [data, str(tmp_path / "ein bild.PNG"), f" {tmp_path / 'ein bild.PNG'} ", f"data:image/png;base64,{text}", text]
    forms.append("\n".join(text[i : i + 76] for i in range(0, len(text), 76)))
    for form in forms:
        assert (one(form) == COLOUR.transpose(2, 0, 1)).all()
    pixels = pl.Series("p", COLOUR[None], dtype=pl.Array(pl.UInt8, (24, 20, 3)))
    field = fitted(pixels)
    assert (field.encode(pixels).numpy()[0] == COLOUR.transpose(2, 0, 1)).all()
    clear = pl.Series("p", np.dstack([COLOUR, np.zeros_like(GREY)])[None], dtype=pl.Array(pl.UInt8, (24, 20, 4)))
    assert (field.encode(clear) == 255).all()
    alone = pl.Series("p", GREY[None, :, :, None], dtype=pl.Array(pl.UInt8, (24, 20, 1)))
    assert (fitted(alone).encode(alone).numpy()[0, 0] == GREY).all()


# ---------------------------------------------------------------- what is learned


def test_one_small_size_stays_and_others_become_a_square():
    assert fitted(coded(GREY), coded(GREY)).shape == (1, 24, 20)
    assert fitted(coded(COLOUR), coded(COLOUR)).shape == (3, 24, 20)
    sizes = [coded(np.zeros((h, w, 3), np.uint8)) for h, w in ((90, 100), (120, 70), (300, 100))]
    field = fitted(*sizes)
    assert field.shape == (1, 96, 96) and "of 70 x 90 to 100 x 300 pixels, scaled to cover 96 x 96" in field.doubts[0]
    assert fitted(*sizes, side=48, channels=3).shape == (3, 48, 48)
    assert fitted(coded(np.zeros((900, 800, 3), np.uint8))).shape == (1, 128, 128)
    assert fitted(coded(np.zeros((1, 1, 3), np.uint8))).shape == (1, 32, 32)
    nothing = fitted(pl.Series("p", [None], dtype=pl.String), side=16, channels=3)
    assert nothing.encode(pl.Series("p", [None])).shape == (1, 3, 16, 16) and len(nothing.mean) == 3


def test_colour_is_decided_by_what_is_seen():
    grey_in_colour = [coded(np.repeat(GREY[..., None], 3, 2), "JPEG") for _ in range(3)]
    field = fitted(*grey_in_colour)
    assert field.shape == (1, 24, 20) and "stored in colour, but 3 show none" in field.doubts[0] and "channels: 3" in field.doubts[0]
    assert fitted(*grey_in_colour, coded(COLOUR)).shape[0] == 3
    assert fitted(*grey_in_colour, channels=3).shape[0] == 3


def test_mean_and_deviation_are_those_of_the_pixels():
    pictures = RNG.integers(0, 256, (700, 3, 8, 6), np.uint8)
    column = pl.Series("p", pictures.transpose(0, 2, 3, 1), dtype=pl.Array(pl.UInt8, (8, 6, 3)))
    field = fitted(column)
    assert np.allclose(field.mean, (pictures / 255).mean((0, 2, 3))) and np.allclose(field.std, (pictures / 255).std((0, 2, 3)))
    black = fitted(pl.Series("p", np.zeros((2, 8, 8), np.uint8), dtype=pl.Array(pl.UInt8, (8, 8))))
    assert black.std == (1 / 255,)


def test_cells_without_a_picture_are_counted_aloud(caplog):
    caplog.set_level("INFO")
    field = fitted(coded(COLOUR))
    field.encode(pl.Series("p", [coded(COLOUR), None, None]))
    assert caplog.messages == ["p: 2 of 3 cells hold no picture (the first: row 2) and are read as the mean colour"]


def test_a_missing_picture_is_the_mean():
    field = fitted(coded(COLOUR), None)
    made = field.encode(pl.Series("p", [None, coded(COLOUR)]))
    assert field.has_missing and (made[0].numpy() == np.round(255 * np.array(field.mean))[:, None, None]).all()
    assert field.decode(made)[0] is None and field.decode(made)[1].startswith("data:image/png;base64,")


def test_unreadable_training_rows_do_not_decide():
    field = fitted(coded(COLOUR), b"nonsense", coded(COLOUR)[:200])
    assert field.shape == (3, 24, 20) and field.mean == fitted(coded(COLOUR)).mean


@pytest.mark.parametrize("config", [{"side": 0}, {"channels": 2}])
def test_settings_that_cannot_be(config):
    with pytest.raises(UserError, match=next(iter(config))):
        Picture.Config(**config)


# ---------------------------------------------------------------- is it a picture at all?


def test_sniff_claims_pictures_only(tmp_path):
    paths = pl.Series([f"train/cat {i}.JPG" for i in range(40)])
    assert Picture.sniff(paths) > 0.95
    assert Picture.sniff(pl.Series([*paths[:30], *[None] * 10])) > 0.95
    assert Picture.sniff(pl.Series([coded(GREY), coded(COLOUR, "JPEG"), b""])) == 1
    assert Picture.sniff(pl.Series([base64.b64encode(coded(GREY)).decode()])) > 0.95
    for words in (["cat.txt", "b.png"], ["I saved it as x.png", "and this, I think, is not a.png"], ["https://a.b/c.png"] * 9, ["png"] * 9):
        assert Picture.sniff(pl.Series(words)) == 0
    assert Picture.sniff(pl.Series(["It is in the file, as you said: see a.png"] * 9)) == 0
    for other in ([b"abc"], [1.5], [True], [[1, 2]], [{"a": 1}]):
        assert Picture.sniff(pl.Series(other)) == 0
    assert Picture.sniff(pl.Series([[1, 2, 3]], dtype=pl.Array(pl.UInt8, 3))) == 0
    assert Picture.sniff(pl.Series(np.zeros((2, 3, 3)), dtype=pl.Array(pl.Float64, (3, 3)))) == 0


# ---------------------------------------------------------------- bad ones


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and holds almost nothing."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 10_000)) + chunk(b"IEND", b"")


def bad_files(folder) -> dict[str, str]:
    """{path: the reason that is to be told}."""
    good = coded(COLOUR)
    found = {"short.png": (good[: len(good) // 2], "truncated"), "short.jpg": (coded(COLOUR, "JPEG")[:400], "truncated"),
             "empty.png": (b"", "0 bytes"), "note.png": (b"dear diary,\n\ttoday", "text, not a picture"),
             "text.png": ("今天天气很好".encode() * 30, "text, not a picture"), "junk.png": (bytes(range(256)), "not a picture"),
             "bomb.png": (bomb(20_000, 20_000), "a decompression bomb of 400,000,000 pixels"),
             "big.png": (bomb(10_000, 10_000), "a decompression bomb of 100,000,000 pixels"),
             "float.tif": (coded(GREY.astype(np.float32), "TIFF"), "floating-point"),
             "broken.png": (good[:60] + b"\xff" * 50 + good[110:], "damaged|truncated"),
             "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC or a film"),
             "page.svg.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "text, not a picture")}  # fmt: skip
    for name, (content, _) in found.items():
        (folder / name).write_bytes(content)
    (folder / "folder.png").mkdir()
    told = {str(folder / name): reason for name, (_, reason) in found.items()}
    return told | {str(folder / "folder.png"): "a folder", str(folder / "gone.png"): "there is no such file",
                   "data:image/png;base64,@@@@": "broken base64", "data:image/png": "a data URI without data",
                   "x" * 5000 + ".png": "there is no such file"}  # fmt: skip


def test_each_bad_picture_is_told_with_its_reason(tmp_path, recwarn):
    for cell, reason in bad_files(tmp_path).items():
        with pytest.raises(BadCells, match=rf"the picture in the column 'p' cannot be read: row 1 .*\((?:{reason})") as error:
            one(cell)
        assert error.value.rows == [0] and len(str(error.value)) < 400
    assert not recwarn.list


def test_all_bad_pictures_are_listed_at_once(tmp_path):
    (tmp_path / "good.png").write_bytes(coded(COLOUR))
    good, bad = str(tmp_path / "good.png"), list(bad_files(tmp_path))[:12]
    cells_ = [good, None, *bad, good]
    field = fitted(pl.Series("p", cells_))
    with pytest.raises(BadCells, match=r"^12 of 14 pictures .*row 3 .*row 12 .* and 2 more\.$") as error:
        field.encode(pl.Series("p", cells_))
    assert error.value.rows == list(range(2, 14))


def test_names_without_files_are_told_apart():
    with pytest.raises(BadCells, match="only names, leave the column out: --drop 'p'"):
        fitted("a.png", "b.png")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read anything")
def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "a.png").write_bytes(coded(COLOUR))
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(BadCells, match="may not be read"):
        one(str(tmp_path / "a.png"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(BadCells, match="not a file"):
        one(str(tmp_path / "a.png"))


def test_from_elsewhere_no_path_is_followed(tmp_path):
    (tmp_path / "a.png").write_bytes(coded(COLOUR))
    with cells.without_files(), pytest.raises(BadCells, match="send the picture itself"):
        one(str(tmp_path / "a.png"))
    with cells.without_files():
        one(coded(COLOUR))


def test_a_film_gives_its_first_frame_and_says_so(caplog):
    caplog.set_level("INFO")
    frames = [Image.fromarray(np.full((24, 20), level, np.uint8)) for level in (10, 200)]
    for kind in ("GIF", "PNG"):
        caplog.clear()
        assert (one(coded(frames[0], kind, save_all=True, append_images=frames[1:])) == 10).all()
        assert "1 of 1 pictures move (the first: row 1); their first frame is taken" in caplog.text
    caplog.clear()
    one(coded(frames[0], "GIF"))
    assert not caplog.text


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_damaged_bytes_are_a_picture_or_a_reason_and_nothing_else(kind, capfd):
    data, rng = coded(COLOUR, kind), np.random.default_rng(1)
    for i in range(200):
        spoiled = bytearray(data[: rng.integers(1, len(data))] if i % 2 else data)
        for place in rng.integers(0, min(len(spoiled), 300), 3):
            spoiled[place] = rng.integers(0, 256)
        try:
            assert one(bytes(spoiled), (3, 8, 8)).shape == (3, 8, 8)
        except BadCells as error:
            assert "(" in str(error)  # the reason


# ---------------------------------------------------------------- the cache


@pytest.fixture
def many(tmp_path):
    """120 files, and a field that finds so few worth keeping."""
    for i in range(120):
        (tmp_path / f"{i}.png").write_bytes(coded(RNG.integers(0, 256, (8, 8), np.uint8)))
    return pl.Series("p", [str(tmp_path / f"{i}.png") for i in range(120)])


def test_what_was_decoded_is_not_decoded_again(many, monkeypatch, tmp_path, home):
    monkeypatch.setattr(picture, "KEEP", 100)
    field = fitted(many)
    first = field.encode(many)
    decoded = []
    monkeypatch.setattr(_pixels, "pixels", lambda *words, real=_pixels.pixels: decoded.append(1) or real(*words))
    assert torch.equal(field.encode(many), first) and not decoded
    assert fitted(many).state() == field.state() and not decoded
    (tmp_path / "7.png").write_bytes(coded(np.full((8, 8), 3, np.uint8)))
    again = field.encode(many)
    assert len(decoded) == 120 and (again[7] == 3).all() and torch.equal(again[8:], first[8:])


def test_another_size_is_another_array(many, monkeypatch):
    monkeypatch.setattr(picture, "KEEP", 100)
    assert fitted(many).encode(many).shape == (120, 1, 8, 8)
    assert fitted(many, side=16).encode(many).shape == (120, 1, 16, 16)


def test_what_cannot_be_read_is_not_kept(many, monkeypatch, tmp_path):
    monkeypatch.setattr(picture, "KEEP", 100)
    (tmp_path / "7.png").write_bytes(b"")
    field = fitted(many)
    for _ in range(2):
        with pytest.raises(BadCells, match=r"1 of 120 pictures .*row 8 "):
            field.encode(many)
