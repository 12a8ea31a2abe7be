"""The generated tables of docs/metrics.md: up to date, and complete."""

import re

import pytest

from vrl.observability.catalogue import CATALOGUE
from vrl.observability.reference import PAGE, with_tables
from vrl.observability.series import EXTERNAL, SERIES


def test_the_page_is_up_to_date():
    page = PAGE.read_text()
    assert with_tables(page) == page, f"{PAGE}: run python -m vrl.observability.reference"


def test_every_metric_and_series_has_a_row():
    first_cells = re.findall(r"^\| `([^`]+)` \|", with_tables(PAGE.read_text()), re.MULTILINE)
    wanted = [metric.name for metric in CATALOGUE] + [series.name for series in (*SERIES, *EXTERNAL)]
    assert sorted(first_cells) == sorted(wanted)


def test_no_cell_breaks_the_table():
    for entry in (*CATALOGUE, *SERIES, *EXTERNAL):
        assert not {"|", "\n"} & set(entry.meaning + entry.unit), entry.name


def test_only_the_text_between_markers_changes():
    page = "before\n<!-- begin generated: metrics -->\nSTALE\n<!-- end generated -->\nafter\n"
    made = with_tables(page)
    assert made.startswith("before\n<!-- begin") and made.endswith("<!-- end generated -->\nafter\n")
    assert "STALE" not in made and "| `step` |" in made
    with pytest.raises(KeyError):
        with_tables("<!-- begin generated: other -->\n<!-- end generated -->")
