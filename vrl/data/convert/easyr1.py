"""EasyR1 (github.com/hiyouga/EasyR1): its JSON, JSONL and parquet files.

Columns: problem or prompt (the question, with <video> or <image>), answer, videos or images (paths).
"""

from collections.abc import Iterator

from vrl.data.convert.choices import take_apart
from vrl.data.convert.row import Row
from vrl.data.convert.verl import media
from vrl.types import Sample


def samples(row: Row) -> Iterator[Sample]:
    """One row, one sample. Raises DataError."""
    asked = take_apart(row.text("problem" if row.has("problem") else "prompt"), row.text("answer"))
    yield Sample(
        sample_id=f"{row.source.path.stem}-{row.number}",
        task="vqa",
        question=asked.question,
        answer=asked.answer,
        answer_type=asked.answer_type,
        media=media(row),
        options=asked.options,
        source="easyr1",
    )
