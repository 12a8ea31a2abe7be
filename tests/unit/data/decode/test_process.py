import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest
from support.clips import shade, shorten_edit_list, write_clip

from vrl.config import DataConfig, FrameConfig, MediaLimitsConfig
from vrl.data.decode.process import DecodeProcess
from vrl.errors import DataError
from vrl.types import Media

CLIP = Media(kind="video", path="")
DATA = DataConfig(train="", frames=FrameConfig(fps=2.0, min_frames=2, max_frames=8), decode_timeout_s=1.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "a.mp4", [i / 8 for i in range(16)])


@pytest.fixture
def decoder() -> Iterator[DecodeProcess]:
    decoder = DecodeProcess(DATA)
    yield decoder
    decoder.close()


def assert_works(decoder: DecodeProcess, path: Path) -> None:
    frames = decoder.read(path, CLIP)
    np.testing.assert_allclose(frames.pixels_THWC.mean((1, 2, 3)), [shade(i) for i in (0, 4, 8, 12)], atol=3)
    np.testing.assert_allclose(frames.timestamps_s, [0.0, 0.5, 1.0, 1.5], atol=1e-4)


def test_frames_come_back_whole_and_stay_when_the_next_are_read(decoder: DecodeProcess, path: Path) -> None:
    first = decoder.read(path, CLIP).pixels_THWC
    kept = first.copy()
    late = decoder.read(path, Media(kind="video", path="", start_s=1.0)).pixels_THWC
    assert len(late) == 2
    np.testing.assert_array_equal(first, kept)
    assert_works(decoder, path)


@pytest.mark.timeout(20)
def test_pixels_that_never_follow_their_shape_cost_the_timeout(decoder: DecodeProcess, path: Path) -> None:
    child, (decoder._connection, halting) = decoder._connection, Pipe()
    halting.send(((4, 32, 32, 3), (0.0, 0.5, 1.0, 1.5), 2.0))
    with pytest.raises(DataError, match="decode_timeout_s=1") as caught:
        decoder.read(path, CLIP)
    assert caught.value.reason == "timeout"
    child.close()
    halting.close()
    assert_works(decoder, path)


def test_errors_of_the_child_keep_their_reason(decoder: DecodeProcess, tmp_path: Path, path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(DataError, match=r"text\.mp4") as caught:
        decoder.read(tmp_path / "text.mp4", CLIP)
    assert caught.value.reason == "corrupt"
    assert_works(decoder, path)


def test_a_hung_decode_costs_its_timeout_and_the_next_one_works(decoder: DecodeProcess, path: Path) -> None:
    hung = decoder._process
    hung.send_signal(signal.SIGSTOP)  # as unresponsive as a decoder in an endless loop
    start = time.monotonic()
    with pytest.raises(DataError, match="decode_timeout_s=1") as caught:
        decoder.read(path, CLIP)
    assert caught.value.reason == "timeout"
    assert time.monotonic() - start < 5
    assert hung.returncode == -signal.SIGKILL
    assert_works(decoder, path)


CHILD = """#!{python}
import sys
import decord
from vrl.data.decode import process as decoder, video

def read(path, media, config, limits, moments_s):
    {body}

video.read = read
del sys.argv[1:3]  # -m vrl.data.decode.process
decoder.main()
"""


def decoder_that_runs(body: str, data: DataConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DecodeProcess:
    """Return a decoder whose first child runs `body` instead; its replacements are real."""
    child = tmp_path / "python"
    child.write_text(CHILD.format(python=sys.executable, body=body))
    child.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(child))
        return DecodeProcess(data)


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """Write a clip on which decord 0.6 loops forever: its edit list hides the tail, B-frames included."""
    options = {"x264-params": "bframes=3:b-adapt=0:scenecut=0"}
    path = write_clip(tmp_path / "endless.mp4", [i / 30 for i in range(1800)], rate=30, gop=250, options=options)
    return shorten_edit_list(path, 0.7)


def test_the_endless_clip_is_read_like_any_other(decoder: DecodeProcess, endless: Path) -> None:
    frames = decoder.read(endless, CLIP)
    at = (frames.timestamps_s * 30).round().astype(int)
    assert at.tolist() == [round(k * 42 / 8 * 30 - 0.01) for k in range(8)]  # 70 % of a minute in eight parts
    np.testing.assert_allclose(frames.pixels_THWC.mean((1, 2, 3)), [shade(i) for i in at], atol=3)


def test_decord_in_its_endless_loop_costs_the_timeout_and_a_second(
    tmp_path: Path, path: Path, endless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_the_end = "reader = decord.VideoReader(str(path)); reader.get_batch(range(0, len(reader), len(reader) // 16))"
    start = time.monotonic()
    decoder = decoder_that_runs(to_the_end, DATA, tmp_path, monkeypatch)
    started = time.monotonic()
    with pytest.raises(DataError, match="decode_timeout_s=1") as caught:
        decoder.read(endless, CLIP)
    assert caught.value.reason == "timeout"
    cost_s, new_child_s = time.monotonic() - started, started - start
    assert cost_s < DATA.decode_timeout_s + max(1.0, 5 * new_child_s)  # a busy machine starts children slowly
    assert_works(decoder, path)
    decoder.close()


def test_a_decode_that_only_computes_ends_at_its_cpu_limit(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = replace(DATA, decode_timeout_s=30.0, limits=MediaLimitsConfig(cpu_s=1.0))
    decoder = decoder_that_runs("while True: pass", data, tmp_path, monkeypatch)
    with pytest.raises(DataError, match=r"data\.limits\.cpu_s=1") as caught:
        decoder.read(path, CLIP)
    assert caught.value.reason == "timeout"
    assert_works(decoder, path)
    decoder.close()


@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])  # decoded by decord and by PyAV
def test_a_clip_that_needs_too_much_memory_is_refused_and_the_next_one_works(
    path: Path, tmp_path: Path, name: str
) -> None:
    big = write_clip(tmp_path / f"big_{name}", [i / 8 for i in range(16)], size=2048)
    decoder = DecodeProcess(replace(DATA, decode_timeout_s=20, limits=MediaLimitsConfig(memory_gib=0.1)))
    with pytest.raises(DataError, match=r"data\.limits\.memory_gib=0\.1") as caught:
        decoder.read(big, CLIP)
    assert caught.value.reason == "memory"
    assert_works(decoder, path)
    decoder.close()


def test_a_crash_is_an_error_of_its_sample_only(decoder: DecodeProcess, path: Path) -> None:
    process = decoder._process
    process.send_signal(signal.SIGSTOP)
    threading.Timer(0.2, process.kill).start()
    with pytest.raises(DataError, match="exit status -9") as caught:
        decoder.read(path, CLIP)
    assert caught.value.reason == "crash"
    assert_works(decoder, path)


def test_a_child_that_died_while_idle_is_replaced_silently(decoder: DecodeProcess, path: Path) -> None:
    decoder._process.kill()
    decoder._process.wait()
    assert_works(decoder, path)


def test_the_child_dies_with_its_parent_even_when_deaf() -> None:
    code = (
        "import os, signal; from vrl.config import DataConfig; from vrl.data.decode.process import DecodeProcess;"
        "pid = DecodeProcess(DataConfig(train=''))._process.pid;"
        "print(pid, flush=True); os.kill(pid, signal.SIGSTOP); os.kill(os.getpid(), signal.SIGKILL)"
    )
    parent = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert parent.returncode == -signal.SIGKILL
    child = int(parent.stdout)
    deadline = time.monotonic() + 5
    while running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running(child)


def running(pid: int) -> bool:
    """Return whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_no_descriptor_is_left_behind(path: Path) -> None:
    """Run in a separate process, because threads left by other tests (Ray's, for one) open descriptors too."""
    code = textwrap.dedent(f"""
        import os
        from pathlib import Path
        from vrl.config import DataConfig, FrameConfig
        from vrl.data.decode.process import DecodeProcess
        from vrl.types import Media

        path, clip = Path({str(path)!r}), Media(kind="video", path="")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            decoder = DecodeProcess(DataConfig(train="", frames=FrameConfig(fps=2.0, min_frames=2, max_frames=8)))
            decoder.read(path, clip)
            decoder._process.kill()
            decoder._process.wait()
            decoder.read(path, clip)
            decoder.close()
            decoder.close()
        print(before, len(os.listdir("/proc/self/fd")))
    """)
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    before, after = child.stdout.split()
    assert after == before
