"""MMVU, validation: expert questions, multiple choice and open; pooled.

Reads `validation.json` (Hugging Face `yale-nlp/MMVU`), a list of objects with id, video (a URL that ends in
`videos/<subject>/<number>.mp4`), question_type (multiple-choice or open-ended), question, choices (letter -> text),
answer, metadata.subject. Clips are `videos/<subject>/<number>.mp4`. Open answers are compared as text unless
`benchmark.measure=judged_accuracy`. Video-R1 and Video-R2 report the multiple-choice questions alone, which is what
`benchmark.keep.question_type=[multiple-choice]` and their presets ask for.

Replies: an option's own text, else the first capital A to E behind a few phrases, as `mmvu_think/utils.py` of
Video-R2's copy of lmms-eval (`mbzuai-oryx/Video-R2`). The authors themselves ask a judge.
"""

from collections.abc import Iterable
from pathlib import Path

from vrl.data.rows import Row, Source
from vrl.evaluation.item import Benchmark, Groups, choice, open_question
from vrl.evaluation.reading.letters import first_capital
from vrl.evaluation.reading.rule import LMMS_EVAL, ReplyRule
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


_first = first_capital("ABCDE")


def letter(reply: str, sample: Sample) -> str:
    """Return the letter of the option whose text is the whole reply, else the first capital."""
    texts = [option.strip() for option in sample.options]
    return chr(65 + texts.index(reply)) if reply in texts else _first(reply, sample)


BENCHMARK = Benchmark(
    name="mmvu", rows=rows, samples=samples, groups=groups, media="videos",
    reply=ReplyRule(source=f"{LMMS_EVAL}/mmvu_think/utils.py", choice=letter),
)  # fmt: skip
