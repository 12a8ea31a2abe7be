"""VideoMMMU: lectures and questions in three tracks (perception, comprehension, adaptation); pooled accuracy.

Reads `Perception/test-*.parquet`, `Comprehension/test-*.parquet`, `Adaptation/test-*.parquet` (Hugging Face
`lmms-lab/VideoMMMU`), columns id, question, options, answer, question_type. Clips are `videos/<discipline>/<id>.mp4`,
the discipline being that of the subject in the id (`validation_Clinical_Medicine_3`). The image of an adaptation
question is shown at the end of its clip, as published; it is not shown a second time.
"""

from pathlib import Path

from vrl.errors import DataError
from vrl.evaluation.item import Benchmark, Item, choice
from vrl.evaluation.rows import Row, parquet_rows, without_letters
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


def read(path: Path) -> list[Item]:
    """`path` is the folder that holds the three tracks and `videos/`."""
    return [_item(row, track) for track in TRACKS for row in parquet_rows(path / track, "test-*.parquet", _COLUMNS)]


def _item(row: Row, track: str) -> Item:
    subject = "_".join(row.text("id").split("_")[1:-1])
    if subject not in _DISCIPLINES:
        raise DataError(
            f"{row.where}: id: got {row.text('id')!r}, wanted <split>_<subject>_<number>, a subject of "
            f"{sorted(_DISCIPLINES)}",
            reason="dataset",
        )
    discipline = _DISCIPLINES[subject]
    sample = _sample(row, f"{track}-{row.text('id')}", f"{discipline}/{row.text('id')}.mp4")
    return Item(sample=sample, groups={"track": (track.lower(),), "discipline": (discipline,)})


def _sample(row: Row, sample_id: str, video: str) -> Sample:
    options = without_letters(row.texts("options")) if "options" in row else ()
    if options:
        return choice(
            sample_id=sample_id,
            question=row.text("question"),
            options=options,
            answer=row.text("answer"),
            video=video,
            source="videommmu",
        )
    return Sample(
        sample_id=sample_id,
        task="vqa",
        question=row.text("question"),
        answer=row.text("answer"),
        answer_type="text",
        media=(Media(kind="video", path=video),),
        source="videommmu",
    )


BENCHMARK = Benchmark(name="videommmu", read=read, media="videos")
