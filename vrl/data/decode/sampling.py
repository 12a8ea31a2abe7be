"""Which frames of a clip the model sees, chosen by time from the true presentation times. Pure; decodes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vrl.config import FrameConfig

CUT_SLACK_S = 0.5  # a cut may end this much after the clip: annotations are rounded, containers differ by a few frames


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameChoice:
    """The frames chosen from a (cut) clip."""

    indices: np.ndarray  # int64 [T], into the clip's frames in presentation order, never falling
    timestamps_s: np.ndarray  # float64 [T], true times of those frames from the start of the cut
    duration_s: float  # of the cut


def num_frames(duration_s: float, available: int, config: FrameConfig) -> int:
    """Return how many frames to show: `duration * fps` to the nearest even count (our definition).

    Clipped to [min_frames, max_frames], then to the even number at or below `available`, but at least 2, because the
    vision tower merges frames in pairs.
    """
    wanted = 2 * round(duration_s * config.fps / 2)
    within = min(max(wanted, config.min_frames), config.max_frames)
    return max(2, min(within, available - available % 2))


def choose_frames(
    timestamps_s: np.ndarray,
    duration_s: float,
    config: FrameConfig,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> FrameChoice:
    """Choose the frames of [start_s, end_s) nearest to n uniform times k * duration / n, k = 0 .. n-1.

    `timestamps_s`: float64 [N], rising, from the start of the clip; `duration_s`: of the whole clip. Targets are the
    starts of n equal slots, as in the Qwen2-VL processors, so the step between two targets is exactly duration / n. Of
    two frames equally near, the earlier is taken. If frames are sparse (variable rate), one frame can be nearest to
    several targets; it is then shown several times, with its own time.
    Raises ValueError, with a message for the user, if the cut contains no frame or lies outside the clip.
    """
    first, times_s, cut_s = _cut(timestamps_s, duration_s, start_s, end_s)
    count = num_frames(cut_s, len(times_s), config)
    return _choice(first, times_s, np.arange(count) * (cut_s / count), cut_s)


def choose_moments(
    timestamps_s: np.ndarray,
    duration_s: float,
    moments_s: Sequence[float],
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
) -> FrameChoice:
    """Choose the frames of [start_s, end_s) nearest to these moments, which count from `start_s` and do not fall.

    Otherwise as `choose_frames`. Also raises ValueError if a moment lies outside the cut or their number is odd.
    """
    first, times_s, cut_s = _cut(timestamps_s, duration_s, start_s, end_s)
    targets_s = np.array(moments_s, dtype=np.float64)
    if len(targets_s) % 2 or targets_s[0] < 0 or targets_s[-1] > cut_s or (np.diff(targets_s) < 0).any():
        raise ValueError(
            f"moments: got {len(targets_s)} in [{targets_s[0]:g}, {targets_s[-1]:g}] s, wanted an even number of them, "
            f"none before the one before it, within [0, {cut_s:g}] s"
        )
    return _choice(first, times_s, targets_s, cut_s)


def _cut(
    timestamps_s: np.ndarray, duration_s: float, start_s: float, end_s: float | None
) -> tuple[int, np.ndarray, float]:
    """Return the first frame of a cut, the times of its frames from its start, and its length."""
    stop_s = duration_s if end_s is None else min(end_s, duration_s)
    if start_s >= stop_s or (end_s is not None and end_s > duration_s + CUT_SLACK_S):
        raise ValueError(f"cut: got [{start_s:g}, {end_s}] s of a clip of {duration_s:g} s, wanted it within the clip")
    first, last = np.searchsorted(timestamps_s, [start_s, stop_s])  # frames [first, last)
    if first == last:
        raise ValueError(f"cut: got no frame in [{start_s:g}, {stop_s:g}) s, wanted at least one")
    return int(first), timestamps_s[first:last] - start_s, stop_s - start_s


def _choice(first: int, times_s: np.ndarray, targets_s: np.ndarray, cut_s: float) -> FrameChoice:
    right = np.clip(np.searchsorted(times_s, targets_s), 1, max(1, len(times_s) - 1))
    left = right - 1
    right = np.minimum(right, len(times_s) - 1)
    nearest = np.where(targets_s - times_s[left] <= times_s[right] - targets_s, left, right)
    return FrameChoice(indices=nearest + first, timestamps_s=times_s[nearest], duration_s=cut_s)
