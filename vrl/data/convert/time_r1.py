"""Time-R1 (github.com/xiaomi-research/time-r1, dataset/timer1/annotations): train_2k5.json and tvgbench.json.

Columns of the first: video, timestamp ([start, end] in seconds of the file `video`), sentence; of the second: path,
answer ("13.4-28.1"; a few events are of one moment), question. Both also name the stretch of a longer recording that
the file was cut from; it is not applied again.
"""

import re
from collections.abc import Iterator

from vrl.data.convert.grounding import grounding_sample
from vrl.data.rows import Row
from vrl.types import Sample

_BETWEEN = re.compile(r"\s*([\d.]+)\s*-\s*([\d.]+)\s*")


def samples(row: Row) -> Iterator[Sample]:
    """One row, one event to be found. Raises RowError."""
    if "sentence" in row:
        path, sentence, span_s = row.text("video"), row.text("sentence"), row.columns.get("timestamp")
        column = "timestamp"
    else:
        path, sentence, answer = row.text("path"), row.text("question"), row.text("answer")
        written, column = _BETWEEN.fullmatch(answer), "answer"
        span_s = list(written.groups()) if written is not None else answer
    yield grounding_sample(
        f"{row.source.path.stem}-{row.number}",
        sentence,
        row.span(column, span_s, moments=True),
        row.media("video", "video" if "video" in row else "path", path),
        "time-r1",
    )
