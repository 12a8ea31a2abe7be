"""VideoHallu: free questions about generated clips that break physics or common sense; judged accuracy.

Reads `Data/data.jsonl` (repository `zli12321/VideoHallu`), columns RowID, Model, video_path (`./<model>/<file>`),
Question, Answer, Categorization-1, Categorization-2. Clips are `<model>/<file>`. A judge compares an answer with the
true one; set reward.judge, for the judge by rules knows only equal words. The judge
reads the whole reply, as the authors' does.
"""

from collections.abc import Iterable
from pathlib import Path

from vrl.data.rows import Row, Source
from vrl.evaluation.item import Benchmark, Groups, open_question
from vrl.evaluation.reading.rule import ReplyRule
from vrl.types import Media, Sample


def rows(path: Path) -> Iterable[Row]:
    """`path` is the folder that holds `Data/` and the clips."""
    return Source(path / "Data" / "data.jsonl")


def samples(row: Row) -> list[Sample]:
    """One question a row. RowID repeats, so ids count the rows too, from 0."""
    return [
        open_question(
            row.extended(question=row.text("Question")),
            sample_id=f"{row.number - 1}-{row.text('RowID')}",
            answer="Answer",
            answer_type="free",
            media=Media(kind="video", path=row.text("video_path").removeprefix("./")),
            source="videohallu",
        )
    ]


def groups(row: Row) -> Groups:
    """The category, and its part."""
    category, _, kind = row.text("Categorization-2").partition(" - ")
    detail = f"{category} - {kind}" if kind else category
    return {"category": (row.text("Categorization-1").casefold(),), "detail": (detail,)}


BENCHMARK = Benchmark(
    name="videohallu", rows=rows, samples=samples, groups=groups, measure="judged_accuracy",
    reply=ReplyRule(source="zli12321/VideoHallu: a judge reads the whole reply"),
)  # fmt: skip
