"""Published files as rows: what is read, and what the complaint names."""

import json

import pytest

from vrl.errors import DataError
from vrl.evaluation.rows import Row, csv_rows, json_rows, jsonl_rows, split_options, without_letters


def test_a_row_gives_what_is_asked_for_and_names_what_is_wrong():
    row = Row(
        "f.json row 3", {"id": 7, "text": " a ", "options": ["x", 2], "n": "1.5", "spans": [[1, 2.5]], "no": None}
    )
    assert (row.text("id"), row.text("text"), row.number("n")) == ("7", "a", 1.5)
    assert row.texts("options") == ("x", "2") and row.texts("text") == ("a",)
    assert row.spans("spans") == ((1.0, 2.5),)
    assert "no" not in row and "id" in row
    with pytest.raises(DataError, match=r"f.json row 3: column 'answer' is missing, got \['id'"):
        row.text("answer")
    for ask, column in ((row.text, "options"), (row.number, "text"), (row.rows, "id"), (row.spans, "options")):
        with pytest.raises(DataError, match=f"f.json row 3: {column}: got"):
            ask(column)
    with pytest.raises(DataError, match="wanted an object"):
        row.row("id")


def test_a_reversed_span_is_refused():
    with pytest.raises(DataError, match="start < end"):
        Row("f", {"spans": [[3, 2]]}).spans("spans")


def test_files_are_read_by_rows_from_1(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([{"x": 1}, {"x": 2}]))
    (tmp_path / "a.jsonl").write_text('{"x": 1}\n\n{"x": 2}\n')
    (tmp_path / "a.csv").write_text('x,y\n1,"a, b"\n2,c\n')
    for rows in (json_rows(tmp_path / "a.json"), jsonl_rows(tmp_path / "a.jsonl"), csv_rows(tmp_path / "a.csv")):
        assert [row.text("x") for row in rows] == ["1", "2"] and rows[1].where.endswith("row 2")
    assert csv_rows(tmp_path / "a.csv")[0].text("y") == "a, b"
    with pytest.raises(DataError, match="no such file"):
        json_rows(tmp_path / "b.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        json_rows(tmp_path / "a.json")


def test_letters_are_taken_off_only_where_all_options_have_theirs():
    assert without_letters(("A. red", "(B) blue", "C) 3")) == ("red", "blue", "3")
    assert without_letters(("A. red", "C. blue")) == ("A. red", "C. blue")
    assert without_letters(("A dog", "B. cat")) == ("A dog", "B. cat")


def test_a_question_is_parted_from_its_options():
    asked = "What year?\nLook well.\n(A) 1636\n(B) 1366\nor so\n(C) 1363"
    assert split_options(asked) == ("What year?\nLook well.", ("1636", "1366 or so", "1363"))
    assert split_options("What?") == ("What?", ())
