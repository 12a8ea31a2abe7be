"""Video-R2 (Hugging Face MBZUAI/Video-R2-Dataset): video-r2-sft-dataset.json and video-r2-grpo-dataset.json.

Columns: video, conversations (one human and one gpt turn; the second holds <think> and <answer>), and for GRPO
temporal_grounding ({"MM:SS" or "MM:SS-MM:SS": sentence}), which becomes captions, of a moment or a stretch of time.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import asdict

from vrl.data.convert.conversation import media, turns
from vrl.data.rows import Row
from vrl.data.rows.options import block, take_apart
from vrl.types import Caption, Sample

_SEPARATOR = re.compile(r"\s*(?:-|\u2013|\u2014|to)\s*", re.IGNORECASE)


def samples(row: Row) -> Iterator[Sample]:
    """One row, one sample. Raises RowError."""
    said = turns(row)
    if len(said) != 1:
        raise row.error("conversations", f"{len(said)} pairs of turns", "one")
    ((question, reply),) = said
    answer = block(reply, "answer")
    if not answer:
        raise row.error("conversations", reply, "<answer>..</answer> in the second turn")
    asked = take_apart(question, answer)
    yield Sample(
        sample_id=f"{row.source.path.stem}-{row.number}",
        task="vqa",
        media=media(row),
        **asdict(asked),
        captions=_captions(row),
        thinking=block(reply, "think"),
        source=row.text("data_source", "video-r2"),
        reply=reply.strip(),
    )


def _captions(row: Row) -> tuple[Caption, ...]:
    """Times as the authors' sanitiser reads them (train/src/train/temporal_grounding_reward.py)."""
    if "temporal_grounding" not in row:
        return ()
    found = []
    for when, text in row.inner("temporal_grounding").columns.items():
        if text is None:  # a parquet file gives every row the keys of all rows
            continue
        if not isinstance(text, str):
            raise row.error("temporal_grounding", {when: text}, "a sentence")
        parts = _SEPARATOR.split(when.strip())
        moments = [moment for moment in map(_seconds, parts) if moment is not None]
        if len(moments) < len(parts) or len(parts) > 2:
            row.note("captions without a closed time left out")
            continue
        found.append(Caption(start_s=min(moments), end_s=max(moments), text=text))
    return tuple(sorted(found, key=lambda caption: (caption.start_s, caption.end_s)))


def _seconds(written: str) -> float | None:
    """`1:02:03`, `02:03.5` or `123`, to whole seconds; None for anything else, such as `end`."""
    parts = written.strip().strip("+.,").split(":")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        return None
    if not 1 <= len(values) <= 3 or not all(0 <= value < math.inf for value in values):
        return None
    return float(round(sum(value * 60**power for power, value in enumerate(reversed(values)))))
