"""Rows that are meant to break the reader: each is refused with file and row, in few words, and the others are read."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vrl.data.dataset import read_dataset, write_parquet
from vrl.errors import DataError
from vrl.types import Media, Sample

GOOD = {"sample_id": "good", "task": "vqa", "question": "?", "answer": "x"}
CLIP = {"kind": "video", "path": "a.mp4"}


def line(**columns: Any) -> str:
    return json.dumps({**GOOD, "sample_id": "bad", **columns})


ATTACKS = {
    "half a surrogate pair in a path": line(media=[{**CLIP, "path": "\ud800"}]),
    "half a surrogate pair in a name": line(**{"\ud800": 1}),
    "arrays inside arrays": '{"sample_id": ' + "[" * 5000 + "]" * 5000 + "}",
    "arrays inside arrays with a surrogate": '{"a": ' + "[" * 480 + '"\\ud800"' + "]" * 480 + "}",
    "a number of 5,000 digits": line(media=[{**CLIP, "start_s": 0}]).replace(": 0", ": 1" + "0" * 5000),
    "a number beyond floats": line(media=[{**CLIP, "start_s": 0}]).replace(": 0", ": 1" + "0" * 400),
    "infinity": line(spans=[[0, 1]]).replace("1]]", "Infinity]]"),
    "a million options": line(answer_type="choice", answer="A", options=["x"] * 1_200_000),
    "a million clips": line(media=[CLIP] * 20_000),
    "a question of megabytes": line(question="x" * 3_000_000),
    "a column's name of megabytes": line(**{"k" * 1_000_000: 1}),
    "an answer of megabytes": line(answer_type="choice", answer="y" * 1_000_000, options=["a", "b"]),
    "bytes": "\udcfd\udcfe\udc80",
    "a scalar": "1e999",
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_line_is_refused_in_few_words_and_the_others_are_read(tmp_path: Path, attack: str):
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{ATTACKS[attack]}\n{json.dumps(GOOD)}\n", encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DataError, match="row 1") as caught:
        read_dataset(path)
    assert len(str(caught.value)) < 2000
    str(caught.value).encode()
    reading = read_dataset(path, bad_rows="skip")
    assert [sample.sample_id for sample in reading.kept] == ["good"] and len(reading.bad) == 1


def test_a_small_parquet_file_with_a_giant_text_is_refused(tmp_path: Path):
    path = tmp_path / "rows.parquet"
    rows = [{**GOOD, "question": "x" * 50_000_000, "sample_id": "bad"}, GOOD]
    pq.write_table(pa.Table.from_pylist(rows), path, compression="zstd")
    assert path.stat().st_size < 50_000
    with pytest.raises(DataError, match="row 1: question: got 50000000 characters, wanted at most 1048576"):
        read_dataset(path)


def test_altered_parquet_files_are_read_or_refused_and_never_crash(tmp_path: Path):
    sample = Sample(
        sample_id="", task="vqa", question="Which? " * 5, answer="x", media=(Media(kind="video", path="a"),)
    )
    whole, path = tmp_path / "whole.parquet", tmp_path / "rows.parquet"
    write_parquet([replace(sample, sample_id=str(number)) for number in range(20)], whole)
    original, dice, refused = whole.read_bytes(), random.Random(0), 0
    for _ in range(400):
        content = bytearray(original)
        for _ in range(dice.choice((1, 2, 4, 20))):
            content[dice.randrange(len(content))] = dice.randrange(256)
        if dice.random() < 0.2:
            content = content[: dice.randrange(len(content))] + content[-dice.randrange(1, 200) :]
        path.write_bytes(content)
        try:
            read_dataset(path, bad_rows="skip")
        except DataError:
            refused += 1
    assert 50 < refused < 400
