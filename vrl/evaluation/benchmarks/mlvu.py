"""MLVU, the multiple-choice questions of the dev set; unweighted mean over its seven tasks (M-Avg).

Reads `json/1_plotQA.json` .. `json/7_topic_reasoning.json` (Hugging Face `MLVU/MVLU`), each a list of objects with
video, question, candidates, answer (the text of a candidate), question_type. Clips are `video/<file name>/<video>`.

Replies: the leading letter (`vrl.evaluation.reading.letters`), as `mlvu_think/utils.py` of Video-R2's copy of lmms-eval
(`mbzuai-oryx/Video-R2`). The authors' own rule, the character before the first `)`, is for prompts that end in `(`.
"""

from collections.abc import Iterator
from pathlib import Path

from vrl.data.rows import Row, Source
from vrl.data.rows.options import letter_of
from vrl.evaluation.item import Benchmark, Groups, choice
from vrl.evaluation.reading.letters import leading_letter
from vrl.evaluation.reading.rule import LMMS_EVAL, ReplyRule
from vrl.types import Media, Sample

TASKS = ("1_plotQA", "2_needle", "3_ego", "4_count", "5_order", "6_anomaly_reco", "7_topic_reasoning")


def rows(path: Path) -> Iterator[Row]:
    """`path` is the folder that holds `json/` and `video/`."""
    for task in TASKS:
        yield from Source(path / "json" / f"{task}.json")


def samples(row: Row) -> list[Sample]:
    """One question a row. Ids count the rows of a file from 0."""
    task, options = row.source.path.stem, row.texts("candidates")
    media = Media(kind="video", path=f"{task}/{row.text('video')}")
    answer, sample_id = letter_of(row, "answer", options), f"{task}-{row.number - 1}"
    return [choice(row, sample_id=sample_id, options=options, answer=answer, media=media, source="mlvu")]


def groups(row: Row) -> Groups:
    """The task."""
    return {"task": (row.text("question_type"),)}


BENCHMARK = Benchmark(
    name="mlvu", rows=rows, samples=samples, groups=groups, media="video", overall=("task",),
    reply=ReplyRule(source=f"{LMMS_EVAL}/mlvu_think/utils.py", choice=leading_letter),
)  # fmt: skip
