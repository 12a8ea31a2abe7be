"""LongVideoBench, validation: four groups of duration up to an hour; pooled accuracy.

Reads `lvb_val.json` (Hugging Face `longvideobench/LongVideoBench`), a list of objects with id, video_path, question,
candidates, correct_choice (an index from 0), question_category, duration_group (seconds). Clips are
`videos/<video_path>`. The subtitles that its authors put between the frames are not shown.
"""

from pathlib import Path

from vrl.evaluation.item import Benchmark, Item, choice
from vrl.evaluation.rows import Row, json_rows


def read(path: Path) -> list[Item]:
    """`path` is the folder that holds `lvb_val.json` and `videos/`."""
    return [_item(row) for row in json_rows(path / "lvb_val.json")]


def _item(row: Row) -> Item:
    sample = choice(
        sample_id=row.text("id"),
        question=row.text("question"),
        options=row.texts("candidates"),
        answer=chr(65 + int(row.number("correct_choice"))),
        video=row.text("video_path"),
        source="longvideobench",
    )
    groups = {"duration": (f"{row.text('duration_group')} s",), "task": (row.text("question_category"),)}
    return Item(sample=sample, groups=groups)


BENCHMARK = Benchmark(name="longvideobench", read=read, media="videos")
