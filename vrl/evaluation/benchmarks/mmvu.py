"""MMVU, validation: expert questions, multiple choice and open; pooled.

Reads `validation.json` (Hugging Face `yale-nlp/MMVU`), a list of objects with id, video (a URL that ends in
`videos/<subject>/<number>.mp4`), question_type (multiple-choice or open-ended), question, choices (letter -> text),
answer, metadata.subject. Clips are `videos/<subject>/<number>.mp4`. Open answers are compared as text unless
`benchmark.measure=judged_accuracy`; Video-R1 reports `benchmark.keep.question_type=[multiple-choice]` only.
"""

from collections.abc import Iterable
from pathlib import Path

from vrl.data.rows import Row, Source
from vrl.evaluation.item import Benchmark, Groups, choice, open_question
from vrl.types import Media, Sample


def rows(path: Path) -> Iterable[Row]:
    """`path` is the folder that holds `validation.json` and `videos/`."""
    return Source(path / "validation.json")


def samples(row: Row) -> list[Sample]:
    """One question a row: a choice, or open."""
    media = Media(kind="video", path=row.text("video").rpartition("videos/")[2])
    sample_id = row.text("id")
    if row.text("question_type") != "multiple-choice":
        return [
            open_question(row, sample_id=sample_id, answer="answer", answer_type="text", media=media, source="mmvu")
        ]
    choices = row.inner("choices")
    options = [choices.text(letter) for letter in sorted(choices.columns) if letter in choices]
    answer = row.text("answer")
    return [choice(row, sample_id=sample_id, options=options, answer=answer, media=media, source="mmvu")]


def groups(row: Row) -> Groups:
    """Kind of question, and subject."""
    return {"question_type": (row.text("question_type"),), "subject": (row.inner("metadata").text("subject"),)}


BENCHMARK = Benchmark(name="mmvu", rows=rows, samples=samples, groups=groups, media="videos")
