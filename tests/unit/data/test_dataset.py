import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vrl.config import DataConfig
from vrl.data.dataset import SCHEMA, check_media, media_root, read_dataset, read_samples, resolve_media, write_parquet
from vrl.errors import ConfigError, DataError
from vrl.types import Caption, Media, Sample

FULL = Sample(
    sample_id="a",
    task="vqa",
    question="What colour?",
    answer="B",
    answer_type="choice",
    media=(Media(kind="video", path="a.mp4", start_s=1.5, end_s=3.0), Media(kind="image", path="b.png")),
    options=("red", "blue"),
    spans=((0.5, 1.25), (2.0, 3.0)),
    captions=(Caption(start_s=0.0, end_s=1.0, text="A square appears."),),
    key_elements=("square",),
    source="made up",
)
ROW: dict[str, Any] = {"sample_id": "a", "task": "vqa", "question": "What colour?", "answer": "red"}


def jsonl(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def problems(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_samples(path)
    return str(caught.value)


def test_every_field_survives_parquet(tmp_path: Path) -> None:
    plain = Sample(sample_id="b", task="grounding", question="When?", answer_type="span", spans=((0.0, 1.0),))
    write_parquet([FULL, plain], tmp_path / "x.parquet")
    assert read_samples(tmp_path / "x.parquet") == (FULL, plain)


def test_replies_have_a_column_only_where_there_are_some(tmp_path: Path) -> None:
    told = replace(FULL, sample_id="c", reply="It is <answer>B</answer>.")
    write_parquet([FULL, told], tmp_path / "x.parquet")
    assert read_samples(tmp_path / "x.parquet") == (FULL, told)
    write_parquet([FULL], tmp_path / "y.parquet")
    assert "reply" not in pq.read_schema(tmp_path / "y.parquet").names


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    write_parquet([FULL], tmp_path / "x.parquet")
    write_parquet([FULL], tmp_path / "y.parquet")
    assert (tmp_path / "x.parquet").read_bytes() == (tmp_path / "y.parquet").read_bytes()


def test_jsonl_may_leave_out_what_has_a_default(tmp_path: Path) -> None:
    (sample,) = read_samples(jsonl(tmp_path, {**ROW, "media": [{"kind": "video", "path": "v.mp4"}]}))
    assert sample == Sample(
        sample_id="a",
        task="vqa",
        question="What colour?",
        answer="red",
        media=(Media(kind="video", path="v.mp4", start_s=0.0, end_s=None),),
    )


def test_tasks_filter_rows(tmp_path: Path) -> None:
    path = jsonl(tmp_path, ROW, {**ROW, "sample_id": "b", "task": "other"})
    assert [sample.sample_id for sample in read_samples(path, ["other"])] == ["b"]
    assert len(read_samples(path)) == 2


def test_rows_may_be_read_under_another_task(tmp_path: Path) -> None:
    row = {name: value for name, value in ROW.items() if name != "task"}
    assert read_dataset(jsonl(tmp_path, row), task="think").kept[0].task == "think"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, "row 1: colour: unknown column"),
        ({"question": 3}, "row 1: question: got int, wanted text"),
        ({"answer": None}, "row 1: answer: got null, wanted text"),
        ({"options": "red"}, "row 1: options: got str, wanted a list"),
        ({"options": ["red", 1]}, "row 1: options[1]: got int, wanted text"),
        ({"media": [{"kind": "video"}]}, "row 1: media[0].path: missing"),
        ({"media": [{"kind": "video", "path": "a", "fps": 2}]}, "row 1: media[0].fps: unknown column"),
        ({"media": [{"kind": "audio", "path": "a"}]}, "row 1: media[0].kind: got 'audio'"),
        ({"media": [{"kind": "video", "path": "a", "start_s": 2, "end_s": 1}]}, "media[0].end_s: got 1.0"),
        ({"spans": [[1.0]]}, "row 1: spans[0]: got [1.0], wanted [start, end]"),
        ({"spans": [[2.0, 1.0]]}, "row 1: spans[0]: got [2.0, 1.0], wanted start <= end"),
        ({"spans": [[-1.0, 1.0]]}, "row 1: spans[0][0]: got -1.0, wanted seconds"),
        ({"spans": [[0.0, float("nan")]]}, "row 1: spans[0][1]: got nan, wanted seconds"),
        ({"captions": [{"start_s": 0, "end_s": 1}]}, "row 1: captions[0].text: missing"),
        ({"answer_type": "letter"}, "row 1: answer_type: got 'letter'"),
        ({"answer_type": "choice", "options": ["x", "y"], "answer": "C"}, "wanted the letter of one of the 2 options"),
        ({"answer_type": "number", "answer": "two"}, "row 1: answer: got 'two', wanted a number"),
        ({"answer_type": "span"}, "row 1: spans: got none"),
        ({"answer_type": "elements"}, "row 1: key_elements: got none"),
        ({"answer": " "}, "row 1: answer: got nothing"),
        ({"sample_id": ""}, "row 1: sample_id: got nothing"),
    ],
)
def test_a_wrong_row_is_refused_with_row_and_column(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    text = problems(jsonl(tmp_path, {**ROW, **change}))
    assert message in text
    assert text.splitlines()[1:] == ["1 of 1 rows are bad"]  # one fault, one line


def test_all_faults_of_a_file_are_listed(tmp_path: Path) -> None:
    text = problems(jsonl(tmp_path, ROW, {"task": "vqa", "question": 3}, {**ROW, "sample_id": "b", "answer": 1}))
    assert "row 2: sample_id: missing column" in text and "row 2: question: got int" in text
    assert "row 3: answer: got int" in text
    many = problems(jsonl(tmp_path, *[{**ROW, "sample_id": str(i), "answer": i} for i in range(100)]))
    assert len(many.splitlines()) == 101 and "row 100:" in many and many.endswith("100 of 100 rows are bad")


def test_an_id_seen_twice_is_refused(tmp_path: Path) -> None:
    text = problems(jsonl(tmp_path, ROW, {**ROW, "sample_id": "b"}, ROW))
    assert "row 3: sample_id: got 'a', wanted unique ids: row 1 has it too" in text


def test_bad_rows_are_skipped_and_counted(tmp_path: Path) -> None:
    rows = [ROW, {**ROW, "sample_id": "b", "answer": 1}, ROW, {**ROW, "sample_id": "c", "spans": [[2, 1]]}]
    path = jsonl(tmp_path, *rows, {**ROW, "sample_id": "d"})
    with path.open("a") as file:
        file.write("{torn\n\n")
    reading = read_dataset(path, bad_rows="skip")
    assert [sample.sample_id for sample in reading.kept] == ["a", "d"]
    assert reading.num_rows == len(reading.kept) + len(reading.bad) == 6
    assert reading.reasons == {"answer": 1, "sample_id": 1, "spans": 1, "row": 1}
    assert reading.summary() == "6 rows read, 2 kept, 4 skipped (answer 1, sample_id 1, spans 1, row 1)"
    with pytest.raises(DataError, match="4 of 6 rows are bad; set the key"):
        read_dataset(path, how_to_skip="set the key")


def test_nothing_kept_is_an_error_under_any_policy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"got no rows to keep \(1 rows read, 0 kept, 1 skipped \(answer 1\)\)"):
        read_dataset(jsonl(tmp_path, {**ROW, "answer": 1}), bad_rows="skip")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({}, None),
        ({"answer": "", "answer_type": "choice", "options": ["x", "y"]}, None),
        ({"answer": "", "answer_type": "number"}, None),
        ({"answer": "", "answer_type": "span"}, None),
        ({"answer": "C", "answer_type": "choice", "options": ["x", "y"]}, "wanted the letter of one of the 2 options"),
        ({"answer": "", "question": ""}, "question: got nothing"),
    ],
)
def test_questions_without_answers_can_be_asked(tmp_path: Path, change: dict[str, Any], fault: str | None) -> None:
    path = jsonl(tmp_path, {**ROW, **change})
    if fault:
        with pytest.raises(DataError, match=fault):
            read_dataset(path, answered=False)
    else:
        assert len(read_dataset(path, answered=False).kept) == 1


@pytest.mark.parametrize("answer", ["3,5", "1.000.5", "1e5", "12 cm", "five", "", "0x10", "inf", "1" * 70])
def test_a_number_that_no_completion_can_match_is_refused(tmp_path: Path, answer: str) -> None:
    assert "row 1: answer: got" in problems(jsonl(tmp_path, {**ROW, "answer_type": "number", "answer": answer}))


@pytest.mark.parametrize("answer", ["3", "3.5", "-2", "1,000", "+1,234,567.5", ".5", "3."])
def test_numbers_that_completions_write_are_kept(tmp_path: Path, answer: str) -> None:
    assert read_samples(jsonl(tmp_path, {**ROW, "answer_type": "number", "answer": answer}))[0].answer == answer


def test_more_options_than_letters_are_refused(tmp_path: Path) -> None:
    row = {**ROW, "answer_type": "choice", "answer": "A", "options": [str(i) for i in range(27)]}
    assert "options: got 27, wanted at most 26" in problems(jsonl(tmp_path, row))


def test_a_caption_may_be_of_one_moment(tmp_path: Path) -> None:
    (sample,) = read_samples(jsonl(tmp_path, {**ROW, "captions": [{"start_s": 3, "end_s": 3, "text": "Red."}]}))
    assert sample.captions == (Caption(start_s=3.0, end_s=3.0, text="Red."),)


def test_files_that_are_no_dataset_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "torn.jsonl").write_text('{"sample_id": ')
    (tmp_path / "list.jsonl").write_text("[1]\n")
    (tmp_path / "text.parquet").write_text("hello")
    (tmp_path / "x.csv").write_text("a")
    pq.write_table(SCHEMA.empty_table(), tmp_path / "none.parquet")
    pq.write_table(
        pa.table({"sample_id": ["a"]}).replace_schema_metadata({"vrl_schema_version": "7"}), tmp_path / "v7.parquet"
    )
    for name, message in {
        "nowhere.jsonl": "no such file",
        "empty.jsonl": "got no rows",
        "torn.jsonl": "row 1: not JSON",
        "list.jsonl": "row 1: got int",
        "text.parquet": "not a parquet file",
        "x.csv": "got suffix '.csv'",
        "none.parquet": "got no rows",
        "v7.parquet": "got schema version 7, wanted 1",
    }.items():
        assert message in problems(tmp_path / name)


def test_media_must_be_files_under_the_root(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "sub" / "a.mp4").write_bytes(b"x")
    (root / "empty.mp4").write_bytes(b"")
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "inside.mp4").symlink_to(root / "sub" / "a.mp4")
    paths = ["sub/a.mp4", "inside.mp4", "gone.mp4", "../secret.mp4", "link.mp4", "/etc/passwd", "http://x/a.mp4"]
    paths += ["empty.mp4", "sub", "a\0b"]
    samples = [
        Sample(sample_id=str(i), task="vqa", question="?", media=(Media(kind="video", path=path),))
        for i, path in enumerate(paths)
    ]
    assert resolve_media(root, "inside.mp4") == (root / "sub" / "a.mp4").resolve()
    assert [problem.split(":")[0] for problem in check_media(samples, root)] == [f"sample {i}" for i in range(2, 10)]


def test_no_way_leads_out_of_the_root(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    root.mkdir()
    (outside / "a.mp4").write_bytes(b"x")
    (root / "a.mp4").write_bytes(b"x")
    (root / "folder").symlink_to(outside)
    (root / "chain").symlink_to(root / "folder" / "a.mp4")
    (root / "round").symlink_to(root / "round")
    (tmp_path / "rooted").symlink_to(root)
    ways = ["folder/a.mp4", "chain", "folder/../root/../outside/a.mp4", "sub/../../outside/a.mp4", "round"]
    ways += [
        "file:a.mp4",
        "concat:a.mp4|a.mp4",
        "file:///etc/hostname",
        "rtsp://host/a.mp4",
        "/dev/zero",
        "~/a.mp4",
        "a" * 5000,
    ]
    for way in ways:
        with pytest.raises(DataError) as caught:
            resolve_media(root, way)
        assert caught.value.reason in ("path", "missing"), way
    assert resolve_media(tmp_path / "rooted", "a.mp4") == root / "a.mp4"


def test_media_root_is_the_datasets_folder_unless_set(tmp_path: Path) -> None:
    assert media_root(DataConfig(train="toy/train.parquet", val="toy/val.parquet")) == Path("toy")
    assert media_root(DataConfig(train="a/t.parquet", val="b/v.parquet", root="clips")) == Path("clips")
    with pytest.raises(ConfigError, match=r"data\.root"):
        media_root(DataConfig(train="a/t.parquet", val="b/v.parquet"))
