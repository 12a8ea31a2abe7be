"""`vrl data convert`: published datasets to our one schema. One file a layout; a wrong row is named, none is repaired.

Questions with an answer become rows of task `vqa`, events to be found rows of `grounding`; `data.expand` rolls them out
under other tasks. Media stay where they are: paths become relative to the folder they lie in (`data.root`).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from vrl.data.convert import charades_sta, conversation, easyr1, next_gqa, time_r1, verl, video_r1, video_r2
from vrl.data.convert.row import Row, Source
from vrl.data.dataset import faults, read_samples, write_parquet
from vrl.errors import ConfigError, DataError
from vrl.types import Sample

_MAX_PROBLEMS = 20

LAYOUTS: dict[str, Callable[[Row], Iterator[Sample]]] = {
    "video-r1": video_r1.samples,
    "video-r2": video_r2.samples,
    "llava-video": conversation.samples,
    "charades-sta": charades_sta.samples,
    "next-gqa": next_gqa.samples,
    "time-r1": time_r1.samples,
    "verl": verl.samples,
    "easyr1": easyr1.samples,
}
NAMES = (*LAYOUTS, "jsonl")


def convert(layout: str, source: Path, out: Path, *, root: Path | None = None) -> int:
    """Write the rows of `source`, in one of `NAMES`, as a dataset file of ours; returns how many.

    `root`: the folder of the media, which absolute paths must lie under. Raises DataError listing up to 20 problems,
    each with file, row and column, and ConfigError for an `out` that is no parquet file.
    """
    if out.suffix != ".parquet":
        raise ConfigError(f"OUT: got {out}, wanted a name that ends in .parquet")
    samples = read_samples(source) if layout == "jsonl" else _converted(layout, Source(source, root))
    write_parquet(samples, out)
    return len(samples)


def _converted(layout: str, source: Source) -> list[Sample]:
    found: list[Sample] = []
    problems: list[str] = []
    for row in source.rows():
        try:
            made = list(LAYOUTS[layout](row))
        except DataError as error:
            problems.append(str(error))
        else:
            problems += [f"{row.where}: {fault}" for sample in made for fault in faults(sample)]
            found += made
        if len(problems) >= _MAX_PROBLEMS:
            problems[_MAX_PROBLEMS:] = ["... and perhaps more: reading stopped here"]
            break
    seen = Counter(sample.sample_id for sample in found)
    problems += [f"{source.path}: got the id {key!r} {n} times, wanted once" for key, n in seen.items() if n > 1]
    if not found and not problems:
        problems = [f"{source.path}: got no rows, wanted at least one"]
    if problems:
        raise DataError("\n".join(problems[: _MAX_PROBLEMS + 1]), reason="dataset")
    return found
