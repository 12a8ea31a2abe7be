"""verl (github.com/volcengine/verl, examples/data_preprocess): its parquet files.

Columns: data_source, prompt ([{role, content}]), reward_model ({ground_truth}), extra_info ({split, index}), videos
([{"video": path}]) or images ([{"image": path}]). The last user turn is the question; a system turn is left
out, because our tasks bring their own instructions. Images embedded as bytes are refused: write them to files first.
"""

from collections.abc import Iterator
from dataclasses import asdict

from vrl.data.rows import Row
from vrl.data.rows.options import take_apart
from vrl.types import Media, Sample


def samples(row: Row) -> Iterator[Sample]:
    """One row, one sample. Raises RowError."""
    extra = row.inner("extra_info")
    asked = take_apart(_question(row), row.inner("reward_model").text("ground_truth"))
    yield Sample(
        sample_id=f"{row.text('data_source')}-{extra.text('split', 'train')}-{extra.columns.get('index', row.number)}",
        task="vqa",
        media=media(row),
        **asdict(asked),
        source=row.text("data_source"),
    )


def media(row: Row) -> tuple[Media, ...]:
    """Clips, then images: paths, or objects that hold one. Raises RowError for a file that is embedded."""
    found = []
    for kind, column in (("video", "videos"), ("image", "images")):
        for item in row.list_of(column):
            path = item.get(kind) or item.get("path") if isinstance(item, dict) else item
            if not isinstance(path, str):
                raise row.error(column, item, "a path (pixels that are embedded must be written to files first)")
            found.append(row.media(kind, column, path))
    return tuple(found)


def _question(row: Row) -> str:
    turns = [turn for turn in row.list_of("prompt") if isinstance(turn, dict) and turn.get("role") == "user"]
    if not turns or not isinstance(turns[-1].get("content"), str):
        raise row.error("prompt", row.columns.get("prompt"), "a user turn with text")
    return turns[-1]["content"]
