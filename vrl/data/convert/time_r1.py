"""Time-R1 (github.com/xiaomi-research/time-r1, dataset/timer1/annotations): train_2k5.json and tvgbench.json.

Columns: video, duration, timestamp ([start, end] in seconds of the file `video`), sentence, qid, video_start and
video_end (null, or from where in a longer recording the file was cut: not applied again), difficulty, pred.
"""

from collections.abc import Iterator

from vrl.data.convert.charades_sta import ASK
from vrl.data.convert.row import Row
from vrl.types import Sample


def samples(row: Row) -> Iterator[Sample]:
    """One row, one event to be found. Raises DataError."""
    yield Sample(
        sample_id=f"{row.source.path.stem}-{row.number}",
        task="grounding",
        question=ASK.format(sentence=row.text("sentence")),
        answer_type="span",
        media=(row.media("video", "video", row.text("video")),),
        spans=(row.span("timestamp", row.columns.get("timestamp")),),
        source="time-r1",
    )
