"""LVBench: hour-long clips; pooled accuracy. A question counts in every type that it has.

Reads `video_info.meta.jsonl` (its repository and Hugging Face `THUDM/LVBench`): a clip a line with key, type, and qa, a
list of uid, question (options in it, `(A) ...` a line), answer (a letter), question_type (a list). Clips are
`videos/<key>.mp4`.
"""

from pathlib import Path

from vrl.evaluation.item import Benchmark, Item, choice
from vrl.evaluation.rows import Row, jsonl_rows, split_options


def read(path: Path) -> list[Item]:
    """`path` is the folder that holds `video_info.meta.jsonl`."""
    clips = jsonl_rows(path / "video_info.meta.jsonl")
    return [_item(clip, row) for clip in clips for row in clip.rows("qa")]


def _item(clip: Row, row: Row) -> Item:
    question, options = split_options(row.text("question"))
    sample = choice(
        sample_id=row.text("uid"),
        question=question,
        options=options,
        answer=row.text("answer"),
        video=f"{clip.text('key')}.mp4",
        source="lvbench",
    )
    return Item(sample=sample, groups={"task": row.texts("question_type"), "clip_type": (clip.text("type"),)})


BENCHMARK = Benchmark(name="lvbench", read=read, media="videos")
