"""Files in every encoding, with every line end, whole and damaged."""

import codecs
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vrl.data.rows import Source, read_json
from vrl.errors import DataError

ROWS = [{"question": "Où est l'été?", "n": 1}, {"question": "猫はどこ — ici?\u2028là", "n": 2}]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS) + "\n"
ENCODINGS = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16": b"",
    "utf-16-le": b"",
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32": b"",
}


def columns(path: Path) -> list[dict]:
    rows = list(Source(path))
    assert [row.damage for row in rows] == [""] * len(rows)
    return [dict(row.columns) for row in rows]


def damages(path: Path) -> dict[int, str]:
    return {row.number: row.damage for row in Source(path) if row.damage}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_encoding_and_line_end_gives_the_same_rows(tmp_path, encoding, end):
    files = {
        "lines.jsonl": LINES,
        "array.json": json.dumps(ROWS, ensure_ascii=False, indent=1),
        "table.csv": '"question","n"\n' + "".join(f'"{row["question"]}",{row["n"]}\n' for row in ROWS),
        "table.tsv": "question\tn\n" + "".join(f"{row['question']}\t{row['n']}\n" for row in ROWS),
    }
    for name, text in files.items():
        path = tmp_path / name
        path.write_bytes(ENCODINGS[encoding] + text.replace("\n", end).encode(encoding))
        assert [row["question"] for row in columns(path)] == [row["question"] for row in ROWS], name
    path = tmp_path / "lines.txt"
    path.write_bytes(ENCODINGS[encoding] + f"une é{end}{end}deux{end}".encode(encoding))
    assert [(row.number, row.columns["line"]) for row in Source(path)] == [(1, "une é"), (3, "deux")]


def test_names_that_lie_about_lines_and_arrays(tmp_path):
    (tmp_path / "rows.json").write_text(LINES)
    (tmp_path / "one.json").write_text(LINES.splitlines()[0])
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS, indent=2))
    assert columns(tmp_path / "rows.json") == columns(tmp_path / "rows.jsonl") == ROWS
    assert columns(tmp_path / "one.json") == ROWS[:1]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b'{"question": "caf\xe9"}', r"question: got the byte 0xE9 at character 3"),
        (rb'{"question": "smile \ud83d"}', r"question: got half a pair, U\+D83D, at character 6"),
        (rb'{"options": ["a", {"b": "\ude00"}]}', r"options\[1\]\.b: got half a pair, U\+DE00"),
        (rb'{"\ud83d": 1}', r"a column's name: got half a pair"),
        (b'{"question": "a"', r"not JSON"),
        (b"[1, 2]", r"got list, wanted an object"),
        (b"null", r"got NoneType, wanted an object"),
        (b"[" * 100_000, r"not JSON"),
    ],
)
def test_a_damaged_line_is_named_and_the_others_are_read(tmp_path, line, problem):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"question": "a"}\n\n' + line + b'\n{"question": "b"}\n')
    found = damages(path)
    assert list(found) == [3]
    assert re.search(problem, found[3]), found[3]


def test_damaged_objects_of_an_array(tmp_path):
    path = tmp_path / "rows.json"
    path.write_bytes(rb'[{"a": "x"}, {"a": "\ud83d\ude00"}, {"a": "\ud83d"}, 4]')
    assert list(damages(path)) == [3, 4]
    path.write_bytes(b'[{"a": "caf\xe9"}, {"a": "b"}]')
    assert "byte 0xE9" in damages(path)[1]


def test_damaged_tables(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes(b'a,b\r\n1,2\r\n1\r\n1,2,3\r\n\r\ncaf\xe9,2\r\n"x\r\ny",2\r\n')
    found = damages(path)
    assert list(found) == [2, 3, 4]
    assert "got 1 fields, wanted the 2" in found[2] and "got 3 fields" in found[3] and "byte 0xE9" in found[4]
    assert list(Source(path))[4].columns == {"a": "x\r\ny", "b": "2"}
    for header in (b"", b"a,a\n1,2\n"):
        path.write_bytes(header)
        with pytest.raises(DataError, match="header"):
            list(Source(path))
    path.write_text("a,b\n" + "x" * 500_000 + ",2\n")
    assert len(columns(path)[0]["a"]) == 500_000


def test_parquet_rows_that_hold_bytes_are_named(tmp_path):
    broken = pa.Array.from_buffers(
        pa.string(), 3, [None, pa.array([0, 1, 2, 3], pa.int32()).buffers()[1], pa.py_buffer(b"a\xe9c")]
    )
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"q": broken, "n": [1, 2, 3]}), path)
    assert list(found := damages(path)) == [2] and found[2].startswith("q: got 'utf-8'")
    assert [row.columns["n"] for row in Source(path)] == [1, 2, 3]
    assert [list(row.columns) for row in Source(path, columns=["n", "absent"])] == [["n"]] * 3
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="not a whole parquet file"):
        list(Source(path))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("rows.json", b'{"a": [1]', "not JSON"),
        ("rows.json", b'"text"', "got str, wanted an array"),
        ("rows.json", b'[{"a": 1},', "not JSON"),
        ("rows.xml", b"<a/>", r"suffix '\.xml', wanted a file of"),
        ("rows.jsonl", '{"a": "é"}\n'.encode("utf-16")[:-1], "wanted one encoding"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name, content, problem):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=problem):
        list(Source(path))


def test_absent_files_and_folders(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        list(Source(tmp_path / "no.jsonl"))
    with pytest.raises(DataError, match="cannot be read"):
        read_json(tmp_path)


def test_an_empty_file_has_no_rows(tmp_path):
    for name in ("rows.json", "rows.jsonl", "rows.txt"):
        (tmp_path / name).write_bytes(b"")
        assert columns(tmp_path / name) == []


def test_siblings_are_read_strictly(tmp_path):
    (tmp_path / "rows.csv").write_text("a\n1\n")
    (tmp_path / "spans.json").write_bytes(codecs.BOM_UTF8 + b'{"a": [1]}')
    source = Source(tmp_path / "rows.csv")
    assert source.sibling("spans.json") == {"a": [1]} and source.sibling("no.json") is None
    (tmp_path / "bad.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(DataError, match="a: got the byte 0xFF"):
        source.sibling("bad.json")
