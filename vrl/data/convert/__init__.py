"""`vrl data convert`: published datasets to our one schema. One file a layout.

Questions with an answer become rows of task `vqa`, events to be found rows of `grounding`; `data.expand` rolls them out
under other tasks. Media stay where they are: paths become relative to the folder they lie in (`data.root`).
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from vrl.data.convert import (
    charades_sta,
    conversation,
    easyr1,
    next_gqa,
    time_r1,
    verl,
    video_r1,
    video_r2,
    videoreasoner,
)
from vrl.data.dataset import sample_of, sound, write_parquet
from vrl.data.rows import Reading, Row, Source, read_rows
from vrl.errors import ConfigError, DataError
from vrl.types import Sample

LAYOUTS: dict[str, Callable[[Row], Iterator[Sample]]] = {
    "video-r1": video_r1.samples,
    "video-r2": video_r2.samples,
    "videoreasoner": videoreasoner.samples,
    "llava-video": conversation.samples,
    "charades-sta": charades_sta.samples,
    "next-gqa": next_gqa.samples,
    "time-r1": time_r1.samples,
    "verl": verl.samples,
    "easyr1": easyr1.samples,
    "jsonl": lambda row: iter([sample_of(row)]),
}


def convert(
    layout: str, source: Path, out: Path, *, root: Path | None = None, bad_rows: str = "refuse"
) -> Reading[Sample]:
    """Write the samples of `source`, whose layout is one of `LAYOUTS`, to `out` and return what became of its rows.

    `root`: the folder of the media, which absolute paths must lie under. Raise DataError if a row is bad and `bad_rows`
    is "refuse", or no row is good; ConfigError if `out` is no parquet file.
    """
    if out.suffix != ".parquet":
        raise ConfigError(f"OUT: got {out}, wanted a name that ends in .parquet")
    reading = read_rows(
        Source(source, root),
        lambda row: [sound(row, sample) for sample in LAYOUTS[layout](row)],
        identify=lambda sample: sample.sample_id,
        bad_rows=bad_rows,
        how_to_skip="--skip-bad leaves them out",
    )
    if not reading.kept:
        raise DataError(f"{source}: got no rows to keep ({reading.summary()}), wanted at least one", reason="dataset")
    write_parquet(reading.kept, out)
    return reading
