"""Spans: written when they end, even by an exception."""

import asyncio
import time
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from vrl.observability import spans
from vrl.observability.series import close_series, open_series
from vrl.observability.spans import add_span, close_spans, open_spans, read_spans, span, timed


class Worker:
    @timed("work")
    def work(self, fail: bool) -> int:
        time.sleep(0.02)
        if fail:
            raise ValueError("no")
        return 7

    @timed("wait")
    async def wait(self) -> int:
        await asyncio.sleep(0.02)
        return 8


def test_calls_are_spans_and_count_in_the_histogram_even_when_they_fail(tmp_path: Path):
    registry = open_series("data")
    open_spans(tmp_path, "data", 2)
    worker = Worker()
    try:
        assert worker.work(False) == 7 and asyncio.run(worker.wait()) == 8
        with pytest.raises(ValueError, match="no"):
            worker.work(True)
        text = generate_latest(registry).decode()
    finally:
        close_spans()
        close_series()
    found = read_spans(tmp_path)
    assert [(one.role, one.rank, one.name) for one in found] == [("data", 2, name) for name in ("work", "wait", "work")]
    assert all(0.015 < one.end_s - one.start_s < 5 for one in found)
    assert 'vrl_call_seconds_count{call="work"} 2.0' in text and 'vrl_call_seconds_count{call="wait"} 1.0' in text


def test_nothing_is_written_outside_a_run(tmp_path: Path):
    assert Worker().work(False) == 7
    with span("step"):
        add_span("push", 0.0, 1.0)
    assert read_spans(tmp_path) == []


def test_details_are_kept_and_a_torn_line_ends_its_file(tmp_path: Path):
    open_spans(tmp_path, "driver", 0)
    add_span("step", 2.0, 3.0, step=4)
    add_span("push", 1.0, 1.5)
    close_spans()
    (file,) = (tmp_path / "spans").iterdir()
    file.write_text(file.read_text() + '{"name": "st')
    first, second = read_spans(tmp_path)
    assert (first.name, second.name, second.detail) == ("push", "step", {"step": 4})


def test_a_process_keeps_its_newest_spans_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(spans, "_FILE_BYTES", 1000)
    open_spans(tmp_path, "driver", 0)
    for i in range(100):
        add_span("step", float(i), i + 1.0, step=i)
    close_spans()
    assert sum(path.stat().st_size for path in (tmp_path / "spans").iterdir()) <= 2000
    kept = [one.detail["step"] for one in read_spans(tmp_path)]
    assert kept == list(range(kept[0], 100)) and len(kept) > 15
