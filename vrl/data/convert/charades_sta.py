"""Charades-STA (Gao et al., TALL, arXiv 1705.02101): charades_sta_train.txt and charades_sta_test.txt.

A line is `VIDEO start end##sentence.`, times in seconds; the clip is VIDEO.mp4 of Charades. One event in eight ends
after its clip does: the end is kept, and meets the clip wherever it is used.
"""

import re
from collections.abc import Iterator

from vrl.data.convert.grounding import grounding_sample
from vrl.data.rows import Row
from vrl.types import Sample

_LINE = re.compile(r"\s*(\S+)\s+([\d.]+)\s+([\d.]+)\s*##\s*(.*\S)\s*")


def samples(row: Row) -> Iterator[Sample]:
    """One line, one event to be found. Raises RowError."""
    written = _LINE.fullmatch(row.text("line"))
    if written is None:
        raise row.error("line", row.text("line"), "VIDEO start end##sentence.")
    video, start, end, sentence = written.groups()
    yield grounding_sample(
        f"{row.source.path.stem}-{row.number}",
        sentence,
        row.span("line", [start, end]),
        row.media("video", "line", f"{video}.mp4"),
        "charades-sta",
    )
