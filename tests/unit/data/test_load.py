"""What a run takes from a file: rows by task, kind of media and what their task can be asked of, all accounted for."""

from dataclasses import replace
from pathlib import Path

import pytest

from vrl.config import DataConfig
from vrl.data.dataset import write_parquet
from vrl.data.load import load_samples
from vrl.errors import ConfigError, DataError
from vrl.types import Media, Sample

CLIP, IMAGE = Media(kind="video", path="a.mp4"), Media(kind="image", path="a.png")
QA = Sample(sample_id="clip", task="vqa", question="?", answer="red", media=(CLIP,), spans=((1.0, 2.0),))
SAMPLES = [
    QA,
    replace(QA, sample_id="image", media=(IMAGE,), spans=()),
    replace(QA, sample_id="both", media=(IMAGE, CLIP), spans=()),
    replace(QA, sample_id="text", media=(), spans=()),
    replace(QA, sample_id="event", task="grounding", answer="", answer_type="span"),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_parquet(SAMPLES, tmp_path / "train.parquet")
    return tmp_path / "train.parquet"


def ids(path: Path, **keys) -> tuple[list[str], dict[str, int]]:
    loaded = load_samples(path, DataConfig(train=str(path), **keys))
    account = loaded.account()
    assert account["rows"] == len(loaded.reading.kept) + sum(account["bad_rows"].values())
    if not keys.get("expand"):
        assert len(loaded.reading.kept) == account["samples"] + sum(account["left_out"].values())
    return [sample.sample_id for sample in loaded.samples], account["left_out"]


def test_all_rows_by_default(path):
    assert ids(path) == (["clip", "image", "both", "text", "event"], {})


def test_tasks_and_kinds_of_media_choose_rows(path):
    assert ids(path, tasks=["grounding"]) == (["event"], {"not of data.tasks": 4})
    assert ids(path, media=["video"]) == (["clip", "text", "event"], {"not of data.media": 2})
    assert ids(path, media=["image"]) == (["image", "text"], {"not of data.media": 3})
    assert ids(path, media=["video", "image"], tasks=["vqa"]) == (
        ["clip", "image", "both", "text"],
        {"not of data.tasks": 1},
    )
    with pytest.raises(DataError, match=r"got no samples .*left out: {'not of data.tasks': 5}.*\['grounding', 'vqa'\]"):
        ids(path, tasks=["none"])


def test_a_clip_task_is_not_asked_of_images(path):
    kept, left_out = ids(path, expand={"vqa": ["think_keyframes", "think"]}, tasks=["vqa"])
    asked = [name for name in kept if name.endswith("keyframes")]
    assert asked == ["clip#think_keyframes", "both#think_keyframes"] and len(kept) == 6
    assert left_out == {"not of data.tasks": 1, "task think_keyframes cannot be asked of images alone": 2}


def test_a_copy_without_the_truth_of_its_task_is_refused_or_counted(path):
    with pytest.raises(DataError, match=r"sample both#grounding: got no spans\n1 of 3 samples lack .*bad_rows=skip"):
        ids(path, expand={"vqa": ["grounding"]})
    kept, left_out = ids(path, expand={"vqa": ["grounding"]}, bad_rows="skip")
    assert kept == ["clip#grounding", "event"]
    assert left_out == {"task grounding cannot be asked of images alone": 2, "task grounding without its truth": 1}


def test_an_unknown_task_is_refused(path):
    with pytest.raises(ConfigError, match="grouding"):
        ids(path, expand={"vqa": ["grouding"]})


def test_bad_rows_are_refused_with_what_to_set_or_skipped(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"sample_id": "a", "task": "vqa", "question": "?", "answer": "x"}\n{"sample_id": "b"}\n')
    with pytest.raises(DataError, match=r"1 of 2 rows are bad; data\.bad_rows=skip leaves them out"):
        ids(path)
    loaded = load_samples(path, DataConfig(train=str(path), bad_rows="skip"))
    assert loaded.summary() == "2 rows read, 1 kept, 1 skipped (task 1): 1 samples"
    assert loaded.account() == {"rows": 2, "bad_rows": {"task": 1}, "left_out": {}, "samples": 1}


def test_rows_with_several_spans_can_be_left_out(tmp_path):
    several = replace(QA, sample_id="two", spans=((1.0, 2.0), (3.0, 4.0)))
    write_parquet([*SAMPLES, several], tmp_path / "train.parquet")
    kept, left_out = ids(tmp_path / "train.parquet", single_span=True)
    assert kept == ["clip", "image", "both", "text", "event"] and left_out == {"more than one span": 1}


def test_copies_of_a_question_have_its_options_in_one_order(tmp_path):
    options = tuple(str(number) for number in range(9))
    asked = [replace(QA, sample_id=str(i), answer="A", answer_type="choice", options=options) for i in range(20)]
    write_parquet(asked, tmp_path / "train.parquet")
    config = DataConfig(train="", shuffle_options=True, expand={"vqa": ["vqa", "think"]})
    samples = load_samples(tmp_path / "train.parquet", config, seed=3).samples
    assert [one.options for one in samples[::2]] == [one.options for one in samples[1::2]]
    assert len({one.options for one in samples}) == 20
