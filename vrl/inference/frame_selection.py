"""The frames of backfill: intervals from located events, and the moments to sample under one frame budget. Pure.

Source: VideoReasoner's public code for windows, merging, and the dense and sparse parts. The union of events and
windows, how they share the dense part, and the result on failure are our definition.
"""

from collections.abc import Sequence

from vrl.inference.config import BackfillConfig

Interval = tuple[float, float]


def event_intervals(ratios: Sequence[tuple[float, float]], duration_s: float) -> list[Interval]:
    """Return spans, dealt as fractions of the duration, in seconds, cut to the clip; empty ones are dropped."""
    inside = [(max(0.0, start), min(1.0, end)) for start, end in ratios]
    return [(start * duration_s, end * duration_s) for start, end in inside if start < end]


def windows(starts_s: Sequence[float], duration_s: float, window_s: float) -> list[Interval]:
    """Return [start, start + window_s], cut to the clip, for each start inside it."""
    return [(start, min(start + window_s, duration_s)) for start in starts_s if start < duration_s]


def merge(intervals: Sequence[Interval]) -> tuple[Interval, ...]:
    """Return the union of the intervals as disjoint intervals, in time order."""
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
    """Return exactly `budget` ascending moments: dense inside the (merged) intervals, sparse outside.

    The dense part is at most `dense_share` of the budget, at most `dense_fps`, and equally many per interval as far as
    that rate allows. If it were spread evenly over all seconds, as in VideoReasoner's code, a long wrong guess would
    leave almost nothing for a short event. The rest comes from the uniform grid of the whole budget: first points in
    cells without a dense moment, evenly thinned if there are too many, then points in the other cells.
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
    cells = _thin(free, min(budget - count, len(free)))
    cells += _thin([k for k in range(budget) if k in taken], budget - count - len(cells))
    return tuple(sorted([*dense, *(k * cell_s for k in cells)]))


def _deal(room: Sequence[int], count: int) -> list[int]:
    """Deal `count` moments in turn to the intervals with `room` left, or to all if none has any."""
    dealt = [0] * len(room)
    while (left := count - sum(dealt)) > 0:
        free = [i for i in range(len(room)) if dealt[i] < room[i]] or list(range(len(room)))
        for i in _thin(free, min(left, len(free))):
            dealt[i] += 1
    return dealt


def _thin(items: Sequence[int], count: int) -> list[int]:
    """Return `count` of the items, evenly spread."""
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]
