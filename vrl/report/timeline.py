"""Data for the report's timeline: what every process did in some of a run's steps, and how busy it was."""

from collections.abc import Sequence
from typing import Any

from vrl.errors import DataError
from vrl.observability.spans import Span
from vrl.observability.trace import utilization

MAX_STEPS = 24  # on the page: the first, the slowest, and an even choice of the others


def timeline(spans: Sequence[Span]) -> dict[str, Any]:
    """Return `timeline`, the spans of some steps in seconds from the step's start, and `busy`, fractions over the run.

    `timeline` is empty and `busy` None for a run without spans.
    """
    steps = [one for one in spans if one.role == "driver" and one.name == "step"]
    try:
        found = utilization(spans)
    except DataError:
        return {"timeline": [], "busy": None}
    verdict = {
        "bottleneck": found.bottleneck,
        "idle": found.idle,
        "lanes": [
            {"name": f"{lane.role} {lane.rank}", "busy": lane.busy, "by_name": lane.by_name} for lane in found.lanes
        ],
    }
    return {"timeline": [_step(step, spans) for step in _chosen(steps)], "busy": verdict}


def _chosen(steps: Sequence[Span]) -> list[Span]:
    if len(steps) <= MAX_STEPS:
        return list(steps)
    slowest = sorted(range(len(steps)), key=lambda i: steps[i].start_s - steps[i].end_s)[:3]
    even = [round(i * (len(steps) - 1) / (MAX_STEPS - 6)) for i in range(MAX_STEPS - 5)]
    return [steps[i] for i in sorted({0, 1, *slowest, *even})]


def _step(step: Span, spans: Sequence[Span]) -> dict[str, Any]:
    inside = [one for one in spans if one.start_s < step.end_s and one.end_s > step.start_s and one.name != "step"]
    return {
        "step": step.detail.get("step"),
        "seconds": step.end_s - step.start_s,
        "spans": [
            [
                f"{one.role} {one.rank}",
                one.name,
                round(max(one.start_s - step.start_s, 0.0), 4),
                round(min(one.end_s, step.end_s) - step.start_s, 4),
            ]
            for one in inside
        ],
    }
