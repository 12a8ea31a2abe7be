"""Video-MME: 900 clips, short, medium and long, three questions each; pooled accuracy.

Reads `videomme/test-*.parquet` (Hugging Face `lmms-lab/Video-MME`), columns question_id, videoID, duration, domain,
task_type, question, options (`A. ...`), answer (a letter). Clips are `data/<videoID>.mp4`. Subtitles are not shown.
"""

from pathlib import Path

from vrl.evaluation.item import Benchmark, Item, choice
from vrl.evaluation.rows import Row, parquet_rows, without_letters

_COLUMNS = ("question_id", "videoID", "duration", "domain", "task_type", "question", "options", "answer")


def read(path: Path) -> list[Item]:
    """`path` is the folder that holds `videomme/` and `data/`."""
    return [_item(row) for row in parquet_rows(path / "videomme", "test-*.parquet", _COLUMNS)]


def _item(row: Row) -> Item:
    sample = choice(
        sample_id=row.text("question_id"),
        question=row.text("question"),
        options=without_letters(row.texts("options")),
        answer=row.text("answer"),
        video=f"{row.text('videoID')}.mp4",
        source="videomme",
    )
    keys = ("duration", "domain", "task_type")
    return Item(sample=sample, groups={key: (row.text(key),) for key in keys})


BENCHMARK = Benchmark(name="videomme", read=read, media="data")
