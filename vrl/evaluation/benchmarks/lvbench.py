"""LVBench: hour-long clips; pooled accuracy. A question counts in every type that it has.

Reads `video_info.meta.jsonl` (its repository and Hugging Face `THUDM/LVBench`): a clip a line with key, type, and qa, a
list of uid, question (options in it, `(A) ...` a line), answer (a letter), question_type (a list). Clips are
`videos/<key>.mp4`.

Replies: the first character of what stands before the first `)`, behind the first `(` if there is one, as
`lvbench/utils/answer_util.py` of `THUDM/LVBench`.
"""

from collections.abc import Iterator
from pathlib import Path

from vrl.data.rows import Row, Source
from vrl.data.rows.options import split_options
from vrl.evaluation.item import Benchmark, Groups, choice
from vrl.evaluation.reading.letters import offered
from vrl.evaluation.reading.rule import ReplyRule
from vrl.types import Media, Sample


def rows(path: Path) -> Iterator[Row]:
    """`path` is the folder that holds `video_info.meta.jsonl`. A row is a question, with `key` and `type` of its clip.

    A clip that cannot be read is one row.
    """
    for clip in Source(path / "video_info.meta.jsonl"):
        if clip.damage or not isinstance(clip.columns.get("qa"), list):
            yield clip
        else:
            yield from (row.extended(**_clip(clip)) for row in clip.inners("qa"))


def _clip(clip: Row) -> dict:
    return {column: clip.columns.get(column) for column in ("key", "type")}


def samples(row: Row) -> list[Sample]:
    """One question a row."""
    question, options = split_options(row.text("question"))
    media = Media(kind="video", path=f"{row.text('key')}.mp4")
    asked, answer, sample_id = row.extended(question=question), row.text("answer"), row.text("uid")
    return [choice(asked, sample_id=sample_id, options=options, answer=answer, media=media, source="lvbench")]


def groups(row: Row) -> Groups:
    """Kinds of the question, and the kind of the clip."""
    return {"task": row.texts("question_type"), "clip_type": (row.text("type"),)}


def letter(reply: str, sample: Sample) -> str:
    """Return the letter by the rule above."""
    before = reply.strip().partition(")")[0].strip()
    parts = before.split("(")
    return offered((parts[1] if len(parts) > 1 else before).strip()[:1], sample)


BENCHMARK = Benchmark(
    name="lvbench", rows=rows, samples=samples, groups=groups, media="videos",
    reply=ReplyRule(source="THUDM/LVBench, lvbench/utils/answer_util.py", choice=letter),
)  # fmt: skip
