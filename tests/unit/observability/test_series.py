"""The table of series: valid names, every series is used, and nothing else is counted."""

import ast
import re
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from vrl.observability.catalogue import CATALOGUE
from vrl.observability.series import SERIES, close_series, count, observe, open_series, set_gauge

CALLS = {"count": "counter", "set_gauge": "gauge", "observe": "histogram"}


def used() -> set[tuple[str, str]]:
    """Return (kind, name) of every series that a file of vrl counts, sets or observes."""
    found = set()
    for path in Path("vrl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and str(first.value).startswith("vrl_"):
                    found.add((CALLS[node.func.id], first.value))
    return found


def test_every_series_is_counted_somewhere_and_nothing_else_is():
    assert used() == {(series.kind, series.name) for series in SERIES}


def test_names_follow_the_rules_and_are_unique():
    names = [series.name for series in SERIES] + [metric.prometheus_name for metric in CATALOGUE]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"vrl_[a-z0-9_]+", name)
    for series in SERIES:
        assert series.name.endswith("_total") == (series.kind == "counter")
        assert bool(series.buckets) == (series.kind == "histogram")
        assert series.unit and series.meaning and series.role


def test_a_process_exports_the_series_of_its_role_only():
    registry = open_series("data")
    try:
        count("vrl_data_samples_total", outcome="prepared")
        count("vrl_data_samples_total", outcome="prepared")
        count("vrl_data_patches_total", 64)
        count("vrl_learner_tokens_total", 5)  # of another role: known, not exported
        observe("vrl_call_seconds", 0.2, call="prepare")
        text = generate_latest(registry).decode()
    finally:
        close_series()
    assert 'vrl_data_samples_total{outcome="prepared"} 2.0' in text
    assert "vrl_data_patches_total 64.0" in text
    assert 'vrl_call_seconds_bucket{call="prepare",le="0.1"} 0.0' in text
    assert 'vrl_call_seconds_bucket{call="prepare",le="0.25"} 1.0' in text
    assert "process_resident_memory_bytes" in text and "vrl_learner" not in text


def test_a_name_that_is_not_listed_is_an_error_even_where_nothing_is_exported():
    for record in (count, set_gauge, observe):
        with pytest.raises(KeyError, match="SERIES"):
            record("vrl_data_sampels_total", 1.0)
