"""VideoHallu: free questions about generated clips that break physics or common sense; judged accuracy.

Reads `Data/data.jsonl` (repository `zli12321/VideoHallu`), columns RowID, Model, video_path (`./<model>/<file>`),
Question, Answer, Categorization-1, Categorization-2. Clips are `<model>/<file>`. A judge compares an answer with the
true one; set reward.judge, for the judge by rules knows only equal words.
"""

from pathlib import Path

from vrl.evaluation.item import Benchmark, Item
from vrl.evaluation.rows import Row, jsonl_rows
from vrl.types import Media, Sample


def read(path: Path) -> list[Item]:
    """`path` is the folder that holds `Data/` and the clips."""
    return [_item(row, number) for number, row in enumerate(jsonl_rows(path / "Data" / "data.jsonl"))]


def _item(row: Row, number: int) -> Item:
    sample = Sample(
        sample_id=f"{number}-{row.text('RowID')}",
        task="vqa",
        question=row.text("Question"),
        answer=row.text("Answer"),
        answer_type="free",
        media=(Media(kind="video", path=row.text("video_path").removeprefix("./")),),
        source="videohallu",
    )
    category, _, kind = row.text("Categorization-2").partition(" - ")
    return Item(
        sample=sample,
        groups={
            "category": (row.text("Categorization-1").casefold(),),
            "detail": (f"{category} - {kind}" if kind else category,),
        },
    )


BENCHMARK = Benchmark(name="videohallu", read=read, measure="judged_accuracy")
