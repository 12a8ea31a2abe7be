"""VSI-Bench: spatial questions about rooms; mean over eight tasks, the three direction difficulties being one.

Reads `test.jsonl` (Hugging Face `nyu-visionx/VSI-Bench`), columns id, dataset, scene_name, question_type, question,
ground_truth, options (null where the answer is a number). Clips are `<dataset>/<scene_name>.mp4`. Choices score by
accuracy; numbers by mean relative accuracy where reward.regression is mra or mra_inclusive, as its authors do.
"""

from pathlib import Path

from vrl.evaluation.item import Benchmark, Item, choice
from vrl.evaluation.rows import Row, jsonl_rows, without_letters
from vrl.types import Media, Sample

_DIRECTIONS = "object_rel_direction"


def read(path: Path) -> list[Item]:
    """`path` is the folder that holds `test.jsonl` and the clips."""
    return [_item(row) for row in jsonl_rows(path / "test.jsonl")]


def _item(row: Row) -> Item:
    kind = row.text("question_type")
    task = _DIRECTIONS if kind.startswith(_DIRECTIONS) else kind
    return Item(sample=_sample(row), groups={"task": (task,), "question_type": (kind,)})


def _sample(row: Row) -> Sample:
    video = f"{row.text('dataset')}/{row.text('scene_name')}.mp4"
    if "options" in row:
        return choice(
            sample_id=row.text("id"),
            question=row.text("question"),
            options=without_letters(row.texts("options")),
            answer=row.text("ground_truth"),
            video=video,
            source="vsibench",
        )
    row.number("ground_truth")  # complains where it is none
    return Sample(
        sample_id=row.text("id"),
        task="vqa",
        question=row.text("question"),
        answer=row.text("ground_truth"),
        answer_type="regression",
        media=(Media(kind="video", path=video),),
        source="vsibench",
    )


BENCHMARK = Benchmark(name="vsibench", read=read, overall=("task", "question_type"))
