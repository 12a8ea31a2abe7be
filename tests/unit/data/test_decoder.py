import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clips import shade, write_clip

from vrl.config import FrameConfig
from vrl.data.decoder import Decoder
from vrl.errors import DataError
from vrl.types import Media

CLIP = Media(kind="video", path="")
CONFIG = FrameConfig(fps=2.0, min_frames=2, max_frames=8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "a.mp4", [i / 8 for i in range(16)])


@pytest.fixture
def decoder() -> Iterator[Decoder]:
    decoder = Decoder(timeout_s=1.0)
    yield decoder
    decoder.close()


def assert_works(decoder: Decoder, path: Path) -> None:
    frames = decoder.read(path, CLIP, CONFIG)
    np.testing.assert_allclose(frames.pixels_THWC.mean((1, 2, 3)), [shade(i) for i in (0, 4, 8, 12)], atol=3)
    np.testing.assert_allclose(frames.timestamps_s, [0.0, 0.5, 1.0, 1.5], atol=1e-4)


def test_frames_come_back_whole_and_stay_when_the_next_are_read(decoder: Decoder, path: Path) -> None:
    first = decoder.read(path, CLIP, CONFIG).pixels_THWC
    kept = first.copy()
    late = decoder.read(path, Media(kind="video", path="", start_s=1.0), CONFIG).pixels_THWC
    assert len(late) == 2
    np.testing.assert_array_equal(first, kept)
    assert_works(decoder, path)


def test_errors_of_the_child_keep_their_reason(decoder: Decoder, tmp_path: Path, path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    with pytest.raises(DataError, match=r"text\.mp4") as caught:
        decoder.read(tmp_path / "text.mp4", CLIP, CONFIG)
    assert caught.value.reason == "corrupt"
    assert_works(decoder, path)


def test_a_hung_decode_costs_its_timeout_and_the_next_one_works(decoder: Decoder, path: Path) -> None:
    hung = decoder._process
    hung.send_signal(signal.SIGSTOP)  # as deaf as a decoder in an endless loop
    start = time.monotonic()
    with pytest.raises(DataError, match="decode_timeout_s=1") as caught:
        decoder.read(path, CLIP, CONFIG)
    assert caught.value.reason == "timeout"
    assert time.monotonic() - start < 5
    assert hung.returncode == -signal.SIGKILL
    assert_works(decoder, path)


def test_a_crash_is_an_error_of_its_sample_only(decoder: Decoder, path: Path) -> None:
    process = decoder._process
    process.send_signal(signal.SIGSTOP)
    threading.Timer(0.2, process.kill).start()
    with pytest.raises(DataError, match="exit status -9") as caught:
        decoder.read(path, CLIP, CONFIG)
    assert caught.value.reason == "crash"
    assert_works(decoder, path)


def test_a_child_that_died_while_idle_is_replaced_silently(decoder: Decoder, path: Path) -> None:
    decoder._process.kill()
    decoder._process.wait()
    assert_works(decoder, path)


def test_the_child_dies_with_its_parent_even_when_deaf() -> None:
    code = (
        "import os, signal; from vrl.data.decoder import Decoder; pid = Decoder(1.0)._process.pid;"
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
    """Not gone, and not a zombie that waits for init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_no_descriptor_is_left_behind(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        decoder = Decoder(timeout_s=1.0)
        assert_works(decoder, path)
        decoder._process.kill()
        decoder._process.wait()
        assert_works(decoder, path)
        decoder.close()
        decoder.close()
    assert len(os.listdir("/proc/self/fd")) == before
