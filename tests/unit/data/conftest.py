"""Real clips whose frames say which they are, and tiny checkpoints of the three families."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from vrl.data.toymodel import FAMILIES, build_family

_TICK = Fraction(1, 90000)


def shade(index: int) -> int:
    """The grey of frame `index`: neighbours differ by 37, so a frame read back off by one is seen."""
    return index * 37 % 256


@pytest.fixture
def write_clip(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, times_s: Sequence[float], *, codec: str = "libx264", size: int = 56, gop: int = 12) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=30)
            stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
            stream.codec_context.gop_size = gop
            stream.codec_context.time_base = _TICK
            for index, time_s in enumerate(times_s):
                frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), shade(index), np.uint8), format="rgb24")
                frame.pts, frame.time_base = round(time_s / _TICK), _TICK
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return write


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    for family in FAMILIES:
        build_family(folder / family, family, sharp=False)
    return {family: folder / family for family in FAMILIES}
