"""The data of a run, and what its folder says about the rows that were skipped."""

import json
from pathlib import Path

import pytest

from vrl.config import DataConfig, RunConfig
from vrl.errors import DataError
from vrl.training.run_folder import open_data, write_bad_rows

GOOD = {"task": "vqa", "question": "?", "answer": "x"}


def test_skipped_rows_are_listed_in_the_run_folder(tmp_path: Path):
    path = tmp_path / "train.jsonl"
    rows = [GOOD | {"sample_id": "a"}, GOOD | {"sample_id": "b", "answer": 3}, GOOD | {"sample_id": "a"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="2 of 3 rows are bad"):
        open_data(RunConfig(name="x", data=DataConfig(train=str(path))))
    data = open_data(RunConfig(name="x", data=DataConfig(train=str(path), bad_rows="skip")))
    assert [sample.sample_id for sample in data.train] == ["a"]
    assert data.account() == {
        "data.train": {"rows": 3, "bad_rows": {"answer": 1, "sample_id": 1}, "left_out": {}, "samples": 1}
    }
    write_bad_rows(tmp_path, data)
    listed = [json.loads(line) for line in (tmp_path / "bad_rows.jsonl").read_text().splitlines()]
    assert [(one["row"], list(one["faults"])) for one in listed] == [(2, ["answer"]), (3, ["sample_id"])]
    path.write_text(json.dumps(rows[0]) + "\n")
    write_bad_rows(tmp_path, open_data(RunConfig(name="x", data=DataConfig(train=str(path)))))
    assert not (tmp_path / "bad_rows.jsonl").exists()
