"""VideoMathQA: mathematics in lessons and charts, five options each; pooled accuracy.

Reads `videomathqa_mcq_test.parquet` (Hugging Face `MBZUAI/VideoMathQA`), columns question_id, videoID, question,
options (`A. ...`), answer (a letter), category, length (short, medium, long). Clips are `videos/<videoID>.mp4`, `.MP4`
or `.mkv`. Subtitles are not shown. Its questions as pairs of options: `videomathqa_mbin`.

Replies: the first capital A to E behind a few phrases, as `videomathqa_think/utils.py` of Video-R2's copy of lmms-eval
(`mbzuai-oryx/Video-R2`); both have the same authors.
"""

from collections.abc import Iterator
from pathlib import Path

from vrl.data.rows import Row, shards
from vrl.data.rows.options import plain_options
from vrl.evaluation.item import Benchmark, Groups, choice, with_suffix
from vrl.evaluation.reading.letters import first_capital
from vrl.evaluation.reading.rule import LMMS_EVAL, ReplyRule
from vrl.types import Media, Sample

COLUMNS = ("question_id", "videoID", "question", "options", "answer", "category", "length")
LOCATE = with_suffix(".MP4", ".mkv")
REPLY = ReplyRule(source=f"{LMMS_EVAL}/videomathqa_think/utils.py", choice=first_capital("ABCDE"))


def rows(path: Path) -> Iterator[Row]:
    """`path` is the folder that holds the file and `videos/`."""
    return shards(path, "videomathqa_mcq_test*.parquet", COLUMNS)


def samples(row: Row) -> list[Sample]:
    """One question a row."""
    return [asked(row, row.text("question_id"))]


def asked(row: Row, sample_id: str) -> Sample:
    """Return the question of a row under this id."""
    media, options = Media(kind="video", path=f"{row.text('videoID')}.mp4"), plain_options(row.texts("options"))
    answer = row.text("answer")
    return choice(row, sample_id=sample_id, options=options, answer=answer, media=media, source="videomathqa")


def groups(row: Row) -> Groups:
    """Category, and length of the clip."""
    return {key: (row.text(key),) for key in ("category", "length")}


BENCHMARK = Benchmark(
    name="videomathqa", rows=rows, samples=samples, groups=groups, media="videos", locate=LOCATE, reply=REPLY
)
