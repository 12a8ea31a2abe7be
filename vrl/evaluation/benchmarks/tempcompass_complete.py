"""TempCompass as Video-R2 counts it: its several kinds of questions in one file, all as choices; pooled accuracy.

Reads `tempcompass_combined.parquet` (Hugging Face `mmaaz60/tempcompass`), columns uuid, video_id, question, options
(`A. ...`) and answer (a letter). Clips are `videos/<video_id>.mp4`, `.MP4`, `.mkv` or `.webm`.

Replies: the leading letter (`vrl.evaluation.reading.letters`), as `tempcompass_complete_think/utils.py` of Video-R2's
copy of lmms-eval (`mbzuai-oryx/Video-R2`).
"""

from collections.abc import Iterator
from pathlib import Path

from vrl.data.rows import Row, shards
from vrl.data.rows.options import plain_options
from vrl.evaluation.item import Benchmark, Groups, choice, with_suffix
from vrl.evaluation.reading.letters import leading_letter
from vrl.evaluation.reading.rule import LMMS_EVAL, ReplyRule
from vrl.types import Media, Sample

_GROUPS = ("dim", "type")  # perhaps given: aspect and kind of question
_COLUMNS = ("uuid", "video_id", "question", "options", "answer", *_GROUPS)


def rows(path: Path) -> Iterator[Row]:
    """`path` is the folder that holds the file and `videos/`."""
    return shards(path, "tempcompass_combined*.parquet", _COLUMNS)


def samples(row: Row) -> list[Sample]:
    """One question a row, `<uuid>-<row>`, rows counted from 0."""
    media, options = Media(kind="video", path=f"{row.text('video_id')}.mp4"), plain_options(row.texts("options"))
    answer, sample_id = row.text("answer"), f"{row.text('uuid')}-{row.number - 1}"
    return [choice(row, sample_id=sample_id, options=options, answer=answer, media=media, source="tempcompass")]


def groups(row: Row) -> Groups:
    """What the file says about the question, if anything."""
    return {key: (row.text(key),) for key in _GROUPS if key in row}


BENCHMARK = Benchmark(
    name="tempcompass_complete", rows=rows, samples=samples, groups=groups, media="videos",
    locate=with_suffix(".MP4", ".mkv", ".webm"),
    reply=ReplyRule(source=f"{LMMS_EVAL}/tempcompass_complete_think/utils.py", choice=leading_letter),
)  # fmt: skip
