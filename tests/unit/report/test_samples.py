"""Sample files: rows, frames and timestamps are read back as written."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vrl.report.samples import read_samples, write_samples
from vrl.types import Completion, Prompt, Reward, Rollout, RolloutGroup, Sample, VersionSpan, VisionGrid

VISION = (VisionGrid(kind="image", grid_thw=(1, 2, 2)), VisionGrid(kind="video", grid_thw=(2, 2, 2)))


def group(texts: list[str], timestamps_s: tuple[float, ...] = (0.0, 0.5, 1.0)) -> RolloutGroup:
    sample = Sample(
        sample_id="s1",
        task="grounding",
        question="When?",
        spans=((0.5, 1.0),),
        answer_type="span",
        key_elements=("red ball",),
    )
    rollouts = tuple(
        Rollout(
            completion=Completion(
                token_ids=np.arange(3),
                rollout_logprobs=np.zeros(3, np.float32),
                text=text,
                finish_reason="stop",
                versions=(VersionSpan(start=0, end=1, policy_version=4), VersionSpan(start=1, end=3, policy_version=5)),
            ),
            reward=Reward(value=0.25 * i, breakdown={"iou": 0.5 * i, "judge": None}),
        )
        for i, text in enumerate(texts)
    )
    prompt = Prompt(
        sample=sample,
        token_ids=np.arange(9),
        vision=VISION,
        timestamps_s=timestamps_s,
        duration_s=2.0,
        text="user: <|video_pad|> When?",
    )
    return RolloutGroup(group_id=7, prompt=prompt, patches=None, ordinal=0, rollouts=rollouts)


def write(run_dir: Path, step: int, **fields: object) -> Path:
    patches = np.full((12, 1176), 200, np.uint8)
    patches[:4] = 20
    made = group(["one<|im_end|>", "<script>"], **fields)  # type: ignore[arg-type]
    return write_samples(run_dir, step, [made], [np.array([-1.0, 1.0])], [patches])


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    assert write(tmp_path, 10) == tmp_path / "samples" / "step_000010.parquet"
    write(tmp_path, 2)
    rows = read_samples(tmp_path)
    assert [(row.step, row.completion) for row in rows] == [
        (2, "one<|im_end|>"), (2, "<script>"), (10, "one<|im_end|>"), (10, "<script>"),
    ]  # fmt: skip
    first, second = rows[:2]
    assert (first.prompt, first.num_prompt_tokens) == ("user: <|video_pad|> When?", 9)
    assert (second.reward, second.breakdown, second.advantage) == (0.25, {"iou": 0.5, "judge": None}, 1.0)
    assert (first.policy_version_min, first.policy_version_max, first.spans) == (4, 5, [[0.5, 1.0]])
    assert first.key_elements == ["red ball"]
    assert not list((tmp_path / "samples").glob("*.tmp"))


def test_frames_are_stored_once_per_group_with_the_times_of_the_clip(tmp_path: Path) -> None:
    write(tmp_path, 1)
    first, second = read_samples(tmp_path)
    assert second.frames == [] and second.timestamps_s == []
    assert first.timestamps_s == [None, 0.0, 0.5, 1.0]  # the image, then three frames; the fourth is padding
    shades = [int(np.asarray(Image.open(io.BytesIO(data))).mean()) for data in first.frames]
    assert shades == pytest.approx([20, 200, 200, 200], abs=2)


def test_a_run_without_samples_has_no_rows(tmp_path: Path) -> None:
    assert read_samples(tmp_path) == []
