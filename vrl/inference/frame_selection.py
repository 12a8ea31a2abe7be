"""Where to look in a clip: intervals from what was located, and which moments are shown, under one frame budget. Pure.

Source: VideoReasoner's public code for windows, merging and the dense and sparse parts; how the event and the windows
are joined and share the dense part, and what happens on failure, is our definition.
"""

from collections.abc import Sequence

from vrl.inference.config import BackfillConfig

Interval = tuple[float, float]


def event_intervals(ratios: Sequence[tuple[float, float]], duration_s: float) -> list[Interval]:
    """Spans given as shares of the duration, in seconds, cut to the clip; what then runs backwards is left out."""
    inside = [(max(0.0, start), min(1.0, end)) for start, end in ratios]
    return [(start * duration_s, end * duration_s) for start, end in inside if start < end]


def windows(starts_s: Sequence[float], duration_s: float, window_s: float) -> list[Interval]:
    """[start, start + window_s] for each start, within the clip."""
    return [(start, min(start + window_s, duration_s)) for start in starts_s if start < duration_s]


def merge(intervals: Sequence[Interval]) -> tuple[Interval, ...]:
    """The same seconds as few intervals that do not touch, in time order."""
    merged: list[Interval] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return tuple(merged)


def plan_moments(
    intervals: Sequence[Interval], duration_s: float, budget: int, config: BackfillConfig
) -> tuple[float, ...]:
    """Exactly `budget` moments, rising: dense inside the (merged) intervals, sparse outside.

    Inside lie `dense_share` of the budget at most, at `dense_fps` at most, as many in one interval as in another as far
    as that rate allows: spread over all seconds alike, as VideoReasoner's code has it, a long wrong guess would leave
    next to nothing for a short event. The rest is taken from the uniform grid of the whole budget: first points in
    cells that hold no dense moment, evenly thinned where there are too many, then points in cells that do.
    """
    total_s = sum(end - start for start, end in intervals)
    count = min(int(config.dense_share * budget), max(1, round(total_s * config.dense_fps))) if total_s else 0
    shares = _deal([max(1, round((end - start) * config.dense_fps)) for start, end in intervals], count)
    dense = [
        start + (i + 0.5) * (end - start) / share
        for (start, end), share in zip(intervals, shares, strict=True)
        for i in range(share)
    ]
    cell_s = duration_s / budget
    taken = {int(moment / cell_s) for moment in dense}
    free = [k for k in range(budget) if k not in taken]
    held = [k for k in range(budget) if k in taken]
    wanted = budget - count
    kept = _thin(free, min(wanted, len(free)))
    kept += _thin(held, wanted - len(kept))
    return tuple(sorted([*dense, *(k * cell_s for k in kept)]))


def _deal(room: Sequence[int], count: int) -> list[int]:
    """`count` moments dealt in turn to intervals that have `room` left, to all where none has."""
    given = [0] * len(room)
    while (left := count - sum(given)) > 0:
        free = [i for i in range(len(room)) if given[i] < room[i]] or list(range(len(room)))
        for i in _thin(free, min(left, len(free))):
            given[i] += 1
    return given


def _thin(items: Sequence[int], count: int) -> list[int]:
    """`count` of the items, evenly spread."""
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]
