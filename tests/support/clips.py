"""Real clips whose frames say which they are, and the ways in which clips go wrong."""

import struct
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream

from vrl.config import FrameConfig

FOUR_FRAMES = FrameConfig(fps=2.0, min_frames=4, max_frames=4, min_pixels=28 * 28, max_pixels=56 * 56)
_TICK = Fraction(1, 90000)


def shade(index: int) -> int:
    """The grey of frame `index`: neighbours differ by 37, so a frame read back off by one is seen."""
    return index * 37 % 256


def shades(pixels_THWC: np.ndarray) -> list[int]:
    """The mean grey of each frame."""
    return pixels_THWC.mean((1, 2, 3)).round().astype(int).tolist()


def write_clip(
    path: Path,
    times_s: Sequence[float],
    *,
    codec: str = "libx264",
    rate: int = 8,
    size: int = 56,
    gop: int = 12,
    pix_fmt: str = "yuv420p",
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
) -> Path:
    """Write frame i, all of shade i, to be shown at `times_s[i]`, the last one for 1 / rate seconds; returns `path`."""
    tick = Fraction(1, 100) if codec == "gif" else _TICK
    with av.open(str(path), "w", container_options=dict(container_options or {})) as container:
        stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = size, size, pix_fmt
        stream.codec_context.gop_size = gop
        stream.codec_context.time_base = tick
        for index, time_s in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), shade(index), np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(time_s / tick), tick
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def shorten_edit_list(path: Path, fraction: float) -> Path:
    """Tell players to stop early: the container then holds packets that no player shows."""
    data = bytearray(path.read_bytes())
    entry = data.find(b"elst") + 12
    (duration,) = struct.unpack(">I", data[entry : entry + 4])
    data[entry : entry + 4] = struct.pack(">I", int(duration * fraction))
    path.write_bytes(data)
    return path


def turn(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """Write a display matrix [a b; c d] into the track header."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 4 + 4 + 20 + 8 + 8
    a, b, c, d = (value * 65536 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def blank(path: Path, start: float, share: float) -> Path:
    """Overwrite part of the coded images with zeros: fractions of the media data, the index stays whole."""
    data = bytearray(path.read_bytes())
    at = data.find(b"mdat")
    size = struct.unpack(">I", data[at - 4 : at])[0] - 8
    first, count = at + 4 + int(size * start), int(size * share)
    data[first : first + count] = bytes(count)
    path.write_bytes(data)
    return path


def write_sound(path: Path) -> Path:
    """A file with a sound track and no image."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    return path
