"""MMVU, validation: expert questions, multiple choice and open; pooled.

Reads `validation.json` (Hugging Face `yale-nlp/MMVU`), a list of objects with id, video (a URL that ends in
`videos/<subject>/<number>.mp4`), question_type (multiple-choice or open-ended), question, choices (letter -> text),
answer, metadata.subject. Clips are `videos/<subject>/<number>.mp4`. Open answers are compared as text unless
`benchmark.measure=judged_accuracy`; Video-R1 reports `benchmark.keep.question_type=[multiple-choice]` only.
"""

from pathlib import Path

from vrl.evaluation.item import Benchmark, Item, choice
from vrl.evaluation.rows import Row, json_rows
from vrl.types import Media, Sample


def read(path: Path) -> list[Item]:
    """`path` is the folder that holds `validation.json` and `videos/`."""
    return [_item(row) for row in json_rows(path / "validation.json")]


def _item(row: Row) -> Item:
    groups = {"question_type": (row.text("question_type"),), "subject": (row.row("metadata").text("subject"),)}
    return Item(sample=_sample(row), groups=groups)


def _sample(row: Row) -> Sample:
    video = row.text("video").rpartition("videos/")[2]
    if row.text("question_type") == "multiple-choice":
        choices = row.row("choices")
        letters = [letter for letter in sorted(choices.keys()) if letter in choices]
        return choice(
            sample_id=row.text("id"),
            question=row.text("question"),
            options=[choices.text(letter) for letter in letters],
            answer=row.text("answer"),
            video=video,
            source="mmvu",
        )
    return Sample(
        sample_id=row.text("id"),
        task="vqa",
        question=row.text("question"),
        answer=row.text("answer"),
        answer_type="text",
        media=(Media(kind="video", path=video),),
        source="mmvu",
    )


BENCHMARK = Benchmark(name="mmvu", read=read, media="videos")
