"""Overlap of predicted and true events in time."""

from collections.abc import Callable, Iterable, Sequence

from vrl.reward.inputs import RewardInput
from vrl.tasks.event import clipped

Interval = tuple[float, float]


def iou(inputs: RewardInput) -> float | None:
    """Intersection over union of the predicted and the true events, in fractions of the duration; in [0, 1].

    With one interval on each side this equals VideoReasoner's reward, inter / (max(end) - min(start)); several are
    united first, as in VideoChat-R1 for grounded QA. A reversed or empty interval is ignored; no prediction: 0. None
    without a true event in the clip.
    """
    truth = _truth(inputs)
    if not truth:
        return None
    return interval_iou(inputs.parsed.events(inputs.duration_s), truth) if inputs.parsed is not None else 0.0


def tiou(inputs: RewardInput) -> float | None:
    """IoU x (1 - |start error|) x (1 - |end error|), errors in fractions of the duration; in [0, 1].

    Source: Time-R1's timestamp-aware IoU. With several events on a side, the outermost edges count (our definition).
    """
    overlap = iou(inputs)
    if not overlap or inputs.parsed is None:
        return overlap
    found, truth = merge(inputs.parsed.events(inputs.duration_s)), merge(_truth(inputs))
    start_error, end_error = abs(found[0][0] - truth[0][0]), abs(found[-1][1] - truth[-1][1])
    return overlap * max(0.0, 1 - start_error) * max(0.0, 1 - end_error)


def best_iou(inputs: RewardInput) -> float | None:
    """IoU of the united predicted events with the true event that gives the largest; None as for `iou`.

    Source: NExT-GQA's own evaluation, which does not unite the true moments of a question.
    """
    return _best(inputs, interval_iou)


def best_iop(inputs: RewardInput) -> float | None:
    """Fraction of the predicted time inside the true event that gives the largest; None as for `iou`.

    Source: intersection over prediction in NExT-GQA's own evaluation.
    """
    return _best(inputs, lambda found, true: interval_overlap(found, true) / _length(merge(found)))


def _best(inputs: RewardInput, measure: Callable[[Sequence[Interval], Sequence[Interval]], float]) -> float | None:
    truth = _truth(inputs)
    if not truth:
        return None
    if inputs.parsed is None or not merge(inputs.parsed.events(inputs.duration_s)):
        return 0.0
    return max(measure(inputs.parsed.events(inputs.duration_s), [event]) for event in truth)


def _truth(inputs: RewardInput) -> list[Interval]:
    """Return the true events as fractions of the clip, clipped to it; none without a clip (images alone)."""
    seconds = [clipped(span_s, inputs.duration_s) for span_s in inputs.sample.spans]
    return [(start / inputs.duration_s, end / inputs.duration_s) for start, end in seconds if start < end]


def interval_overlap(first: Iterable[Interval], second: Iterable[Interval]) -> float:
    """Return the length that two unions of intervals share, in their unit."""
    a, b = merge(first), merge(second)
    return sum(max(0.0, min(a_end, b_end) - max(a_start, b_start)) for a_start, a_end in a for b_start, b_end in b)


def interval_iou(first: Iterable[Interval], second: Iterable[Interval]) -> float:
    """Return the IoU of two unions of intervals, 0.0 if either is empty. Ignores intervals with end <= start."""
    a, b = merge(first), merge(second)
    overlap = interval_overlap(a, b)
    return overlap / (_length(a) + _length(b) - overlap) if overlap > 0 else 0.0


def merge(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the union of the intervals as disjoint intervals in order. Ignores those with end <= start."""
    merged: list[Interval] = []
    for start, end in sorted(pair for pair in intervals if pair[0] < pair[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _length(intervals: Iterable[Interval]) -> float:
    return sum(end - start for start, end in intervals)


REWARDS = {"iou": iou, "tiou": tiou, "best_iou": best_iou, "best_iop": best_iop}
