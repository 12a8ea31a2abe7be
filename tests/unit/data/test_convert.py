"""Small files of the published layouts, row by row as their projects write them."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vrl.cli import _LAYOUTS, main
from vrl.data.convert import LAYOUTS, convert
from vrl.data.dataset import read_samples
from vrl.data.rows.options import take_apart
from vrl.errors import ConfigError, DataError
from vrl.types import Caption, Media, Sample

VIDEO_R1 = {
    "problem_id": 7,
    "problem": "What is red?",
    "data_type": "video",
    "problem_type": "multiple choice",
    "options": ["A. the ball", "B. the box"],
    "solution": "<answer>B</answer>",
    "path": "./NeXT-QA/x.mp4",
    "data_source": "NeXT-QA",
}
VIDEO_R2 = {
    "video": "charades/x.mp4",
    "conversations": [
        {"from": "human", "value": "<video>\nHow many people?"},
        {"from": "gpt", "value": "<think>At 00:03 I see two.</think><answer>2</answer>"},
    ],
    "temporal_grounding": {"01:02-01:05": "They leave.", "00:03": "Two people."},
}
LLAVA = {
    "id": "x",
    "conversations": [
        {
            "from": "human",
            "value": "<image>\nWhat is it?\nA. a dog.\nB. a cat.\nPlease answer with the option's letter.",
        },
        {"from": "gpt", "value": "B."},
        {"from": "human", "value": "What does it do?"},
        {"from": "gpt", "value": "It sleeps on a chair."},
    ],
    "data_source": "0_30_s_academic_v0_1",
    "video": "academic_source/x.mp4",
}
TIME_R1 = {
    "video": "./dataset/timer1/videos/timerft_data/x.mp4",
    "duration": 45.7,
    "timestamp": [34.9, 41.9],
    "sentence": "the statue of a man",
    "qid": "my|x|the statue of a man",
    "video_start": 39.0,
    "video_end": 84.7,
    "difficulty": 41.0,
    "pred": [37.8, 44.8],
}
VERL = {
    "data_source": "me/clips",
    "prompt": [{"role": "system", "content": "Think."}, {"role": "user", "content": "<video>How long?"}],
    "ability": "video",
    "reward_model": {"style": "rule", "ground_truth": "3.5"},
    "extra_info": {"split": "test", "index": 4},
    "videos": [{"video": "file:///data/clips/x.mp4"}],
}
EASYR1 = {"problem": "<video>Which?\n(A) red\n(B) blue", "answer": "A", "videos": ["x.mp4"]}


def write(path: Path, *rows: Any) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
    else:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text(json.dumps(rows) if path.suffix == ".json" else "\n".join(lines) + "\n")
    return path


def converted(layout: str, source: Path, root: Path | None = None) -> tuple[Sample, ...]:
    out = source.with_name("out.parquet")
    reading = convert(layout, source, out, root=root)
    samples = read_samples(out)
    assert samples == reading.kept and not reading.bad
    return samples


def test_video_r1(tmp_path: Path) -> None:
    image = VIDEO_R1 | {
        "problem_id": 8,
        "data_type": "image",
        "problem_type": "numerical",
        "options": [],
        "solution": "<answer>12</answer>",
        "process": "<think>Ten and two.</think>",
    }
    for name in ("Video-R1-260k.json", "rows.jsonl"):
        first, second = converted("video-r1", write(tmp_path / name, VIDEO_R1, image))
        assert first == Sample(
            sample_id="video-r1-7",
            task="vqa",
            question="What is red?",
            answer="B",
            answer_type="choice",
            media=(Media(kind="video", path="NeXT-QA/x.mp4"),),
            options=("the ball", "the box"),
            source="NeXT-QA",
        )
        assert second.media[0].kind == "image" and second.answer_type == "number" and second.answer == "12"
        assert second.thinking == "Ten and two."


def test_video_r2(tmp_path: Path) -> None:
    (sample,) = converted("video-r2", write(tmp_path / "video-r2-grpo-dataset.json", VIDEO_R2))
    assert (sample.question, sample.answer, sample.answer_type) == ("How many people?", "2", "number")
    assert sample.thinking == "At 00:03 I see two."
    assert sample.reply == VIDEO_R2["conversations"][1]["value"]
    assert sample.captions == (
        Caption(start_s=3.0, end_s=3.0, text="Two people."),
        Caption(start_s=62.0, end_s=65.0, text="They leave."),
    )


@pytest.mark.parametrize(
    ("when", "span_s"),
    [
        ("0:05 to 0:09", (5, 9)),
        ("00:05\u201300:09", (5, 9)),
        ("00:05 \u2014 00:09", (5, 9)),
        ("5-9", (5, 9)),
        ("00:09-00:05", (5, 9)),
        ("12", (12, 12)),
        ("01:02:03", (3723, 3723)),
        ("00:03.6 TO 00:05,", (4, 5)),
        ("0:05 onwards", None),
        ("0:05-end", None),
        ("0:05+", (5, 5)),
        ("1:2:3:4", None),
        ("1-2-3", None),
        ("nan", None),
        ("-0:05", None),
        ("soon", None),
    ],
)
def test_times_of_video_r2_are_read_as_its_sanitiser_does(tmp_path: Path, when: str, span_s: tuple | None) -> None:
    row = VIDEO_R2 | {"temporal_grounding": {when: "x", "02:00:00": "last"}}
    source = write(tmp_path / "rows.json", row)
    reading = convert("video-r2", source, tmp_path / "out.parquet")
    found = [(caption.start_s, caption.end_s) for caption in reading.kept[0].captions]
    assert found == ([span_s] if span_s else []) + [(7200, 7200)]
    assert sum(reading.notes.values()) == (span_s is None)


def test_two_questions_of_video_r2_about_one_clip_have_ids_of_their_own(tmp_path: Path) -> None:
    row = VIDEO_R2 | {"id": "clip"}
    first, second = converted("video-r2", write(tmp_path / "rows.json", row, row))
    assert first.sample_id != second.sample_id


VIDEOREASONER = {
    "problem_id": 3,
    "path": "./nextqa/x.mp4",
    "problem": "why does he jump",
    "data_type": "video",
    "problem_type": "qa",
    "options": ["A. joy", "B. fear"],
    "solution": "<answer>B</answer>",
    "times": [2.0, 8.0],
    "points": [0.2, 0.8],
    "duration": 10.0,
}


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({}, {"task": "vqa", "answer": "B", "answer_type": "choice", "options": ("joy", "fear"), "spans": ((2, 8),)}),
        ({"problem_type": "grounding"}, {"task": "grounding", "answer": "", "spans": ((2, 8),)}),
        ({"problem_type": "grounding", "times": None}, {"task": "grounding", "spans": ((2, 8),)}),
        (
            {"problem_type": "other", "response": "I want to output the key elements: a red car, a dog,"},
            {"task": "key_elements", "key_elements": ("a red car", "a dog"), "answer_type": "elements"},
        ),
        (
            {"problem_type": "x", "solution": None, "response": "The answer is: B. fear"},
            {"task": "vqa", "answer": "B", "answer_type": "choice", "reply": "B. fear"},
        ),
    ],
)
def test_videoreasoner(tmp_path: Path, change: dict, wanted: dict) -> None:
    (sample,) = converted("videoreasoner", write(tmp_path / "rows.json", VIDEOREASONER | change))
    assert {name: getattr(sample, name) for name in wanted} == wanted
    assert sample.media == (Media(kind="video", path="nextqa/x.mp4"),)


def test_tvgbench(tmp_path: Path) -> None:
    row = {"path": "./videos/KWZSA.mp4", "question": "a person was sitting", "answer": "13.4-28.1", "duration": 30.12}
    moment = row | {"answer": "2.98-2.98"}
    first, second = converted("time-r1", write(tmp_path / "tvgbench.json", row, moment))
    assert first.spans == ((13.4, 28.1),) and second.spans == ((2.98, 2.98),)
    assert first.question == "When does this happen in the video: a person was sitting"


def test_nextgqa_takes_the_first_of_equal_options_and_starts_at_the_clip(tmp_path: Path) -> None:
    table = "video_id,question,answer,qid,type,a0,a1,a2,a3,a4\n1,why,red,0,CW,blue,red,red,x,y\n"
    (tmp_path / "val.csv").write_text(table)
    (tmp_path / "gsub_val.json").write_text(json.dumps({"1": {"location": {"0": [[-0.2, 3.0]]}}}))
    reading = convert("next-gqa", tmp_path / "val.csv", tmp_path / "out.parquet")
    assert reading.kept[0].answer == "B" and reading.kept[0].spans == ((0.0, 3.0),)
    assert reading.summary() == "1 rows read, 1 kept, 0 skipped; 1 spans that began before their clip"


def test_bad_rows_are_skipped_when_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "rows.txt", "A 1 2##x.", "B 3 2##y.", "", "C 2 2##z.", "D 4.5 5##w.")
    out = tmp_path / "out.parquet"
    assert main(["data", "convert", "--from", "charades-sta", str(source), str(out)]) == 2
    assert not out.exists() and "2 of 4 rows are bad; --skip-bad leaves them out" in capsys.readouterr().err
    assert main(["data", "convert", "--from", "charades-sta", "--skip-bad", str(source), str(out)]) == 0
    captured = capsys.readouterr()
    assert "2 samples; 4 rows read, 2 kept, 2 skipped (line 2)" in captured.out
    assert "rows.txt row 2: line: got" in captured.err and "rows.txt row 4: line: got" in captured.err
    assert [sample.sample_id for sample in read_samples(out)] == ["rows-1", "rows-5"]


def test_llava_video(tmp_path: Path) -> None:
    first, second = converted("llava-video", write(tmp_path / "mc.json", LLAVA))
    assert (first.question, first.answer, first.options) == ("What is it?", "B", ("a dog.", "a cat."))
    assert (second.question, second.answer, second.answer_type) == ("What does it do?", "It sleeps on a chair.", "free")
    assert first.media == second.media == (Media(kind="video", path="academic_source/x.mp4"),)
    assert first.source == "0_30_s_academic_v0_1"


def test_charades_sta(tmp_path: Path) -> None:
    lines = ("3MSZA 24.3 30.4##person turn a light on.", "0A8CF 0.0 7.1##a person is putting a book on a shelf.")
    first, second = converted("charades-sta", write(tmp_path / "charades_sta_train.txt", *lines))
    assert first.spans == ((24.3, 30.4),) and first.task == "grounding"
    assert first.question == "When does this happen in the video: person turn a light on."
    assert (second.sample_id, second.media[0].path) == ("charades_sta_train-2", "0A8CF.mp4")


def test_next_gqa(tmp_path: Path) -> None:
    header = "video_id,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4"
    rows = (
        '42,2697,640,480,"why, then",unwrap it,1,CW,share,approach,unwrap it,playing,gesture',
        "43,2697,640,480,how,talk,0,CH,talk,b,c,d,e",
    )
    source = write(tmp_path / "val.csv", header, *rows)
    spans = {"42": {"duration": 34, "location": {"1": [[1.2, 5.8], [12, 17.1]]}, "fps": 29.97}}
    with pytest.raises(DataError, match=r"wanted gsub_val\.json next to"):
        converted("next-gqa", source)
    (tmp_path / "gsub_val.json").write_text(json.dumps(spans))
    first, second = converted("next-gqa", source)
    assert (first.question, first.answer, first.answer_type) == ("why, then", "C", "choice")
    assert first.spans == ((1.2, 5.8), (12.0, 17.1)) and second.spans == ()
    assert first.media[0].path == "42.mp4"
    (tmp_path / "map_vid_vidorID.json").write_text(json.dumps({"42": "1164/42"}))
    assert [sample.media[0].path for sample in converted("next-gqa", source)] == ["1164/42.mp4", "43.mp4"]


def test_time_r1(tmp_path: Path) -> None:
    (sample,) = converted("time-r1", write(tmp_path / "train_2k5.json", TIME_R1))
    assert sample.spans == ((34.9, 41.9),) and sample.answer_type == "span"
    assert sample.media[0].path == "dataset/timer1/videos/timerft_data/x.mp4"


def test_verl(tmp_path: Path) -> None:
    (sample,) = converted("verl", write(tmp_path / "test.parquet", VERL), Path("/data"))
    assert (sample.sample_id, sample.question) == ("me/clips-test-4", "How long?")
    assert (sample.answer, sample.answer_type) == ("3.5", "number")
    assert sample.media == (Media(kind="video", path="clips/x.mp4"),)
    embedded = VERL | {"videos": None, "images": [{"bytes": b"png", "path": None}]}
    with pytest.raises(DataError, match=r"row 1: images: .*wanted a path"):
        converted("verl", write(tmp_path / "bytes.parquet", embedded))


def test_easyr1(tmp_path: Path) -> None:
    image = {"prompt": "<image>What is written?", "answer": "STOP", "images": ["a/b.png"]}
    first, second = converted("easyr1", write(tmp_path / "train.jsonl", EASYR1, image))
    assert (first.question, first.options, first.answer) == ("Which?", ("red", "blue"), "A")
    assert (second.question, second.answer, second.media[0].kind) == ("What is written?", "STOP", "image")


def test_our_own_rows_get_the_schema_and_its_version(tmp_path: Path) -> None:
    row: dict[str, Any] = {"sample_id": "a", "task": "vqa", "question": "?", "answer": "x"}
    (sample,) = converted("jsonl", write(tmp_path / "rows.jsonl", row))
    assert sample == Sample(**row)
    assert pq.read_schema(tmp_path / "out.parquet").metadata[b"vrl_schema_version"] == b"1"


@pytest.mark.parametrize(
    ("layout", "row", "message"),
    [
        ("video-r1", VIDEO_R1 | {"problem_type": "essay"}, "row 2: problem_type: got 'essay', wanted one of"),
        ("video-r1", VIDEO_R1 | {"solution": "B"}, "row 2: solution: got 'B', wanted <answer>"),
        ("video-r1", VIDEO_R1 | {"path": "/abs/x.mp4"}, "row 2: path: got '/abs/x.mp4', wanted a relative path"),
        ("video-r1", VIDEO_R1 | {"path": "http://x/y.mp4"}, "row 2: path: got 'http"),
        ("video-r1", VIDEO_R1 | {"solution": "<answer>C</answer>"}, "row 2: answer: got 'C', wanted the letter"),
        ("video-r1", VIDEO_R1 | {"problem": None}, "row 2: problem: got nothing, wanted text"),
        ("video-r1", VIDEO_R1 | {"options": "A. x"}, "row 2: options: got 'A. x', wanted a list"),
        ("video-r2", VIDEO_R2 | {"temporal_grounding": {"soon": 3}}, "row 2: temporal_grounding: got {'soon'"),
        ("video-r2", VIDEO_R2 | {"conversations": LLAVA["conversations"]}, "row 2: conversations: got '2 pairs"),
        (
            "llava-video",
            LLAVA | {"conversations": [{"from": "gpt", "value": "x"}]},
            "row 2: conversations: got ['gp",
        ),
        ("llava-video", LLAVA | {"video": None}, "row 2: video: got nothing, wanted a path"),
        ("time-r1", TIME_R1 | {"timestamp": [3.0]}, "row 2: timestamp: got [3.0], wanted [start, end]"),
        ("time-r1", TIME_R1 | {"timestamp": [9.0, 3.0]}, "row 2: timestamp: got [9.0, 3.0], wanted [start, end]"),
        ("easyr1", EASYR1 | {"answer": ""}, "row 2: answer: got nothing, wanted text"),
        ("verl", VERL | {"prompt": []}, "row 2: prompt: got []"),
    ],
)
def test_a_wrong_row_is_named_with_its_column(tmp_path: Path, layout: str, row: dict, message: str) -> None:
    good = {"video-r1": VIDEO_R1, "video-r2": VIDEO_R2, "llava-video": LLAVA, "time-r1": TIME_R1, "verl": VERL}
    source = write(tmp_path / "rows.jsonl", good.get(layout, EASYR1), {**row, "problem_id": 99})
    with pytest.raises(DataError) as caught:
        converted(layout, source, Path("/data"))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2 and not (tmp_path / "out.parquet").exists()


def test_all_faults_are_listed_and_ids_must_be_unique(tmp_path: Path) -> None:
    lines = ["no such form"] * 50
    with pytest.raises(DataError) as caught:
        converted("charades-sta", write(tmp_path / "x.txt", *lines))
    assert len(str(caught.value).splitlines()) == 51
    with pytest.raises(DataError, match="row 2: sample_id: got 'video-r1-7', wanted unique ids: row 1 has it too"):
        converted("video-r1", write(tmp_path / "twice.jsonl", VIDEO_R1, VIDEO_R1))


def test_files_that_hold_no_rows_are_refused(tmp_path: Path) -> None:
    for name, text, message in (
        ("a.json", "3", "got int, wanted an array"),
        ("b.json", "[", "not JSON"),
        ("c.json", "[]", "got no rows"),
        ("d.json", "[3]", "row 1: got int, wanted an object"),
        ("e.xml", "", "got suffix '.xml'"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=message.replace(".", r"\.")):
            converted("video-r1", tmp_path / name)
    with pytest.raises(DataError, match="no such file"):
        converted("video-r1", tmp_path / "gone.json")
    with pytest.raises(ConfigError, match=r"ends in \.parquet"):
        convert("video-r1", tmp_path / "a.json", tmp_path / "out.jsonl")
    assert len(LAYOUTS) == 10


@pytest.mark.parametrize(
    ("question", "answer", "wanted"),
    [
        ("Why?\nA) x\nB) y", "B", ("Why?", ("x", "y"), "B", "choice")),
        ("Why?\nA. x\nB. y\nAnswer with a letter.", "A. x", ("Why?", ("x", "y"), "A", "choice")),
        ("Why?\nA. x\nB. y", "Because.", ("Why?\nA. x\nB. y", (), "Because.", "free")),
        ("A. Smith asks: why?", "-1,000", ("A. Smith asks: why?", (), "-1,000", "number")),
        ("Why?\nB. y\nC. z", "B", ("Why?\nB. y\nC. z", (), "B", "free")),
    ],
)
def test_options_are_read_out_of_a_question(question: str, answer: str, wanted: tuple) -> None:
    asked = take_apart(question, answer)
    assert (asked.question, asked.options, asked.answer, asked.answer_type) == wanted


def test_the_command_converts_and_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = write(tmp_path / "train.jsonl", EASYR1), tmp_path / "out.parquet"
    assert main(["data", "convert", "--from", "easyr1", str(source), str(out)]) == 0
    assert "1 samples" in capsys.readouterr().out and len(read_samples(out)) == 1
    assert main(["data", "convert", "--from", "verl", str(source), str(out)]) == 2
    assert "row 1: extra_info" in capsys.readouterr().err.replace("\n", " ")
    assert tuple(LAYOUTS) == _LAYOUTS
