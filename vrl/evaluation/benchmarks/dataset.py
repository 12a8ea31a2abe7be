"""Any parquet or JSONL file in the schema of vrl itself: the splits of the toy world, or a user's own questions.

Groups: `kind` (the part of `source` after its last slash) and `form` (the task of the row).
"""

from pathlib import Path

from vrl.data.dataset import read_samples
from vrl.evaluation.item import Benchmark, Item


def read(path: Path) -> list[Item]:
    """`path` is the file; clips lie under its folder."""
    return [
        Item(
            sample=sample,
            groups={"kind": (sample.source.rpartition("/")[2] or "unnamed",), "form": (sample.task,)},
        )
        for sample in read_samples(path)
    ]


BENCHMARK = Benchmark(name="dataset", read=read)
