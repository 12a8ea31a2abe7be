"""The cache: what it keeps and evicts, and how many processes share one folder."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from vrl.config import CacheConfig
from vrl.data.cache import VisionCache
from vrl.data.vision import Vision
from vrl.types import VisionGrid

GIB = 2**30
CONTENT = "ab" * 32


def key(index: int) -> str:
    return f"{index:064x}"


def vision(index: int, num_patches: int = 4) -> Vision:
    return Vision(
        grid=VisionGrid(kind="video", grid_thw=(1, 2, num_patches // 2), seconds_per_grid=0.1 + index),
        patches=np.full((num_patches, 1000), index, np.uint8),
        text="<|video_pad|>",
        timestamps_s=(0.1, 1 / 3),
        duration_s=2 / 3,
    )


def make(folder: Path, num_bytes: float = GIB) -> VisionCache:
    return VisionCache(CacheConfig(dir=str(folder), gib=num_bytes / GIB))


def same(got: Vision | None, wanted: Vision) -> bool:
    assert got is not None
    np.testing.assert_array_equal(got.patches, wanted.patches)
    others = ("grid", "text", "timestamps_s", "duration_s")
    return all(getattr(got, name) == getattr(wanted, name) for name in others)


def sizes(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "entries").glob("*/*"))


def test_what_was_put_is_got_bit_for_bit_by_another_cache_of_the_folder(tmp_path: Path) -> None:
    make(tmp_path).put(key(1), vision(1))
    other = make(tmp_path)
    assert same(other.get(key(1)), vision(1))
    assert other.get(key(2)) is None and other.num_corrupt == 0


def test_the_least_recently_used_go_when_there_are_too_many_bytes(tmp_path: Path) -> None:
    cache = make(tmp_path, 5 * 4300)  # five entries of 4000 bytes and a header
    for index in range(5):
        cache.put(key(index), vision(index))
        time.sleep(0.01)
    cache.get(key(0))
    cache.put(key(5), vision(5))  # evicts to nine tenths of the limit: four entries
    assert [index for index in range(6) if cache.get(key(index))] == [0, 3, 4, 5]
    assert sizes(tmp_path) == int((tmp_path / "bytes").read_text()) <= 5 * 4300


def test_one_entry_larger_than_the_cache_does_not_empty_it(tmp_path: Path) -> None:
    cache = make(tmp_path, 5000)
    cache.put(key(1), vision(1))
    cache.put(key(2), vision(2, num_patches=6))
    assert cache.get(key(1)) and not cache.get(key(2))


def test_a_smaller_bound_holds_from_the_next_start(tmp_path: Path) -> None:
    first = make(tmp_path)
    for index in range(5):
        first.put(key(index), vision(index))
    make(tmp_path, 2 * 4300)
    assert sizes(tmp_path) <= 2 * 4300


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda data: data[:-1], id="torn"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[:7], id="head torn"),
        pytest.param(lambda data: b"?" + data[1:], id="magic"),
        pytest.param(lambda data: data[:12] + b"\1" + data[13:], id="header length"),
        pytest.param(lambda data: data[:40] + b"?" + data[41:], id="header"),
        pytest.param(lambda data: data[:-500] + b"?" + data[-499:], id="one byte of pixels"),
        pytest.param(lambda data: data + b"?", id="longer"),
    ],
)
def test_a_corrupt_entry_is_found_deleted_and_counted(tmp_path: Path, harm) -> None:
    cache = make(tmp_path)
    cache.put(key(1), vision(1))
    (entry,) = (tmp_path / "entries").glob("*/*")
    entry.write_bytes(harm(entry.read_bytes()))
    assert cache.get(key(1)) is None
    assert cache.num_corrupt == 1 and not entry.exists()
    cache.put(key(1), vision(1))
    assert same(cache.get(key(1)), vision(1)) and cache.num_corrupt == 1


def test_a_file_is_known_by_its_bytes_and_read_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"same")
    (tmp_path / "b").write_bytes(b"same")
    cache = make(tmp_path / "cache")
    assert cache.content(tmp_path / "a") == cache.content(tmp_path / "b")
    memos = list((tmp_path / "cache" / "files").glob("*/*"))
    assert len(memos) == 2
    for memo in memos:
        memo.write_text(CONTENT)  # a caller that gets this has not read the file
    assert make(tmp_path / "cache").content(tmp_path / "a") == CONTENT
    (tmp_path / "a").write_bytes(b"new!")
    assert cache.content(tmp_path / "a") != CONTENT


def test_a_disk_that_refuses_costs_the_entry_and_leaves_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = make(tmp_path)
    (tmp_path / "entries" / key(1)[:2]).write_text("a file where a folder should be")
    cache.put(key(1), vision(1))
    assert "was not kept" in caplog.text
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_rename_that_is_refused_costs_the_entry_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = make(tmp_path)
    (tmp_path / "entries" / key(1)[:2] / key(1) / "a folder where a file should be").mkdir(parents=True)
    before = (tmp_path / "bytes").read_text()
    cache.put(key(1), vision(1))
    assert "was not kept" in caplog.text
    assert list((tmp_path / "tmp").iterdir()) == [] and (tmp_path / "bytes").read_text() == before


def test_processes_that_share_a_folder_keep_its_bound_and_its_entries_whole(tmp_path: Path) -> None:
    bound = 40 * 4300
    code = textwrap.dedent(f"""
        import random, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from test_cache import key, make, same, vision
        cache, rng = make(Path({str(tmp_path)!r}), {bound}), random.Random(sys.argv[1])
        for _ in range(300):
            index = rng.randrange(60)
            found = cache.get(key(index))
            if found is None:
                cache.put(key(index), vision(index))
            else:
                assert same(found, vision(index))
        assert cache.num_corrupt == 0
    """)
    children = [subprocess.Popen([sys.executable, "-c", code, str(seed)]) for seed in range(3)]
    assert [child.wait(60) for child in children] == [0, 0, 0]
    assert 0.5 * bound < sizes(tmp_path) <= bound
    assert int((tmp_path / "bytes").read_text()) == sizes(tmp_path)


def test_a_process_that_dies_while_it_writes_leaves_neither_an_entry_nor_a_lock(tmp_path: Path) -> None:
    code = textwrap.dedent(f"""
        import os, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from test_cache import key, make, vision
        cache = make(Path({str(tmp_path)!r}))
        os.replace = lambda *_: os.kill(os.getpid(), 9)
        with cache.claim(key(1)):
            cache.put(key(1), vision(1))
    """)
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == -9
    cache = make(tmp_path)
    with cache.claim(key(1)):
        assert cache.get(key(1)) is None
        cache.put(key(1), vision(1))
        assert same(cache.get(key(1)), vision(1))
