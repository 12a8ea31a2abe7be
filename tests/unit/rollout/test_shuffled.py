"""Permuted frames inside processed patches."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vrl.config import FrameConfig, ModelConfig, RewardTermConfig, RunConfig, TaskConfig
from vrl.config.checks import check
from vrl.config.load import load
from vrl.data.prompt import PromptBuilder
from vrl.rollout.prefetch import PreparedPrompt
from vrl.rollout.shuffled import ShuffledDraws, in_order, shuffled_draws
from vrl.toyworld.model import FAMILIES, build_family
from vrl.types import Frames, Media, Prompt, Sample, VisionGrid

CLIP, IMAGE = Media(kind="video", path="a.mp4"), Media(kind="image", path="b.png")
SAMPLE = Sample(sample_id="s", task="think", question="?")


def prompt(*vision: VisionGrid, sample: Sample = SAMPLE) -> Prompt:
    return Prompt(sample=sample, token_ids=np.zeros(1, np.int64), vision=vision, media_key="m")


def clip(num_frames: int) -> Frames:
    pixels = np.random.default_rng(0).integers(0, 256, (num_frames, 90, 60, 3), dtype=np.uint8)
    return Frames(pixels_THWC=pixels, timestamps_s=np.arange(num_frames) * 0.5, duration_s=num_frames * 0.5)


@pytest.mark.parametrize("family", FAMILIES)
def test_permuting_patches_equals_permuting_frames_before_the_processor(family: str, tmp_path: Path) -> None:
    build_family(tmp_path, family, sharp=False)
    frames = FrameConfig(min_pixels=28 * 28, max_pixels=84 * 84)
    builder = PromptBuilder(ModelConfig(path=str(tmp_path)), frames, max_tokens=16)
    order = (5, 0, 3, 1, 2, 4)
    shown = clip(6)
    image = builder.process_media(
        IMAGE, Frames(pixels_THWC=shown.pixels_THWC[:1], timestamps_s=np.zeros(1), duration_s=0.0)
    )
    plain = builder.process_media(CLIP, shown)
    permuted = builder.process_media(CLIP, replace(shown, pixels_THWC=shown.pixels_THWC[list(order)]))
    asked = replace(prompt(image.grid, plain.grid), frame_order=order)
    patches = in_order(asked, np.concatenate([image.patches, plain.patches]))
    np.testing.assert_array_equal(patches, np.concatenate([image.patches, permuted.patches]))
    assert not np.array_equal(plain.patches, permuted.patches)


def test_patches_without_a_frame_order_are_unchanged() -> None:
    patches = np.zeros((4, 3 * 2 * 4), np.uint8)
    assert in_order(prompt(VisionGrid(kind="video", grid_thw=(1, 2, 2))), patches) is patches


def test_only_clips_of_tasks_with_the_reward_have_a_twin_which_depends_on_the_group() -> None:
    draws = ShuffledDraws(tasks=frozenset({"think"}), draws=4, group_size=8)
    video = VisionGrid(kind="video", grid_thw=(1, 2, 2))
    image = VisionGrid(kind="image", grid_thw=(1, 2, 2))

    def twin(asked: Prompt, group_id: int) -> Prompt | None:
        found = draws.twin(PreparedPrompt(prompt=asked, patches=None, ordinal=0), group_id)
        return found.prompt if found is not None else None

    assert twin(prompt(image), 0) is None
    assert twin(prompt(video, sample=replace(SAMPLE, task="vqa")), 0) is None
    two = [twin(prompt(video), group_id) for group_id in range(8)]
    assert {one.frame_order for one in two if one is not None} == {(1, 0)}  # the one order that is not the true one
    long = prompt(VisionGrid(kind="video", grid_thw=(8, 2, 2)))
    first, second, other = twin(long, 3), twin(long, 3), twin(long, 4)
    assert first is not None and second is not None and other is not None
    assert first.frame_order == second.frame_order != other.frame_order
    assert len({"m", first.media_key, other.media_key}) == 3


def test_the_rubric_determines_which_tasks_have_twins() -> None:
    given = ["name=x", "model.path=m", "data.train=d.parquet", "rollout.group_size=6", "reward.order_draws=3"]
    order = "{task: think, rewards: [{reward: accuracy}, {reward: temporal_order, weight: 0.3}]}"
    config = load(None, [*given, f"tasks=[{order}, {{task: vqa}}]"])
    assert shuffled_draws(config) == ShuffledDraws(tasks=frozenset({"think"}), draws=3, group_size=6)
    stamped = RunConfig(name="x", tasks=[TaskConfig(task="think", rewards=[RewardTermConfig(reward="temporal_order")])])
    assert not any("true position" in problem for problem in check(stamped))
    overlay = replace(stamped.data.frames.overlay, time=True)
    data = replace(stamped.data, frames=replace(stamped.data.frames, overlay=overlay))
    assert any("true position" in problem for problem in check(replace(stamped, data=data)))
