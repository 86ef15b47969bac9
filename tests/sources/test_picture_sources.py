"""Pictures on their way to a Table: folders, IDX files, archives, paths in a table, arrays from Python; and what each refuses."""

import base64
import gzip
import hashlib
import io
import logging
import struct
import tarfile
import time
import zipfile

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from luban import catalogue, data, pixels, reading, splitting
from luban.core.errors import UserError
from luban.core.registry import TASKS
from luban.data import DataConfig
from luban.fields.picture import Picture
from luban.sources import archive

PNG = pixels.png(np.zeros((2, 3), np.uint8))


def refused(data):
    with pytest.raises(UserError) as caught:
        reading.read(data)
    return str(caught.value)


def tree(root, *names):
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(PNG)
    return root


def short(table, root, column="picture"):
    """Rows with paths as they stand below `root`."""
    return table.with_columns(pl.col(column).str.strip_prefix(f"{root}/")).rows()


# ---------------------------------------------------------------- folders


def test_a_folder_a_class(tmp_path, caplog):
    caplog.set_level(logging.INFO, "luban")
    tree(tmp_path, "猫/b.png", "猫/a.JPG", "dog/deep/1.png", ".DS_Store", "dog/Thumbs.db", "dog/._1.png", ".git/x.png", "empty/")
    table = reading.read(tmp_path)
    assert table.columns == ["picture", "label"]
    assert short(table, tmp_path) == [("dog/deep/1.png", "dog"), ("猫/a.JPG", "猫"), ("猫/b.png", "猫")]
    assert caplog.messages == ["no pictures are in the class folder 'empty'."]
    caplog.clear()
    tree(tmp_path, "notes.txt", "dog/list.csv", "stray.png")
    assert len(reading.read(tmp_path)) == 3
    assert f"2 files in {tmp_path.name} are no pictures by their endings and are left out (the first: dog/list.csv)" in caplog.text
    assert "1 pictures in" in caplog.text and "outside of the class folders and are left out (the first: stray.png)" in caplog.text


def test_parts(tmp_path, caplog):
    tree(tmp_path, "training/a/1.png", "Validation/a/1.png", "test/b/1.png", "test/a/", "train/readme.txt")
    table = reading.read(tmp_path)
    assert table.columns == ["picture", "split", "label"]
    rows = [("Validation/a/1.png", "valid", "a"), ("test/b/1.png", "test", "b"), ("training/a/1.png", "train", "a")]
    assert short(table, tmp_path) == rows
    assert "no pictures are in the class folder 'test/a'" in caplog.text
    tree(tmp_path, "extra/b/1.png", "extra/2.png", "0.png")
    assert short(reading.read(tmp_path), tmp_path) == rows
    assert "beside them 'extra' with 2 pictures, left out" in caplog.text
    assert "1 pictures in" in caplog.text and "lie beside the parts" in caplog.text


def test_one_part_flat_folders_and_wrappers(tmp_path, caplog):
    caplog.set_level(logging.INFO, "luban")
    one = tree(tmp_path / "one", "train/a/1.png", "train/b/1.png")
    assert short(reading.read(one), one) == [("train/a/1.png", "a"), ("train/b/1.png", "b")]
    assert "has the part 'train' only" in caplog.text
    flat = tree(tmp_path / "flat", "2.png", "1.png")
    assert short(reading.read(flat), flat) == [("1.png",), ("2.png",)]
    flat = tree(tmp_path / "flat parts", "train/1.png", "test/1.png")
    assert short(reading.read(flat), flat) == [("test/1.png", "test"), ("train/1.png", "train")]
    wrapped = tree(tmp_path / "wrapped", "set-1.0/data/a/1.png", "set-1.0/data/b/1.png", "set-1.0/data/c/")
    assert short(reading.read(wrapped), wrapped) == [("set-1.0/data/a/1.png", "a"), ("set-1.0/data/b/1.png", "b")]
    assert "'c'" in caplog.text
    vehicles = tree(tmp_path / "vehicles", "train/1.png", "bus/1.png")
    assert [row[1] for row in short(reading.read(vehicles), vehicles)] == ["bus", "train"]
    assert reading.read(vehicles / "bus" / "1.png").rows() == [(str(vehicles / "bus" / "1.png"),)]


def test_relative_folders_give_whole_paths(tmp_path, monkeypatch):
    tree(tmp_path / "set", "a/1.png", "b/1.png")
    monkeypatch.chdir(tmp_path)
    assert reading.read("set")["picture"][0] == str(tmp_path / "set" / "a" / "1.png")
    (tmp_path / "iris").mkdir()
    assert len(reading.read("iris")) == 150  # the data set, as ever


def test_links(tmp_path):
    tree(tmp_path / "set", "a/1.png")
    tree(tmp_path / "far", "1.png")
    (tmp_path / "set" / "b").symlink_to(tmp_path / "far")
    (tmp_path / "set" / "a" / "back").symlink_to(tmp_path / "set")
    assert reading.read(tmp_path / "set")["label"].to_list() == ["a", "b"]


def test_metadata(tmp_path, caplog):
    tree(tmp_path, "train/x/1.png", "train/2.png", "test/1.png", "test/9.png")
    (tmp_path / "train/metadata.csv").write_text("file_name,age,label\nx/1.png,3,猫\n2.png,4,dog\n", encoding="utf-8")
    (tmp_path / "test/metadata.jsonl").write_text('{"file_name": "1.png", "label": "dog"}\n', encoding="utf-8")
    table = reading.read(tmp_path)
    assert table.columns == ["picture", "label", "split", "age"]
    assert short(table, tmp_path) == [
        ("test/1.png", "dog", "test", None),
        ("train/x/1.png", "猫", "train", "3"),
        ("train/2.png", "dog", "train", "4"),
    ]
    assert "1 pictures in" in caplog.text and "(the first: test/9.png)" in caplog.text


def test_metadata_that_is_wrong(tmp_path):
    tree(tmp_path, "1.png")
    path = tmp_path / "metadata.csv"
    path.write_text("file_name,y\n1.png,1\n2.png,2\n", encoding="utf-8")
    assert "names '2.png' in row 2, and there is no such picture" in refused(tmp_path)
    path.write_text("file_name,y\n1.png,1\n,2\n", encoding="utf-8")
    assert "names no file in row 2" in refused(tmp_path)
    path.write_text("file,y\n1.png,1\n", encoding="utf-8")
    assert "has no column 'file_name'" in refused(tmp_path)
    path.write_text("file_name,picture\n1.png,1\n", encoding="utf-8")
    assert reading.read(tmp_path).rows() == [(str(tmp_path / "1.png"), "1")]


def test_folders_without_pictures(tmp_path):
    assert "a folder without pictures, and not a file. Give one of its files, or a folder of pictures" in refused(tmp_path)
    (tmp_path / "a.csv").write_text("a\n1\n", encoding="utf-8")
    assert "Give one of its files: 'a.csv', or" in refused(tmp_path)


def test_one_class_is_refused(tmp_path):
    tree(tmp_path, "a/1.png", "a/2.png", "b/")
    task = TASKS["classify"]()
    with pytest.raises(UserError, match="one class only \\('a', in 2 rows\\)"):
        data.assign(reading.read(tmp_path), None, DataConfig(target=("label",)), task)


def test_many_names_are_quick(tmp_path):
    for i in range(10):
        (tmp_path / str(i)).mkdir()
        for j in range(500):
            (tmp_path / str(i) / f"{j}.png").touch()
    start = time.perf_counter()
    assert len(reading.read(tmp_path)) == 5000
    assert time.perf_counter() - start < 0.5  # 0.02 s; 70,000 take 0.2 s


# ---------------------------------------------------------------- IDX


def idx(array, size=None):
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *(size or array.shape))
    return head + array.astype(np.uint8).tobytes()


def mnist(folder, n_train=5, n_test=3, mark="-", pack=lambda content: content, end=""):
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    made = {}
    for name, n in (("train", n_train), ("t10k", n_test)):
        made[name] = rng.integers(0, 256, (n, 4, 3))
        (folder / f"{name}-images{mark}idx3-ubyte{end}").write_bytes(pack(idx(made[name])))
        (folder / f"{name}-labels{mark}idx1-ubyte{end}").write_bytes(pack(idx(np.arange(n))))
    return made


@pytest.mark.parametrize("mark, pack, end", [("-", bytes, ""), ("-", gzip.compress, ".gz"), (".", bytes, ""), (".", gzip.compress, "")])
def test_idx(tmp_path, mark, pack, end):
    made = mnist(tmp_path, mark=mark, pack=pack, end=end)
    (tmp_path / "readme.txt").write_text("hello", encoding="utf-8")
    table = reading.read(tmp_path)
    assert table.schema == {"picture": pl.Array(pl.UInt8, (4, 3)), "split": pl.String, "label": pl.Int64}
    assert (table["picture"].to_numpy() == np.concatenate([made["train"], made["t10k"]])).all()
    assert table["label"].to_list() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert table["split"].to_list() == ["train"] * 5 + ["test"] * 3
    alone = reading.read(tmp_path / f"t10k-images{mark}idx3-ubyte{end}")
    assert alone.columns == ["picture", "label"] and len(alone) == 3
    (tmp_path / f"t10k-labels{mark}idx1-ubyte{end}").unlink()
    assert reading.read(tmp_path / f"t10k-images{mark}idx3-ubyte{end}").columns == ["picture"]
    assert "has no labels beside it: t10k-labels" in refused(tmp_path)


def test_idx_that_is_wrong(tmp_path):
    mnist(tmp_path)
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "train-labels-idx1-ubyte"
    whole = images.read_bytes()
    assert "holds labels, not pictures" in refused(labels)
    images.write_bytes(whole[:-1])
    assert "train-images-idx3-ubyte was cut off: it declares 5 x 4 x 3 bytes and holds 59" in refused(tmp_path)
    images.write_bytes(whole + b"x")
    assert "holds more than the 5 x 4 x 3 bytes" in refused(tmp_path)
    images.write_bytes(labels.read_bytes())
    assert "no IDX file of bytes with 3 or 4 dimensions: it begins with 00 00 08 01, not 00 00 08 03" in refused(tmp_path)
    images.write_bytes(b"")
    assert "begins with nothing" in refused(tmp_path)
    images.write_bytes(whole[:9])
    assert "was cut off" in refused(tmp_path)
    images.write_bytes(idx(np.zeros((0, 4, 3))))
    assert "it holds nothing" in refused(tmp_path)
    images.write_bytes(gzip.compress(whole)[:-12])
    assert "damaged gzip file" in refused(tmp_path)
    images.write_bytes(idx(np.zeros((1, 1, 1)), (60000, 1 << 20, 1 << 20)))  # declared, not there: no memory is taken
    assert "was cut off" in refused(tmp_path)
    images.write_bytes(idx(np.zeros((4, 4, 3))))
    assert "holds 4 pictures and train-labels-idx1-ubyte 5 labels" in refused(tmp_path)
    images.write_bytes(idx(np.zeros((5, 4, 4))))
    assert "not of one size: (4, 4) and (4, 3)" in refused(tmp_path)
    images.write_bytes(whole)
    (tmp_path / "emnist-train-images-idx3-ubyte").write_bytes(whole)
    (tmp_path / "emnist-train-labels-idx1-ubyte").write_bytes(labels.read_bytes())
    assert "holds 3 sets of IDX files" in refused(tmp_path)


# ---------------------------------------------------------------- archives


def packed(path, names, kind):
    content = {name: name if isinstance(name, bytes) else PNG for name in names}
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as file:
            for name in content:
                file.writestr(name, b"" if name.endswith("/") else PNG)
        return path
    with tarfile.open(path, f"w:{kind}") as file:
        for name in content:
            member = tarfile.TarInfo(name.rstrip("/"))
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            member.size = 0 if name.endswith("/") else len(PNG)
            file.addfile(member, io.BytesIO(PNG))
    return path


@pytest.mark.parametrize("end, kind", [(".zip", "zip"), (".tar", ""), (".tar.gz", "gz"), (".tgz", "gz"), (".tar.xz", "xz")])
def test_archives(tmp_path, end, kind, caplog):
    names = ["set/train/猫/1.png", "set/test/b/1.png", "set/train/b/2.png", "set/train/c/", "set/.DS_Store", "__MACOSX/set/._1.png"]
    table = reading.read(packed(tmp_path / f"t{end}", names, kind))
    assert table.schema == {"picture": pl.Binary, "split": pl.String, "label": pl.String}
    assert table.rows() == [(PNG, "test", "b"), (PNG, "train", "b"), (PNG, "train", "猫")]
    assert "'train/c'" in caplog.text


def test_a_damaged_picture_in_an_archive_is_called_by_its_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as file:
        for name, content in (("a/1.png", PNG), ("b/坏.png", PNG[:-30]), ("b/2.png", PNG)):
            file.writestr(name, content)
    column = reading.read(tmp_path / "t.zip")["picture"]
    with pytest.raises(UserError, match=r"row 3 'b/坏\.png' \("):
        Picture(("picture",)).fit([column]).encode(column)


def test_archives_with_a_list_or_without_an_ending(tmp_path):
    with zipfile.ZipFile(tmp_path / "t", "w") as file:
        file.writestr("x/1.png", PNG)
        file.writestr("x/2.png", b"other")
        file.writestr("x/metadata.csv", "file_name,y\n2.png,b\n1.png,a\n")
    assert reading.read(tmp_path / "t").rows() == [(b"other", "b"), (PNG, "a")]


def test_archives_that_mean_harm(tmp_path, caplog):
    path = packed(tmp_path / "t.tar", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "a/1.png", "b/1.png"], "")
    with tarfile.open(path, "a") as file:
        member = tarfile.TarInfo("a/link.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(member)
    assert reading.read(path)["label"].to_list() == ["a", "b"]
    assert "4 entries of t.tar are links or name places outside of it" in caplog.text
    assert not (tmp_path.parent / "evil.png").exists()
    zipped = packed(tmp_path / "t.zip", ["..\\evil.png", "a\\1.png", "b/1.png"], "zip")
    assert reading.read(zipped)["label"].to_list() == ["a", "b"]


@pytest.mark.parametrize("kind", ["zip", "gz"])
def test_bombs_are_refused_by_their_declared_size(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST", 100)
    path = packed(tmp_path / ("t.zip" if kind == "zip" else "t.tgz"), ["a/1.png", "b/1.png", "c/1.png"], kind)
    assert "Unpack it on a disk, and give the folder" in refused(path)


def test_damaged_archives(tmp_path):
    for end, kind in ((".zip", "zip"), (".tar", ""), (".tgz", "gz"), (".tar.xz", "xz")):
        path = packed(tmp_path / f"t{end}", ["a/1.png", "b/1.png"], kind)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2 if kind else 1000])
        assert "is a damaged archive" in refused(path)
        if kind != "zip":  # more than tarfile's buffer, cut between two members and inside of one
            packed(path, [f"{i % 2}/{i}.png" for i in range(200)], kind)
            whole = path.read_bytes()
            for n in (1024 * 150, 1024 * 150 + 512, 1024 * 150 + 700) if not kind else (len(whole) // 2, len(whole) - 1):
                path.write_bytes(whole[:n])
                assert "is a damaged archive" in (message := refused(path)) or "was cut off" in message
        path.write_bytes(b"nonsense" * 100)
        assert "is a damaged archive" in refused(path)
    path = packed(tmp_path / "t.zip", ["a/1.png"], "zip")
    path.write_bytes(path.read_bytes().replace(PNG, PNG[:-1] + b"!"))
    assert "Bad CRC-32" in refused(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("train.csv", "a\n1\n")
    assert "holds no pictures. Unpack it, and give one of its files: 'train.csv'" in refused(path)


# ---------------------------------------------------------------- paths in a table


def test_cells_that_name_files_become_whole_paths(tmp_path):
    tree(tmp_path, "img/1.png", "img/2.png")
    path = tmp_path / "t.csv"
    path.write_text(
        "file,site,note\nimg/1.png,a.com,x\n./img/2.png,b.com,\n/else/3.png,c.com,\nNA,,\nimg/gone.png,d.com,y\n", encoding="utf-8"
    )
    expected = [str(tmp_path / "img/1.png"), str(tmp_path / "img/2.png"), "/else/3.png", "NA", str(tmp_path / "img/gone.png")]
    path.write_text(path.read_text(encoding="utf-8").replace("NA,,\n", ""), encoding="utf-8")
    expected.remove("NA")
    table = reading.read(path)
    assert table["file"].to_list() == expected
    assert table["site"].to_list() == ["a.com", "b.com", "c.com", "d.com"]
    assert pl.concat(reading.chunks(path, 1))["file"].to_list() == expected
    path.write_text("file\n" + "img/1.png\n" * 20 + "NA\n", encoding="utf-8")
    assert reading.read(path)["file"].to_list()[-2:] == [str(tmp_path / "img/1.png"), "NA"]


def test_pictures_in_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    pl.DataFrame({"image": [{"bytes": PNG, "path": "1.png"}, None], "b": [PNG, None], "t": ["é".encode(), None]}).write_parquet(path)
    assert reading.read(path).rows() == [(PNG, PNG, "é"), (None, None, None)]
    frame = pl.DataFrame({"p": np.arange(12, dtype=np.uint8).reshape(2, 2, 3)})
    frame.write_parquet(path)
    assert reading.read(path).equals(frame)


# ---------------------------------------------------------------- Python


def test_arrays():
    grey, colour = np.arange(24, dtype=np.uint8).reshape(2, 3, 4), np.arange(72, dtype=np.uint8).reshape(2, 3, 4, 3)
    for values, shape in ((grey, (3, 4)), (colour, (3, 4, 3)), (list(grey), (3, 4)), (list(colour), (3, 4, 3)), (grey.astype(int), (3, 4))):
        table = reading.read({"picture": values, "label": ["a", "b"]})
        assert table.schema["picture"] == pl.Array(pl.UInt8, shape)
        assert (table["picture"].to_numpy() == np.stack(list(values))).all()
    rows = reading.read([{"picture": each, "n": 1} for each in colour])
    assert (rows["picture"].to_numpy() == colour).all()
    assert reading.read({"picture": grey[0], "n": 1})["picture"].to_numpy().shape == (1, 3, 4)
    holes = reading.read({"picture": [grey[0], None]})["picture"]
    assert holes.dtype == pl.Array(pl.UInt8, (3, 4)) and holes.null_count() == 1 and (holes[0].to_numpy() == grey[0]).all()


def test_tensors():
    first = torch.arange(90, dtype=torch.uint8).reshape(2, 3, 3, 5)
    table = reading.read({"picture": first, "label": torch.tensor([1, 2])})
    assert table.schema == {"picture": pl.Array(pl.UInt8, (3, 5, 3)), "label": pl.Int64}
    assert (table["picture"].to_numpy() == first.permute(0, 2, 3, 1).numpy()).all()
    assert reading.read({"picture": [first[0], first[1]]})["picture"].dtype == pl.Array(pl.UInt8, (3, 5, 3))
    assert reading.read({"picture": first[:, 0]})["picture"].dtype == pl.Array(pl.UInt8, (3, 5))


def test_pictures_of_unequal_sizes_and_of_pillow():
    sizes = [np.full((2, 3), 7, np.uint8), np.full((4, 5, 3), 9, np.uint8), np.full((1, 1, 1), 3, np.uint8), None]
    column = reading.read({"picture": sizes})["picture"]
    assert column.dtype == pl.Binary
    opened = [np.asarray(Image.open(io.BytesIO(each))) for each in column[:3]]
    assert [each.shape for each in opened] == [(2, 3), (4, 5, 3), (1, 1)] and column[3] is None
    same = [Image.new("RGB", (3, 2), "red"), Image.new("RGB", (3, 2), "blue")]
    assert reading.read({"picture": same})["picture"].dtype == pl.Array(pl.UInt8, (2, 3, 3))
    for mode in ("P", "1", "LA", "CMYK", "I;16"):
        (one,) = reading.read({"picture": [Image.new(mode, (3, 2))]})["picture"]
        assert Image.open(io.BytesIO(one)).size == (3, 2)
    assert reading.read({"picture": Image.new("L", (3, 2))}).height == 1


def test_bytes_among_paths_become_base64():
    assert reading.read([{"p": PNG}, {"p": "a.png"}])["p"].to_list() == [base64.b64encode(PNG).decode(), "a.png"]
    assert reading.read([{"p": PNG}])["p"].to_list() == [PNG]


def test_arrays_that_are_no_pixels():
    assert "must be whole numbers from 0 to 255 (uint8), not float32 from 0 to 1" in refused({"p": np.eye(3, dtype=np.float32)[None]})
    assert "not int64 from 0 to 300" in refused({"p": np.array([[[0, 300]]])})
    assert "holds pictures, but str in row 2" in refused({"p": [np.zeros((2, 2), np.uint8), "x"]})


# ---------------------------------------------------------------- hashes


def test_hashes_of_pixels_and_bytes():
    pictures = np.random.default_rng(0).integers(0, 256, (50, 28, 28)).astype(np.uint8)
    table = pl.DataFrame({"p": pictures, "b": [each.tobytes() for each in pictures]})
    hashes = splitting.row_hash(table)
    assert len(set(hashes)) == 50
    backwards = table[list(range(50))[::-1]]  # [::-1] panics in polars for arrays of arrays
    assert (splitting.row_hash(backwards) == hashes[::-1]).all()
    holes = pl.DataFrame({"p": [pictures[0].tolist(), None]}, {"p": pl.Array(pl.UInt8, (28, 28))})
    assert splitting.row_hash(holes)[0] == splitting.row_hash(table[:1, ["p"]])[0]
    fixed = pl.DataFrame({"p": np.arange(6, dtype=np.uint8).reshape(1, 2, 3), "b": [b"\xff\x00"]})
    assert splitting.row_hash(fixed).tolist() == [FIXED]  # in any version, on any machine
    assert splitting.fingerprint(table).partition("/")[2] == splitting.fingerprint(backwards).partition("/")[2]
    assert splitting.fingerprint(table) != splitting.fingerprint(backwards)


FIXED = 17614389285807320932


# ---------------------------------------------------------------- built-in sets


def test_a_set_of_several_files(tmp_path, monkeypatch, caplog):
    """Downloaded each by itself, unpacked on the way, checked, and read as their folder; then saved as PNGs."""
    remote = tmp_path / "remote"
    mnist(remote, pack=gzip.compress, end=".gz")
    text = "title: t\ntask: classify\ntarget: label\nrows: 8\nsource: idx\nclasses: [a/b, b, c, d, e]\nfiles:\n"
    for path in sorted(remote.iterdir()):
        digest = hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
        text += f"- file: {path.name[:-3]}\n  url: {path.as_uri()}\n  sha256: {digest}\n"
    (tmp_path / "far.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(catalogue, "HERE", tmp_path)
    monkeypatch.setenv("LUBAN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LUBAN_DATA", raising=False)
    table = reading.read("far")
    assert table["label"].to_list() == ["a/b", "b", "c", "d", "e", "a/b", "b", "c"]
    for path in remote.iterdir():
        path.unlink()
    assert reading.read("far").equals(table)
    catalogue.save("far", tmp_path / "out")
    saved = reading.read(tmp_path / "out")
    assert sorted(zip(saved["split"], saved["label"], strict=True)) == sorted(
        zip(table["split"], table["label"].str.replace("/", "-"), strict=True)
    )
    assert (np.asarray(Image.open(tmp_path / "out/train/b/00001.png")) == table["picture"][1].to_numpy()).all()
    with pytest.raises(UserError, match="exists already; choose another folder"):
        catalogue.save("far", tmp_path / "out")
    assert not (tmp_path / ".out.draft").exists()


def test_a_set_that_no_address_gives(tmp_path, monkeypatch):
    monkeypatch.setenv("LUBAN_HOME", str(tmp_path))
    monkeypatch.delenv("LUBAN_DATA", raising=False)
    with pytest.raises(UserError, match="git clone"):
        reading.read("cifar10")


def test_digits_as_pictures():
    flat, pictures = reading.read("digits"), reading.read("digits-pictures")
    assert pictures["digit"].equals(flat["digit"])
    assert (pictures["picture"].to_numpy().reshape(-1, 64) / 255 * 16).round().astype(int).tolist() == flat.drop(
        "digit"
    ).to_numpy().tolist()


class OldName(zipfile.ZipInfo):
    """Written as a Chinese Windows writes it: in GBK, without a flag."""

    def _encodeFilenameFlags(self):
        return self.filename.encode("gbk"), self.flag_bits & ~0x800


def test_names_from_a_chinese_windows_are_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "图.zip", "w") as file:
        for name in ("猫/1.png", "狗/1.png"):
            file.writestr(OldName(name), PNG)
    assert sorted(reading.read(tmp_path / "图.zip")["label"]) == ["狗", "猫"]
    with tarfile.open(tmp_path / "t.tar", "w", encoding="gbk", format=tarfile.GNU_FORMAT) as file:
        for name in ("猫/1.png", "狗/1.png"):
            member = tarfile.TarInfo(name)
            member.size = len(PNG)
            file.addfile(member, io.BytesIO(PNG))
    assert sorted(reading.read(tmp_path / "t.tar")["label"]) == ["狗", "猫"]
