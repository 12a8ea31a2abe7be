"""Turns spans into a trace file and a verdict: `run/trace.json` for Perfetto or chrome://tracing, and utilization.

A process is busy for the union of its spans: two groups generated at the same time count once. The driver's work is not
counted as an actor's. Timings of several machines are compared by their own clocks.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from vrl.errors import DataError
from vrl.files import write_atomically
from vrl.observability.spans import Span, read_spans

_ROLES = ("driver", "data", "rollout", "reward", "learner")  # from top to bottom
_ADVICE = {
    "data": "raise data.workers, lower data.frames, or cache clips (data.cache)",
    "rollout": "raise rollout.engines or rollout.max_num_seqs; algo.max_policy_age=1 overlaps the learner with them",
    "reward": "raise reward.workers; check the latency of the judge",
    "learner": "raise learner.ranks or learner.micro_batch_tokens; algo.max_policy_age=1 keeps the engines busy",
}
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """One process within the window of all steps."""

    role: str
    rank: int
    busy: float  # fraction of the window, [0, 1]
    longest_gap_s: float  # without any work
    by_name: dict[str, float]  # fraction of the window by span name; names may overlap


@dataclass(frozen=True, kw_only=True, slots=True)
class Utilization:
    """How a run's wall time was used, from the start of the first step to the end of the last."""

    wall_s: float
    steps: int
    lanes: tuple[Lane, ...]  # actors only
    idle: float  # fraction of the window in which no actor worked

    @property
    def shares(self) -> dict[str, float]:
        """The mean busy fraction of each role's actors."""
        roles = sorted({lane.role for lane in self.lanes}, key=_ROLES.index)
        found = {role: [lane.busy for lane in self.lanes if lane.role == role] for role in roles}
        return {role: sum(shares) / len(shares) for role, shares in found.items()}

    @property
    def bottleneck(self) -> str:
        """The role with the highest busy fraction."""
        return max(self.shares, key=lambda role: self.shares[role])


def utilization(spans: Sequence[Span]) -> Utilization:
    """Return how busy each actor was. Raise DataError if there is no step, or no span of an actor."""
    steps = [one for one in spans if one.role == "driver" and one.name == "step"]
    actors = {(one.role, one.rank) for one in spans if one.role != "driver"}
    if not steps or not actors:
        raise DataError(f"spans: got {len(steps)} steps and {len(actors)} actors, wanted some of both (log.spans)")
    window = (min(one.start_s for one in steps), max(one.end_s for one in steps))
    in_order = sorted(actors, key=lambda actor: (_ROLES.index(actor[0]), actor[1]))
    lanes = tuple(_lane(role, rank, spans, window) for role, rank in in_order)
    worked = merge_intervals([(one.start_s, one.end_s) for one in spans if one.role != "driver"], window)
    wall_s = window[1] - window[0]
    return Utilization(wall_s=wall_s, steps=len(steps), lanes=lanes, idle=1 - _length(worked) / wall_s)


def merge_intervals(intervals: Sequence[Interval], window: Interval) -> list[Interval]:
    """Return the intervals clipped to `window`, in order, with touching ones joined."""
    joined: list[Interval] = []
    for start, end in sorted((max(start, window[0]), min(end, window[1])) for start, end in intervals):
        if start >= end:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def write_trace(run_dir: Path) -> Path:
    """Write `run_dir/trace.json` in Chrome's trace format and return its path."""
    path = run_dir / "trace.json"
    write_atomically(path, json.dumps({"displayTimeUnit": "ms", "traceEvents": events(read_spans(run_dir))}))
    return path


def events(spans: Sequence[Span]) -> list[dict[str, object]]:
    """Return Chrome trace events: one process per role, threads per rank, and one thread per overlapping span."""
    made: list[dict[str, object]] = []
    origin_s = min((one.start_s for one in spans), default=0.0)
    ends: dict[tuple[str, int], list[float]] = {}  # end of the last span in each thread of a rank
    for one in sorted(spans, key=lambda one: (one.start_s, -one.end_s)):
        rows = ends.setdefault((one.role, one.rank), [])
        row = next((i for i, end_s in enumerate(rows) if end_s <= one.start_s), len(rows))
        rows[row : row + 1] = [one.end_s]
        made.append(
            {
                "ph": "X",
                "name": one.name,
                "cat": one.role,
                "pid": _ROLES.index(one.role),
                "tid": one.rank * 1000 + row,
                "ts": round((one.start_s - origin_s) * 1e6),
                "dur": round((one.end_s - one.start_s) * 1e6),
                "args": dict(one.detail),
            }
        )
    for role, rank in ends:
        pid = _ROLES.index(role)
        made.append({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": role}})
        made.append({"ph": "M", "name": "process_sort_index", "pid": pid, "args": {"sort_index": pid}})
        made += [
            {"ph": "M", "name": "thread_name", "pid": pid, "tid": rank * 1000 + row, "args": {"name": f"{role} {rank}"}}
            for row in range(len(ends[role, rank]))
        ]
    return made


def print_utilization(found: Utilization, console: Console) -> None:
    """Print the utilization as a table, with the bottleneck and how to relieve it."""
    table = Table("actor", "busy", "longest gap", "of which", title=f"{found.steps} steps in {found.wall_s:.1f} s")
    for lane in found.lanes:
        parts = "  ".join(f"{name} {part:.0%}" for name, part in sorted(lane.by_name.items(), key=lambda p: -p[1]))
        table.add_row(f"{lane.role} {lane.rank}", f"{lane.busy:.0%}", f"{lane.longest_gap_s:.2f} s", parts)
    console.print(table)
    role = found.bottleneck
    console.print(f"bottleneck: {role}, busy {found.shares[role]:.0%} of the time. {_ADVICE[role]}.", highlight=False)
    console.print(f"no actor worked for {found.idle:.0%} of the time.", highlight=False)


def _lane(role: str, rank: int, spans: Sequence[Span], window: Interval) -> Lane:
    mine = [one for one in spans if (one.role, one.rank) == (role, rank)]
    wall_s = window[1] - window[0]
    worked = merge_intervals([(one.start_s, one.end_s) for one in mine], window)
    edges = [window[0], *(edge for interval in worked for edge in interval), window[1]]
    by_name = {
        name: _length(merge_intervals([(one.start_s, one.end_s) for one in mine if one.name == name], window)) / wall_s
        for name in {one.name for one in mine}
    }
    return Lane(
        role=role,
        rank=rank,
        busy=_length(worked) / wall_s,
        longest_gap_s=max(edges[i + 1] - edges[i] for i in range(0, len(edges), 2)),
        by_name={name: part for name, part in by_name.items() if part > 0},
    )


def _length(intervals: Sequence[Interval]) -> float:
    return sum(end - start for start, end in intervals)
