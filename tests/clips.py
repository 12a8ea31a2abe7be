"""Real clips whose frames say which they are."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

_TICK = Fraction(1, 90000)


def shade(index: int) -> int:
    """The grey of frame `index`: neighbours differ by 37, so a frame read back off by one is seen."""
    return index * 37 % 256


def write_clip(
    path: Path, times_s: Sequence[float], *, codec: str = "libx264", rate: int = 8, size: int = 56, gop: int = 12
) -> Path:
    """Write frame i, all of shade i, to be shown at `times_s[i]`, the last one for 1 / rate seconds; returns `path`."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.time_base = _TICK
        for index, time_s in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), shade(index), np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(time_s / _TICK), _TICK
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
