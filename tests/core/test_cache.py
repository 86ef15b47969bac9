"""An array is made once and found again; whatever happens to the disk, the array is right."""

import os
import subprocess
import sys
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from luban.core import cache
from luban.core.files import home

SHAPE = (50, 3, 4)


def content(seed=0):
    return np.random.default_rng(seed).integers(0, 256, SHAPE, np.uint8)


def filler(seed=0, calls=None):
    def fill(out):
        assert not out.any()
        if calls is not None:
            calls.append(seed)
        out[:] = content(seed)

    return fill


def files():
    return sorted(path.name for path in (home() / "cache").iterdir())


def test_made_once_and_found_again():
    calls = []
    for _ in range(3):
        made = cache.array("key", SHAPE, filler(0, calls))
        assert (made == content()).all() and made.dtype == np.uint8
    assert calls == [0] and files() == ["key.npy"]


def test_torch_takes_it_and_what_is_written_stays_here():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = torch.from_numpy(cache.array("key", SHAPE, filler()))
        tensor = torch.from_numpy(cache.array("key", SHAPE, filler()))
    tensor.zero_()
    assert (cache.array("key", SHAPE, filler(1)) == content()).all()


def test_a_key_tells_parts_apart():
    keys = [cache.key_of(parts) for parts in (["ab", "c"], ["a", "bc"], ["abc"], [b"ab", "d"], [(1, 2)], [])]
    assert len(set(keys)) == len(keys)
    assert cache.key_of(["ab", 1]) == cache.key_of([b"ab", "1"])


def test_a_file_cut_short_or_of_another_shape_is_made_again():
    cache.array("key", SHAPE, filler())
    path = home() / "cache" / "key.npy"
    for spoil in (lambda: os.truncate(path, 300), lambda: path.write_bytes(b""), lambda: np.save(path, np.zeros(3, np.uint8)),
                  lambda: path.write_bytes(b"\x93NUMPY\x01\x00")):  # fmt: skip
        spoil()
        calls = []
        assert (cache.array("key", SHAPE, filler(0, calls)) == content()).all() and calls
        assert (cache.array("key", SHAPE, filler(0, calls)) == content()).all() and len(calls) == 1


def test_nothing_is_kept_of_what_was_not_finished():
    def fails(out):
        out[0] = 1
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        cache.array("key", SHAPE, fails)
    assert files() == []


def test_the_longest_unused_go_first(monkeypatch):
    size = int(np.prod(SHAPE)) + 128
    monkeypatch.setattr(cache, "MOST", 3 * size)
    for i in range(3):
        cache.array(f"k{i}", SHAPE, filler(i))
        os.utime(home() / "cache" / f"k{i}.npy", (i, i))
    cache.array("k0", SHAPE, filler(9))  # used just now
    cache.array("k3", SHAPE, filler(3))
    assert files() == ["k0.npy", "k2.npy", "k3.npy"]


def test_what_is_larger_than_all_is_kept_alone(monkeypatch):
    monkeypatch.setattr(cache, "MOST", 100)
    for i in range(2):
        assert (cache.array(f"k{i}", SHAPE, filler(i)) == content(i)).all() and files() == [f"k{i}.npy"]


def test_a_folder_is_whole_or_absent():
    with pytest.raises(ZeroDivisionError), cache.making("things", 10) as place:
        (place / "things").mkdir()
        raise ZeroDivisionError
    assert cache.found("things") is None and files() == []
    for content in ("first", "second"):  # the second run finds that another was faster
        with cache.making("things", 10) as place:
            (place / "things").mkdir()
            (place / "things" / "a").write_text(content)
    assert (cache.found("things") / "a").read_text() == "first" and files() == ["things"]


def folder_of(name, size=100):
    with cache.making(name, size) as place:
        (place / name).mkdir()
        (place / name / "a").write_bytes(bytes(size))


SPOILS = [lambda kept: (kept / "a").unlink(), lambda kept: os.truncate(kept / "a", 50), lambda kept: (kept / "whole.json").unlink(),
          lambda kept: (kept / "whole.json").write_text("{")]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_folder_with_a_file_lost_or_cut_is_absent(spoil):
    folder_of("things")
    spoil(cache.found("things"))
    assert cache.found("things") is None and files() == []
    folder_of("things")
    assert cache.found("things")


def test_another_process_does_not_remove_what_one_holds(monkeypatch):
    folder_of("mine")
    assert cache.held("absent") is None and cache.held("mine")
    code = ("from luban.core import cache\ncache.MOST = 10\n"
            "with cache.making('theirs', 5) as place:\n    (place / 'theirs').write_text('short')\n")  # fmt: skip
    subprocess.run([sys.executable, "-c", code], check=True)
    assert files() == ["mine", "theirs"]
    os.close(cache._held.pop(home() / "cache" / "mine"))  # as the end of this process does
    subprocess.run([sys.executable, "-c", code], check=True)
    assert files() == ["theirs"]


def test_a_full_disk_is_no_hindrance(monkeypatch, caplog):
    monkeypatch.setattr(cache, "_SPARE", 10**18)
    assert (cache.array("key", SHAPE, filler()) == content()).all() and files() == []

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_SPARE", 0)
    monkeypatch.setattr(cache.os, "posix_fallocate", full, raising=False)
    assert (cache.array("key", SHAPE, filler()) == content()).all() and files() == []
    assert "No space left" in caplog.text


def test_a_home_that_cannot_be_written_is_no_hindrance(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LUBAN_HOME", str(tmp_path / "file"))
    assert (cache.array("key", SHAPE, filler()) == content()).all()
    assert "$LUBAN_HOME" in caplog.text


def test_what_a_crash_left_is_removed_after_a_day():
    folder = home() / "cache"
    folder.mkdir(parents=True)
    for name, age in (("old", 100_000), ("new", 10)):
        (folder / f".{name}.npy.abc").write_bytes(b"half")
        os.utime(folder / f".{name}.npy.abc", (time.time() - age,) * 2)
    cache.array("key", SHAPE, filler())
    assert files() == [".new.npy.abc", "key.npy"]


def test_many_at_once_agree():
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: cache.array("key", SHAPE, filler()), range(40)))
    assert all((each == content()).all() for each in made) and files() == ["key.npy"]


def test_two_processes_at_once_agree():
    code = ("import sys, time, numpy as np\nfrom luban.core import cache\n"
            "def fill(out):\n    for i in range(100):\n        out[i] = i\n        time.sleep(.002)\n"
            "made = cache.array('key', (100, 1000), fill)\nprint(int(made.sum()))\n")  # fmt: skip
    runs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert {run.communicate(timeout=60)[0].strip() for run in runs} == {str(sum(range(100)) * 1000)}
    assert files() == ["key.npy"]
