"""Every benchmark from small files of the layout that its authors publish."""

import json
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
from vrl.evaluation.item import Item
from vrl.types import Media, Sample


def read(name: str, path: Path) -> dict[str, Item]:
    items = BENCHMARKS[name].read(path)
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
    with pytest.raises(DataError, match=r"row 1: column 'task_type' is missing, got \['question_id'"):
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
    with pytest.raises(DataError, match="got 'F', wanted the letter of one of 5 options"):
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
    write_rows(tmp_path / "Perception" / "test-00000-of-00001.parquet", [row | {"id": "validation_Dance_1"}])
    with pytest.raises(DataError, match="id: got 'validation_Dance_1'"):
        read("videommmu", tmp_path)


def test_mvbench(tmp_path):
    row = {"video": "166583.webm", "question": "What is done?", "candidates": ["Not sure", "Up"], "answer": "Up"}
    for task in FOLDERS:
        write(tmp_path / "json" / f"{task}.json", [row])
    write(tmp_path / "json" / "action_sequence.json", [row | {"start": 5.5, "end": 21.8}])
    items = read("mvbench", tmp_path)
    assert len(items) == len(FOLDERS) == 20
    assert is_choice(items["action_antonym-0"], "What is done?", ("Not sure", "Up"), "B", "ssv2_video/166583.webm")
    cut = items["action_sequence-0"].sample.media[0]
    assert (cut.path, cut.start_s, cut.end_s) == ("star/Charades_v1_480/166583.webm", 5.5, 21.8)
    assert items["episodic_reasoning-0"].sample.media[0].path == "tvqa/frames_fps3_hq/166583.webm.mp4"


def test_tempcompass(tmp_path):
    asked = {"question": "What is happening?\nA. drops\nB. lifts\nC. rotates", "answer": "B. lifts"}
    other = {"question": "How fast?\nA. fast\nB. slow", "answer": "A. fast"}
    write(tmp_path / "questions" / "multi-choice.json", {"1021488277": {"action": [asked, asked], "speed": [other]}})
    items = read("tempcompass", tmp_path)
    assert is_choice(
        items["1021488277-action-1"], "What is happening?", ("drops", "lifts", "rotates"), "B", "1021488277.mp4"
    )
    assert items["1021488277-speed-0"].groups == {"aspect": ("speed",)}


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
    assert (sample.question, sample.spans, sample.task) == ("person turn a light on.", ((24.3, 30.4),), "grounding")
    assert sample.media == (Media(kind="video", path="3MSZA.mp4"),) and "3-AMT7R" in items
    write(tmp_path / "charades_sta_test.txt", "3MSZA 30.4 24.3##person turn a light on.\n")
    with pytest.raises(DataError, match="line 1: got"):
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
    with pytest.raises(DataError, match=r"gsub_test.json 4177758139 location: column '1' is missing"):
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
    (item,) = BENCHMARKS["dataset"].read(tmp_path / "test.parquet")
    assert item.sample == sample and item.groups == {"kind": ("colour",), "form": ("vqa",)}


def test_every_benchmark_is_tested_here():
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert BENCHMARKS.keys() - tested - {"dataset"} == set()
