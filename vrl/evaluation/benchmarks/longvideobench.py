"""LongVideoBench, validation: four groups of duration up to an hour; pooled accuracy.

Reads `lvb_val.json` (Hugging Face `longvideobench/LongVideoBench`), a list of objects with id, video_path, question,
candidates, correct_choice (an index from 0), question_category, duration_group (seconds). Clips are
`videos/<video_path>`. The subtitles that its authors put between the frames are not shown.

Replies: the first capital A to E behind a few phrases, as `longvideobench/utils.py` of lmms-eval, which follows the
authors' own. Both draw a letter at random where there is none; here such a reply is wrong.
"""

from collections.abc import Iterable
from pathlib import Path

from vrl.data.rows import Row, Source
from vrl.evaluation.item import Benchmark, Groups, choice
from vrl.evaluation.reading.letters import OPENINGS, first_capital
from vrl.evaluation.reading.rule import LMMS_EVAL, ReplyRule
from vrl.types import Media, Sample


def rows(path: Path) -> Iterable[Row]:
    """`path` is the folder that holds `lvb_val.json` and `videos/`."""
    return Source(path / "lvb_val.json")


def samples(row: Row) -> list[Sample]:
    """One question a row."""
    options = row.texts("candidates")
    answer = chr(65 + row.index("correct_choice", len(options)))
    media = Media(kind="video", path=row.text("video_path"))
    return [choice(row, sample_id=row.text("id"), options=options, answer=answer, media=media, source="longvideobench")]


def groups(row: Row) -> Groups:
    """The group of duration, and the kind of question."""
    return {"duration": (f"{row.text('duration_group')} s",), "task": (row.text("question_category"),)}


BENCHMARK = Benchmark(
    name="longvideobench", rows=rows, samples=samples, groups=groups, media="videos",
    reply=ReplyRule(source=f"{LMMS_EVAL}/longvideobench/utils.py", choice=first_capital("ABCDE", OPENINGS)),
)  # fmt: skip
