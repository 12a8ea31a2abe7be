"""Frames as a view shows them: cropped and brightened. Pure; which moments are shown is decided before decoding."""

import numpy as np

from vrl.types import Frames, View


def apply_view(frames: Frames, view: View) -> Frames:
    """The frames cut to `view.crop` and multiplied by `view.brightness`, rounded and kept within [0, 255].

    Edges of the crop are rounded to whole pixels, and at least one pixel is left.
    """
    pixels_THWC = frames.pixels_THWC
    _, height, width, _ = pixels_THWC.shape
    left, top, right, bottom = view.crop
    rows, columns = _pixels(top, bottom, height), _pixels(left, right, width)
    pixels_THWC = pixels_THWC[:, rows, columns]
    if view.brightness != 1:
        pixels_THWC = np.clip(np.rint(pixels_THWC * view.brightness), 0, 255).astype(np.uint8)
    return Frames(
        pixels_THWC=np.ascontiguousarray(pixels_THWC), timestamps_s=frames.timestamps_s, duration_s=frames.duration_s
    )


def _pixels(low: float, high: float, size: int) -> slice:
    start = min(round(low * size), size - 1)
    return slice(start, max(start + 1, round(high * size)))
