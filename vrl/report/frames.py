"""Rebuilds images from patches: what the model saw, after frame selection and resizing.

Patch layout of the Qwen-VL processors, all three families: patches are in the order (time, block row, block column,
row in block, column in block), where a block is `MERGE` x `MERGE` patches that the vision tower merges into one token.
A patch holds (channel, frame, y, x) of `TEMPORAL` consecutive frames.
"""

import io
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from vrl.types import VisionGrid

MERGE = 2
TEMPORAL = 2
_CHANNELS = 3


def unpatchify(patches: np.ndarray, grid_thw: tuple[int, int, int]) -> np.ndarray:
    """Convert uint8 [t*h*w, 3 * TEMPORAL * p * p] to uint8 frames [t * TEMPORAL, h * p, w * p, 3]; p: patch side."""
    t, h, w = grid_thw
    side = math.isqrt(patches.shape[1] // (_CHANNELS * TEMPORAL))
    if patches.shape != (t * h * w, _CHANNELS * TEMPORAL * side * side):
        raise ValueError(f"patches: got shape {patches.shape}, wanted [{t}*{h}*{w}, 3 * {TEMPORAL} * side * side]")
    blocks = patches.reshape(t, h // MERGE, w // MERGE, MERGE, MERGE, _CHANNELS, TEMPORAL, side, side)
    # t  by bx  my mx  c  frame  y x  ->  t frame  by my y  bx mx x  c
    return blocks.transpose(0, 6, 1, 3, 7, 2, 4, 8, 5).reshape(t * TEMPORAL, h * side, w * side, _CHANNELS)


def frames_of(patches: np.ndarray, vision: Sequence[VisionGrid]) -> list[np.ndarray]:
    """Return the frames of every clip and image of a prompt, each uint8 [T, H, W, 3]; an image is one frame."""
    ends = np.cumsum([grid.num_patches for grid in vision])
    clips = []
    for grid, end in zip(vision, ends, strict=True):
        frames = unpatchify(patches[end - grid.num_patches : end], grid.grid_thw)
        clips.append(frames[:1] if grid.kind == "image" else frames)
    return clips


def jpeg(frame: np.ndarray, max_side: int) -> bytes:
    """Encode a frame uint8 [H, W, 3] as JPEG, shrunk so that its longer side is at most `max_side` pixels."""
    image = Image.fromarray(frame)
    image.thumbnail((max_side, max_side))
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=82, subsampling=0)
    return stream.getvalue()
