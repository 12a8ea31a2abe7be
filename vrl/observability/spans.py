"""Spans: what a process did and when, written as they end to `run/spans/<role>-<rank>-<pid>.jsonl`.

A killed process loses only the span in progress. Each process keeps at most its last 32 MiB. Times come from the
machine's clock, so spans of several machines are only as well aligned as their clocks. Does not interpret spans: see
vrl.observability.trace.
"""

import inspect
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, TypeVar, cast

from vrl.files import read_json_lines
from vrl.observability.series import observe

_FILE_BYTES = 16 * 2**20  # per file; the previous file is kept as well
_writer: RotatingFileHandler | None = None
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """One piece of work of one process."""

    role: str
    rank: int
    name: str
    start_s: float  # Unix time
    end_s: float
    detail: Mapping[str, Any] = field(default_factory=dict)


def open_spans(run_dir: Path, role: str, rank: int) -> None:
    """Start writing the spans of this process."""
    global _writer
    close_spans()
    folder = run_dir / "spans"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{role}-{rank}-{os.getpid()}.jsonl"
    _writer = RotatingFileHandler(path, maxBytes=_FILE_BYTES, backupCount=1, delay=True)


def close_spans() -> None:
    """Stop writing spans."""
    global _writer
    if _writer is not None:
        _writer.close()
    _writer = None


def add_span(name: str, start_s: float, end_s: float, **detail: Any) -> None:
    """Write a span that has ended. Do nothing in a process without `open_spans`."""
    if _writer is not None:
        line = json.dumps({"name": name, "start_s": round(start_s, 6), "end_s": round(end_s, 6), **detail})
        _writer.emit(logging.makeLogRecord({"msg": "%s", "args": (line,)}))


@contextmanager
def span(name: str, **detail: Any) -> Iterator[None]:
    """Record the enclosed block as a span, even if it raises."""
    start_s, began = time.time(), time.perf_counter()
    try:
        yield
    finally:
        add_span(name, start_s, start_s + time.perf_counter() - began, **detail)


def timed(name: str) -> Callable[[Function], Function]:
    """Decorate a method, plain or async: every call is a span and is observed in vrl_call_seconds{call=name}."""

    def wrap(method: Function) -> Function:
        if not inspect.iscoroutinefunction(method):
            return _measured(name)(method)

        @wraps(method)
        async def call(*args: Any, **kwargs: Any) -> Any:
            with _measured(name):
                return await method(*args, **kwargs)

        return cast(Function, call)

    return wrap


@contextmanager
def _measured(name: str) -> Iterator[None]:
    began = time.perf_counter()
    try:
        with span(name):
            yield
    finally:
        observe("vrl_call_seconds", time.perf_counter() - began, call=name)


def read_spans(run_dir: Path) -> list[Span]:
    """Return all spans of a run by start time. A torn last line, from a process still writing or killed, is skipped."""
    spans = []
    for path in sorted((run_dir / "spans").glob("*.jsonl*")):
        role, rank, _ = path.name.split(".")[0].rsplit("-", 2)
        for entry in read_json_lines(path):
            name, start_s, end_s = entry.pop("name"), entry.pop("start_s"), entry.pop("end_s")
            spans.append(Span(role=role, rank=int(rank), name=name, start_s=start_s, end_s=end_s, detail=entry))
    return sorted(spans, key=lambda one: one.start_s)
