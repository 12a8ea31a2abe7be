"""The trace file and the utilization of timelines worked out by hand."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from vrl.errors import DataError
from vrl.observability.spans import Span, add_span, close_spans, open_spans
from vrl.observability.trace import events, merge_intervals, print_utilization, utilization, write_trace


def span(role: str, name: str, start_s: float, end_s: float, rank: int = 0) -> Span:
    return Span(role=role, rank=rank, name=name, start_s=start_s, end_s=end_s)


# Two steps of 10 s. The engine generates 2-7 and, two at the same time, 11-17; the learner works 7-10 and 17-20.
RUN = [
    span("driver", "step", 0, 10),
    span("driver", "step", 10, 20),
    span("driver", "wait_groups", 0, 7),
    span("data", "prepare", -5, 1),
    span("rollout", "generate", 2, 7),
    span("rollout", "generate", 11, 16),
    span("rollout", "generate", 12, 17),
    span("learner", "forward_backward", 7, 9),
    span("learner", "push", 9, 10),
    span("learner", "forward_backward", 17, 20),
]


def test_intervals_are_clipped_and_joined():
    assert merge_intervals([(3, 4), (0, 2), (1, 3), (8, 12)], (1, 10)) == [(1, 4), (8, 10)]


def test_busy_shares_gaps_and_the_bottleneck():
    found = utilization(RUN)
    assert found.wall_s == 20 and found.steps == 2
    assert found.shares == {"data": 1 / 20, "rollout": 11 / 20, "learner": 6 / 20}
    assert found.bottleneck == "rollout"
    data, rollout, learner = found.lanes
    assert (data.longest_gap_s, rollout.longest_gap_s, learner.longest_gap_s) == (19, 4, 7)
    assert learner.by_name == {"forward_backward": 5 / 20, "push": 1 / 20}
    assert found.idle == pytest.approx(2 / 20)  # 1-2 and 10-11; the driver's waiting does not count


def test_a_role_of_several_actors_counts_by_its_mean():
    found = utilization([*RUN, span("rollout", "generate", 2, 3, rank=1)])
    assert found.shares["rollout"] == pytest.approx((11 / 20 + 1 / 20) / 2) and found.bottleneck == "rollout"


def test_without_steps_there_is_no_verdict():
    with pytest.raises(DataError, match="0 steps"):
        utilization(RUN[3:])


def test_events_that_overlap_get_a_thread_each():
    made: list[dict[str, Any]] = events(RUN)
    generate = [one for one in made if one["name"] == "generate"]
    assert [one["tid"] for one in generate] == [0, 0, 1]
    first = next(one for one in made if one["name"] == "prepare")
    assert (first["ts"], first["dur"], first["cat"]) == (0, 6_000_000, "data")
    names = {one["args"]["name"] for one in made if one["name"] == "process_name"}
    assert names == {"driver", "data", "rollout", "learner"}


def test_the_trace_file_and_the_printed_verdict(tmp_path: Path):
    open_spans(tmp_path, "learner", 0)
    add_span("push", 10.0, 12.5)
    close_spans()
    written = json.loads(write_trace(tmp_path).read_text())
    assert [one["dur"] for one in written["traceEvents"] if one["ph"] == "X"] == [2_500_000]
    stream = io.StringIO()
    print_utilization(utilization(RUN), Console(file=stream, width=160))
    text = stream.getvalue()
    assert "bottleneck: rollout, busy 55% of the time" in text and "no actor worked for 10%" in text
