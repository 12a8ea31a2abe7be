"""Charades-STA, test: when does a sentence happen? Mean IoU and the share of IoU >= 0.3, 0.5, 0.7.

Reads `charades_sta_test.txt` (repository `jiyanggao/TALL`), a line a query: `<clip> <start> <end>##<sentence>` in
seconds. Clips are `Charades_v1_480/<clip>.mp4`. An event that is annotated beyond the end of its clip ends with it.

Replies are read strictly: a span in the form of the task.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from vrl.data.convert import charades_sta
from vrl.data.rows import Row, Source
from vrl.evaluation.item import Benchmark
from vrl.types import Sample


def rows(path: Path) -> Iterable[Row]:
    """`path` is the folder that holds `charades_sta_test.txt`."""
    return Source(path / "charades_sta_test.txt")


def samples(row: Row) -> list[Sample]:
    """One event a line, `<line>-<clip>`, asked for as in training (`vrl data convert`)."""
    return [
        replace(sample, sample_id=f"{row.number}-{Path(sample.media[0].path).stem}", source="charades_sta")
        for sample in charades_sta.samples(row)
    ]


BENCHMARK = Benchmark(name="charades_sta", rows=rows, samples=samples, media="Charades_v1_480")
