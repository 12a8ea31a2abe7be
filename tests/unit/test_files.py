"""Files are replaced as a whole and read without their torn last line."""

from pathlib import Path

import pytest

from vrl.files import read_json_lines, replacing, write_atomically


def test_a_file_that_cannot_be_written_keeps_its_content(tmp_path: Path):
    path = tmp_path / "results.json"
    write_atomically(path, "old")
    with pytest.raises(OSError, match="full"), replacing(path) as tmp:
        tmp.write_text("ne")
        raise OSError("disk full")
    assert path.read_text() == "old"
    write_atomically(path, "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("results.json", "new")]


def test_a_torn_last_line_is_not_read(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    assert read_json_lines(path) == []
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_json_lines(path) == [{"step": 1}, {"step": 2}]
