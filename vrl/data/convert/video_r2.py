"""Video-R2 (Hugging Face MBZUAI/Video-R2-Dataset): video-r2-sft-dataset.json and video-r2-grpo-dataset.json.

Columns: video, conversations (one human and one gpt turn; the second holds <think> and <answer>), and for GRPO
temporal_grounding ({"MM:SS" or "MM:SS-MM:SS": sentence}), which becomes captions; one moment lasts a second.
"""

import re
from collections.abc import Iterator

from vrl.data.convert.choices import block, take_apart
from vrl.data.convert.conversation import media, turns
from vrl.data.convert.row import Row
from vrl.types import Caption, Sample

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2}(?:\.\d+)?)"
_WHEN = re.compile(rf"\s*{_TIME}\s*(?:-\s*{_TIME}\s*)?")


def samples(row: Row) -> Iterator[Sample]:
    """One row, one sample. Raises DataError."""
    said = turns(row)
    if len(said) != 1:
        raise row.fault("conversations", f"{len(said)} pairs of turns", "one")
    ((question, reply),) = said
    answer = block(reply, "answer")
    if not answer:
        raise row.fault("conversations", reply, "<answer>..</answer> in the second turn")
    asked = take_apart(question, answer)
    yield Sample(
        sample_id=f"video-r2-{row.columns.get('id', row.number)}",
        task="vqa",
        question=asked.question,
        answer=asked.answer,
        answer_type=asked.answer_type,
        media=media(row),
        options=asked.options,
        captions=_captions(row),
        thinking=block(reply, "think"),
        source=row.text("data_source", "video-r2"),
    )


def _captions(row: Row) -> tuple[Caption, ...]:
    if not row.has("temporal_grounding"):
        return ()
    found = []
    for when, text in row.record("temporal_grounding").columns.items():
        if text is None:  # a parquet file gives every row the keys of all rows
            continue
        written = _WHEN.fullmatch(when)
        if written is None or not isinstance(text, str):
            raise row.fault("temporal_grounding", {when: text}, "MM:SS or MM:SS-MM:SS and a sentence")
        start_s = _seconds(*written.groups()[:3])
        end_s = _seconds(*written.groups()[3:]) if written[5] else start_s + 1.0
        found.append(Caption(start_s=start_s, end_s=end_s, text=text))
    return tuple(sorted(found, key=lambda caption: (caption.start_s, caption.end_s)))


def _seconds(hours: str | None, minutes: str, seconds: str) -> float:
    return 3600 * int(hours or 0) + 60 * int(minutes) + float(seconds)
