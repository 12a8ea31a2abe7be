"""Overlap of predicted and true events in time."""

from collections.abc import Callable, Iterable, Sequence

from vrl.reward.record import RewardInput

Interval = tuple[float, float]


def iou(given: RewardInput) -> float | None:
    """Intersection over union of the predicted and the true events, in fractions of the duration; in [0, 1].

    With one interval on each side this equals VideoReasoner's reward, inter / (max(end) - min(start)); several are
    united first, as VideoChat-R1 does for grounded QA. A reversed or empty prediction counts as no interval, no
    prediction as 0. None where the sample has no true span.
    """
    if not given.sample.spans:
        return None
    if given.parsed is None:
        return 0.0
    truth = [(start / given.duration_s, end / given.duration_s) for start, end in given.sample.spans]
    return interval_iou(given.parsed.span_ratios, [(max(0.0, start), min(1.0, end)) for start, end in truth])


def tiou(given: RewardInput) -> float | None:
    """IoU x (1 - |start error|) x (1 - |end error|), errors in fractions of the duration; in [0, 1].

    Source: Time-R1's timestamp-aware IoU. Of several events on a side the outermost edges count (our definition).
    """
    overlap = iou(given)
    if not overlap or given.parsed is None:
        return overlap
    found = merge(given.parsed.span_ratios)
    truth = merge((start / given.duration_s, end / given.duration_s) for start, end in given.sample.spans)
    start_error, end_error = abs(found[0][0] - truth[0][0]), abs(found[-1][1] - min(1.0, truth[-1][1]))
    return overlap * max(0.0, 1 - start_error) * max(0.0, 1 - end_error)


def best_iou(given: RewardInput) -> float | None:
    """IoU of the predicted events, united, with that true event which gives the most; None without true spans.

    Source: NExT-GQA's own evaluation, which does not unite the true moments of a question.
    """
    return _best(given, interval_iou)


def best_iop(given: RewardInput) -> float | None:
    """Share of the predicted time that lies in one true event, of that which gives the most; else as `best_iou`.

    Source: intersection over prediction of NExT-GQA's own evaluation.
    """
    return _best(given, lambda found, true: interval_overlap(found, true) / _length(merge(found)))


def _best(given: RewardInput, measure: Callable[[Sequence[Interval], Sequence[Interval]], float]) -> float | None:
    if not given.sample.spans:
        return None
    if given.parsed is None or not merge(given.parsed.span_ratios):
        return 0.0
    truth = [(start / given.duration_s, min(1.0, end / given.duration_s)) for start, end in given.sample.spans]
    return max(measure(given.parsed.span_ratios, [event]) for event in truth)


def interval_overlap(first: Iterable[Interval], second: Iterable[Interval]) -> float:
    """Length that two unions of intervals share, in their unit."""
    a, b = merge(first), merge(second)
    return sum(max(0.0, min(a_end, b_end) - max(a_start, b_start)) for a_start, a_end in a for b_start, b_end in b)


def interval_iou(first: Iterable[Interval], second: Iterable[Interval]) -> float:
    """IoU of two unions of intervals, any unit; 0.0 where either is empty. Intervals with end <= start are left out."""
    a, b = merge(first), merge(second)
    overlap = interval_overlap(a, b)
    return overlap / (_length(a) + _length(b) - overlap) if overlap > 0 else 0.0


def merge(intervals: Iterable[Interval]) -> list[Interval]:
    """The same set of times as disjoint intervals in order."""
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
