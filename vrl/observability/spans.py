"""What a process did when: spans, written as they end to `run/spans/<role>-<rank>-<pid>.jsonl`.

A span lost with its killed process is only the one under way. Each process keeps its last 32 MiB at most. Times are of
the machine's clock: on several machines lanes are as far apart as their clocks. Reads nothing into them: vrl.trace.
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
from typing import Any, TypeVar

from vrl.observability.series import observe

_FILE_BYTES = 16 * 2**20  # of the file that is written to; the one before it is kept too
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
    """Write this process's spans from now on."""
    global _writer
    close_spans()
    folder = run_dir / "spans"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{role}-{rank}-{os.getpid()}.jsonl"
    _writer = RotatingFileHandler(path, maxBytes=_FILE_BYTES, backupCount=1, delay=True)


def close_spans() -> None:
    """Write no more."""
    global _writer
    if _writer is not None:
        _writer.close()
    _writer = None


def record(name: str, start_s: float, end_s: float, **detail: Any) -> None:
    """Note a span that has ended. Does nothing in a process that writes none."""
    if _writer is not None:
        line = json.dumps({"name": name, "start_s": round(start_s, 6), "end_s": round(end_s, 6), **detail})
        _writer.emit(logging.makeLogRecord({"msg": "%s", "args": (line,)}))


@contextmanager
def span(name: str, **detail: Any) -> Iterator[None]:
    """The work of the block is a span, however it ends."""
    start_s, began = time.time(), time.perf_counter()
    try:
        yield
    finally:
        record(name, start_s, start_s + time.perf_counter() - began, **detail)


def timed(name: str) -> Callable[[Function], Function]:
    """A method, plain or async, whose every call is a span and counts in vrl_call_seconds{call=name}."""

    def wrap(method: Function) -> Function:
        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            with _measured(name):
                return method(*args, **kwargs)

        @wraps(method)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            with _measured(name):
                return await method(*args, **kwargs)

        chosen: Any = call_async if inspect.iscoroutinefunction(method) else call
        return chosen

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
    """All spans of a run, by start. A torn last line, of a process that is writing or was killed, is left out."""
    spans = []
    for path in sorted((run_dir / "spans").glob("*.jsonl*")):
        role, rank, _ = path.name.split(".")[0].rsplit("-", 2)
        for line in path.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                break
            name, start_s, end_s = entry.pop("name"), entry.pop("start_s"), entry.pop("end_s")
            spans.append(Span(role=role, rank=int(rank), name=name, start_s=start_s, end_s=end_s, detail=entry))
    return sorted(spans, key=lambda one: one.start_s)
