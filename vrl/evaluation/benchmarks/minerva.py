"""MINERVA: questions that ask for several steps of reasoning, five options each; pooled accuracy.

Reads `minerva.json` (the authors' release, also Hugging Face `lmms-lab-eval/minerva`), a list of objects with key,
video_id, question, answer_choice_0 .. answer_choice_4, answer_id (an index from 0) and, where given, category and
question_type. Clips are `videos/<video_id>.mp4`, `.MP4`, `.mkv` or `.webm`.

Replies: the first capital A to E behind a few phrases, as `minverva/utils.py` of Video-R2's copy of lmms-eval
(`mbzuai-oryx/Video-R2`); its authors publish prompts, no reading.
"""

from collections.abc import Iterable
from pathlib import Path

from vrl.data.rows import Row, Source
from vrl.evaluation.item import Benchmark, Groups, choice, with_suffix
from vrl.evaluation.reading.letters import first_capital
from vrl.evaluation.reading.rule import LMMS_EVAL, ReplyRule
from vrl.types import Media, Sample

_OPTIONS = tuple(f"answer_choice_{i}" for i in range(5))


def rows(path: Path) -> Iterable[Row]:
    """`path` is the folder that holds `minerva.json` and `videos/`."""
    return Source(path / "minerva.json")


def samples(row: Row) -> list[Sample]:
    """One question a row."""
    options = [row.text(column) for column in _OPTIONS]
    answer = chr(65 + row.index("answer_id", len(options)))
    media = Media(kind="video", path=f"{row.text('video_id')}.mp4")
    return [choice(row, sample_id=row.text("key"), options=options, answer=answer, media=media, source="minerva")]


def groups(row: Row) -> Groups:
    """Category and kind of question, if given."""
    return {key: row.texts(key) for key in ("category", "question_type") if key in row}


BENCHMARK = Benchmark(
    name="minerva", rows=rows, samples=samples, groups=groups, media="videos",
    locate=with_suffix(".MP4", ".mkv", ".webm"),
    reply=ReplyRule(source=f"{LMMS_EVAL}/minverva/utils.py", choice=first_capital("ABCDE")),
)  # fmt: skip
