"""Sample files: a few rollout groups of a step as parquet, one row per rollout, with the frames that the model saw.

The driver writes them; the report and any parquet reader can read them. Does not choose which groups are kept.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vrl.files import replacing
from vrl.report.frames import frames_of, jpeg
from vrl.types import Prompt, Rollout, RolloutGroup

THUMBNAIL_PIXELS = 224  # longer side; smaller frames are not resized

_SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("group_id", pa.int64()),
        ("sample_id", pa.string()),
        ("task", pa.string()),
        ("question", pa.string()),
        ("options", pa.list_(pa.string())),
        ("answer", pa.string()),
        ("answer_type", pa.string()),
        ("key_elements", pa.list_(pa.string())),
        ("spans", pa.list_(pa.list_(pa.float64()))),
        ("duration_s", pa.float64()),
        ("prompt", pa.string()),
        ("num_prompt_tokens", pa.int64()),
        ("completion", pa.string()),
        ("finish_reason", pa.string()),
        ("num_tokens", pa.int64()),
        ("reward", pa.float64()),
        ("breakdown", pa.map_(pa.string(), pa.float64())),
        ("advantage", pa.float64()),
        ("policy_version_min", pa.int64()),
        ("policy_version_max", pa.int64()),
        ("frames", pa.list_(pa.binary())),
        ("timestamps_s", pa.list_(pa.float64())),
    ]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleRow:
    """One row of a sample file: one rollout. The fields are the columns."""

    step: int
    group_id: int
    sample_id: str
    task: str
    question: str
    options: list[str]
    answer: str
    answer_type: str
    key_elements: list[str]
    spans: list[list[float]]  # true events, seconds
    duration_s: float
    prompt: str  # with special tokens, each clip and image as one placeholder
    num_prompt_tokens: int  # placeholders expanded
    completion: str  # with special tokens
    finish_reason: str
    num_tokens: int  # of the completion
    reward: float
    breakdown: dict[str, float | None]
    advantage: float
    policy_version_min: int
    policy_version_max: int
    frames: list[bytes]  # JPEG; in the first row of a group only
    timestamps_s: list[float | None]  # of each frame; None for images and for clips after the first


def write_samples(
    run_dir: Path,
    step: int,
    groups: Sequence[RolloutGroup],
    advantages: Sequence[np.ndarray],
    patches: Sequence[np.ndarray],
) -> Path:
    """Write `run_dir/samples/step_<step>.parquet` atomically and return its path.

    Per group: advantages float [G] and patches uint8 [num_patches, patch_dim].
    """
    rows = [
        row
        for group, advantages_G, pixels in zip(groups, advantages, patches, strict=True)
        for row in _rows(step, group, advantages_G, pixels)
    ]
    path = run_dir / "samples" / f"step_{step:06d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=_SCHEMA)
    with replacing(path) as tmp:
        pq.write_table(table, tmp, compression="zstd")
    return path


def read_samples(run_dir: Path) -> list[SampleRow]:
    """Return the rows of every sample file of a run, in step order."""
    paths = sorted((run_dir / "samples").glob("step_*.parquet"))
    tables = (pq.read_table(path).to_pylist(maps_as_pydicts="strict") for path in paths)
    return [SampleRow(**columns) for rows in tables for columns in rows]


def _rows(step: int, group: RolloutGroup, advantages_G: np.ndarray, patches: np.ndarray) -> list[SampleRow]:
    frames, timestamps_s = _thumbnails(group.prompt, patches)
    pairs = zip(group.rollouts, advantages_G, strict=True)
    return [
        _row(step, group, rollout, float(advantage), *((frames, timestamps_s) if i == 0 else ([], [])))
        for i, (rollout, advantage) in enumerate(pairs)
    ]


def _row(
    step: int,
    group: RolloutGroup,
    rollout: Rollout,
    advantage: float,
    frames: list[bytes],
    timestamps_s: list[float | None],
) -> SampleRow:
    sample, completion = group.prompt.sample, rollout.completion
    return SampleRow(
        step=step,
        group_id=group.group_id,
        sample_id=sample.sample_id,
        task=sample.task,
        question=sample.question,
        options=list(sample.options),
        answer=sample.answer,
        answer_type=sample.answer_type,
        key_elements=list(sample.key_elements),
        spans=[list(span) for span in sample.spans],
        duration_s=group.prompt.duration_s,
        prompt=group.prompt.text,
        num_prompt_tokens=len(group.prompt.token_ids),
        completion=completion.text,
        finish_reason=completion.finish_reason,
        num_tokens=len(completion.token_ids),
        reward=rollout.reward.value,
        breakdown=dict(rollout.reward.breakdown),
        advantage=advantage,
        policy_version_min=completion.policy_version,
        policy_version_max=max(span.policy_version for span in completion.versions),
        frames=frames,
        timestamps_s=timestamps_s,
    )


def _thumbnails(prompt: Prompt, patches: np.ndarray) -> tuple[list[bytes], list[float | None]]:
    """Return all frames of a prompt in order, with the timestamps of its first clip."""
    images: list[bytes] = []
    times: list[float | None] = []
    times_of_clip = list(prompt.timestamps_s)  # the prompt has those of its first clip
    for grid, frames in zip(prompt.vision, frames_of(patches, prompt.vision), strict=True):
        has_times = grid.kind == "video" and bool(times_of_clip)
        if has_times:
            frames = frames[: len(times_of_clip)]  # the processor repeats a last odd frame
        images += [jpeg(frame, THUMBNAIL_PIXELS) for frame in frames]
        times += times_of_clip if has_times else [None] * len(frames)
        times_of_clip = [] if has_times else times_of_clip
    return images, times
