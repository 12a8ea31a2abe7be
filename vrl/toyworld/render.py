"""The pixels of a toy scene: uint8 frames with a background that encodes the time. Knows no questions and no files."""

import numpy as np

from vrl.toyworld.scene import FRAMES_PER_TICK, GREY, Scene, Thing
from vrl.toyworld.words import COLOURS

_BAR = 8  # pixels, height of the progress bar
_SHADES = (0.0, 160.0)  # background of the first and the last frame
_RGB = COLOURS | {GREY: (190, 190, 190)}


def render(scene: Scene) -> np.ndarray:
    """Return the frames of a scene, uint8 [num_frames, side, side, 3], RGB.

    The background, a still texture, brightens with time while a white bar along the bottom grows. Things are drawn over
    distractors.
    """
    frames_THWC = _background(scene)
    for thing in (*scene.distractors, *scene.things):
        _draw(frames_THWC, thing)
    return frames_THWC


def _background(scene: Scene) -> np.ndarray:
    fraction_T = np.arange(scene.num_frames) / max(scene.num_frames - 1, 1)
    shade_T = np.rint(_SHADES[0] + (_SHADES[1] - _SHADES[0]) * fraction_T)
    rng = np.random.default_rng(scene.noise_seed)
    texture_HWC = rng.integers(-scene.noise, scene.noise + 1, size=(scene.side, scene.side, 3))
    frames_THWC = np.clip(shade_T[:, None, None, None] + texture_HWC, 0, 255).astype(np.uint8)
    for frame_HWC, fraction in zip(frames_THWC, fraction_T, strict=True):
        frame_HWC[-_BAR:, : round(fraction * scene.side)] = 255
    return frames_THWC


def _draw(frames_THWC: np.ndarray, thing: Thing) -> None:
    mask = _mask(thing.shape, thing.radius)
    lifetime = thing.gone - thing.born
    for phase in thing.phases:
        first, end = (tick * FRAMES_PER_TICK for tick in phase.ticks)
        for index in range(first, end):
            along = (index / FRAMES_PER_TICK - thing.born) / lifetime
            x, y = (round(a + (b - a) * along) for a, b in zip(thing.start_xy, thing.end_xy, strict=True))
            r = thing.radius
            frames_THWC[index, y - r : y + r + 1, x - r : x + r + 1][mask] = _RGB[phase.colour]


def _mask(shape: str, radius: int) -> np.ndarray:
    """Return bool [2r+1, 2r+1], True inside the shape."""
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    if shape == "circle":
        return x**2 + y**2 <= radius**2
    if shape == "square":
        return np.ones_like(x, dtype=bool)
    if shape == "triangle":  # pointing up
        return 2 * np.abs(x) <= y + radius
    return (np.abs(x) <= radius // 3) | (np.abs(y) <= radius // 3)  # cross
