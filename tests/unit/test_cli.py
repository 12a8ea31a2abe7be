from pathlib import Path

import pytest

from vrl.cli import main


def test_a_full_disk_is_a_storage_error_with_a_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "rows.jsonl").write_text('{"sample_id": "a", "task": "vqa", "question": "?", "answer": "x"}\n')
    (tmp_path / "out.parquet").symlink_to("/dev/full")
    convert = ["data", "convert", "--from", "jsonl", str(tmp_path / "rows.jsonl")]
    assert main([*convert, str(tmp_path / "out.parquet")]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("StorageError") and "No space left on device" in shown and "make room" in shown
    with pytest.raises(OSError):  # any other error of the system is not expected
        main([*convert, str(tmp_path / "nowhere" / "out.parquet")])
