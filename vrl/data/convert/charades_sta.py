"""Charades-STA (Gao et al., TALL, arXiv 1705.02101): charades_sta_train.txt and charades_sta_test.txt.

A line is `VIDEO start end##sentence.`, times in seconds; the clip is VIDEO.mp4 of Charades.
"""

import re
from collections.abc import Iterator

from vrl.data.convert.row import Row
from vrl.types import Sample

_LINE = re.compile(r"(\S+) ([\d.]+) ([\d.]+)##(.*\S)\s*")
ASK = "When does this happen in the video: {sentence}"


def samples(row: Row) -> Iterator[Sample]:
    """One line, one event to be found. Raises DataError."""
    line = str(row.columns["line"])
    written = _LINE.fullmatch(line)
    if written is None:
        raise row.fault("line", line, "VIDEO start end##sentence.")
    video, start, end, sentence = written.groups()
    yield Sample(
        sample_id=f"{row.source.path.stem}-{row.number}",
        task="grounding",
        question=ASK.format(sentence=sentence),
        answer_type="span",
        media=(row.media("video", "line", f"{video}.mp4"),),
        spans=((row.seconds("start", start), row.seconds("end", end)),),
        source="charades-sta",
    )
