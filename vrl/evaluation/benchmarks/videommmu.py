"""VideoMMMU: lectures and questions in three tracks (perception, comprehension, adaptation); pooled accuracy.

Reads `Perception/test-*.parquet`, `Comprehension/test-*.parquet`, `Adaptation/test-*.parquet` (Hugging Face
`lmms-lab/VideoMMMU`), columns id, question, options, answer, question_type. Clips are `videos/<discipline>/<id>.mp4`,
the discipline being that of the subject in the id (`validation_Clinical_Medicine_3`). The image of an adaptation
question is shown at the end of its clip, as published; it is not shown a second time.

Replies: as MMMU reads them, by `videommmu/utils.py` of lmms-eval (`vrl.evaluation.reading.mmmu`): marked letters; open
answers by a text that the reply contains or a number that it has. An open answer may be a list, of which any counts.
Empty replies, which lmms-eval leaves out of the mean, are wrong.
"""

from collections.abc import Iterator
from pathlib import Path

from vrl.data.rows import Row, shards
from vrl.data.rows.options import plain_options
from vrl.evaluation.item import Benchmark, Groups, choice, open_question
from vrl.evaluation.reading import mmmu
from vrl.evaluation.reading.rule import LMMS_EVAL, ReplyRule
from vrl.types import Media, Sample

TRACKS = ("Perception", "Comprehension", "Adaptation")
_COLUMNS = ("id", "question", "options", "answer", "question_type")
_SUBJECTS = {
    "Art": "Art Art_Theory Design Music",
    "Science": "Biology Chemistry Geography Math Physics",
    "Humanities": "History Literature Sociology Psychology",
    "Engineering": "Agriculture Architecture_and_Engineering Computer_Science Electronics Energy_and_Power Materials "
    "Mechanical_Engineering",
    "Medicine": "Basic_Medical_Science Clinical_Medicine Diagnostics_and_Laboratory_Medicine Pharmacy Public_Health",
    "Business": "Accounting Economics Finance Manage Marketing",
}
_DISCIPLINES = {subject: name for name, subjects in _SUBJECTS.items() for subject in subjects.split()}


def rows(path: Path) -> Iterator[Row]:
    """`path` is the folder that holds the three tracks and `videos/`."""
    for track in TRACKS:
        yield from shards(path / track, "test-*.parquet", _COLUMNS)


def samples(row: Row) -> list[Sample]:
    """One question a row: a choice if it has options, else open."""
    media = Media(kind="video", path=f"{_discipline(row)}/{row.text('id')}.mp4")
    sample_id = f"{_track(row)}-{row.text('id')}"
    options = plain_options(row.texts("options")) if "options" in row else ()
    if not options:
        answers = row.columns.get("answer")
        opened = row.extended(answer=repr(answers)) if isinstance(answers, list) else row
        return [
            open_question(
                opened, sample_id=sample_id, answer="answer", answer_type="text", media=media, source="videommmu"
            )
        ]
    answer = row.text("answer")
    return [choice(row, sample_id=sample_id, options=options, answer=answer, media=media, source="videommmu")]


def groups(row: Row) -> Groups:
    """Track and discipline."""
    return {"track": (_track(row).lower(),), "discipline": (_discipline(row),)}


def _track(row: Row) -> str:
    return row.source.path.parent.name


def _discipline(row: Row) -> str:
    subject = "_".join(row.text("id").split("_")[1:-1])
    if subject not in _DISCIPLINES:
        raise row.error("id", row.text("id"), f"<split>_<subject>_<number>, a subject of {sorted(_DISCIPLINES)}")
    return _DISCIPLINES[subject]


BENCHMARK = Benchmark(
    name="videommmu", rows=rows, samples=samples, groups=groups, media="videos",
    reply=ReplyRule(source=f"{LMMS_EVAL}/videommmu_think/utils.py", choice=mmmu.letter, same=mmmu.same),
)  # fmt: skip
