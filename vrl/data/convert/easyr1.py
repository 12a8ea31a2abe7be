"""EasyR1 (github.com/hiyouga/EasyR1): its JSON, JSONL and parquet files.

Columns: problem or prompt (the question, with <video> or <image>), answer, videos or images (paths).
"""

from collections.abc import Iterator
from dataclasses import asdict

from vrl.data.convert.verl import media
from vrl.data.rows import Row
from vrl.data.rows.options import take_apart
from vrl.types import Sample


def samples(row: Row) -> Iterator[Sample]:
    """One row, one sample. Raises RowError."""
    asked = take_apart(row.text("problem" if "problem" in row else "prompt"), row.text("answer"))
    yield Sample(
        sample_id=f"{row.source.path.stem}-{row.number}",
        task="vqa",
        media=media(row),
        **asdict(asked),
        source="easyr1",
    )
