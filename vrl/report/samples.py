"""Sample files: a few rollout groups of a step as parquet, one row a rollout, with the frames that the model saw.

Written by the driver, read by the report and by anyone with a parquet reader. Does not choose which groups are kept.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vrl.report.frames import frames_of, jpeg
from vrl.types import Prompt, Rollout, RolloutGroup

THUMBNAIL_PIXELS = 224  # longer side; smaller frames are kept as they are

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
    """One rollout as it stands in a sample file. The columns of the file are these fields."""

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
    prompt: str  # with special tokens, each clip and picture as one placeholder
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
    timestamps_s: list[float | None]  # of each frame; None for pictures and for clips after the first


def write_samples(
    run_dir: Path,
    step: int,
    groups: Sequence[RolloutGroup],
    advantages: Sequence[np.ndarray],
    patches: Sequence[np.ndarray],
) -> Path:
    """Write `run_dir/samples/step_<step>.parquet` whole or not at all, and return its path.

    Per group: advantages float [G] and patches uint8 [num_patches, patch_dim].
    """
    rows = [
        row
        for group, advantages_G, pixels in zip(groups, advantages, patches, strict=True)
        for row in _rows(step, group, advantages_G, pixels)
    ]
    path = run_dir / "samples" / f"step_{step:06d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    tmp = path.with_suffix(".tmp")
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in rows], schema=_SCHEMA), tmp, compression="zstd")
    os.replace(tmp, path)
    return path


def read_samples(run_dir: Path) -> list[SampleRow]:
    """The rows of every sample file of a run, in the order of steps."""
    rows = []
    for path in sorted((run_dir / "samples").glob("step_*.parquet")):
        for columns in pq.read_table(path).to_pylist(maps_as_pydicts="strict"):
            rows.append(SampleRow(**columns))
    return rows


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
    """All frames of a prompt in order, with the times of its first clip."""
    pictures: list[bytes] = []
    times: list[float | None] = []
    to_date = list(prompt.timestamps_s)  # timestamps are of the first clip
    for grid, frames in zip(prompt.vision, frames_of(patches, prompt.vision), strict=True):
        dated = grid.kind == "video" and bool(to_date)
        if dated:
            frames = frames[: len(to_date)]  # the processor repeats a last odd frame
        pictures += [jpeg(frame, THUMBNAIL_PIXELS) for frame in frames]
        times += to_date if dated else [None] * len(frames)
        to_date = [] if dated else to_date
    return pictures, times
