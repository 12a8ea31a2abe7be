"""One clip or image after the processor, and its form on disk: a checksummed header, then the raw patches.

Reading detects a file that is torn, altered or of another version. Knows no paths.
"""

import json
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from vrl.types import VisionGrid

_MAGIC = b"vrlvis01"  # the last digits are the version of the layout
_HEAD = struct.Struct("<8sII")  # magic, CRC-32 of all that follows, length of the JSON header


@dataclass(frozen=True, kw_only=True, slots=True)
class Vision:
    """The part of a prompt that comes from a clip or image and does not depend on the question."""

    grid: VisionGrid
    patches: np.ndarray  # uint8 [num_patches, patch_dim]
    text: str  # replaces its placeholder in the prompt
    timestamps_s: tuple[float, ...]  # of the sampled frames
    duration_s: float  # of the (cut) clip; 0 for an image


def to_bytes(vision: Vision) -> tuple[bytes, memoryview]:
    """Return header and patches, to be written one after the other."""
    header = json.dumps(
        {
            "kind": vision.grid.kind,
            "grid_thw": vision.grid.grid_thw,
            "seconds_per_grid": vision.grid.seconds_per_grid,
            "shape": vision.patches.shape,
            "text": vision.text,
            "timestamps_s": vision.timestamps_s,
            "duration_s": vision.duration_s,
        }
    ).encode()
    patches = np.ascontiguousarray(vision.patches).data.cast("B")
    length = struct.pack("<I", len(header))
    checksum = zlib.crc32(patches, zlib.crc32(header, zlib.crc32(length)))
    return _HEAD.pack(_MAGIC, checksum, len(header)) + header, patches


def from_bytes(data: np.ndarray) -> Vision:
    """Read a vision from uint8 [N]; its patches are a view. Raises ValueError for bytes that were not written so."""
    if len(data) < _HEAD.size:
        raise ValueError("torn before the end of its head")
    magic, checksum, length = _HEAD.unpack(data[: _HEAD.size].tobytes())
    if magic != _MAGIC:
        raise ValueError(f"got magic {magic!r}, wanted {_MAGIC!r}")
    if zlib.crc32(data[_HEAD.size - 4 :].data) != checksum:
        raise ValueError("got another checksum than was written")
    start = _HEAD.size + length
    header = json.loads(data[_HEAD.size : start].tobytes())
    return Vision(
        grid=VisionGrid(
            kind=header["kind"], grid_thw=tuple(header["grid_thw"]), seconds_per_grid=header["seconds_per_grid"]
        ),
        patches=data[start:].reshape(header["shape"]),
        text=header["text"],
        timestamps_s=tuple(header["timestamps_s"]),
        duration_s=header["duration_s"],
    )
