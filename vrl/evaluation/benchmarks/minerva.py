"""MINERVA: questions that ask for several steps of reasoning, five options each; pooled accuracy.

Reads `minerva.json` (the authors' release, also Hugging Face `lmms-lab-eval/minerva`), a list of objects with key,
video_id, question, answer_choice_0 .. answer_choice_4, answer_id (an index from 0) and, where given, category and
question_type. Clips are `videos/<video_id>.mp4`.
"""

from pathlib import Path

from vrl.evaluation.item import Benchmark, Item, choice
from vrl.evaluation.rows import Row, json_rows

_NUM_OPTIONS = 5


def read(path: Path) -> list[Item]:
    """`path` is the folder that holds `minerva.json` and `videos/`."""
    return [_item(row) for row in json_rows(path / "minerva.json")]


def _item(row: Row) -> Item:
    sample = choice(
        sample_id=row.text("key"),
        question=row.text("question"),
        options=[row.text(f"answer_choice_{i}") for i in range(_NUM_OPTIONS)],
        answer=chr(65 + int(row.number("answer_id"))),
        video=f"{row.text('video_id')}.mp4",
        source="minerva",
    )
    return Item(sample=sample, groups={key: row.texts(key) for key in ("category", "question_type") if key in row})


BENCHMARK = Benchmark(name="minerva", read=read, media="videos")
