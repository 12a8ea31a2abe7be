"""LLaVA-Video-178K (Hugging Face lmms-lab/LLaVA-Video-178K): the JSON files of its folders.

Columns: id, conversations ([{from: human | gpt, value}, ...], the first value with "<image>"), video (a path),
data_source. Every pair of turns is a separate question about the clip.
"""

from collections.abc import Iterator
from dataclasses import asdict

from vrl.data.rows import Row
from vrl.data.rows.options import take_apart
from vrl.types import Media, Sample

_ASKING, _ANSWERING = ("human", "user"), ("gpt", "assistant")


def samples(row: Row) -> Iterator[Sample]:
    """One sample a pair of turns. Raises RowError."""
    name = row.columns.get("id", row.number)
    for index, (question, answer) in enumerate(turns(row)):
        asked = take_apart(question, answer)
        yield Sample(
            sample_id=f"{row.source.path.stem}-{row.number}-{name}-{index}",
            task="vqa",
            media=media(row),
            **asdict(asked),
            source=row.text("data_source", "llava-video"),
        )


def media(row: Row) -> tuple[Media, ...]:
    """The clips of `video`, or the images of `image`: one path or a list. Raises RowError where there is neither."""
    for column in ("video", "image"):
        if column in row:
            value = row.columns[column]
            paths = value if isinstance(value, list) else [value]
            return tuple(row.media(column, column, path) for path in paths)
    raise row.error("video", None, "a path")


def turns(row: Row) -> list[tuple[str, str]]:
    """Question and answer of each pair of turns. Raises RowError where they do not alternate."""
    said = [
        (turn.get("from"), turn.get("value")) if isinstance(turn, dict) else (None, None)
        for turn in row.list_of("conversations")
    ]
    speakers = [speaker for speaker, _ in said]
    pairs = list(zip(speakers[::2], speakers[1::2], strict=False))
    if not said or len(said) % 2 or not all(a in _ASKING and b in _ANSWERING for a, b in pairs):
        raise row.error("conversations", speakers, "human and gpt in turn")
    values = [value.strip() for _, value in said if isinstance(value, str)]
    if len(values) < len(said) or not all(values):
        raise row.error("conversations", said, "text in every value")
    return list(zip(values[::2], values[1::2], strict=True))
