"""VSI-Bench: spatial questions about rooms; mean over eight tasks, the three direction difficulties being one.

Reads `test.jsonl` (Hugging Face `nyu-visionx/VSI-Bench`), columns id, dataset, scene_name, question_type, question,
ground_truth, options (null where the answer is a number). Clips are `<dataset>/<scene_name>.mp4`. Choices score by
accuracy; numbers by mean relative accuracy where reward.regression is mra or mra_inclusive, as its authors do.

Replies: the first word, without a period at its end, as `lmms_eval/tasks/vsibench/utils.py` of
`vision-x-nyu/thinking-in-space`: a letter of either case, or what Python reads as a number (`2.5 meters`, not `1,200`).
Video-R2's numbers come from a language model that reads the replies in a second pass.
"""

import math
from collections.abc import Iterable
from pathlib import Path

from vrl.data.rows import Row, Source
from vrl.data.rows.options import plain_options
from vrl.evaluation.item import Benchmark, Groups, choice, open_question
from vrl.evaluation.reading.letters import offered
from vrl.evaluation.reading.rule import ReplyRule
from vrl.tasks.answer import number as is_number
from vrl.types import Media, Sample

_DIRECTIONS = "object_rel_direction"


def rows(path: Path) -> Iterable[Row]:
    """`path` is the folder that holds `test.jsonl` and the clips."""
    return Source(path / "test.jsonl")


def samples(row: Row) -> list[Sample]:
    """One question a row: a choice if it has options, else a number."""
    media = Media(kind="video", path=f"{row.text('dataset')}/{row.text('scene_name')}.mp4")
    sample_id = row.text("id")
    if "options" not in row:
        return [
            open_question(
                row,
                sample_id=sample_id,
                answer="ground_truth",
                answer_type="regression",
                media=media,
                source="vsibench",
            )
        ]
    options, answer = plain_options(row.texts("options")), row.text("ground_truth")
    return [choice(row, sample_id=sample_id, options=options, answer=answer, media=media, source="vsibench")]


def groups(row: Row) -> Groups:
    """The task, the three difficulties of directions being one, and the kind of question."""
    kind = row.text("question_type")
    return {"task": (_DIRECTIONS if kind.startswith(_DIRECTIONS) else kind,), "question_type": (kind,)}


def letter(reply: str, sample: Sample) -> str:
    """Return the option that the first word is."""
    return offered(_word(reply).upper(), sample)


def number(reply: str, sample: Sample) -> str:
    """Return the number that the first word is, written in digits."""
    word = _word(reply)
    try:
        value = float(word)
    except ValueError:
        return ""
    if not math.isfinite(value):
        return ""
    return word if word.isascii() and is_number(word) is not None else f"{value:f}"


def _word(reply: str) -> str:
    return reply.partition(" ")[0].rstrip(".").strip()


BENCHMARK = Benchmark(
    name="vsibench", rows=rows, samples=samples, groups=groups, overall=("task", "question_type"),
    reply=ReplyRule(
        source="vision-x-nyu/thinking-in-space, lmms_eval/tasks/vsibench/utils.py", choice=letter, number=number
    ),
)  # fmt: skip
