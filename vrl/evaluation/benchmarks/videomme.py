"""Video-MME: 900 clips, short, medium and long, three questions each; pooled accuracy.

Reads `videomme/test-*.parquet` (Hugging Face `lmms-lab/Video-MME`), columns question_id, videoID, duration, domain,
task_type, question, options (`A. ...`), answer (a letter). Clips are `data/<videoID>.mp4`. Subtitles are not shown.

Replies: the first capital A to D behind a few phrases, as `evaluation/eval_your_results.py` of `BradyFU/Video-MME`.
That script leaves replies without such a letter out of the mean; here they are wrong.
"""

from collections.abc import Iterator
from pathlib import Path

from vrl.data.rows import Row, shards
from vrl.data.rows.options import plain_options
from vrl.evaluation.item import Benchmark, Groups, choice, with_suffix
from vrl.evaluation.reading.letters import first_capital
from vrl.evaluation.reading.rule import ReplyRule
from vrl.types import Media, Sample

_GROUPS = ("duration", "domain", "task_type")
_COLUMNS = ("question_id", "videoID", *_GROUPS, "question", "options", "answer")


def rows(path: Path) -> Iterator[Row]:
    """`path` is the folder that holds `videomme/` and `data/`."""
    return shards(path / "videomme", "test-*.parquet", _COLUMNS)


def samples(row: Row) -> list[Sample]:
    """One question a row."""
    media = Media(kind="video", path=f"{row.text('videoID')}.mp4")
    options = plain_options(row.texts("options"))
    answer, sample_id = row.text("answer"), row.text("question_id")
    return [choice(row, sample_id=sample_id, options=options, answer=answer, media=media, source="videomme")]


def groups(row: Row) -> Groups:
    """Duration, domain and kind of task."""
    return {key: (row.text(key),) for key in _GROUPS}


BENCHMARK = Benchmark(
    name="videomme", rows=rows, samples=samples, groups=groups, media="data", locate=with_suffix(".MP4", ".mkv"),
    reply=ReplyRule(
        source="BradyFU/Video-MME, evaluation/eval_your_results.py", choice=first_capital("ABCD")
    ),
)  # fmt: skip
