"""Any parquet or JSONL file in the schema of vrl itself: the splits of the toy world, or a user's own questions.

Groups: `kind` (the part of `source` after its last slash) and `form` (the task of the row).

Replies: by our own rule (`vrl.evaluation.reading.ours`).
"""

from collections.abc import Iterable
from pathlib import Path

from vrl.data.dataset import open_dataset, sample_of
from vrl.data.rows import Row
from vrl.evaluation.item import Benchmark, Groups
from vrl.evaluation.reading.ours import OURS
from vrl.types import Sample


def rows(path: Path) -> Iterable[Row]:
    """`path` is the file; clips lie under its folder."""
    return open_dataset(path)


def samples(row: Row) -> list[Sample]:
    """One question a row."""
    return [sample_of(row)]


def groups(row: Row) -> Groups:
    """Kind and form."""
    return {"kind": (row.text("source", "").rpartition("/")[2] or "unnamed",), "form": (row.text("task"),)}


BENCHMARK = Benchmark(name="dataset", rows=rows, samples=samples, groups=groups, reply=OURS)
