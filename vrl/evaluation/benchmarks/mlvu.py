"""MLVU, the multiple-choice questions of the dev set; unweighted mean over its seven tasks (M-Avg).

Reads `json/1_plotQA.json` .. `json/7_topic_reasoning.json` (Hugging Face `MLVU/MVLU`), each a list of objects with
video, question, candidates, answer (the text of a candidate), question_type. Clips are `video/<file name>/<video>`.
"""

from pathlib import Path

from vrl.evaluation.item import Benchmark, Item, choice, letter_of
from vrl.evaluation.rows import Row, json_rows

TASKS = ("1_plotQA", "2_needle", "3_ego", "4_count", "5_order", "6_anomaly_reco", "7_topic_reasoning")


def read(path: Path) -> list[Item]:
    """`path` is the folder that holds `json/` and `video/`."""
    return [
        _item(row, task, number)
        for task in TASKS
        for number, row in enumerate(json_rows(path / "json" / f"{task}.json"))
    ]


def _item(row: Row, task: str, number: int) -> Item:
    options = row.texts("candidates")
    sample = choice(
        sample_id=f"{task}-{number}",
        question=row.text("question"),
        options=options,
        answer=letter_of(row.text("answer"), options, row.where),
        video=f"{task}/{row.text('video')}",
        source="mlvu",
    )
    return Item(sample=sample, groups={"task": (row.text("question_type"),)})


BENCHMARK = Benchmark(name="mlvu", read=read, media="video", overall=("task",))
