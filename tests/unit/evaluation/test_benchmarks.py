"""Every benchmark from small files of the layout that its authors publish."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vrl.data.dataset import write_parquet
from vrl.errors import DataError
from vrl.evaluation.benchmarks import BENCHMARKS
from vrl.evaluation.benchmarks.mlvu import TASKS as MLVU_TASKS
from vrl.evaluation.benchmarks.mvbench import FOLDERS
from vrl.evaluation.config import BootstrapConfig, EvalConfig
from vrl.evaluation.item import Item
from vrl.evaluation.metrics import summarise
from vrl.evaluation.read import read_items, unasked
from vrl.evaluation.score import score_items, score_name
from vrl.inference.answer import Answer
from vrl.inference.predictions import Prediction
from vrl.types import Media, Sample


def read(name: str, path: Path, bad_rows: str = "fail") -> dict[str, Item]:
    benchmark = BENCHMARKS[name]
    items = read_items(benchmark, path, path / benchmark.media, bad_rows).kept
    assert len({item.sample.sample_id for item in items}) == len(items)
    return {item.sample.sample_id: item for item in items}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def write_rows(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


def lines(rows: list[dict]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def is_choice(item: Item, question: str, options: tuple[str, ...], answer: str, video: str) -> bool:
    sample = item.sample
    return (
        (sample.question, sample.options, sample.answer, sample.answer_type, sample.task)
        == (question, options, answer, "choice", "vqa")
    ) and [media.path for media in sample.media] == [video]


VIDEOMME = {
    "video_id": "001",
    "duration": "short",
    "domain": "Knowledge",
    "sub_category": "Humanity & History",
    "url": "https://www.youtube.com/watch?v=fFjv93ACGo8",
    "videoID": "fFjv93ACGo8",
    "question_id": "001-1",
    "task_type": "Counting Problem",
    "question": "How many?",
    "options": ["A. Apples.", "B. Candles.", "C. Berries.", "D. All equal."],
    "answer": "C",
}


def test_videomme(tmp_path):
    later = VIDEOMME | {"question_id": "001-2", "duration": "long", "answer": "A"}
    write_rows(tmp_path / "videomme" / "test-00000-of-00001.parquet", [VIDEOMME, later])
    items = read("videomme", tmp_path)
    options = ("Apples.", "Candles.", "Berries.", "All equal.")
    assert is_choice(items["001-1"], "How many?", options, "C", "fFjv93ACGo8.mp4")
    assert items["001-2"].groups["duration"] == ("long",)
    assert items["001-1"].groups["task_type"] == ("Counting Problem",)


def test_a_column_that_is_missing_is_named(tmp_path):
    row = {key: value for key, value in VIDEOMME.items() if key != "task_type"}
    write_rows(tmp_path / "videomme" / "test-00000-of-00001.parquet", [row])
    with pytest.raises(DataError, match=r"row 1: task_type: missing, got the columns \['question_id'"):
        read("videomme", tmp_path)
    with pytest.raises(DataError, match="no such file"):
        read("videomme", tmp_path / "nowhere")


def test_mlvu(tmp_path):
    row = {
        "video": "movie101_66.mp4",
        "duration": 480.0,
        "question": "What color?",
        "candidates": ["Yellow", "Red", "Green", "Blue"],
        "answer": "Red",
        "question_type": "plotQA",
    }
    for task in MLVU_TASKS:
        write(tmp_path / "json" / f"{task}.json", [row | {"question_type": task[2:]}])
    items = read("mlvu", tmp_path)
    assert len(items) == 7
    options = ("Yellow", "Red", "Green", "Blue")
    assert is_choice(items["2_needle-0"], "What color?", options, "B", "2_needle/movie101_66.mp4")
    assert items["4_count-0"].groups == {"task": ("count",)}
    assert BENCHMARKS["mlvu"].overall == ("task",)
    write(tmp_path / "json" / "3_ego.json", [row | {"answer": "Pink"}])
    with pytest.raises(DataError, match=r"3_ego\.json row 1: answer: got 'Pink'"):
        read("mlvu", tmp_path)


def test_rows_of_mlvu_that_cannot_be_asked_are_named_and_counted(tmp_path):
    good = {"video": "a.mp4", "question": "Q?", "candidates": ["x", "y"], "answer": "y", "question_type": "ego"}
    rows = [
        good | {"candidates": ["y", "x", "y"]},  # the first equal one counts
        good | {"candidates": ["x", "x", "y"]},  # equal wrong ones are asked as they are
        good | {"candidates": ["x", ""], "answer": ""},  # and so is a blank one
        good | {"answer": "z"},
        good | {"question": "", "candidates": ["", ""], "answer": ""},
        good | {"question_type": None},
    ]
    for task in MLVU_TASKS:
        write(tmp_path / "json" / f"{task}.json", rows if task == "3_ego" else [good])
    benchmark = BENCHMARKS["mlvu"]
    reading = read_items(benchmark, tmp_path, tmp_path, "exclude")
    answers = {item.sample.sample_id: item.sample.answer for item in reading.kept if "ego" in item.sample.sample_id}
    assert answers == {"3_ego-0": "A", "3_ego-1": "C", "3_ego-2": "B"}
    assert reading.summary() == "12 rows read, 9 kept, 3 skipped (answer 1, question 1, question_type 1)"
    excluded, wrong = (unasked(reading.bad, benchmark, rule) for rule in ("exclude", "wrong"))
    assert [one.score for one in excluded] == [None] * 3 and [one.score for one in wrong] == [0.0] * 3
    assert [one.sample_id for one in wrong] == ["3_ego.json row 4", "3_ego.json row 5", "3_ego.json row 6"]
    assert [one.groups for one in wrong] == [{"task": ("ego",)}, {"task": ("ego",)}, {}]
    assert all(one.failure == "not_askable" and one.message for one in wrong)
    with pytest.raises(DataError, match=r"3 of 12 rows are bad; benchmark\.bad_rows=exclude leaves them out"):
        read("mlvu", tmp_path)


def test_lvbench(tmp_path):
    qa = {
        "uid": "7",
        "question": "What year appears?\n(A) 1636\n(B) 1366\n(C) 1363\n(D) 1633",
        "answer": "D",
        "question_type": ["key information retrieval", "reasoning"],
        "time_reference": "00:15-00:19",
    }
    clip = {"key": "Cm73ma6Ibcs", "type": "cartoon", "qa": [qa, qa | {"uid": "8"}], "video_info": {"fps": 24.0}}
    write(tmp_path / "video_info.meta.jsonl", lines([clip]))
    items = read("lvbench", tmp_path)
    assert is_choice(items["7"], "What year appears?", ("1636", "1366", "1363", "1633"), "D", "Cm73ma6Ibcs.mp4")
    assert items["8"].groups == {"task": ("key information retrieval", "reasoning"), "clip_type": ("cartoon",)}


def test_longvideobench(tmp_path):
    row = {
        "video_id": "86CxyhFV9MI",
        "question": "Which subtitles?",
        "question_wo_referring_query": "Which?",
        "candidates": ["promisc", "run away", "scared", "still", "no"],
        "correct_choice": 1,
        "position": [1, 2],
        "topic_category": "NP",
        "question_category": "TOS",
        "level": "L2-Relation",
        "id": "86CxyhFV9MI_0",
        "video_path": "86CxyhFV9MI.mp4",
        "subtitle_path": "86CxyhFV9MI_en.json",
        "duration_group": 600,
        "starting_timestamp_for_subtitles": 0,
        "duration": 190.16,
        "view_count": 259852,
    }
    write(tmp_path / "lvb_val.json", [row])
    (item,) = read("longvideobench", tmp_path).values()
    options = ("promisc", "run away", "scared", "still", "no")
    assert is_choice(item, "Which subtitles?", options, "B", "86CxyhFV9MI.mp4")
    assert item.groups == {"duration": ("600 s",), "task": ("TOS",)}
    write(tmp_path / "lvb_val.json", [row | {"correct_choice": 5}])
    with pytest.raises(DataError, match="correct_choice: got 5, wanted a whole number from 0 to 4"):
        read("longvideobench", tmp_path)


def test_vsibench(tmp_path):
    counted = {
        "id": 0,
        "dataset": "arkitscenes",
        "scene_name": "41069025",
        "question_type": "object_counting",
        "question": "How many table(s)?",
        "ground_truth": "4",
        "options": None,
        "pruned": False,
    }
    turned = counted | {
        "id": 1,
        "question_type": "object_rel_direction_hard",
        "ground_truth": "B",
        "options": ["A. front-left", "B. back-right"],
    }
    write(tmp_path / "test.jsonl", lines([counted, turned]))
    items = read("vsibench", tmp_path)
    assert is_choice(items["1"], "How many table(s)?", ("front-left", "back-right"), "B", "arkitscenes/41069025.mp4")
    assert (items["0"].sample.answer, items["0"].sample.answer_type) == ("4", "regression")
    assert items["1"].groups == {"task": ("object_rel_direction",), "question_type": ("object_rel_direction_hard",)}
    assert BENCHMARKS["vsibench"].overall == ("task", "question_type")


def test_mmvu(tmp_path):
    row = {
        "id": "validation_0",
        "video": "https://huggingface.co/datasets/yale-nlp/MMVU/resolve/main/videos/Art/0.mp4",
        "youtube_url": "https://www.youtube.com/watch?v=x",
        "question_type": "multiple-choice",
        "metadata": {"subject": "Art", "textbook": "", "rationale": "", "knowledge": []},
        "question": "Which style?",
        "choices": {"A": "Baroque", "B": "Rococo", "C": "Gothic", "D": "Cubism", "E": None},
        "answer": "C",
    }
    opened = row | {"id": "validation_1", "question_type": "open-ended", "choices": {}, "answer": "the golden ratio"}
    write(tmp_path / "validation.json", [row, opened])
    items = read("mmvu", tmp_path)
    assert is_choice(items["validation_0"], "Which style?", ("Baroque", "Rococo", "Gothic", "Cubism"), "C", "Art/0.mp4")
    assert (items["validation_1"].sample.answer, items["validation_1"].sample.answer_type) == (
        "the golden ratio",
        "text",
    )
    assert items["validation_1"].groups == {"question_type": ("open-ended",), "subject": ("Art",)}


def test_videommmu(tmp_path):
    row = {
        "id": "validation_Clinical_Medicine_3",
        "question": "What next?",
        "options": ["A. rest", "B. surgery"],
        "answer": "B",
        "link_selected": "https://www.youtube.com/watch?v=x",
        "question_type": "multiple-choice",
    }
    opened = row | {"id": "test_Math_1", "options": [], "answer": "24", "question_type": "open"}
    for track, rows in (("Perception", [row]), ("Comprehension", [row]), ("Adaptation", [row, opened])):
        write_rows(tmp_path / track / "test-00000-of-00001.parquet", rows)
    items = read("videommmu", tmp_path)
    asked = items["Perception-validation_Clinical_Medicine_3"]
    video = "Medicine/validation_Clinical_Medicine_3.mp4"
    assert is_choice(asked, "What next?", ("rest", "surgery"), "B", video)
    opened_item = items["Adaptation-test_Math_1"]
    assert (opened_item.sample.answer, opened_item.sample.answer_type) == ("24", "text")
    assert opened_item.groups == {"track": ("adaptation",), "discipline": ("Science",)}
    listed = row | {"id": "test_Math_2", "options": [], "answer": ["3", "three"]}
    write_rows(tmp_path / "Adaptation" / "test-00000-of-00001.parquet", [listed])
    assert read("videommmu", tmp_path)["Adaptation-test_Math_2"].sample.answer == "['3', 'three']"
    write_rows(tmp_path / "Perception" / "test-00000-of-00001.parquet", [row | {"id": "validation_Dance_1"}])
    with pytest.raises(DataError, match="id: got 'validation_Dance_1'"):
        read("videommmu", tmp_path)


def test_mvbench(tmp_path):
    row = {"video": "166583.webm", "question": "What is done?", "candidates": ["Not sure", "Up"], "answer": "Up"}
    for task in FOLDERS:
        write(tmp_path / "json" / f"{task}.json", [row])
    write(tmp_path / "json" / "action_sequence.json", [row | {"start": 5.5, "end": 21.8}])
    write(tmp_path / "video" / "nturgbd" / "166583.webm", "clip")
    items = read("mvbench", tmp_path)
    assert len(items) == len(FOLDERS) == 20
    assert is_choice(items["action_antonym-0"], "What is done?", ("Not sure", "Up"), "B", "ssv2_video/166583.webm")
    cut = items["action_sequence-0"].sample.media[0]
    assert (cut.path, cut.start_s, cut.end_s) == ("star/Charades_v1_480/166583.webm", 5.5, 21.8)
    assert items["episodic_reasoning-0"].sample.media[0].path == "tvqa/frames_fps3_hq/166583.webm.mp4"


@pytest.mark.parametrize(
    ("there", "task", "shown"),
    [
        ("star/Charades_v1_480/x.mp4", "action_sequence", ("star/Charades_v1_480/x.mp4", 5.5, 21.8)),
        ("data0613/star/Charades_v1_480/x.mp4", "action_sequence", ("data0613/star/Charades_v1_480/x.mp4", 5.5, 21.8)),
        ("star/Charades_segment/x.mp4", "action_sequence", ("star/Charades_segment/x.mp4", 0.0, None)),
        ("data0613/ssv2_video/x.mp4", "action_antonym", ("data0613/ssv2_video/x.mp4", 5.5, 21.8)),
        ("nturgbd_convert/x.mp4", "fine_grained_pose", ("nturgbd_convert/x.mp4", 0.0, None)),
        ("ssv2_video_mp4/x.mp4", "action_antonym", ("ssv2_video_mp4/x.mp4", 0.0, None)),
        ("tvqa/video_fps3_hq_segment/x.mp4", "episodic_reasoning", ("tvqa/video_fps3_hq_segment/x.mp4", 0.0, None)),
    ],
)  # fmt: skip
def test_clips_of_mvbench_are_found_in_every_layout(tmp_path, there, task, shown):
    row = {"video": "x.mp4", "question": "?", "candidates": ["x", "y"], "answer": "y", "start": 5.5, "end": 21.8}
    for name in FOLDERS:
        write(tmp_path / "json" / f"{name}.json", [row])
    write(tmp_path / "video" / there, "clip")
    media = read("mvbench", tmp_path, "exclude")[f"{task}-0"].sample.media[0]
    assert (media.path, media.start_s, media.end_s) == shown


def test_withdrawn_clips_of_mvbench_are_reported_as_such(tmp_path):
    row = {"video": "x.avi", "question": "?", "candidates": ["x", "y"], "answer": "y"}
    for name in FOLDERS:
        write(tmp_path / "json" / f"{name}.json", [row])
    reading = read_items(BENCHMARKS["mvbench"], tmp_path, tmp_path / "video", "exclude")
    assert len(reading.kept) == 19 and reading.reasons == {"withdrawn": 1}


def test_tempcompass(tmp_path):
    asked = {"question": "What is happening?\nA. drops\nB. lifts\nC. rotates", "answer": "B. lifts"}
    other = {"question": "How fast?\nA. fast\nB. slow", "answer": "A. fast"}
    write(tmp_path / "questions" / "multi-choice.json", {"1021488277": {"action": [asked, asked], "speed": [other]}})
    items = read("tempcompass", tmp_path)
    assert is_choice(
        items["1021488277-action-1"], "What is happening?", ("drops", "lifts", "rotates"), "B", "1021488277.mp4"
    )
    assert items["1021488277-speed-0"].groups == {"aspect": ("speed",)}


def test_tempcompass_complete(tmp_path):
    row = {"uuid": "u1", "video_id": "10", "question": "Up?", "options": ["A. yes", "B. no"], "answer": "B"}
    write_rows(tmp_path / "tempcompass_combined.parquet", [row | {"dim": None}, row | {"dim": "speed"}])
    write(tmp_path / "videos" / "10.webm", "clip")
    items = read("tempcompass_complete", tmp_path)
    assert is_choice(items["u1-0"], "Up?", ("yes", "no"), "B", "10.webm")
    assert (items["u1-0"].groups, items["u1-1"].groups) == ({}, {"dim": ("speed",)})


VIDEOMATHQA = {
    "videoID": "abc",
    "question_id": 7,
    "category": "Chart",
    "question": "How many?",
    "options": ["A. 1", "B. 2", "C. 3", "D. 4", "E. 5"],
    "answer": "D",
    "steps": "...",
    "length": "short",
}


@pytest.mark.parametrize("suffix", ["mp4", "MP4", "mkv"])
def test_videomathqa(tmp_path, suffix):
    write_rows(tmp_path / "videomathqa_mcq_test.parquet", [VIDEOMATHQA])
    write(tmp_path / "videos" / f"abc.{suffix}", "clip")
    (item,) = read("videomathqa", tmp_path).values()
    assert is_choice(item, "How many?", ("1", "2", "3", "4", "5"), "D", f"abc.{suffix}")
    assert item.sample.sample_id == "7" and item.groups == {"category": ("Chart",), "length": ("short",)}


def test_videomathqa_mbin(tmp_path):
    pairs = [VIDEOMATHQA | {"options": [f"A. {i}", "B. 4"], "answer": "B"} for i in range(3)]
    rows = [*pairs, *(pair | {"question_id": 8} for pair in pairs)]
    write_rows(tmp_path / "videomathqa_mbin_test.parquet", rows)
    items = list(read("videomathqa_mbin", tmp_path).values())
    assert [item.sample.sample_id for item in items] == ["7-0", "7-1", "7-2", "8-3", "8-4", "8-5"]
    replies = ["B", "(B)", "The answer is B", "B", "A", "B"]
    said = [
        Prediction(sample_id=item.sample.sample_id, answer=Answer(text=text, answer=text, finish_reason="stop"))
        for item, text in zip(items, replies, strict=True)
    ]
    config = EvalConfig(name="x")
    found = asyncio.run(score_items(items, said, BENCHMARKS["videomathqa_mbin"], config, ""))
    assert [(one.sample_id, one.score) for one in found] == [("7", 1.0), ("8", 0.0)]
    assert [one.values["accuracy"] for one in found] == [1.0, pytest.approx(2 / 3)]
    assert (found[1].answer, found[1].options) == ("B, A, B", ("0", "4", "1", "2"))
    summary = summarise(found, BENCHMARKS["videomathqa_mbin"], BootstrapConfig(resamples=100), seed=0)
    assert (summary.overall.value, summary.overall.count) == (0.5, 2)
    lost = [*said[:5], Prediction(sample_id="8-5", failure="decode", message="broken")]
    excluded = replace(config, failures="excluded")
    failed = asyncio.run(score_items(items, lost, BENCHMARKS["videomathqa_mbin"], excluded, ""))
    assert [(one.score, one.failure) for one in failed] == [(1.0, ""), (None, "decode")]


def test_scivideobench(tmp_path):
    letters = "ABCDEFGHIJ"
    row = {
        "video_id": "58827",
        "question_id": "1",
        "question": "Why between 02:22 and 02:33?",
        "options": {letter: f"to {letter}" for letter in reversed(letters)},
        "answer": "D",
        "question_type": "Conceptual Reasoning",
        "discipline": "Chemistry",
    }
    write(tmp_path / "scivideobench_1k.jsonl", lines([row, row | {"question_id": "2", "options": ["A. x", "B. y"],
                                                                   "answer": "B", "category": "Physics"}]))  # fmt: skip
    write(tmp_path / "videos" / "jove_58827.MP4", "clip")
    items = read("scivideobench", tmp_path)
    options = tuple(f"to {letter}" for letter in letters)
    assert is_choice(items["58827-1"], "Why between 02:22 and 02:33?", options, "D", "jove_58827.MP4")
    assert items["58827-1"].groups == {"question_type": ("Conceptual Reasoning",), "discipline": ("Chemistry",)}
    assert items["58827-2"].sample.options == ("x", "y") and items["58827-2"].groups["category"] == ("Physics",)
    write(tmp_path / "scivideobench_1k.jsonl", lines([row | {"options": {"A": "x", "C": "y"}}]))
    with pytest.raises(DataError, match=r"row 1: options: got \['A', 'C'\], wanted the letters from A on"):
        read("scivideobench", tmp_path)


@pytest.mark.parametrize("folder", ["videos", "videos_filtered", "videos/videos_filtered"])
def test_videoeval_pro(tmp_path, folder):
    row = {
        "video": "x.mp4",
        "question": "What is lifted?",
        "options": ["A. a cup", "B. a book"],
        "answer": "B",
        "answer_text": "A book.",
        "meta": "{}",
        "source": "mlvu",
        "qa_type": "Local Perception",
        "qa_subtype": "Object",
    }
    write_rows(tmp_path / "data" / "test-00000-of-00001.parquet", [row])
    write(tmp_path / folder / "x.mp4", "clip")
    items = read("videoeval_pro", tmp_path)
    assert is_choice(items["0-choice"], "What is lifted?", ("a cup", "a book"), "B", f"{folder}/x.mp4")
    opened = items["0-open"]
    assert (opened.sample.answer, opened.sample.answer_type, opened.sample.options) == ("A book.", "free", ())
    assert opened.groups == {
        "source": ("mlvu",), "qa_type": ("Local Perception",), "qa_subtype": ("Object",), "form": ("open",)
    }  # fmt: skip
    config = EvalConfig(name="x", measures=[])
    asked = [opened, items["0-choice"]]
    said = [Prediction(sample_id=one.sample.sample_id, answer=Answer(text=text, finish_reason="stop"))
            for one, text in zip(asked, ["a book", "the answer is b"], strict=True)]  # fmt: skip
    found = asyncio.run(score_items(asked, said, BENCHMARKS["videoeval_pro"], config, ""))
    assert [one.score for one in found] == [1.0, 1.0]  # by the judge, by the letter
    assert score_name(opened.sample, BENCHMARKS["videoeval_pro"], config) == "judged_accuracy"
    assert score_name(items["0-choice"].sample, BENCHMARKS["videoeval_pro"], config) == "accuracy"


def test_minerva(tmp_path):
    row = {
        "key": "k1",
        "video_id": "abc",
        "question": "Why?",
        "answer": "two",
        **{f"answer_choice_{i}": word for i, word in enumerate(("one", "two", "three", "four", "five"))},
        "answer_id": 1,
        "reasoning": "...",
        "category": "Short films",
        "question_type": "Counting",
    }
    write(tmp_path / "minerva.json", [row])
    (item,) = read("minerva", tmp_path).values()
    assert is_choice(item, "Why?", ("one", "two", "three", "four", "five"), "B", "abc.mp4")
    assert item.groups == {"category": ("Short films",), "question_type": ("Counting",)}


def test_charades_sta(tmp_path):
    write(tmp_path / "charades_sta_test.txt", "3MSZA 24.3 30.4##person turn a light on.\n\nAMT7R 0 7##person sits.\n")
    items = read("charades_sta", tmp_path)
    sample = items["1-3MSZA"].sample
    question = "When does this happen in the video: person turn a light on."
    assert (sample.question, sample.spans, sample.task) == (question, ((24.3, 30.4),), "grounding")
    assert sample.media == (Media(kind="video", path="3MSZA.mp4"),) and "3-AMT7R" in items
    write(tmp_path / "charades_sta_test.txt", "3MSZA 30.4 24.3##person turn a light on.\n")
    with pytest.raises(DataError, match="row 1: line: got"):
        read("charades_sta", tmp_path)


def test_nextgqa(tmp_path):
    head = "video_id,frame_count,width,height,question,answer,qid,type,a0,a1,a2,a3,a4\n"
    row = "4177758139,2697,640,480,what did the boy do,cover mouth,1,TN,take food,cover mouth,stand up,stare,move\n"
    write(tmp_path / "test.csv", head + row)
    located = {"duration": 90, "location": {"1": [[3.0, 5.5], [10, 12]]}, "fps": 30}
    write(tmp_path / "gsub_test.json", {"4177758139": located})
    write(tmp_path / "map_vid_vidorID.json", {"4177758139": "1101/4177758139"})
    items = read("nextgqa", tmp_path)
    asked, searched = items["4177758139-1-qa"], items["4177758139-1-grounding"]
    options = ("take food", "cover mouth", "stand up", "stare", "move")
    assert is_choice(asked, "what did the boy do", options, "B", "1101/4177758139.mp4")
    assert (searched.sample.spans, searched.sample.task) == (((3.0, 5.5), (10.0, 12.0)), "grounding")
    assert searched.groups == {"form": ("grounding",), "type": ("TN",)}
    assert BENCHMARKS["nextgqa"].among == {"form": "qa"}
    write(tmp_path / "gsub_test.json", {"4177758139": {"location": {}}})
    with pytest.raises(DataError, match=r"test.csv row 1: location.1: got nothing, wanted at least one"):
        read("nextgqa", tmp_path)


def test_videohallu(tmp_path):
    row = {
        "RowID": "59",
        "Model": "Runawaygen2",
        "Caption Notes": "",
        "video_path": "./Runawaygen2/1uPV.mp4",
        "Prompt": "Generate a video for launching two rockets",
        "Question": "How many rockets are launched?",
        "Answer": "Two",
        "Categorization-1": "Alignment",
        "Categorization-2": "Alignment - Entity Counting",
    }
    write(tmp_path / "Data" / "data.jsonl", lines([row, row]))
    items = read("videohallu", tmp_path)
    sample = items["1-59"].sample
    assert (sample.answer, sample.answer_type, sample.media[0].path) == ("Two", "free", "Runawaygen2/1uPV.mp4")
    assert items["0-59"].groups == {"category": ("alignment",), "detail": ("Alignment - Entity Counting",)}
    assert BENCHMARKS["videohallu"].measure == "judged_accuracy"


def test_our_own_schema(tmp_path):
    sample = Sample(sample_id="a", task="vqa", question="?", answer="red", source="toyworld/colour")
    write_parquet([sample], tmp_path / "test.parquet")
    (item,) = read_items(BENCHMARKS["dataset"], tmp_path / "test.parquet", tmp_path, "fail").kept
    assert item.sample == sample and item.groups == {"kind": ("colour",), "form": ("vqa",)}


def test_every_benchmark_is_tested_here():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert BENCHMARKS.keys() - tested - {"dataset"} == set()
